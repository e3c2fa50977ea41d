"""Components, axes and values of masks, compared with torch, scikit-image and SimpleITK."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from node.images.series import Volume
from node.measuring import find_components, label_components, longest_axes, noise, values_inside
from node.serving.components import components

measure = pytest.importorskip("skimage.measure", reason="scikit-image is not installed")

SHAPE = 6, 60, 50


def blobs(seed: int) -> NDArray[np.bool_]:
    """Return an ellipse of its own on every slice, turned by chance."""
    random = np.random.default_rng(seed)
    row, column = np.indices(SHAPE[1:])
    mask = np.zeros(SHAPE, np.bool_)
    for plane in mask:
        turn, (long, short) = random.uniform(0, np.pi), random.uniform(4, 20, 2)
        along = (row - 30) * np.cos(turn) + (column - 25) * np.sin(turn)
        across = (column - 25) * np.cos(turn) - (row - 30) * np.sin(turn)
        plane[(along / long) ** 2 + (across / short) ** 2 <= 1] = True
    return mask


@pytest.mark.parametrize("seed", range(4))
def test_the_long_axis_is_the_largest_feret_diameter_of_all_slices(seed: int) -> None:
    mask = blobs(seed)
    feret = [measure.regionprops(plane.astype(int))[0].feret_diameter_max for plane in mask]
    found = longest_axes(mask, (0.8, 0.8))
    assert found is not None
    assert found.slice == int(np.argmax(feret))
    assert found.long == pytest.approx(0.8 * max(feret), abs=0.8)
    assert found.short <= found.long


def test_an_empty_mask_has_no_axis() -> None:
    assert longest_axes(np.zeros(SHAPE, np.bool_), (1.0, 1.0)) is None


def placed(array: NDArray[np.generic], spacing: float, turn: float, origin: tuple[float, float, float]) -> Volume:
    affine = np.eye(4)
    affine[:3, :3] = spacing * np.array([[0, np.sin(turn), np.cos(turn)], [0, np.cos(turn), -np.sin(turn)], [1, 0, 0]])
    affine[:3, 3] = origin
    return Volume(array=array, affine=affine, frame_of_reference_uid="1.2")


@pytest.mark.parametrize("turn", [0.0, 0.3])
def test_values_within_a_mask_of_another_grid_equal_those_of_simpleitk(turn: float) -> None:
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    random = np.random.default_rng(3)
    hu = placed(random.integers(-100, 100, (60, 100, 100)).astype(np.int16), 1.0, 0.0, (5.0, 4.0, 3.0))
    mask = placed(blobs(1)[:, 10:30, 10:30].astype(np.uint8), 2.9, turn, (12.0, 20.0, 10.0))
    images = []
    for item in (mask, hu):
        image = sitk.GetImageFromArray(item.array)
        steps = np.linalg.norm(item.affine[:3, :3], axis=0)
        image.SetSpacing(steps[::-1].tolist())
        image.SetOrigin(item.affine[:3, 3].tolist())
        image.SetDirection((item.affine[:3, :3] / steps)[:, ::-1].ravel().tolist())
        images.append(image)
    inside = sitk.GetArrayFromImage(sitk.Resample(images[0], images[1], sitk.Transform(), sitk.sitkNearestNeighbor)) > 0
    assert inside.sum() > 1000
    assert np.array_equal(np.sort(values_inside(mask, hu)), np.sort(hu.array[inside]))


def test_a_mask_that_reaches_beyond_the_images_or_is_empty_holds_nothing() -> None:
    hu = placed(np.zeros((10, 10, 10), np.int16), 1.0, 0.0, (0.0, 0.0, 0.0))
    ones = np.ones((4, 4, 4), np.uint8)
    assert len(values_inside(placed(ones, 1.0, 0.0, (3.0, 3.0, 3.0)), hu)) == 64
    assert not len(values_inside(placed(ones, 1.0, 0.0, (8.0, 3.0, 3.0)), hu))
    assert not len(values_inside(placed(0 * ones, 1.0, 0.0, (3.0, 3.0, 3.0)), hu))


@pytest.mark.parametrize("shape", [(9, 31, 40), (1, 60, 60), (70, 3, 2), (4, 5, 1)])
@pytest.mark.parametrize("part", [0.0, 0.1, 0.35, 0.6, 0.9, 1.0])
def test_components_have_the_numbers_that_the_models_give_them(shape: tuple[int, int, int], part: float) -> None:
    mask = np.random.default_rng(4).random(shape) < part
    labels = label_components(mask)
    assert np.array_equal(labels, components(torch.from_numpy(mask)).numpy())
    assert labels.dtype == np.int64
    assert np.array_equal(labels > 0, mask)
    planes = [label_components(plane) for plane in mask]
    assert np.array_equal(planes[0], components(torch.from_numpy(mask[:1])).numpy()[0])
    assert int(labels.max()) == measure.label(mask, connectivity=1).max()


def test_components_of_a_mask_that_is_a_view_are_those_of_its_copy() -> None:
    mask = (np.random.default_rng(5).random((12, 14, 16)) < 0.4)[::-1, ::2].transpose(2, 0, 1)
    assert np.array_equal(label_components(mask), label_components(np.ascontiguousarray(mask)))


def test_a_component_has_its_box_its_widest_slice_and_its_rim() -> None:
    mask = np.zeros((6, 20, 20), np.bool_)
    mask[1:4, 5:9, 5:9] = True
    mask[4, 5:7, 5:7] = True
    mask[0, 0, 0] = True
    corner, block = find_components(mask, (1.0, 0.5, 0.5))
    assert corner.box == (slice(0, 2), slice(0, 2), slice(0, 2))
    assert block.box == (slice(0, 6), slice(4, 10), slice(4, 10))
    assert block.slice == 2
    assert block.mask.sum() == mask.sum() - 1
    assert corner.rim.sum() == 3


def test_noise_is_its_standard_deviation_whatever_slope_or_edge_there_is() -> None:
    random = np.random.default_rng(5)
    image = random.normal(0, 12, (2, 96, 96)) + np.linspace(0, 300, 96)
    image[:, :, 48:] += 400
    everywhere = np.ones(image.shape, bool)
    assert noise(image, everywhere) == pytest.approx(12, rel=0.08)
    assert np.isnan(noise(image, ~everywhere))
