"""Which series it takes for which role, what it declines, and what it measures of outlines it is given."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node import Caveat, Finding, KeyImages, Measurement, NotSuitable, Result, Segmentation, Summary, codes, testing

HERE = Path(__file__).parent
SHAPE, SPACING = (30, 48, 48), (4.0, 4.0, 4.0)
MR: dict[str, dict[str, Any]] = {
    "t1": {"EchoTime": 9, "RepetitionTime": 600, "ScanningSequence": "SE"},
    "t1c": {"EchoTime": 3, "RepetitionTime": 2300, "ScanningSequence": ["GR", "IR"], "ContrastBolusAgent": "GADOVIST"},
    "t2": {"EchoTime": 100, "RepetitionTime": 5000, "ScanningSequence": "SE", "ContrastBolusAgent": "GADOVIST"},
    "flair": {"EchoTime": 90, "RepetitionTime": 9000, "ScanningSequence": ["SE", "IR"], "InversionTime": 2500},
    "diffusion": {"EchoTime": 80, "RepetitionTime": 6000, "ScanningSequence": "EP"},
    "TOF MRA": {"EchoTime": 4, "RepetitionTime": 22, "ScanningSequence": "GR"},
    "T2* GRE": {"EchoTime": 25, "RepetitionTime": 700, "ScanningSequence": "GR"},
    "STIR": {"EchoTime": 60, "RepetitionTime": 4000, "ScanningSequence": ["SE", "IR"], "InversionTime": 150},
}
"""What real series of a head have in their headers."""


def series(name: str, **wanted: Any) -> list[Dataset]:
    """Return a series with the headers of `MR`."""
    array = np.full(SHAPE, 100, np.int16)
    images = testing.mr_series(**{"array": array, "spacing": SPACING, "series": name, "description": name, **wanted})
    for image in images:
        image.BodyPartExamined = "HEAD"
        for keyword, value in MR[name].items():
            setattr(image, keyword, value)
    return images


def study(*names: str) -> list[Dataset]:
    """Return a study with series of these names."""
    return [image for name in names for image in series(name)]


def results(marked: NDArray[np.uint8], **wanted: dict[str, Any]) -> tuple[Result, ...]:
    """Run the plugin on four series of one grid, `wanted` otherwise, whose model answers with what is marked."""
    images = {role: series(role, **wanted.get(role, {})) for role in ("t1c", "t1", "t2", "flair")}
    return testing.run_plugin(HERE, images, {"mr_tumour": lambda **_: {"labels": marked}})


def tumour() -> NDArray[np.uint8]:
    """Return an ellipsoid of 48 × 32 × 32 mm that enhances around necrosis, in oedema."""
    offsets = (np.indices(SHAPE).T - (14, 24, 20)) * SPACING
    marked = np.zeros(SHAPE, np.uint8)
    for number, axes in ((2, (26, 34, 26)), (1, (16, 24, 16)), (3, (8, 12, 8))):
        marked[(np.linalg.norm(offsets / axes, axis=-1) <= 1).T] = number
    return marked


def test_each_role_gets_the_series_of_its_contrast_whatever_else_there_is() -> None:
    (made,) = testing.plan_plugin(HERE, study(*MR)).plans
    (inputs,) = made.inputs
    wanted = {role: str(testing.uid("phantom", role, "series")) for role in ("t1c", "t1", "t2", "flair")}
    assert inputs == wanted


def test_a_missing_contrast_is_named_with_the_reason_for_each_series() -> None:
    found = testing.plan_plugin(HERE, study("t1", "t1c", "t2", "diffusion"))
    assert not found.plans
    (remark,) = found.remarks
    assert remark.startswith("mr_tumour does not run: no series for its role 'flair'; ")
    assert "EchoTime is 9, wanted at least 60" in remark
    assert "InversionTime is absent, wanted at least 1200" in remark


def test_without_contrast_medium_there_is_no_t1c() -> None:
    found = testing.plan_plugin(HERE, study("t1", "t2", "flair"))
    assert not found.plans
    assert "role 't1c'" in found.remarks[0]
    assert "ContrastBolusAgent is absent, wanted any value" in found.remarks[0]


def test_outlines_lie_on_t1_after_contrast_medium_and_have_their_volumes() -> None:
    marked = tumour()
    found = results(marked)
    (outlines,) = (result for result in found if isinstance(result, Segmentation))
    assert outlines.source is not None
    assert outlines.source.header.SeriesDescription == "t1c"
    volumes = {
        result.of.label if result.of else "": result.value
        for result in found
        if isinstance(result, Measurement) and result.unit == codes.UCUM.CubicCentimeter
    }
    counts = np.bincount(marked.ravel())[1:] * 0.064
    assert [volumes[segment.label] for segment in outlines.segments] == pytest.approx(counts, abs=0.01)
    assert volumes[""] == pytest.approx(counts.sum(), abs=0.01)
    assert volumes["Necrotic core"] == pytest.approx(4 / 3 * np.pi * 0.8 * 1.2 * 0.8, rel=0.15)


def test_the_enhancing_part_has_the_diameters_of_the_ellipsoid() -> None:
    found = results(tumour())
    axes = {
        result.name: result.value
        for result in found
        if isinstance(result, Measurement) and result.unit == codes.UCUM.Millimeter
    }
    assert axes[codes.SCT.LongAxis] == pytest.approx(48, abs=4)
    assert axes[codes.SCT.ShortAxis] == pytest.approx(32, abs=4)
    (product,) = (
        item for item in found if isinstance(item, Measurement) and item.name.value == "BIDIMENSIONAL_PRODUCT"
    )
    assert product.value == pytest.approx(axes[codes.SCT.LongAxis] * axes[codes.SCT.ShortAxis], rel=0.01)
    (said,) = (result.text for result in found if isinstance(result, Caveat))
    assert said.startswith("The enhancing part can be measured by RANO")
    assert "No response is given" in said
    (key,) = (result for result in found if isinstance(result, KeyImages))
    assert key.images[0].sop_instance_uid == testing.uid("phantom/t1c", "instance", 15)


def test_what_does_not_enhance_or_is_on_one_slice_is_not_measured_by_rano() -> None:
    marked = tumour()
    marked[marked == 1] = 2
    (said,) = (result.text for result in results(marked) if isinstance(result, Caveat))
    assert said == "RANO: nothing enhances, so that there is no bidimensional product."
    marked[14, 20:26, 18:24] = 1
    (said,) = (result.text for result in results(marked) if isinstance(result, Caveat))
    assert said.startswith("The enhancing part cannot be measured by RANO: it is seen on one slice")


def test_a_few_voxels_are_no_tumour() -> None:
    marked = np.zeros(SHAPE, np.uint8)
    marked[10, 20, 20:24] = 2
    finding, summary = results(marked)
    assert summary == Summary("No tumour of 2 ml or more found", glance="no tumour found")
    assert isinstance(finding, Finding)
    assert not finding.present


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({role: {"array": np.full((12, 48, 48), 100, np.int16)} for role in MR}, "12 slices over 48 mm are too few"),
        ({"flair": {"origin": (-120.0, -110.0, 10.0)}}, "flair shows 56% of what T1 after contrast medium does"),
        ({"t2": {"seed": "another"}}, "t2 and t1c have no frame of reference in common"),
    ],
)
def test_images_of_no_whole_brain_or_of_no_common_place_are_not_suitable(wanted: Any, reason: str) -> None:
    (result,) = results(np.zeros(SHAPE, np.uint8), **wanted)
    assert isinstance(result, NotSuitable)
    assert reason in result.reason


def test_another_part_of_the_body_is_not_suitable() -> None:
    images = {role: series(role) for role in ("t1c", "t1", "t2", "flair")}
    for image in images["t1c"]:
        image.BodyPartExamined = "KNEE"
    (result,) = testing.run_plugin(HERE, images, {})
    assert result == NotSuitable("they are of another part of the body: Body Part Examined is KNEE")
