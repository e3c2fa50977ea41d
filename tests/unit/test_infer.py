"""A plugin's answer is checked against the images, and every attempt at a job ends in a row."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from node import codes
from node.engine.lease import LEASE_SECONDS, RENEWALS
from node.errors import (
    BrokenResult,
    DestinationUnavailable,
    JobDied,
    ModelRefused,
    NodeStops,
    PluginFailed,
    TritonUnavailable,
    UnsuitableSeries,
)
from node.host import Plugin, read_plugin
from node.images.part10 import Part10
from node.images.series import Series
from node.images.stacks import group_into_stacks
from node.infer.geometry import check
from node.infer.job import Order, Performed, Run, attempt, worth_telling
from node.infer.run import run
from node.ledger import Ledger
from node.records import Arrival, JobState, Plan, ResultObject
from node.results import Finding, Measurement, NotSuitable, Result, Segment, Segmentation
from node.spool import Spool
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
    one, other = loaded(), loaded(series="2", orientation=CORONAL)
    check([outlined(other)], {"ct": one, "mr": other})


def test_labels_lie_on_the_series_that_they_name_and_no_other(loaded: Callable[..., Series]) -> None:
    one, other, third = loaded(), loaded(series="2"), loaded(series="3", orientation=CORONAL)
    named = replace(outlined(one), source=other)
    check([named], {"t1": one, "t2": other})
    assert [named.lies_on(series) for series in (one, other)] == [False, True]
    with pytest.raises(BrokenResult):
        check([named], {"t1": one})
    with pytest.raises(BrokenResult):
        check([replace(named, source=third)], {"t1": one, "t2": third})


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
    one, other = loaded(), loaded(series="2", origin=(0.0, 0.0, 0.0))
    with pytest.raises(BrokenResult):
        check([outlined(other)], {"ct": one})


def test_labels_on_a_series_without_a_grid_are_broken(loaded: Callable[..., Series]) -> None:
    whole = loaded()
    gapped = loaded(without(ct_series(slices=9, rows=8, columns=6, seed="gap"), 2, 5, 6, 7, 8))
    assert len(gapped.frames) == len(whole.frames)
    with pytest.raises(BrokenResult):
        check([outlined(whole, frame_of_reference_uid=gapped.frame_of_reference_uid)], {"ct": gapped})


@pytest.mark.parametrize(
    "result", [replace(VOLUME, of=LIVER), Finding(name=codes.SCT.Mass, present=True, of=LIVER)], ids=["volume", "mass"]
)
def test_what_is_said_of_a_segment_needs_its_outline(loaded: Callable[..., Series], result: Result) -> None:
    ct = loaded()
    with pytest.raises(BrokenResult, match="is of segment 'Liver', which no segmentation has"):
        check([outlined(ct), result], {"ct": ct})


def test_not_suitable_stands_alone(loaded: Callable[..., Series]) -> None:
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
            f'name = "spleen"\nversion = "{version}"\ntitle = "Spleen"\n[series.ct]\nwhen.Modality = "CT"\n'
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
def test_one_result_several_none_or_a_generator_will_do(
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
def test_what_is_no_result_is_broken(plugin: Callable[..., Plugin], loaded: Callable[..., Series], body: str) -> None:
    with pytest.raises(BrokenResult, match=r"no result|neither a result nor several"):
        given(plugin(body), loaded())


def test_the_geometry_is_checked(plugin: Callable[..., Plugin], loaded: Callable[..., Series]) -> None:
    with pytest.raises(BrokenResult, match="which no segmentation has"):
        given(plugin("from dataclasses import replace; return replace(VOLUME, of=SPLEEN)"), loaded())


def test_a_series_without_a_volume_is_a_result_with_the_reason(
    plugin: Callable[..., Plugin], loaded: Callable[..., Series]
) -> None:
    images = [radiograph()]
    (told,) = given(plugin("return ct.volume()"), loaded(images))
    assert isinstance(told, NotSuitable)
    assert str(images[0].SOPInstanceUID) in told.reason


def test_unsuitable_may_also_be_said_after_the_first_results(
    plugin: Callable[..., Plugin], loaded: Callable[..., Series]
) -> None:
    assert given(plugin("yield VOLUME; raise UnsuitableSeries('it is upside down')"), loaded()) == (
        NotSuitable("it is upside down"),
    )


def test_other_errors_come_through(plugin: Callable[..., Plugin], loaded: Callable[..., Series]) -> None:
    with pytest.raises(ZeroDivisionError):
        given(plugin("return 1 / 0"), loaded())
    with pytest.raises(TritonUnavailable):
        given(plugin("raise TritonUnavailable('down')"), loaded())


def test_a_missing_library_is_told(plugin: Callable[..., Plugin], loaded: Callable[..., Series]) -> None:
    with pytest.raises(PluginFailed, match=r"plugin\.py: No module named 'monai_of_old'; install what it needs"):
        given(plugin(head="import monai_of_old\n"), loaded())


# One attempt at one job.

Perform = Callable[[Order, Callable[[], bool]], Performed]
OBJECT = ResultObject(
    sop_instance_uid="2.25.1",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.66.4",
    series_uid="2.25.9",
    kind="SEG",
    transfer_syntax_uid="1.2.840.10008.1.2.1",
    path="objects/a.dcm",
)
DONE = Performed(objects=(OBJECT,), remarks=("one stack was left out",), timing={"infer": 1.0})
UID = "1.2.1"


@pytest.fixture
def once(
    ledger: Ledger, spool: Spool, plugin: Callable[..., Plugin], routed: Callable[..., int], wanted: Callable[..., Plan]
) -> Callable[..., float | None]:
    """Plan a job, and make one attempt at it with a given way to perform it."""
    here = {"spleen": plugin()}
    routed(wanted())

    def tried(perform: Perform, *, attempts: int = 3, plugins: Mapping[str, Plugin] = here) -> float | None:
        return attempt(
            ledger.jobs, ledger.instances, plugins, perform, spool.part10, attempts=attempts, device_uid="2.25.7"
        )

    return tried


def failing(error: Exception) -> Perform:
    def perform(_order: Order, _renew: Callable[[], bool]) -> Performed:
        raise error

    return perform


def test_a_job_that_is_performed_is_done_and_its_objects_are_queued(
    ledger: Ledger, once: Callable[..., float | None]
) -> None:
    orders: list[Order] = []

    def perform(order: Order, renew: Callable[[], bool]) -> Performed:
        orders.append(order)
        assert renew()
        return DONE

    assert once(perform) == 0.0
    (order,) = orders
    assert (order.job.study_uid, order.plugin.name, order.device_uid) == (UID, "spleen", "2.25.7")
    (job,) = ledger.jobs.of(UID)
    assert job.state is JobState.DONE
    assert [one.object for one in ledger.deliveries.claim("PACS", lease_seconds=60)] == [OBJECT]
    assert once(perform) is None, "nothing is left to do"


def test_an_order_has_the_instances_of_its_series_alone_and_the_objects_before(
    ledger: Ledger,
    once: Callable[..., float | None],
    arrival: Callable[..., Arrival],
    routed: Callable[..., int],
    wanted: Callable[..., Plan],
    spool: Spool,
) -> None:
    orders: list[Order] = []

    def perform(order: Order, _renew: Callable[[], bool]) -> Performed:
        orders.append(order)
        return DONE

    once(perform)
    (sent,) = ledger.deliveries.claim("PACS", lease_seconds=60)
    ledger.deliveries.mark_delivered(sent)
    ledger.instances.record([arrival(7, series="1.2.1.77")])
    routed(wanted(digest="other"), number=2)
    once(perform)
    assert [len(order.parts) for order in orders] == [1, 2]
    assert [part.offset for part in orders[1].parts] == [1000, 2000]
    assert orders[1].parts[0].path == spool.packs / "a.pack"
    assert [order.predecessors for order in orders] == [(), (OBJECT.path,)]


def test_a_stack_after_the_first_belongs_to_the_same_series(
    ledger: Ledger, once: Callable[..., float | None], routed: Callable[..., int], wanted: Callable[..., Plan]
) -> None:
    orders: list[Order] = []

    def perform(order: Order, _renew: Callable[[], bool]) -> Performed:
        orders.append(order)
        return DONE

    once(perform)
    routed(replace(wanted(digest="two"), inputs=({"ct": "1.2.1.1#2"},)), number=2)
    once(perform)
    assert len(orders[1].parts) == 2


@pytest.mark.parametrize("error", [ModelRefused("no model spleen"), PluginFailed("KeyError"), BrokenResult("askew")])
def test_what_needs_a_person_is_parked_with_the_reason(
    ledger: Ledger, once: Callable[..., float | None], error: Exception
) -> None:
    assert once(failing(error)) == 0.0
    assert ledger.queries.parked() == [(UID, "job spleen", str(error))]


def test_a_refused_series_is_parked_too(ledger: Ledger, once: Callable[..., float | None]) -> None:
    once(failing(UnsuitableSeries("instance 1.2 is torn")))
    assert ledger.queries.parked() == [(UID, "job spleen", "instance 1.2 is torn")]


def test_what_the_clock_mends_is_tried_again_for_ever_in_growing_steps(
    ledger: Ledger, once: Callable[..., float | None], clock: Any
) -> None:
    waits = []
    for _ in range(40):
        assert once(failing(TritonUnavailable("no server answers")), attempts=2) == 0.0
        (job,) = ledger.jobs.of(UID)
        assert (job.state, job.attempts, job.reason) == (JobState.WAITING, 0, "no server answers")
        wait = once(failing(AssertionError("it is not due")))
        assert wait is not None
        waits.append(wait)
        clock.advance(wait)
    assert waits[0] == 1.0
    assert waits == sorted(waits)
    assert waits[-1] == 300.0
    assert once(lambda *_: DONE) == 0.0
    assert ledger.jobs.of(UID)[0].state is JobState.DONE


def test_any_transient_error_waits(ledger: Ledger, once: Callable[..., float | None]) -> None:
    once(failing(DestinationUnavailable("no answer")))
    assert ledger.jobs.of(UID)[0].state is JobState.WAITING


def test_a_job_whose_process_dies_is_tried_a_few_times_and_then_parked(
    ledger: Ledger, once: Callable[..., float | None], clock: Any
) -> None:
    for number in (1, 2):
        once(failing(JobDied("the job's process died of SIGKILL")), attempts=3)
        (job,) = ledger.jobs.of(UID)
        assert (job.state, job.attempts) == (JobState.WAITING, number)
        clock.advance(60)
    once(failing(JobDied("the job's process died of SIGKILL")), attempts=3)
    assert ledger.queries.parked() == [(UID, "job spleen", "the job's process died of SIGKILL; tried 3 times")]


def test_a_job_that_is_given_back_when_the_node_stops_is_due_at_once_and_has_cost_nothing(
    ledger: Ledger, once: Callable[..., float | None]
) -> None:
    for _ in range(3):
        once(failing(NodeStops("the node stopped while it ran")), attempts=1)
        (job,) = ledger.jobs.of(UID)
        assert (job.state, job.attempts, job.worker) == (JobState.WAITING, 0, "")
        assert ledger.jobs.next_due() == ledger.db.clock()


def test_deaths_are_counted_through_the_times_that_triton_was_away(
    ledger: Ledger, once: Callable[..., float | None], clock: Any
) -> None:
    for error in (JobDied("died"), TritonUnavailable("away"), TritonUnavailable("away"), JobDied("died")):
        once(failing(error), attempts=2)
        clock.advance(1000)
    assert [what for _, what, _ in ledger.queries.parked()] == ["job spleen"]


def test_a_job_of_another_version_than_the_installed_one_is_planned_anew_with_that(
    ledger: Ledger, once: Callable[..., float | None], plugin: Callable[..., Plugin]
) -> None:
    once(failing(AssertionError("it must not be begun")), plugins={"spleen": plugin(version="2")})
    assert [(job.version, job.state) for job in ledger.jobs.of(UID)] == [
        ("1", JobState.SUPERSEDED),
        ("2", JobState.WAITING),
    ]
    once(lambda _order, _renew: DONE, plugins={"spleen": plugin(version="2")})
    assert ledger.jobs.of(UID)[-1].state is JobState.DONE


def test_a_plugin_that_is_gone_parks_the_job_and_says_so(ledger: Ledger, once: Callable[..., float | None]) -> None:
    once(failing(AssertionError("it must not be begun")), plugins={})
    ((_, what, reason),) = ledger.queries.parked()
    assert what == "job spleen"
    assert reason.startswith("planned for spleen 1, but no version is here")


def test_a_worker_that_woke_up_late_records_nothing(
    ledger: Ledger, once: Callable[..., float | None], clock: Any
) -> None:
    kept: list[bool] = []

    def slow(_order: Order, renew: Callable[[], bool]) -> Performed:
        clock.advance(LEASE_SECONDS + 1)
        assert ledger.jobs.claim(lease_seconds=LEASE_SECONDS) is not None
        kept.append(renew())
        return DONE

    once(slow)
    assert kept == [False]
    (job,) = ledger.jobs.of(UID)
    assert job.state is JobState.RUNNING
    assert ledger.deliveries.of(UID) == []


def test_a_job_that_takes_longer_than_its_lease_keeps_it(
    ledger: Ledger, once: Callable[..., float | None], clock: Any
) -> None:
    def slow(_order: Order, renew: Callable[[], bool]) -> Performed:
        for _ in range(3 * RENEWALS):
            clock.advance(LEASE_SECONDS / RENEWALS)
            assert renew()
            assert ledger.jobs.claim(lease_seconds=LEASE_SECONDS) is None
        return DONE

    once(slow)
    (job,) = ledger.jobs.of(UID)
    assert job.state is JobState.DONE


def test_without_a_job_it_says_when_to_look_again(
    ledger: Ledger, once: Callable[..., float | None], clock: Any
) -> None:
    job = ledger.jobs.claim(lease_seconds=60)
    assert job is not None
    ledger.jobs.postpone(job, seconds=45, reason="", attempts=0)
    clock.advance(5)
    assert once(failing(AssertionError("it is not due"))) == 40.0


# What of several runs is told.


def of(series: Series, *results: Result) -> tuple[dict[str, Series], tuple[Result, ...]]:
    return {"ct": series}, results


def telling(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """What is told of runs, and the remarks."""
    remarks: list[str] = []
    return list(worth_telling(runs, remarks)), remarks


def test_all_suitable_runs_are_told_and_the_others_are_remarks(loaded: Callable[..., Series]) -> None:
    one, two, three = (loaded(series=str(number)) for number in (1, 2, 3))
    runs = [of(one, VOLUME), of(two, UNSUITABLE), of(three)]
    told, remarks = telling(runs)
    assert told == [runs[0], runs[2]]
    assert remarks == [f"{two.key}: not suitable, because {UNSUITABLE.reason}"]


def test_where_nothing_was_suitable_the_largest_stack_is_told(loaded: Callable[..., Series]) -> None:
    small, large = loaded(series="1"), loaded(ct_series(slices=9, rows=8, columns=6, series="2"))
    runs = [of(small, NotSuitable("it is a scout")), of(large, UNSUITABLE)]
    told, remarks = telling(runs)
    assert told == [runs[1]]
    assert remarks == [
        f"{small.key}: not suitable, because it is a scout",
        f"{large.key}: not suitable, because there is no chest in it",
    ]


def test_a_single_run_is_told(loaded: Callable[..., Series]) -> None:
    for alone in (of(loaded(), UNSUITABLE), of(loaded()), of(loaded(), VOLUME)):
        assert telling([alone])[0] == [alone]


def test_what_is_suitable_is_told_before_the_next_run_has_ended(loaded: Callable[..., Series]) -> None:
    first = of(loaded(), VOLUME)

    def runs() -> Iterator[Run]:
        yield first
        pytest.fail("the next was waited for")

    assert next(worth_telling(runs(), [])) == first
