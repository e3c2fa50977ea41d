"""Plugins whose networks were trained on phantoms, on a real Triton: on phantoms they never saw, and on real images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from node import Finding, Heatmap, KeyImages, NotSuitable, Segmentation, Triton, testing
from node.images.part10 import Part10
from node.images.series import Series
from node.images.stacks import group_into_stacks
from node.training.phantoms import Image, chest, head
from tests.flow.test_plugins import answered, measured, present, real

HEIGHTS = np.arange(-45, 50, 5.0)
FIELD = 240.0


def series_of(images: Sequence[Dataset], folder: Path) -> Series:
    """Write images to `folder/images`, and return their one stack."""
    (series,) = group_into_stacks(Part10.of_file(file) for file in testing.write(images, folder / "images")).series
    return series


def head_ct(array: Image) -> list[Dataset]:
    images = testing.ct_series(array=array, spacing=(5.0, FIELD / array.shape[1], FIELD / array.shape[2]))
    for image in images:
        image.BodyPartExamined = "HEAD"
    return images


def test_nodules_of_a_chest_are_found_and_measured(triton: Triton, tmp_path: Path) -> None:
    lungs = testing.chest_phantom(slices=150, rows=200)
    hu, truth, nodules = chest.with_nodules(
        lungs, (2.0, 2.0, 2.0), np.random.default_rng(77), count=4, diameters=(10.0, 20.0)
    )
    series = series_of(testing.chest_ct(slices=150, rows=200, array=hu), tmp_path)
    results = answered(triton, "ct_lung_nodule", series, tmp_path)
    (outlines,) = (result for result in results if isinstance(result, Segmentation))
    widths = {label: value for (label, name), value in measured(results).items() if name == "Diameter"}
    found = [int(np.bincount(outlines.labels.array[truth == number]).argmax()) for number in range(1, 5)]
    assert np.count_nonzero(found) >= 3  # the model card tells how many are missed
    for label, nodule in zip(found, nodules, strict=True):
        if label:
            assert widths[outlines.segments[label - 1].label] == pytest.approx(nodule.diameter, abs=4.0)
    types = [result.of for result in results if isinstance(result, Finding) and result.of]
    assert types == list(outlines.segments)


def test_nodules_of_60_mm_in_a_real_chest_are_not_reported(triton: Triton, tmp_path: Path) -> None:
    (result,) = answered(triton, "ct_lung_nodule", real("CT/chest_cmb_crc_100", tmp_path), tmp_path)
    assert isinstance(result, NotSuitable)
    assert "Long axis of Nodule 1 is 60 mm; plausible is 2 to 40" in result.reason


@pytest.mark.parametrize(
    ("kind", "name"),
    [("subdural", "Subdural intracranial hemorrhage"), ("intraparenchymal", "Cerebral hemorrhage")],
)
def test_blood_in_a_head_is_reported_and_shown(kind: str, name: str, triton: Triton, tmp_path: Path) -> None:
    hu, blood = head.with_bleeds(HEIGHTS, 256, np.random.default_rng(21), bleeds=[kind])
    series = series_of(head_ct(hu), tmp_path)
    results = answered(triton, "ct_head_bleed", series, tmp_path)
    presence = present(results)
    assert presence.pop("Intracranial hemorrhage (disorder)")
    assert presence[name]
    (heat,) = (result for result in results if isinstance(result, Heatmap))
    elsewhere = heat.array[(blood == 0) & (hu > 0)].mean()
    assert heat.array[blood > 0].mean() > 2 * elsewhere
    (key,) = (result for result in results if isinstance(result, KeyImages))
    assert all(blood[series.frames.index(frame)].any() for frame in key.images)


def test_a_head_without_blood_has_findings_that_are_absent_and_no_heat_map(triton: Triton, tmp_path: Path) -> None:
    hu, _ = head.with_bleeds(HEIGHTS, 256, np.random.default_rng(22), bleeds=[])
    results = answered(triton, "ct_head_bleed", series_of(head_ct(hu), tmp_path), tmp_path)
    assert set(present(results).values()) == {False}
    assert len(results) == len(present(results)) + 1, "a summary, and no heat map"


def test_a_real_chest_is_no_head(triton: Triton, tmp_path: Path) -> None:
    (result,) = answered(triton, "ct_head_bleed", real("CT/chest_cmb_crc_100", tmp_path), tmp_path)
    assert isinstance(result, NotSuitable)
    assert result.reason.startswith("bone closes a ring over 0 mm only: no closed skull is seen")
