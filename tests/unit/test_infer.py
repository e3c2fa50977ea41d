"""A plugin's answer is checked against the images, and of several runs the suitable ones are reported."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from node import codes
from node.errors import (
    BrokenResult,
    PluginFailed,
    TritonUnavailable,
)
from node.host import Plugin, read_plugin
from node.images.part10 import Part10
from node.images.series import Series
from node.images.stacks import group_into_stacks
from node.infer.geometry import check
from node.infer.job import Run, reported_runs
from node.infer.run import run
from node.results import Finding, Measurement, NotSuitable, Result, Segment, Segmentation
from node.testing import CORONAL, ct_series, radiograph, without, write
from node.triton.fake import FakeTriton

SPLEEN = Segment(label="Spleen", type=codes.SCT.Spleen, category=codes.SCT.Organ)
LIVER = Segment(label="Liver", type=codes.SCT.Liver, category=codes.SCT.Organ)
VOLUME = Measurement(name=codes.SCT.Volume, value=3.0, unit=codes.UCUM.CubicCentimeter)
UNSUITABLE = NotSuitable("there is no chest in it")


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[..., Series]:
    def made(images: Any = None, **wanted: Any) -> Series:
        given = ct_series(slices=4, rows=8, columns=6, **wanted) if images is None else images
        (series,) = group_into_stacks(Part10.of_file(path) for path in write(given, tmp_path / "images")).series
        return series

    return made


def outlined(series: Series, **changes: Any) -> Segmentation:
    volume = series.volume()
    labels = volume.with_array(np.ones(volume.array.shape, np.uint8))
    return Segmentation(labels=replace(labels, **changes), segments=[SPLEEN])


# The geometry check.


def test_labels_on_the_grid_of_a_series_pass(loaded: Callable[..., Series]) -> None:
    ct = loaded()
    check([outlined(ct), replace(VOLUME, of=SPLEEN), VOLUME], {"ct": ct})


def test_labels_on_the_grid_of_any_role_pass(loaded: Callable[..., Series]) -> None:
    first, other = loaded(), loaded(series="2", orientation=CORONAL)
    check([outlined(other)], {"ct": first, "mr": other})


def test_labels_lie_on_the_series_that_they_name_and_no_other(loaded: Callable[..., Series]) -> None:
    first, other, third = loaded(), loaded(series="2"), loaded(series="3", orientation=CORONAL)
    named = replace(outlined(first), source=other)
    check([named], {"t1": first, "t2": other})
    assert [named.lies_on(series) for series in (first, other)] == [False, True]
    with pytest.raises(BrokenResult):
        check([named], {"t1": first})
    with pytest.raises(BrokenResult):
        check([replace(named, source=third)], {"t1": first, "t2": third})


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(lambda seg: {"array": seg.labels.array[:-1]}, id="a slice too few"),
        pytest.param(lambda seg: {"array": seg.labels.array.swapaxes(1, 2)}, id="rows and columns exchanged"),
        pytest.param(lambda seg: {"frame_of_reference_uid": "1.2.3"}, id="another frame of reference"),
        pytest.param(lambda seg: {"affine": seg.labels.affine + np.eye(4)[:, [3, 3, 3, 0]] * 0.02}, id="shifted"),
        pytest.param(lambda seg: {"affine": seg.labels.affine * np.array([-1, 1, 1, 1])}, id="reversed slices"),
        pytest.param(lambda seg: {"affine": seg.labels.affine[:, [0, 2, 1, 3]]}, id="axes exchanged"),
        pytest.param(lambda seg: {"affine": seg.labels.affine * np.array([1, 1, 1.01, 1])}, id="scaled"),
    ],
)
def test_labels_that_lie_elsewhere_are_broken(loaded: Callable[..., Series], broken: Callable[..., Any]) -> None:
    ct = loaded()
    moved = outlined(ct, **broken(outlined(ct)))
    with pytest.raises(BrokenResult, match=r"lies on none of the series .* volume\.with_array"):
        check([moved], {"ct": ct})


def test_a_shift_below_the_precision_of_headers_passes(loaded: Callable[..., Series]) -> None:
    ct = loaded()
    affine = outlined(ct).labels.affine.copy()
    affine[:3, 3] += 0.004
    check([outlined(ct, affine=affine)], {"ct": ct})


def test_labels_of_another_series_are_broken_even_on_an_equal_array(loaded: Callable[..., Series]) -> None:
    first, other = loaded(), loaded(series="2", origin=(0.0, 0.0, 0.0))
    with pytest.raises(BrokenResult):
        check([outlined(other)], {"ct": first})


def test_labels_on_a_series_without_a_grid_are_broken(loaded: Callable[..., Series]) -> None:
    whole = loaded()
    gapped = loaded(without(ct_series(slices=9, rows=8, columns=6, seed="gap"), 2, 5, 6, 7, 8))
    assert len(gapped.frames) == len(whole.frames)
    with pytest.raises(BrokenResult):
        check([outlined(whole, frame_of_reference_uid=gapped.frame_of_reference_uid)], {"ct": gapped})


@pytest.mark.parametrize(
    "result", [replace(VOLUME, of=LIVER), Finding(name=codes.SCT.Mass, present=True, of=LIVER)], ids=["volume", "mass"]
)
def test_a_measurement_of_a_segment_needs_the_segmentation(loaded: Callable[..., Series], result: Result) -> None:
    ct = loaded()
    with pytest.raises(BrokenResult, match="is of segment 'Liver', which no segmentation has"):
        check([outlined(ct), result], {"ct": ct})


def test_not_suitable_beside_other_results_is_refused(loaded: Callable[..., Series]) -> None:
    check([UNSUITABLE], {"ct": loaded()})
    for beside in (VOLUME, UNSUITABLE):
        with pytest.raises(BrokenResult, match="results, and also that the images are not suitable"):
            check([beside, UNSUITABLE], {"ct": loaded()})


def test_nothing_found_is_no_fault(loaded: Callable[..., Series]) -> None:
    check([], {"ct": loaded()})


# Running a plugin.

HEAD = """
import numpy as np
from node import Measurement, NotSuitable, Segment, Segmentation, UnsuitableSeries, codes
from node.errors import TritonUnavailable

