"""A double click on a report shows it, whatever stands in it: never a black viewport."""

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from node.codes import DCM, SCT, UCUM
from node.compose import compose, write_object
from node.images.series import Series
from node.results import Finding, Measurement, NotSuitable, Region, Result, Summary
from node.testing import ct_series, digital_radiograph
from tests.lung_case import LEFT, NODULE, lung_case, lung_labels, lung_segmentation, series_of
from tests.peers import Orthanc
from tests.viewer.conftest import store
from tests.viewer.ohif import Viewer

SHOWN = """const v = viewport(), c = v && v.canvas;
    if (!c || !c.width || !v.getImageIds().length) return false;
    const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
    for (let i = 0; i < d.length; i += 4) if (d[i] + d[i + 1] + d[i + 2] > 90) return true;
    return false"""
SCORES = [
    Finding(name=name, score=score, threshold=0.5)
    for name, score in ((SCT.PleuralEffusion, 0.93), (SCT.Mass, 0.02), (SCT.Nodule, 0.31))
]


def _segments(series: Series) -> list[Result]:
    labels = np.where(lung_labels(series) == 1, 0, lung_labels(series))  # the right lung is not found
    volume = Measurement(name=SCT.Volume, value=1234, unit=UCUM.CubicCentimeter, of=LEFT)
    mean = Measurement(name=DCM.AttenuationCoefficient, value=-811, unit=UCUM.HounsfieldUnit)
    return [
        lung_segmentation(series, labels),
        volume,
        mean,
        *SCORES,
        Finding(name=SCT.Calcified, present=True, of=NODULE),
    ]


def _in_space(series: Series) -> list[Result]:
    points = np.add(series.frames[3].position or 0, [(2, 2, 0), (5, 2, 0), (5, 6, 2.4)])
    place = {"label": "Spot", "type": SCT.Nodule, "frame_of_reference_uid": series.frame_of_reference_uid}
    return [Region(kind="polygon3d", points=points, **place), Region(kind="point3d", points=points[:1], **place)]


@pytest.mark.parametrize(
    ("name", "results", "said"),
    [
        ("segments", _segments, "1234.00 cm3"),
        ("findings", lambda _: SCORES, "Pleural effusion, presence score 0-1: 0.93"),
        ("not suitable", lambda _: [NotSuitable("no lung is there")], ""),
        ("nothing", lambda _: [Summary("Nothing of note")], ""),
        ("in space", _in_space, ""),
    ],
)
def test_a_double_click_on_a_report_shows_an_image(
    name: str,
    results: Callable[[Series], Sequence[Result]],
    said: str,
    pacs: Orthanc,
    viewer: Viewer,
    tmp_path: Path,
    shots: Path,
) -> None:
    seed = f"report, {name}"
    images: list[Dataset] = [digital_radiograph(seed=seed)] if name == "findings" else list(ct_series(seed=seed))
    series = series_of(tmp_path, images)
    made = compose(lung_case(series, results(series)), kinds=["SEG", "SR"])
    store(pacs, [_bytes(one) for one in (*images, *made)])
    viewer.open(series.study_uid, series=1 + len(made))
    viewer.open_series(made[-1].SeriesDescription)
    viewer.page.locator(".svg-layer polyline, .svg-layer path, .svg-layer line").first.wait_for(state="attached")
    viewer.until(SHOWN)
    viewer.settle()
    viewer.shot(shots / f"report, {name}.png")
    assert any(said in text for text in ["", *viewer.texts()])
    assert not any("Mass" in text for text in viewer.texts()), "an absent finding stands beside the image"
    assert not viewer.errors


def _bytes(one: Dataset) -> bytes:
    content = BytesIO()
    write_object(one, content)
    return content.getvalue()
