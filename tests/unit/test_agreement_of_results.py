"""What two plugins outline on the images of one study cannot contradict each other."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from node.codes import SCT
from node.compose import write_object
from node.images.series import Series
from node.infer.agreement_of_results import contradiction
from node.records import ResultObject
from node.results import Segment, Segmentation
from node.testing import ct_series
from tests.lung_case import LEFT, RIGHT, composed, on_grid_of, series_of, shape_of

LIVER = Segment(label="Liver", type=SCT.Liver, category=SCT.Organ)
NODULE = Segment(label="Nodule 1", type=SCT.Nodule, category=SCT.MorphologicallyAbnormalStructure, laterality=SCT.Left)
Box = tuple[slice, slice, slice]
LUNGS: dict[Segment, Box] = {
    RIGHT: (slice(1, 3), slice(2, 12), slice(1, 7)),
    LEFT: (slice(1, 3), slice(2, 12), slice(9, 15)),
}


@pytest.fixture
def chest(tmp_path: Path) -> Series:
    return series_of(tmp_path / "chest", ct_series(slices=4, rows=16, columns=16))


def stored(series: Series, outlines: dict[Segment, Box], path: Path) -> ResultObject:
    """Store a Segmentation of boxes as a node does; return its row."""
    labels: NDArray[np.uint8] = np.zeros(shape_of(series), np.uint8)
    for number, box in enumerate(outlines.values(), 1):
        labels[box] = number
    result = Segmentation(labels=on_grid_of(series, labels), segments=list(outlines))
    made = next(one for one in composed(series, [result]) if one.Modality == "SEG")
    with path.open("wb") as file:
        write_object(made, file)
    return ResultObject(
        sop_instance_uid=made.SOPInstanceUID, sop_class_uid=made.SOPClassUID, series_uid=made.SeriesInstanceUID,
        kind="SEG", transfer_syntax_uid="", path=path.name,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("outlines", "reason"),
    [
        ({LIVER: (slice(0, 1), slice(2, 12), slice(1, 7))}, ""),
        ({LIVER: LUNGS[RIGHT]}, "100% of Liver lie in Right lung and Left lung of ct_lung; at most 5% may"),
        ({NODULE: (slice(1, 2), slice(4, 6), slice(10, 12))}, ""),
        (
            {NODULE: (slice(0, 1), slice(4, 6), slice(10, 12))},
            "0% of Nodule 1 lie in Right lung and Left lung",
        ),
        (LUNGS, ""),
        ({RIGHT: LUNGS[LEFT], LEFT: LUNGS[RIGHT]}, "differ: their Dice is 0.00, less than 0.7"),
    ],
    ids=["liver", "liver in a lung", "nodule", "nodule outside", "the same lungs", "lungs with sides exchanged"],
)
def test_outlines_that_contradict_those_of_another_plugin_are_told(
    chest: Series, tmp_path: Path, outlines: dict[Segment, Box], reason: str
) -> None:
    earlier = stored(chest, LUNGS, tmp_path / "earlier.dcm")
    later = stored(chest, outlines, tmp_path / "later.dcm")
    found = contradiction(tmp_path, [later], {earlier.path: "ct_lung"})
    assert (reason in found) if reason else found == ""
    backwards = contradiction(tmp_path, [earlier], {later.path: "other"})
    assert bool(backwards) == bool(reason), "whichever ends later is refused"


def test_outlines_on_other_images_are_not_compared(chest: Series, tmp_path: Path) -> None:
    other = series_of(tmp_path / "other", ct_series(slices=4, rows=16, columns=16, seed="other"))
    earlier = stored(chest, LUNGS, tmp_path / "earlier.dcm")
    later = stored(other, {LIVER: LUNGS[RIGHT]}, tmp_path / "later.dcm")
    assert contradiction(tmp_path, [later], {earlier.path: "ct_lung", "purged.dcm": "ct_body"}) == ""
