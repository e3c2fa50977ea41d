"""Density of breasts: phantoms whose dense part is known, and scikit-image's thresholds of the same values."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from node.training.phantoms.breast import mammogram
from tests.serving import method

density = method("mg_lesion", "density")
grey = method("mg_lesion", "serving.grey_values")


def tissue(image: NDArray[np.int16]) -> NDArray[np.uint8]:
    found: NDArray[np.uint8] = density.tissue_of(torch.from_numpy(image.astype(np.float32))).numpy()
    return found


@pytest.mark.parametrize("wanted", [0.1, 0.25, 0.4, 0.6])
def test_percent_density_is_that_of_the_phantom(wanted: float) -> None:
    image, _, truth = mammogram(512, 400, np.random.default_rng(4), density=wanted)
    found = tissue(image)
    breast = [(labels > 0) for labels in (found, truth)]
    assert (breast[0] & breast[1]).sum() * 2 / (breast[0].sum() + breast[1].sum()) > 0.98
    percent, known = (float((labels == 2).sum() / (labels > 0).sum()) for labels in (found, truth))
    assert percent == pytest.approx(known, abs=0.05)


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_it_does_not_matter_where_the_chest_wall_is(turn: int) -> None:
    image, _, _ = mammogram(400, 320, np.random.default_rng(5), density=0.3)
    turned = tissue(np.rot90(image, turn).copy())
    assert (np.rot90(tissue(image), turn) == turned).mean() > 0.99


def test_a_breast_of_fat_alone_has_no_dense_tissue() -> None:
    image, _, _ = mammogram(400, 320, np.random.default_rng(6), density=0.0)
    assert not (tissue(image) == 2).any()


def test_both_thresholds_are_those_of_scikit_image() -> None:
    filters = pytest.importorskip("skimage.filters", reason="scikit-image is not installed")
    image, _, _ = mammogram(256, 200, np.random.default_rng(7), density=0.35)
    values = torch.from_numpy(image.astype(np.float32))
    bin_ = (float(values.max()) - float(values.min())) / 128
    assert grey.otsu(values) == pytest.approx(filters.threshold_otsu(image, nbins=128), abs=1.01 * bin_)
    of_three = filters.threshold_multiotsu(image, classes=3, nbins=128)
    assert grey.otsu_of_three(values) == pytest.approx(tuple(of_three), abs=1.01 * bin_)


def test_a_malformed_image_is_refused() -> None:
    with pytest.raises(ValueError, match="two axes"):
        density.tissue_of(torch.zeros(20, 300))
