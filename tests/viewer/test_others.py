"""What else OHIF shows of a job: the report with its outlines and numbers, the page, and what it says it can open."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from node.compose.palette import segment_colors
from plugins.ct_lung.plugin import LEFT, RIGHT
from tests.viewer.ohif import Viewer
from tests.viewer.study import DIAMETER, NODULE, NODULE_SLICE, Study, in_patient, measured

PIXEL = 1.0
"""mm; the images have 0.9."""
NOT_SHOWN = {"AI PR ct_lung"}
"""What OHIF 3.13 lists but cannot open, as it says itself."""


def test_the_viewer_says_that_it_can_open_the_expected_objects(study: Study, viewer: Viewer) -> None:
    viewer.open(study.uid, series=study.series)
    listed = viewer.series()
    objects = {str(dataset.SeriesDescription) for dataset in study.objects}
    assert objects <= set(listed)
    refused = {name for name in objects if not listed[name]}
    assert {" ".join(name.split()[:3]) for name in refused} == NOT_SHOWN


def test_a_report_opens_on_its_image_with_outline_and_numbers(study: Study, viewer: Viewer, shots: Path) -> None:
    report = study.report
    viewer.open(study.uid, series=study.series)
    viewer.open_report(report.SeriesDescription)
    said = []
    for uid in dict.fromkeys(references([report])):
        viewer.go_to(uid)
        viewer.shot(shots / f"SR, {uid[-6:]}.png")
        said += viewer.texts()
    known = measured([report])
    for label in (RIGHT.label, LEFT.label):
        assert any(f"{known[label, 'Volume']:.2f}" in text for text in said), said
    image = study.images[NODULE_SLICE]
    viewer.go_to(image.SOPInstanceUID)
    assert any(f"{DIAMETER:.2f} mm" in text for text in viewer.texts())
    left, right, top, bottom = NODULE
    drawn = np.array(viewer.lines())
    for column, row in (((left + right) / 2, top), ((left + right) / 2, bottom)):
        place = in_patient(image, column - 0.5, row - 0.5)
        assert np.linalg.norm(drawn - place, axis=1).min() < PIXEL
    assert not viewer.errors


def references(items: Sequence[Dataset]) -> Iterator[str]:
    """Return the images on which something in a report has its place."""
    for item in items:
        below = list(item.get("ContentSequence") or [])
        if item.get("ValueType") == "SCOORD":
            yield from (str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) for item in below)
        yield from references(below)


def test_the_page_is_shown_in_its_own_colours(study: Study, viewer: Viewer, shots: Path) -> None:
    page = study.named("AI SC ct_lung")
    viewer.open(study.uid, series=study.series)
    viewer.open_series(page.SeriesDescription)
    viewer.until("return viewport().getCurrentImageId().includes(a[0])", page.SOPInstanceUID)
    viewer.settle()
    viewer.shot(shots / "SC.png")
    for color in segment_colors([RIGHT, LEFT]):
        assert viewer.count(color) > 100, color
    assert viewer.count((1, 254, 3)) == 0
    assert not viewer.errors


def test_a_structure_set_is_drawn_in_its_own_colours(study: Study, viewer: Viewer, shots: Path) -> None:
    structures = study.named("AI RTSTRUCT ct_lung")
    viewer.open(study.uid, series=study.series)
    viewer.open_segmentation(structures.SeriesDescription)
    assert RIGHT.label in viewer.panel()
    viewer.go_to(study.images[NODULE_SLICE].SOPInstanceUID)
    viewer.shot(shots / "RTSTRUCT.png")
    drawn = {tuple(map(int, re.findall(r"\d+", stroke)[:3])) for stroke in viewer.strokes() if stroke.startswith("rgb")}
    assert set(segment_colors([RIGHT, LEFT])) <= drawn
    assert not viewer.errors
