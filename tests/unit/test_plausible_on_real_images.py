"""The tables of plugins on outlines of real images: a right outline is plausible, one that lies elsewhere is not."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray

from node import codes, testing
from node.host import read_plugin
from node.infer.plausibility import check_plausible
from node.results import NotSuitable, Result, Segment, Segmentation
from tests.conftest import DATA
from tests.peers import ROOT

SPLEEN, LIVER = 1, 5
"""Labels of TotalSegmentator."""


def read(name: str) -> tuple[NDArray[Any], tuple[float, float, float]]:
    """Return a NIfTI image (slice, row, column) in LPS and its spacing; skip without the data."""
    path = DATA / "open3d" / name
    if not path.exists():
        pytest.skip(f"the real image {name} is not beside this repository")
    image = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(path)), "LPS")
    across, down, apart = image.GetSpacing()
    return SimpleITK.GetArrayFromImage(image), (apart, down, across)


def answer(
    plugin: str, ct: str, masks: Mapping[str, NDArray[np.bool_]], folder: Path, *, every: int = 1
) -> tuple[Result, ...]:
    """Return outlines of a CT, check_plausible by the table of a plugin."""
    hu, spacing = read(ct)
    hu = hu[:, ::every, ::every].clip(-1024, 3071).astype(np.int16)
    labels = np.zeros(hu.shape, np.uint8)
    for number, mask in enumerate(masks.values(), 1):
        labels[mask[:, ::every, ::every]] = number
    images = testing.ct_series(array=hu, spacing=(spacing[0], spacing[1] * every, spacing[2] * every))
    (series,) = testing.stacks(testing.write(images, folder))
    segments = [Segment(label=label, type=codes.SCT.Organ, category=codes.SCT.Organ) for label in masks]
    outlined = Segmentation(labels=series.on_pixels(labels), segments=segments)
    return check_plausible(read_plugin(ROOT / "plugins" / plugin).plausible, (outlined,), {"ct": series})


ABDOMEN, ORGANS = "abdomen/CT_abdomen_totalseg_sm_3mm.nii.gz", "abdomen/label_totalseg_sm_3mm.nii.gz"
CHEST, NODULE = "chest/CT_LIDC-IDRI-0314_1.56x1.56x3mm.nii.gz", "chest/label_nodule_2of4readers_LIDC-IDRI-0314.nii.gz"


def test_a_real_liver_and_spleen_are_plausible(tmp_path: Path) -> None:
    organs, _ = read(ORGANS)
    masks = {"Liver without lesions": organs == LIVER, "Spleen": organs == SPLEEN}
    assert isinstance(answer("ct_liver", ABDOMEN, masks, tmp_path)[0], Segmentation)


def test_a_mirrored_abdomen_is_not_plausible(tmp_path: Path) -> None:
    organs, _ = read(ORGANS)
    masks = {"Liver without lesions": organs == SPLEEN, "Spleen": organs == LIVER}
    (refused,) = answer("ct_liver", ABDOMEN, masks, tmp_path)
    assert isinstance(refused, NotSuitable)
    assert "to the left of Liver without lesions; plausible is at least 20" in refused.reason


def test_a_liver_in_a_lung_is_not_plausible(tmp_path: Path) -> None:
    hu, _ = read(CHEST)
    lung = np.zeros(hu.shape, np.bool_)
    lung[len(hu) // 2 : len(hu) // 2 + 20, 80:200, 150:230] = True
    (refused,) = answer("ct_liver", CHEST, {"Liver without lesions": lung}, tmp_path, every=2)
    assert isinstance(refused, NotSuitable)
    for fault in ("has a mean of", "has a spread of", "is air"):
        assert fault in refused.reason


def test_a_real_nodule_that_two_radiologists_marked_is_plausible(tmp_path: Path) -> None:
    marked, _ = read(NODULE)
    assert isinstance(answer("ct_lung_nodule", CHEST, {"Nodule 1": marked > 0}, tmp_path)[0], Segmentation)