SPLEEN = Segment(label="Spleen", type=codes.SCT.Spleen, category=codes.SCT.Organ)
VOLUME = Measurement(name=codes.SCT.Volume, value=3.0, unit=codes.UCUM.CubicCentimeter)

"""


@pytest.fixture
def plugin(tmp_path: Path) -> Callable[..., Plugin]:
    def made(body: str = "return None", *, head: str = HEAD, version: str = "1") -> Plugin:
        folder = tmp_path / "plugins" / "spleen"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "plugin.toml").write_text(
            f'name = "spleen"\nversion = "{version}"\ntitle = "Spleen"\nkind = "A"\n'
            'models = ["spleen"]\n[series.ct]\nwhen.Modality = "CT"\n'
        )
        (folder / "plugin.py").write_text(f"{head}def run(ct, triton):\n    {body}\n")
        return read_plugin(folder)

    return made


def given(plugin: Plugin, ct: Series, models: Mapping[str, Any] | None = None) -> tuple[Result, ...]:
    return run(plugin, {"ct": ct}, FakeTriton(models or {}))


@pytest.mark.parametrize(
    ("body", "results"),
    [
        ("return None", ()),
        ("return []", ()),
        ("return VOLUME", (VOLUME,)),
        ("return [VOLUME, VOLUME]", (VOLUME, VOLUME)),
        ("yield VOLUME", (VOLUME,)),
        ("return NotSuitable('there is no chest in it')", (UNSUITABLE,)),
    ],
)
def test_run_may_return_one_result_several_none_or_a_generator(
    plugin: Callable[..., Plugin], loaded: Callable[..., Series], body: str, results: tuple[Result, ...]
) -> None:
    assert given(plugin(body), loaded()) == results


def test_a_plugin_asks_triton_and_answers_on_the_grid(
    plugin: Callable[..., Plugin], loaded: Callable[..., Series]
) -> None:
    body = (
        "mask = triton.infer('spleen', image=ct.volume())['mask']\n"
        "    yield Segmentation(labels=ct.volume().with_array(mask), segments=[SPLEEN])"
    )
    ct = loaded()
    (found,) = given(plugin(body), ct, {"spleen": lambda image: {"mask": (image > 0).astype(np.uint8)}})
    assert isinstance(found, Segmentation)
    assert (found.labels.array == (ct.volume().array > 0)).all()


@pytest.mark.parametrize("body", ["return 5", "return {'mask': 1}.items", "yield 'text'", "return [VOLUME, None]"])
def test_an_object_that_is_no_result_is_refused(
    plugin: Callable[..., Plugin], loaded: Callable[..., Series], body: str
) -> None:
    with pytest.raises(BrokenResult, match=r"no result|neither a result nor several"):
        given(plugin(body), loaded())


def test_the_geometry_is_checked(plugin: Callable[..., Plugin], loaded: Callable[..., Series]) -> None:
    with pytest.raises(BrokenResult, match="which no segmentation has"):
        given(plugin("from dataclasses import replace; return replace(VOLUME, of=SPLEEN)"), loaded())


def test_a_series_without_a_volume_is_a_result_with_the_reason(
    plugin: Callable[..., Plugin], loaded: Callable[..., Series]
) -> None:
    images = [radiograph()]
    (kept,) = given(plugin("return ct.volume()"), loaded(images))
    assert isinstance(kept, NotSuitable)
    assert str(images[0].SOPInstanceUID) in kept.reason


def test_unsuitable_may_also_be_said_after_the_first_results(
    plugin: Callable[..., Plugin], loaded: Callable[..., Series]
) -> None:
    assert given(plugin("yield VOLUME; raise UnsuitableSeries('it is upside down')"), loaded()) == (
        NotSuitable("it is upside down"),
    )


def test_other_errors_of_a_plugin_are_raised(plugin: Callable[..., Plugin], loaded: Callable[..., Series]) -> None:
    with pytest.raises(ZeroDivisionError):
        given(plugin("return 1 / 0"), loaded())
    with pytest.raises(TritonUnavailable):
        given(plugin("raise TritonUnavailable('down')"), loaded())


def test_a_missing_library_is_reported(plugin: Callable[..., Plugin], loaded: Callable[..., Series]) -> None:
    with pytest.raises(PluginFailed, match=r"plugin\.py: No module named 'monai_of_old'; install what it needs"):
        given(plugin(head="import monai_of_old\n"), loaded())


# Which of several runs are reported.


def of(series: Series, *results: Result) -> tuple[dict[str, Series], tuple[Result, ...]]:
    return {"ct": series}, results


def reported(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Return the runs that a job reports, and the remarks."""
    remarks: list[str] = []
    return list(reported_runs(runs, remarks)), remarks


