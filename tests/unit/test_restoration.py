"""What networks that restore images learn from, and images whose values are another quantity than their source's."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from node import testing
from node.codes import DCM, UCUM
from node.compose import Case, compose_by_kind
from node.errors import BrokenResult
from node.results import DerivedSeries
from node.training import trainer
from node.training.phantoms import tomography
from node.training.phantoms.head_pair import mr_and_ct
from node.training.phantoms.sections import section
from tests.matrix import identity_of, series_in

HU = np.arange(-1024, 3072, 2, dtype=np.int16).reshape(2, 32, 32)


def body(rows: int = 96) -> torch.Tensor:
    """Return water with a bone beside its middle, HU."""
    y, x = torch.meshgrid(*(torch.arange(float(rows)) - (rows - 1) / 2,) * 2, indexing="ij")
    hu = torch.where((x / 38) ** 2 + (y / 30) ** 2 < 1, 0.0, -1000.0)
    hu[((x - 14) / 6) ** 2 + ((y - 6) / 4) ** 2 < 1] = 900
    return hu


def test_a_plane_comes_back_from_its_projections() -> None:
    attenuation = tomography.attenuation(body(), 1.0)
    again = tomography.reconstructed(tomography.projected(attenuation)) / tomography.WATER * 1000 - 1000
    assert float(again[30:45, 20:40].mean()) == pytest.approx(0, abs=3)
    assert float(again[53, 61]) == pytest.approx(900, abs=40)
    assert float(again[45:50, 2:5].mean()) == pytest.approx(-1000, abs=10)


def test_projections_of_a_disc_are_its_chords_in_every_view() -> None:
    place = torch.arange(96.0) - 47.5
    disc = (place[:, None] ** 2 + place[None] ** 2 < 30**2).float()
    chords = 2 * (30**2 - place**2).clamp(min=0).sqrt()
    projections = tomography.projected(disc, 20)
    assert float((projections - chords).abs().mean()) < 0.5
    assert torch.allclose(projections.sum(1), disc.sum().expand(20), rtol=1e-3)


def test_fewer_views_leave_streaks_and_more_attenuation_more_noise() -> None:
    projections = tomography.projected(tomography.attenuation(body(), 2.0))
    whole, sparse = (tomography.reconstructed(some)[20:76, 20:76] for some in (projections, projections[::12]))
    assert float((sparse - whole).std()) > 0.02 * float(whole.mean())
    noise = tomography.quantum_noise(projections, torch.Generator().manual_seed(1)).abs()
    assert float(noise[projections > 3].mean()) > 3 * float(noise[projections < 0.1].mean())


def test_a_head_is_the_same_in_mr_and_in_ct() -> None:
    mr, ct = mr_and_ct(np.array([0.0, 20.0]), 96, np.random.default_rng(7))
    again = mr_and_ct(np.array([0.0, 20.0]), 96, np.random.default_rng(7))
    assert np.array_equal(mr, again[0])
    bone, brain, air = ct > 800, (ct > 20) & (ct < 45), ct < -900
    assert mr[bone].mean() < 0.4 * mr[brain].mean()
    assert mr[air].mean() < 0.2 * mr[brain].mean()
    assert 0.1 < brain.mean() < 0.5


def test_a_section_has_every_tissue_and_no_noise() -> None:
    hu = section(128, np.random.default_rng(7))
    assert np.array_equal(hu, section(128, np.random.default_rng(7)))
    assert hu.min() == -1000
    assert hu.max() > 300
    assert (np.diff(hu, axis=1) == 0).mean() > 0.6


def test_a_residual_network_without_constants_answers_at_every_scale() -> None:
    network = trainer.Residual(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.ReLU()))
    network.body.append(nn.Conv2d(4, 1, 3, padding=1, bias=False))
    given = torch.rand(1, 1, 16, 16)
    assert torch.allclose(network(1000 * given), 1000 * network(given), rtol=1e-4)
    assert not torch.allclose(network(given), given)


def test_images_are_read_from_folders_and_colour_is_left_out(tmp_path: Path) -> None:
    images = testing.ct_series(array=HU)
    testing.write(images, tmp_path / "ct")
    testing.write([testing.fundus_photograph()], tmp_path / "op")
    assert [plane.tolist() for plane in trainer.planes([tmp_path])] == HU.tolist()


def test_values_of_another_quantity_are_stored_as_they_are_and_say_their_unit(tmp_path: Path) -> None:
    series = series_in(tmp_path / "images", testing.mr_series(slices=2))
    made = DerivedSeries(
        array=HU, source=series, description="HU", derivation=DCM.ImageProcessing, synthetic=True,
        unit=UCUM.HounsfieldUnit, window=(-160, 240),
    )  # fmt: skip
    objects = compose_by_kind(
        Case(inputs={"mr": series}, results=[made], identity=identity_of(series)), kinds=["DERIVED"]
    )
    for (_, image), plane in zip(objects, HU, strict=True):
        assert np.array_equal(image.pixel_array, plane)
        assert (image.Modality, image.SyntheticData) == ("MR", "YES")
        assert (image.WindowCenter, image.WindowWidth) == (40, 400)
        (mapping,) = image.RealWorldValueMappingSequence
        assert mapping.RealWorldValueFirstValueMapped <= HU.min()
        assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "[hnsf'U]"


def test_frames_of_one_image_hold_no_other_quantity(tmp_path: Path) -> None:
    series = series_in(tmp_path / "images", [testing.enhanced_mr(slices=2, columns=32)])
    made = DerivedSeries(
        array=HU, source=series, description="HU", derivation=DCM.ImageProcessing, unit=UCUM.HounsfieldUnit
    )
    with pytest.raises(BrokenResult, match="takes single-frame images"):
        compose_by_kind(Case(inputs={"mr": series}, results=[made], identity=identity_of(series)), kinds=["DERIVED"])


def test_a_unit_is_of_ucum_and_of_whole_numbers(tmp_path: Path) -> None:
    series = series_in(tmp_path / "images", testing.mr_series(slices=2))
    for array, unit in ((HU.astype(np.float32), UCUM.HounsfieldUnit), (HU, DCM.Smoothing)):
        with pytest.raises(ValueError, match="it is of UCUM, and the values are int16"):
            DerivedSeries(array=array, source=series, description="HU", derivation=DCM.Smoothing, unit=unit)
