"""What is not plausible in a patient is not reported: the table of a plugin, its quantities, and the sentence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from node import codes, testing
from node.errors import BrokenResult, ConfigError
from node.host import Plugin, find_plugins, read_plugin
from node.host.plausible_table import PlausibleRow, PlausibleTable
from node.images.series import Series
from node.infer.plausibility import check_plausible, values
from node.infer.quantities import Answer
from node.results import (
    DerivedSeries,
    Finding,
    Measurement,
    NotSuitable,
    Region,
    Registration,
    Result,
    Segment,
    Segmentation,
)
from tests.peers import ROOT

LIVER = Segment(label="Liver", type=codes.SCT.Liver, category=codes.SCT.Organ)
SPLEEN = Segment(label="Spleen", type=codes.SCT.Spleen, category=codes.SCT.Organ)
WHY = "a reason that is long enough"
SHIPPED = [plugin for plugin in find_plugins([ROOT / "plugins"]).values() if plugin.name != "template"]


def row(**keys: Any) -> PlausibleRow:
    return PlausibleRow.model_validate({"source": WHY, "at_most": 0.0} | keys)


@pytest.fixture
def series_of(tmp_path: Path) -> Callable[..., Series]:
    def made(array: NDArray[Any], name: str = "ct") -> Series:
        images = testing.ct_series(array=array.astype(np.int16), spacing=(2.0, 1.0, 1.0), seed=name)
        (series,) = testing.stacks(testing.write(images, tmp_path / name))
        return series

    return made


def abdomen() -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Return HU and labels, (10, 20, 20): a liver of 100 HU, and to its left a spleen of 50 HU on the lowest slices."""
    hu, labels = np.full((10, 20, 20), -80, np.int16), np.zeros((10, 20, 20), np.uint8)
    labels[2:6, 4:10, 4:10] = 1
    labels[0:2, 4:8, 14:18] = 2
    hu[labels == 1], hu[labels == 2] = 100, 50
    return hu, labels


def answer_of(series: Series, labels: NDArray[np.uint8], *more: Result) -> Answer:
    outlined = Segmentation(labels=series.on_pixels(labels), segments=[LIVER, SPLEEN])
    return Answer((outlined, *more), {"ct": series})


def judged_by(table: list[PlausibleRow], answer: Answer) -> tuple[Result, ...]:
    return check_plausible(PlausibleTable(row=tuple(table)), tuple(answer.results), answer.inputs)


def test_a_plausible_answer_is_returned_unchanged(series_of: Callable[..., Series]) -> None:
    hu, labels = abdomen()
    answer = answer_of(series_of(hu), labels)
    assert judged_by([row(quantity="spread", of="Liver", at_most=60)], answer) == answer.results


def test_a_liver_with_the_spread_of_air_and_bone_is_not_suitable_and_the_reason_says_so(
    series_of: Callable[..., Series],
) -> None:
    hu, labels = abdomen()
    hu[:, :, ::2][labels[:, :, ::2] == 1] -= 600
    (refused,) = judged_by([row(quantity="spread", of="Liver", at_most=60)], answer_of(series_of(hu), labels))
    assert refused == NotSuitable("the answer is not plausible: Liver has a spread of 300 HU; plausible is at most 60")


