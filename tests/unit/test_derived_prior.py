"""A prior that was brought onto the present images is said to be a prior, in the object and on the page."""

import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from node.codes import DCM
from node.compose import Case, compose
from node.compose.annotated_image import draw_annotated_image
from node.compose.fonts import draw_text
from node.compose.summary_page import draw_summary_page
from node.images.series import Series
from node.results import DerivedSeries
from node.testing import ct_series
from tests.lung_case import lung_case, series_of, shape_of


@pytest.fixture
def case(tmp_path: Path) -> Case:
    present, earlier = ct_series(), ct_series(seed="prior")
    for image in earlier:
        image.StudyDate = image.AcquisitionDate = "20230607"
    now, before = series_of(tmp_path / "now", present), series_of(tmp_path / "before", earlier)
    moved = DerivedSeries(
        array=np.full(shape_of(now), 3000, np.int16), source=now, shows=before, description="PRIOR, deformed",
        derivation=DCM.DeformedForRegistration,
    )  # fmt: skip
    return lung_case(now, [moved], inputs={"image": now, "prior": before})


def _uids(series: Series) -> list[str]:
    return [frame.sop_instance_uid for frame in series.frames]


def test_its_source_images_are_the_priors_and_the_present_ones_are_its_successors(case: Case) -> None:
    made = compose(case, kinds=["DERIVED"])
    for image, frame in zip(made, case.inputs["image"].frames, strict=True):
        sources = [item.ReferencedSOPInstanceUID for item in image.SourceImageSequence]
        assert sources == _uids(case.inputs["prior"])
        assert {item.SpatialLocationsPreserved for item in image.SourceImageSequence} == {"NO"}
        (beside,) = image.ReferencedImageSequence
        assert beside.ReferencedSOPInstanceUID == frame.sop_instance_uid
        assert beside.PurposeOfReferenceCodeSequence[0].CodeMeaning == "Temporal Successor"
        assert image.AcquisitionDate == "20230607"


def test_the_page_shows_prior_and_present_beside_each_other_with_their_dates(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    def noted(draw: Any, at: Any, words: str, *more: Any, **ways: Any) -> None:
        written.append(words)
        draw_text(draw, at, words, *more, **ways)

    monkeypatch.setattr(sys.modules[draw_annotated_image.__module__], "draw_text", noted)
    page = np.array(Image.open(BytesIO(draw_summary_page(case))))
    names = [words for words in written if "image" in words]
    assert len(names) == 6
    assert names[0].startswith("present, 2024-01-02, image ")
    assert names[1].startswith("prior, 2023-06-07, moved onto, image ")
    left, right = page[:, : page.shape[1] // 2], page[:, page.shape[1] // 2 :]
    assert (right == 255).all(axis=-1).sum() > (left == 255).all(axis=-1).sum(), "3000 HU is white in its window"
