"""Phantoms of photographs and slides, colour in the models for planes, and heat maps on slides."""

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import RLELossless
from torch import Tensor
from torch.nn import functional

from node import Heatmap, codes, testing
from node.compose.sc import LEGEND, heatmap_capture
from node.serving.planes import PlaneChain, classify, network_input
from node.training.phantoms import fundus, skin, slide
from tests.matrix import identity_of, series_in


def test_planes_in_colour_have_a_channel_for_each_colour() -> None:
    red = torch.zeros(2, 32, 64, 3, dtype=torch.uint8)
    red[1, :, :32, 0] = 255
    given = network_input(PlaneChain(size=(16, 16), windows=((0, 255),)), red)
    assert given.shape == (2, 3, 16, 16)
    assert given[1, 0, :, :8].min() == 1
    assert given.sum() == given[1, 0, :, :8].sum()


def test_classes_that_exclude_one_another_add_up_to_one() -> None:
    def network(given: Tensor) -> Tensor:
        bright = functional.avg_pool2d(given[:, :1], 4)
        return torch.cat([bright * 8 - 4, -bright, bright * 0 - 1], 1)

    planes = torch.zeros(1, 32, 64, 3)
    planes[0, :, 32:, 0] = 200
    look = {"size": (16, 16), "windows": ((0, 200),)}
    together = classify(PlaneChain(exclusive=True, **look), planes, network)
    assert float(together.probabilities.sum()) == pytest.approx(1.0)
    assert not torch.allclose(classify(PlaneChain(**look), planes, network).probabilities, together.probabilities)
    assert together.maps.shape == (1, 1, 32, 64)


def reds(photo: np.ndarray, lit: np.ndarray) -> float:
    """Return the part of a lit field that is as dark and red as blood."""
    return float((photo[lit][:, 0] < 140).mean())


def test_a_retina_has_vessels_in_its_lit_field_and_more_blood_the_worse_its_grade() -> None:
    bloody = []
    for grade in range(fundus.GRADES):
        photo, vessels = fundus.fundus(192, np.random.default_rng(5), grade=grade)
        lit = photo.max(2) > 20
        assert lit.mean() == pytest.approx(np.pi * fundus.FIELD**2, rel=0.05)
        assert not vessels[~lit].any()
        assert 0.02 < vessels[lit].mean() < 0.3
        assert photo[vessels > 0].mean() < photo[lit & (vessels == 0)].mean()
        bloody.append(reds(photo, lit))
    assert bloody[0] < bloody[2] < bloody[3]
    again, _ = fundus.fundus(192, np.random.default_rng(5), grade=fundus.GRADES - 1)
    assert np.array_equal(photo, again)


@pytest.mark.parametrize("kind", skin.LESIONS)
def test_a_lesion_differs_from_the_skin_around_it(kind: str) -> None:
    photo, inside = skin.lesion(96, np.random.default_rng(6), kind=kind)
    assert 0.03 < inside.mean() < 0.6
    apart = np.abs(photo[inside > 0].mean(0) - photo[inside == 0].mean(0)).sum()
    assert apart > 8
    assert np.array_equal(photo, skin.lesion(96, np.random.default_rng(6), kind=kind)[0])


def test_nuclei_are_denser_in_carcinoma_and_glass_has_no_colour() -> None:
    dark = {}
    for kind in slide.CLASSES:
        fields = [slide.field(128, np.random.default_rng(seed), kind=kind) for seed in range(6)]
        dark[kind] = np.mean([(field[..., 0] < 140).mean() for field in fields])
    assert dark["normal"] < min(dark[kind] for kind in ("benign", "in situ", "invasive"))
    glass = slide.field(64, np.random.default_rng(1), kind=slide.GLASS)
    assert np.ptp(glass, axis=2).mean() < 20
    mosaic = slide.slide([["normal", slide.GLASS], [slide.GLASS, "invasive"]], 64, np.random.default_rng(1))
    assert mosaic.shape == (128, 128, 3)


def test_a_heat_map_of_a_slide_is_shown_on_the_whole_of_it(tmp_path: Path) -> None:
    picture = np.full((3 * 64, 4 * 64, 3), 200, np.uint8)
    image = testing.slide(tiles=(3, 4), rows=64, columns=64, array=picture)
    series = series_in(tmp_path / "slide", [image])
    tiles = np.zeros(12, np.float32)
    tiles[1 * 4 + 2] = 1
    heat = Heatmap(
        array=np.broadcast_to(tiles[:, None, None], (12, 64, 64)),
        source=series,
        name=codes.DCM.Probability,
        label="Heat",
    )
    made = heatmap_capture(heat, identity_of(series), order=0, made=[])
    shown = np.frombuffer(made.PixelData, np.uint8).reshape(made.Rows, made.Columns, 3)
    factor = made.Columns // picture.shape[1]
    below = made.Rows - 3 * LEGEND - picture.shape[0] * factor  # what stands behind the plugin is above the picture
    whole = shown[below : below + picture.shape[0] * factor]
    hot = np.abs(whole[::factor, ::factor].astype(int) - 200).max(2) > 0
    assert np.argwhere(hot).min(0).tolist() == [64, 128]
    assert np.argwhere(hot).max(0).tolist() == [127, 191]


@pytest.mark.parametrize("table", [True, False])
def test_the_tiles_of_a_compressed_slide_are_looked_for_once(
    table: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = testing.slide(tiles=(6, 7), rows=16, columns=16)
    tiles = np.frombuffer(image.PixelData, np.uint8).reshape(42, 16, 16, 3)
    image.compress(RLELossless, generate_instance_uid=False)
    image.PixelData = encapsulate(list(generate_frames(image.PixelData, number_of_frames=42)), has_bot=table)
    series = series_in(tmp_path / "slide", [image])
    looked: list[int] = []
    pread = os.pread
    monkeypatch.setattr("node.images.pixels.os.pread", lambda *asked: looked.append(1) or pread(*asked))
    for wanted in ([41, 0, 20], range(42)):
        seen = list(series.read([series.frames[index] for index in wanted]))
        assert np.array_equal(seen, tiles[list(wanted)])
    assert len(looked) <= 42 + 2


def test_a_heat_map_of_one_number_a_tile_takes_no_more_memory_than_that(tmp_path: Path) -> None:
    image = testing.slide(tiles=(2, 2), rows=512, columns=512)
    series = series_in(tmp_path / "slide", [image])
    tracemalloc.start()
    tiles = np.broadcast_to(np.linspace(0, 1, 4, dtype=np.float32)[:, None, None], (4, 512, 512))
    Heatmap(array=tiles, source=series, name=codes.DCM.Probability, label="Heat")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4 * 512 * 512 / 10
