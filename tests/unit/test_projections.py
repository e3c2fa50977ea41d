"""Phantoms of radiographs, mammograms and ultrasound, what networks are asked of their class maps, and brightness."""

from pathlib import Path

import numpy as np
import pytest
import torch

from node import testing
from node.images.part10 import Part10
from node.images.stacks import group_into_stacks
from node.training import trainer
from node.training.phantoms import breast, sonogram
from node.training.phantoms.radiograph import FINDINGS, IMPLIED, radiograph
from tests.serving import method

FRONTAL = 0.5


@pytest.mark.parametrize("name", FINDINGS)
def test_a_radiograph_phantom_has_the_given_finding_and_those_it_implies(name: str) -> None:
    image, marks = radiograph(128, np.random.default_rng(2), [name])
    there = {finding for finding, mark in zip(FINDINGS, marks, strict=True) if mark.any()}
    assert there == {name} | {finding for finding, kinds in IMPLIED.items() if name in kinds}
    assert image.min() >= 0
    assert image.max() <= 4095
    again, _ = radiograph(128, np.random.default_rng(2), [name])
    assert np.array_equal(image, again)


@pytest.mark.parametrize("findings", [(), ("effusion", "mass"), ("support devices",)])
def test_a_radiograph_looks_like_a_chest_from_the_front(findings: tuple[str, ...]) -> None:
    image, _ = radiograph(256, np.random.default_rng(4), findings)
    seen = method("cxr_quality", "radiograph").assess(torch.from_numpy(image.astype(np.float32)))
    assert seen["chest"][0] > FRONTAL


def test_lesions_of_a_mammogram_are_brighter_than_what_lies_around() -> None:
    image, labels, tissue = breast.mammogram(300, 240, np.random.default_rng(3), breast.LESIONS, density=0.2)
    fat = image[(tissue == 1) & (labels == 0)].mean()
    assert image[labels == 1].mean() > 1.3 * fat
    assert image[labels == 2].max() > 2 * fat
    assert not labels[tissue == 0].any()


@pytest.mark.parametrize("kind", [sonogram.BENIGN, sonogram.MALIGNANT])
def test_a_sweep_comes_upon_a_dark_lesion_and_leaves_it(kind: str) -> None:
    images, marks = sonogram.cine(12, 128, 160, np.random.default_rng(3), kind)
    sizes = marks.sum((1, 2))
    assert sizes[0] == sizes[-1] == 0
    best = int(sizes.argmax())
    assert images[best][marks[best]].mean() < 0.7 * images[best].mean()
    high, wide = (np.ptp(np.flatnonzero(marks[best].any(axis))) / marks.shape[2 - axis] for axis in (1, 0))
    assert (high > 0.9 * wide) == (kind == sonogram.MALIGNANT)


def test_a_map_on_its_class_costs_less_than_a_map_elsewhere() -> None:
    truths = torch.zeros(1, 2, 4, 4)
    truths[0, 0, 1, 1] = 0.5
    right, wrong = torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4)
    right[0, 0, 1, 1], wrong[0, 0, 2, 3] = 16.0, 16.0
    right[0, 1] = wrong[0, 1] = -1.0
    assert trainer.seen_where(right, truths) < trainer.seen_where(wrong, truths)
    plain = torch.nn.functional.binary_cross_entropy_with_logits(torch.tensor([1.0, -1.0]), torch.tensor([1.0, 0.0]))
    assert float(trainer.seen_where(right, truths)) == pytest.approx(float(plain), abs=1e-3)


def test_marks_on_a_map_are_the_part_of_each_place() -> None:
    marks = np.zeros((1, 8, 8), bool)
    marks[0, :2, :3] = True
    assert trainer.on_map(marks, 4)[0].tolist() == [[1, 0.5, 0, 0], [0] * 4, [0] * 4, [0] * 4]


def test_brightness_is_white_where_the_header_means_white(tmp_path: Path) -> None:
    images = [testing.radiograph(photometric="MONOCHROME1"), testing.ultrasound(seed="colour")]
    for number, image in enumerate(images):
        (series,) = group_into_stacks(
            Part10.of_file(file) for file in testing.write([image], tmp_path / str(number))
        ).series
        seen = series.brightness()
        assert seen.dtype == np.float32
        stored = image.pixel_array.astype(np.float32)
        assert np.allclose(seen, stored[0].mean(2) if stored.ndim == 4 else -stored)
