"""Radiographs projected from the synthetic chest, whose view, grey scale, place, marker and exposure are known."""

import statistics
from functools import cache
from itertools import product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from node.testing import chest_phantom
from tests.serving import method

radiograph = method("cxr_quality", "radiograph")

FRONTAL = 0.5


@cache
def _projections() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The phantom seen from the front and from the side, 1.5 mm a pixel: brighter where there is more of it."""
    chest = np.clip(chest_phantom(slices=150, rows=200).astype(np.float32) + 1000, 0, 1400)[::-1]
    chest[:, 150:] = 0  # without the table
    front, side = (ndimage.zoom(chest.sum(axis) ** 0.8, 2, order=1) for axis in (1, 2))
    return front.astype(np.float32), side.astype(np.float32)


def front() -> NDArray[np.float32]:
    return _projections()[0].copy()


def assess(image: NDArray[np.float32]) -> dict[str, torch.Tensor]:
    return radiograph.assess(torch.from_numpy(np.ascontiguousarray(image)))


def with_letter(
    image: NDArray[np.float32], letter: str, *, left: bool, turned: float = 0, mirrored: bool = False
) -> NDArray[np.float32]:
    """Draw a lead letter beside the neck, on the left or the right of the image."""
    stamp = Image.new("L", (44, 44))
    ImageDraw.Draw(stamp).text((10, 2), letter, fill=255, font=ImageFont.load_default(34))
    stamp = stamp.rotate(turned)
    lead = np.asarray(stamp)[:, :: -1 if mirrored else 1] > 127
    column = 10 if left else image.shape[1] - 54
    image[10:54, column : column + 44][lead] = image.max()
    return image


@pytest.mark.parametrize("look", [np.asarray, np.log1p, np.square], ids=["as it is", "logarithm", "square"])
def test_a_chest_from_the_front_is_known_whatever_its_grey_scale(look: np.ufunc) -> None:
    image = look(front()).astype(np.float32)
    upright, inverted = assess(image), assess(-image)
    assert upright["chest"][0] > FRONTAL
    assert inverted["chest"][0] == pytest.approx(-float(upright["chest"][0]), abs=1e-4)
    assert torch.equal(upright["lungs"], inverted["lungs"])


def test_a_chest_from_the_side_is_none_from_the_front() -> None:
    assert abs(float(assess(_projections()[1])["chest"][0])) < FRONTAL


def test_noise_is_no_chest() -> None:
    noise = np.random.default_rng(3).normal(size=(300, 300)).astype(np.float32)
    assert abs(float(assess(ndimage.gaussian_filter(noise, 5))["chest"][0])) < FRONTAL


def test_both_lungs_are_outlined_where_they_were_projected() -> None:
    air = chest_phantom(slices=150, rows=200)[::-1, :150] < -700
    x = np.arange(200)
    lung = air & (np.abs(x - 100) > 15) & (np.abs(x - 100) < 68)
    depth = ndimage.zoom(lung[:, 30:130].sum(1).astype(np.float32), 2, order=1) * 2.0
    lungs = assess(front())["lungs"].numpy()
    for side, columns in ((1, slice(0, 200)), (2, slice(200, 400))):
        truth, found = depth[:, columns] > 60, lungs[:, columns] == side
        assert 2 * (truth & found).sum() / (truth.sum() + found.sum()) > 0.8


@pytest.mark.parametrize("part", [np.s_[:, 130:], np.s_[:, :-130], np.s_[120:]], ids=["left", "right", "top"])
def test_lungs_cut_off_at_the_edge_are_distinguished_from_whole_lungs(part: tuple[slice, ...]) -> None:
    whole, cut = (float(assess(image)["measures"][1]) for image in (front(), front()[part]))
    assert whole < 0.03 < cut


@pytest.mark.parametrize("shift", [-12, 0, 12])
def test_how_far_the_mediastinum_lies_off_the_middle_is_measured(shift: int) -> None:
    lungs = torch.zeros(256, 256, dtype=torch.uint8)
    lungs[60:180, 40 : 108 + shift], lungs[60:180, 148 + shift : 216] = 1, 2
    assert radiograph.asymmetry(lungs) == pytest.approx(shift / (216 - 40), abs=1e-6)


@pytest.mark.parametrize(("letter", "left", "mirrored"), list(product("LR", (True, False), (True, False))))
def test_a_lead_letter_is_read_and_placed(letter: str, left: bool, mirrored: bool) -> None:
    image = with_letter(front(), letter, left=left, mirrored=mirrored, turned=4)
    (marker,) = assess(image)["markers"].tolist()
    assert marker[0] == "LR".index(letter)
    assert (marker[3] < 200) == left
    assert 10 <= marker[2] < marker[4] <= 60


@pytest.mark.parametrize("letter", ["O", "H", "P", "S", "1", "7"])
def test_no_other_letter_is_taken_for_a_side(letter: str) -> None:
    assert not len(assess(with_letter(front(), letter, left=True))["markers"])


def test_values_that_ran_into_the_end_of_their_range_are_counted() -> None:
    image = front()
    _, top, left, bottom, right = assess(image)["chest"].round().int().tolist()
    box = np.s_[max(top, 0) : bottom, max(left, 0) : right]
    high = np.minimum(image, np.quantile(image[box], 0.8))
    low, white = assess(high.astype(np.float32))["measures"][2:].tolist()
    assert white == pytest.approx(0.2, abs=0.05)
    assert low < 0.01


def test_images_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="two axes"):
        assess(np.zeros((20, 300), np.float32))


def test_the_model_cards_figures_are_those_of_these_phantoms() -> None:
    """Noise, place and size vary; what the card says of the view and the grey scale is counted here."""
    random = np.random.default_rng(11)
    right = []
    for _ in range(12):
        top, left, bottom, far = random.integers(0, 30, 4)
        image = front()[top : 300 - bottom, left : 400 - far]
        image = image + random.normal(scale=0.03 * image.max(), size=image.shape).astype(np.float32)
        inverted = bool(random.integers(2))
        value = float(assess(-image if inverted else image)["chest"][0])
        right.append(abs(value) > FRONTAL and (value < 0) == inverted)
    assert statistics.fmean(right) == 1.0