def test_all_suitable_runs_are_reported_and_the_others_are_remarks(loaded: Callable[..., Series]) -> None:
    first, second, third = (loaded(series=str(number)) for number in (1, 2, 3))
    runs = [of(first, VOLUME), of(second, UNSUITABLE), of(third)]
    kept, remarks = reported(runs)
    assert kept == [runs[0], runs[2]]
    assert remarks == [f"{second.key}: not suitable, because {UNSUITABLE.reason}"]


def test_if_no_run_was_suitable_the_largest_stack_is_reported(loaded: Callable[..., Series]) -> None:
    small, large = loaded(series="1"), loaded(ct_series(slices=9, rows=8, columns=6, series="2"))
    runs = [of(small, NotSuitable("it is a scout")), of(large, UNSUITABLE)]
    kept, remarks = reported(runs)
    assert kept == [runs[1]]
    assert remarks == [
        f"{small.key}: not suitable, because it is a scout",
        f"{large.key}: not suitable, because there is no chest in it",
    ]


def test_a_single_run_is_reported(loaded: Callable[..., Series]) -> None:
    for alone in (of(loaded(), UNSUITABLE), of(loaded()), of(loaded(), VOLUME)):
        assert reported([alone])[0] == [alone]


def test_a_suitable_run_is_reported_before_the_next_run_has_ended(loaded: Callable[..., Series]) -> None:
    first = of(loaded(), VOLUME)

    def runs() -> Iterator[Run]:
        yield first
        pytest.fail("the next run was awaited")

    assert next(reported_runs(runs(), [])) == first