def test_a_plugin_is_run_with_its_table(tmp_path: Path) -> None:
    folder = tmp_path / "bone"
    folder.mkdir()
    (folder / "plugin.toml").write_text(
        'name = "bone"\nversion = "1"\ntitle = "Bone"\nkind = "A"\nseries.ct.when.Modality = "CT"\n'
    )
    (folder / "plugin.py").write_text(
        "from node import Measurement, codes\ndef run(ct, triton):\n"
        "    return Measurement(name=codes.SCT.Volume, value=9, unit=codes.UCUM.CubicCentimeter)\n"
    )
    table = f'[[row]]\nmeasurement = "SCT.Volume"\nunit = "cm3"\nat_most = 5\nsource = "{WHY}"\n'
    (folder / "plausible.toml").write_text(table)
    (refused,) = testing.run_plugin(folder, {"ct": testing.ct_series()}, {})
    assert refused == NotSuitable("the answer is not plausible: Volume is 9 cm3; plausible is at most 5")
    (measured,) = testing.run_plugin(folder, {"ct": testing.ct_series()}, {}, judge=False)
    assert isinstance(measured, Measurement)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        ({"quantity": "volume", "of": "Liver"}, 4 * 6 * 6 * 2 / 1000),
        ({"quantity": "volume", "of": "*", "total": True}, (4 * 36 + 2 * 16) * 2 / 1000),
        ({"quantity": "volume", "of": "Liver", "per": "Spleen"}, 4 * 36 / (2 * 16)),
        ({"quantity": "extent", "of": "Liver"}, 8.0),
        ({"quantity": "share", "of": "Liver"}, 100 * 4 * 36 / 4000),
        ({"quantity": "mean", "of": "Liver"}, 100.0),
        ({"quantity": "spread", "of": "Liver"}, 0.0),
        ({"quantity": "air", "of": "Liver"}, 0.0),
        ({"quantity": "bone", "of": "Liver"}, 0.0),
        ({"quantity": "largest_piece", "of": "Liver"}, 100.0),
        ({"quantity": "left_of", "of": "Spleen", "per": "Liver"}, 9.0),
        ({"quantity": "below", "of": "Spleen", "per": "Liver"}, 6.0),
        ({"quantity": "number", "of": ["Liver", "Spleen"]}, 2.0),
    ],
    ids=lambda value: value["quantity"] if isinstance(value, dict) else "",
)
def test_a_quantity_of_outlines(keys: dict[str, Any], value: float, series_of: Callable[..., Series]) -> None:
    hu, labels = abdomen()
    ((_, found),) = values(row(**keys), answer_of(series_of(hu), labels))
    assert found == pytest.approx(value)


def test_a_segment_in_two_pieces_is_reported(series_of: Callable[..., Series]) -> None:
    hu, labels = abdomen()
    labels[8:10, 4:10, 4:10] = 1
    ((_, found),) = values(row(quantity="largest_piece", of="Liver"), answer_of(series_of(hu), labels))
    assert found == pytest.approx(100 * 4 / 6)


def test_a_liver_above_the_lungs_is_reported_and_without_lungs_nothing(series_of: Callable[..., Series]) -> None:
    hu, labels = np.full((60, 100, 100), 40, np.int16), np.zeros((60, 100, 100), np.uint8)
    labels[55:, 20:80, 20:80] = 1
    below = row(quantity="below_lungs", of="Liver", at_least=10.0, at_most=None)
    assert values(below, answer_of(series_of(hu), labels)) == []
    hu[5:55, 10:90, 5:95] = -850
    hu[:, 48:52, 48:52] = 40  # a mediastinum
    ((_, found),) = values(below, answer_of(series_of(hu, "chest"), labels))
    assert found == pytest.approx(-2 * (57 - 29.5), abs=3)


def test_findings_are_counted_and_explained(series_of: Callable[..., Series]) -> None:
    hu, _ = abdomen()
    kind, bleeding = codes.own("SUBDURAL", "Subdural haemorrhage"), codes.SCT.Hemorrhage
    findings = [Finding(name=kind, present=True), Finding(name=bleeding, present=False)]
    answer = Answer(findings, {"ct": series_of(hu)})
    assert values(row(quantity="present", of="*"), answer) == [("*", 1)]
    assert values(row(quantity="unexplained", of="Sub*", per=bleeding.meaning), answer) == [("Sub*", 1)]
    answer = Answer([findings[0], Finding(name=bleeding, present=True)], answer.inputs)
    assert values(row(quantity="unexplained", of="Sub*", per=bleeding.meaning), answer) == [("Sub*", 0)]


