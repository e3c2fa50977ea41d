"""The guards of planar images that come with isocenter: they accept what is right, and say what else they see."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from node.training import pictures
from node.training.phantoms.fundus import fundus
from node.training.phantoms.radiograph import radiograph
from node.training.phantoms.skin import lesion
from tests.bench.guards import BENCHES, OPEN2D, burned_in, verdict

Picture = NDArray[np.uint8]
GUARDS = sorted({bench.guard for bench in BENCHES})


def chest() -> Picture:
    array, _ = radiograph(256, np.random.default_rng(5), [])
    low, high = np.percentile(array, (0.5, 99.5))
    return ((array - low) / (high - low) * 255).clip(0, 255).astype(np.uint8)[..., None]


def retina() -> Picture:
    return fundus(256, np.random.default_rng(11), grade=0)[0]


def skin() -> Picture:
    return lesion(256, np.random.default_rng(12), kind="nv")[0]


RIGHT = {"chest_radiograph": chest, "chest_or_negative": chest, "fundus": retina, "skin": skin}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("guard", RIGHT)
def test_a_guard_accepts_the_images_of_its_plugin(guard: str) -> None:
    suitable, score, reason = verdict(guard, RIGHT[guard]())
    assert suitable
    assert reason == ""
    assert 0.4 < score <= 1


@pytest.mark.parametrize("guard", GUARDS)
def test_a_guard_refuses_empty_pictures(guard: str) -> None:
    nothing = {**pictures.empty(np.random.default_rng(1)), "text": burned_in()}
    assert not [name for name, picture in nothing.items() if verdict(guard, picture)[0]]


@pytest.mark.parametrize("guard", GUARDS)
def test_a_guard_refuses_the_images_of_other_guards(guard: str) -> None:
    others = {make.__name__: make for make in RIGHT.values() if make is not RIGHT.get(guard)}
    assert not [name for name, make in others.items() if verdict(guard, make())[0]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("inverted", "a frontal chest whose grey scale is inverted"),
        ("upside down", "a frontal chest upside down"),
        ("turned left", "turned by 90 degrees"),
        ("left half", "not a frontal chest"),
    ],
)
def test_a_distorted_chest_is_refused_with_the_distortion(change: str, words: str) -> None:
    suitable, _, reason = verdict("chest_radiograph", pictures.WRONG[change](chest()))
    assert not suitable
    assert words in reason


@pytest.mark.parametrize("bench", BENCHES, ids=lambda bench: bench.guard)
def test_real_pictures_are_judged_rightly(bench) -> None:
    """Three of each class; `python -m tests.bench guards` judges all."""
    if not OPEN2D.is_dir():
        pytest.skip("the pictures of ../shared/data are not here")
    there = pictures.Pictures(OPEN2D)
    judged = {kind: there.files(kind, making=False)[::6][:3] for kind in there.classes}
    accepted = {
        kind: [verdict(bench.guard, pictures.read(path))[0] for path in paths] for kind, paths in judged.items()
    }
    assert np.mean(accepted.pop(bench.right)) > 0.6
    assert not [kind for kind, verdicts in accepted.items() if any(verdicts)]
