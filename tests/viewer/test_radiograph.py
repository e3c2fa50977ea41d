"""A Segmentation on a radiograph, which has no place in the patient, in OHIF: on the right pixels of the real image."""

from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from node import Segment, Segmentation, Series, codes
from node.compose import Case, Identity, compose, write_object
from node.images.part10 import Part10
from node.images.stacks import group_into_stacks
from tests.peers import DICOM, Orthanc
from tests.viewer.conftest import store
from tests.viewer.ohif import Viewer

RADIOGRAPH = DICOM / "CR" / "chest_rsna"
OF_THE_IMAGE = "vr AS"
"""What OHIF says of the image's own header: its Patient's Age has two characters."""
UPPER, LOWER = (
    Segment(label=f"{name} field", type=codes.SCT.Lung, category=codes.SCT.Organ) for name in ("Upper", "Lower")
)


@pytest.fixture(scope="module")
def radiograph(pacs: Orthanc) -> tuple[Series, np.ndarray, Dataset]:
    """A real chest radiograph in the PACS, labels on it that are alike in no two directions, and their SEG."""
    if not RADIOGRAPH.exists():
        pytest.skip("the real radiograph of ../shared/data is not here")
    paths = sorted(RADIOGRAPH.glob("*.dcm"))
    (series,) = group_into_stacks(tuple(map(Part10.of_file, paths))).series
    labels = np.zeros((1, int(series.header.Rows), int(series.header.Columns)), np.uint8)
    labels[0, 300:380, 220:400] = 1
    labels[0, 500:700, 230:300] = 2
    result = Segmentation(labels=series.on_pixels(labels), segments=[UPPER, LOWER])
    identity = Identity(
        study_uid=series.study_uid, revision=1, plugin="fields", version="1.0.0", title="Fields", manufacturer="",
        models=(), at=datetime(2026, 1, 2, tzinfo=UTC), first_series_number=3000, device_uid="2.25.1",
    )  # fmt: skip
    (seg,) = compose(Case(inputs={"cr": series}, results=[result], identity=identity), kinds=("SEG",))
    content = BytesIO()
    write_object(seg, content)
    store(pacs, [*(path.read_bytes() for path in paths), content.getvalue()])
    return series, labels[0], seg


def test_a_segmentation_of_a_radiograph_lies_on_its_pixels(
    radiograph: tuple[Series, np.ndarray, Dataset], viewer: Viewer, shots: Path
) -> None:
    series, labels, seg = radiograph
    viewer.open(series.study_uid, series=2)
    viewer.open_segmentation(seg.SeriesDescription)
    viewer.settle()
    viewer.shot(shots / "SEG on a radiograph.png")
    image = series.image(0)
    segments = viewer.segments(seg.SeriesDescription)
    assert set(segments) == {UPPER.label, LOWER.label}
    for number, segment in enumerate((UPPER, LOWER), 1):
        assert segments[segment.label].mean == pytest.approx(float(image[labels == number].mean()), abs=0.1)
    assert [error for error in viewer.errors if OF_THE_IMAGE not in error] == []
