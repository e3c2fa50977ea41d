"""Plugins for radiographs, mammograms and ultrasound on a real Triton: on a study made for each, and on real images."""

from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import MammographyCADSRStorage

from node import Finding, Heatmap, KeyImages, NotSuitable, Region, Result, Triton
from node.compose import Case, compose, write_object
from node.training.phantoms.breast import CALCIFICATION, MASS, mammogram
from node.training.phantoms.radiograph import FINDINGS, radiograph
from node.training.phantoms.sonogram import MALIGNANT, cine
from tests.flow.test_plugins import answered, identity, measured, plugins, present, real
from tests.flow.test_plugins_on_phantoms import series_of
from tests.peers import complaints
from tests.studies import cxr_findings, mg_lesion, us_lesion


def regions(results: tuple[Result, ...]) -> dict[str, Region]:
    return {result.label: result for result in results if isinstance(result, Region)}


def overlap(region: Region, mask: np.ndarray) -> float:
    """Return which part of a mask (row, column) lies in the box around a region."""
    (left, top), (right, bottom) = region.points.min(0).astype(int), region.points.max(0).astype(int)
    return float(mask[top:bottom, left:right].sum() / mask.sum())


def test_findings_of_a_chest_are_reported_and_shown(triton: Triton, tmp_path: Path) -> None:
    results = answered(triton, "cxr_findings", series_of(cxr_findings.images(), tmp_path), tmp_path)
    presence = present(results)
    assert len(presence) == len(FINDINGS)
    assert presence["Hiatal hernia"]
    assert presence["Pulmonary fibrosis"]
    assert not presence["Pneumothorax"]
    _, marks = radiograph(256, np.random.default_rng(5), cxr_findings.SEEN)
    maps = {result.label: result.array[0] for result in results if isinstance(result, Heatmap)}
    for name, label in (("hernia", "Hiatal hernia"), ("fibrosis", "Pulmonary fibrosis")):
        array, mark = maps[f"Where it was seen: {label}"], marks[FINDINGS.index(name)]
        assert array[mark].mean() > 2 * array[~mark].mean()


def test_a_real_chest_has_findings(triton: Triton, tmp_path: Path) -> None:
    images = real("CR/chest_rsna/1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm", tmp_path)
    results = answered(triton, "cxr_findings", images, tmp_path)
    assert len([result for result in results if isinstance(result, Finding)]) == len(FINDINGS)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("CR/ankle_RG3/RG3_J2KR.dcm", "something else, not a frontal chest"),
        ("DX/dog", "not a frontal chest"),
        ("CR/chest_rsna/Fake_MONOHR1.dcm", "a frontal chest whose grey scale is inverted"),  # as its header has it
    ],
)
def test_images_that_are_no_frontal_chest_are_not_suitable(
    image: str, words: str, triton: Triton, tmp_path: Path
) -> None:
    (result,) = answered(
        triton, "cxr_findings", real(image, tmp_path), tmp_path, "dcentvfy"
    )  # the dog's names a missing one
    assert isinstance(result, NotSuitable)
    assert words in result.reason


def test_lesions_of_a_breast_are_outlined_and_its_density_is_measured(triton: Triton, tmp_path: Path) -> None:
    series = series_of(mg_lesion.images(), tmp_path)
    results = answered(triton, "mg_lesion", series, tmp_path)
    random = np.random.default_rng(mg_lesion.SEED)
    _, labels, tissue = mammogram(mg_lesion.ROWS, mg_lesion.COLUMNS, random, (MASS, CALCIFICATION), density=0.3)
    found = regions(results)
    assert overlap(found["Mass 1"], labels == 1) > 0.7
    assert overlap(found["Calcifications 1"], labels == 2) > 0.7
    values = measured(results)
    known = float((tissue == 2).sum() / (tissue > 0).sum())
    assert values["Breast", "Percent Fibroglandular Tissue"] == pytest.approx(100 * known, abs=5)
    (report,) = compose(
        Case(inputs={"mg": series}, results=results, identity=identity(plugins()["mg_lesion"], series)), kinds=["MGCAD"]
    )
    assert report.SOPClassUID == MammographyCADSRStorage
    texts = {item.value for item in report.iterall() if item.keyword == "TextValue"}
    assert {label for label in found if label in texts} == found.keys() - {"Breast"}
    write_object(report, tmp_path / "cad.dcm")
    assert not complaints(tmp_path / "images", tmp_path / "cad.dcm")


def test_a_real_mammogram_of_a_biopsy_is_not_suitable(triton: Triton, tmp_path: Path) -> None:
    images = real("MG/crop_overlay", tmp_path)
    (result,) = answered(
        triton, "mg_lesion", images, tmp_path, "dcentvfy", "dciodvfy"
    )  # its request is coded by a scheme of its own
    assert isinstance(result, NotSuitable)
    assert "not a mammogram of one breast in a standard view" in result.reason


def test_a_lesion_in_a_sweep_is_boxed_on_a_frame_that_shows_it(triton: Triton, tmp_path: Path) -> None:
    series = series_of(us_lesion.images(), tmp_path)
    results = answered(triton, "us_lesion", series, tmp_path)
    found = present(results)
    assert {name: found[name] for name in ("Lesion", "Malignant", "Benign")} == {
        "Lesion": True,
        "Malignant": True,
        "Benign": False,
    }
    _, marks = cine(us_lesion.FRAMES, us_lesion.HIGH, us_lesion.WIDE, np.random.default_rng(8), MALIGNANT)
    lesion = regions(results)["Lesion"]
    (key,) = (result for result in results if isinstance(result, KeyImages))
    assert key.images == (lesion.image,)
    mark = np.zeros((us_lesion.ROWS, us_lesion.COLUMNS), bool)
    down, across = (
        slice(us_lesion.TOP, us_lesion.TOP + us_lesion.HIGH),
        slice(us_lesion.LEFT, us_lesion.LEFT + us_lesion.WIDE),
    )
    mark[down, across] = marks[lesion.image.number - 1]  # type: ignore[union-attr]  # it has one
    assert overlap(lesion, mark) > 0.7
    wide = np.ptp(np.flatnonzero(mark.any(0))) * us_lesion.CM * 10
    assert measured(results)["Lesion", "Width"] == pytest.approx(wide, rel=0.5)


def test_a_real_cine_of_a_heart_is_not_suitable(triton: Triton, tmp_path: Path) -> None:
    (result,) = answered(triton, "us_lesion", real("US/cine_ybr/examples_ybr_color.dcm", tmp_path), tmp_path)
    assert isinstance(result, NotSuitable)
    assert "not a greyscale ultrasound of the breast or the thyroid" in result.reason


def test_real_frames_that_are_coloured_are_not_suitable(triton: Triton, tmp_path: Path) -> None:
    images = real("US/palette_2frame/OBXXXX1A_2frame.dcm", tmp_path)  # two frames in a class for single ones
    (result,) = answered(triton, "us_lesion", images, tmp_path, "dciodvfy")
    assert isinstance(result, NotSuitable)
    assert "not a greyscale ultrasound of the breast or the thyroid" in result.reason