def test_a_box_covers_its_part_of_the_image(series_of: Callable[..., Series]) -> None:
    ct = series_of(abdomen()[0])
    box = Region(kind="box", points=np.array([[0.0, 0], [10, 5]]), label="Box", type=codes.SCT.Mass, image=ct.frames[0])
    assert values(row(quantity="share", of="Box"), Answer([box], {"ct": ct})) == [("Box", 12.5)]


def test_a_derived_series_is_compared_with_its_images(series_of: Callable[..., Series]) -> None:
    hu, _ = abdomen()
    ct = series_of(hu)
    made = DerivedSeries(array=hu * 2, source=ct, description="Double", derivation=codes.DCM.Smoothing)
    answer = Answer([made], {"ct": ct})
    for quantity, per, value in (("mean", "images", 2), ("spread", "images", 2), ("likeness", (), 1)):
        assert values(row(quantity=quantity, of="Double", per=per), answer) == [("Double", pytest.approx(value))]


def test_a_registration_has_a_turn_and_a_shift(series_of: Callable[..., Series]) -> None:
    hu, _ = abdomen()
    fixed, moving = series_of(hu), series_of(hu, "moving")
    matrix = np.eye(4)
    matrix[:3, 3] = 30, 40, 0
    answer = Answer([Registration(fixed=fixed, moving=moving, matrix=matrix)], {"image": fixed, "prior": moving})
    assert values(row(quantity="turn"), answer) == [("", pytest.approx(0))]
    assert values(row(quantity="shift"), answer) == [("", pytest.approx(50))]


def test_a_measurement_in_another_unit_than_the_table_is_broken(series_of: Callable[..., Series]) -> None:
    hu, labels = abdomen()
    volume = Measurement(name=codes.SCT.Volume, value=3, unit=codes.UCUM.CubicMillimeter, of=LIVER)
    wrong = row(measurement="SCT.Volume", unit="cm3", of="Liver")
    with pytest.raises(BrokenResult, match=r"Volume is in mm3, but plausible\.toml says cm3"):
        judged_by([wrong], answer_of(series_of(hu), labels, volume))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (f'quantity = "spread"\nof = "Liver"\nat_most = 1\nsource = "{WHY}"\ncolour = 1', "unknown key row.0.colour"),
        ('quantity = "spread"\nof = "Liver"\nat_most = 1', "source"),
        (f'quantity = "spread"\nof = "Liver"\nsource = "{WHY}"', "say at_least, at_most or both"),
        (f'quantity = "spread"\nat_most = 1\nsource = "{WHY}"', "spread needs a label"),
        (f'quantity = "left_of"\nof = "Liver"\nat_most = 1\nsource = "{WHY}"', "left_of compares two structures"),
        (f'measurement = "SCT.Volume"\nat_most = 1\nsource = "{WHY}"', "a measurement has the unit"),
        (f'at_most = 1\nsource = "{WHY}"', "either a quantity or a measurement"),
    ],
)
def test_a_mistake_in_the_table_is_reported_with_its_file(text: str, fault: str, tmp_path: Path) -> None:
    folder = tmp_path / "bone"
    folder.mkdir()
    (folder / "plugin.toml").write_text(
        'name = "bone"\nversion = "1"\ntitle = "Bone"\nkind = "A"\nseries.ct.when.Modality = "CT"\n'
    )
    (folder / "plugin.py").write_text("def run(ct, triton): ...\n")
    (folder / "plausible.toml").write_text(f"[[row]]\n{text}\n")
    with pytest.raises(ConfigError, match=fault) as error:
        read_plugin(folder)
    assert str(folder / "plausible.toml") in str(error.value)


@pytest.mark.parametrize("plugin", SHIPPED, ids=lambda plugin: plugin.name)
def test_every_plugin_has_a_table_whose_labels_are_its_own(plugin: Plugin) -> None:
    assert plugin.plausible.row
    source = plugin.code.read_text()
    first_words = {label.split()[0].rstrip("*,") for row in plugin.plausible.row for label in (*row.of, *row.per)}
    assert {word for word in first_words - {"images"} if word not in source} == set()
