"""A chest of cylinders and ellipsoids, whose bone, muscle, fat and calcium are known."""

from functools import cache

import numpy as np
import pytest
import SimpleITK
import torch
from numpy.typing import NDArray

from node.testing import chest_phantom
from node.training import trainer
from tests.peers import ROOT
from tests.serving import method

tissue = method("ct_body", "tissue")

SPACING = (2.5, 1.5, 1.5)
SHAPE = (60, 200, 260)
BONE, MUSCLE, OUTER, INNER, CALCIUM = range(1, 6)
CALCIFICATIONS = {(20, 80, 126): 150, (30, 84, 130): 250, (35, 76, 127): 350, (40, 88, 128): 600}
"""(slice, row, column) of the corner of a plaque of 2 × 3 voxels, and its HU."""


CHESTS = 8


@cache
def _chest(size: float = 1.0, turn: float = 0.0) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Return a chest in a size, its ribs turned by so much, without noise, and what its voxels are."""
    y, x = (np.arange(n, dtype=np.float32) for n in SHAPE[1:])
    x, y = (x - 129.5) * SPACING[2] / size, ((y - 99.5) * SPACING[1])[:, None] / size
    image, truth = np.full(SHAPE, -1000, np.int16), np.zeros(SHAPE, np.uint8)

    def oval(a: float, b: float, at: tuple[float, float] = (0, 0)) -> NDArray[np.bool_]:
        return ((x - at[0]) / a) ** 2 + ((y - at[1]) / b) ** 2 < 1

    for index in range(SHAPE[0]):
        plane, label = image[index], truth[index]
        body, fascia, cage, inner = oval(185, 125), oval(165, 108), oval(150, 96), oval(142, 88)
        plane[body], label[body] = 30, 0
        skin = oval(185 - 4, 125 - 4)
        plane[skin], label[skin] = -100, OUTER
        plane[fascia], label[fascia] = 55, MUSCLE
        plane[inner], label[inner] = -95, INNER
        lungs = oval(56, 74, (-76, 0)) | oval(56, 74, (76, 0))
        plane[lungs], label[lungs] = -850, 0
        heart = oval(18, 40, (0, -25))
        plane[heart], label[heart] = 40, 0
        angle = np.arctan2(y, x)
        rib = cage & ~inner & (np.sin(8 * angle + turn + index * SPACING[0] / 6) > 0.3)
        spine = oval(20, 17, (0, 84))
        for bone in (rib, spine):
            plane[bone], label[bone] = 500, BONE
        plane[oval(16, 13, (0, 84))] = 180  # spongy
    for (slice_, row, column), hu in CALCIFICATIONS.items() if size == 1 else ():
        at = np.s_[slice_, row : row + 2, column : column + 3]
        assert (image[at] == 40).all()
        image[at], truth[at] = hu, CALCIUM
    return image, truth


def chest() -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    image, truth = _chest()
    return image.copy(), truth.copy()


def grid() -> torch.Tensor:
    affine = torch.eye(4, dtype=torch.float64)
    affine[:3, :3] = torch.tensor([[0, 0, SPACING[2]], [0, SPACING[1], 0], [SPACING[0], 0, 0]])
    return affine


def found(image: NDArray[np.int16], affine: torch.Tensor | None = None) -> dict[str, NDArray]:
    answer = tissue.find_tissue(torch.from_numpy(image), grid() if affine is None else affine)
    return {name: np.asarray(value) for name, value in answer.items()}


@cache
def plain() -> dict[str, NDArray]:
    """What is found in the chest as it is."""
    return found(chest()[0])


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def test_each_tissue_is_where_the_phantom_has_it() -> None:
    truth, answer = chest()[1], plain()
    assert answer["reason"] == ""
    for label in (BONE, MUSCLE, OUTER, INNER):
        assert dice(answer["labels"] == label, truth == label) > 0.9, label
    assert (answer["labels"] == CALCIUM).sum() == 6 * len(CALCIFICATIONS)


@cache
def figures() -> dict[str, str]:
    """Return the mean Dice of each tissue with its 95 % interval; each chest has a size, ribs and noise of its own."""
    random = np.random.default_rng(12)
    cases = []
    for _ in range(CHESTS):
        image, truth = _chest(random.uniform(0.85, 0.98), random.uniform(0, 6))
        noise = random.normal(scale=random.uniform(5, 20), size=image.shape).round().astype(np.int16)
        labels = found(image + noise)["labels"]
        cases.append([[dice(truth == label, labels == label)] for label in (BONE, MUSCLE, OUTER, INNER)])
    sentences = {}
    for name, rows in zip(("bone", "muscle", "outer fat", "inner fat"), zip(*cases, strict=True), strict=True):
        figure = trainer.figure(rows)
        sentences[name] = f"{name} {figure.value:.2f} ({figure.low:.2f}–{figure.high:.2f})"
    return sentences


@pytest.mark.parametrize("tissue", ["bone", "muscle", "outer fat", "inner fat"])
def test_the_card_tells_how_well_each_tissue_of_eight_chests_is_found(tissue: str) -> None:
    assert figures()[tissue] in (ROOT / "plugins" / "ct_body" / "README.md").read_text()


def test_the_statistics_are_those_of_the_labels_counted_by_simpleitk() -> None:
    image, _ = chest()
    image = image + np.random.default_rng(2).normal(scale=15, size=image.shape).round().astype(np.int16)
    answer = found(image)
    counting = SimpleITK.LabelStatisticsImageFilter()
    counting.Execute(SimpleITK.GetImageFromArray(image), SimpleITK.GetImageFromArray(answer["labels"]))
    millilitres = np.prod(SPACING) / 1000
    for label in (BONE, MUSCLE, OUTER, INNER):
        expected = (counting.GetCount(label) * millilitres, counting.GetMean(label))
        assert answer["statistics"][label - 1] == pytest.approx(expected, rel=1e-6)


def test_the_calcium_score_is_as_calculated_by_hand() -> None:
    """Agatston: area × 1 from 130, × 2 from 200, × 3 from 300, × 4 from 400 HU; for slices of 3 mm."""
    area = 6 * SPACING[1] * SPACING[2]
    score = plain()["score"][0]
    assert score == pytest.approx(area * (1 + 2 + 3 + 4) * SPACING[0] / 3)


def test_a_chest_turned_over_has_the_same_tissues() -> None:
    image, _ = chest()
    turned = grid()
    turned[:3, 3] = turned[:3, :3] @ (torch.tensor(SHAPE).double() - 1)
    turned[:3, :3] *= -1
    other = found(np.ascontiguousarray(image[::-1, ::-1, ::-1]), turned)
    assert other["statistics"] == pytest.approx(plain()["statistics"], rel=0.02)
    assert other["score"][0] == pytest.approx(plain()["score"][0])


@pytest.mark.parametrize("hu", [150, 350])
def test_no_calcium_is_scored_where_contrast_medium_fills_the_vessels(hu: int) -> None:
    image, truth = chest()
    image[(truth == 0) & (image == 40)] = hu
    answer = found(image)
    assert np.isnan(answer["score"][0])
    assert answer["score"][2] > 5
    assert not (answer["labels"] == CALCIUM).any()
    assert dice(answer["labels"] == BONE, truth == BONE) > 0.9


def test_contrast_medium_is_not_seen_where_there_is_none() -> None:
    assert plain()["score"][2] < 1


def test_thick_slices_are_not_scored() -> None:
    image, _ = chest()
    thick = grid()
    thick[2, 0] = 5
    assert np.isnan(found(image, thick)["score"][0])


def _head(image: NDArray[np.int16]) -> NDArray[np.int16]:
    """A shell of bone around something soft."""
    y, x = np.indices(image.shape)[1:]
    distance = np.hypot((y - 100) * 1.5, (x - 130) * 1.5)
    return np.where(distance < 80, 35, np.where(distance < 90, 900, -1000)).astype(np.int16)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda image: np.full_like(image, -1000), "no body"),
        (lambda image: np.minimum(image, 60), "ribs enclose"),
        (lambda image: image[:10].copy(), "ribs enclose"),
        (_head, "too little for lungs|ribs enclose"),
    ],
)
def test_images_without_a_chest_get_a_reason_and_no_labels(change, words: str) -> None:
    answer = found(change(chest()[0]))
    assert not answer["labels"].any()
    assert any(word in str(answer["reason"]) for word in words.split("|")), answer["reason"]


def test_the_synthetic_chest_of_the_demo_is_measured() -> None:
    """Its shapes are of another hand: all that is denser than 150 HU is bone."""
    image = chest_phantom(slices=100, rows=200)
    affine = torch.eye(4, dtype=torch.float64)
    affine[:3, :3] = torch.tensor([[0, 0, 2.0], [0, 2.0, 0], [3.0, 0, 0]])
    answer = found(image, affine)
    assert answer["reason"] == ""
    measured = np.nonzero((answer["labels"] > 0).any((1, 2)))[0]
    assert len(measured) * 3.0 == answer["score"][1]
    inside = np.zeros(image.shape, bool)
    inside[measured] = True
    assert dice(answer["labels"] == BONE, (image > 150) & inside) > 0.7


def test_the_edge_of_the_lung_is_no_fat() -> None:
    """The mean of lung and muscle is that of fat; here muscle lies where fat would, inside the rib cage."""
    image, truth = chest()
    image[truth == INNER] = 55
    labels = found(image)["labels"]
    assert (labels == INNER).sum() * np.prod(SPACING) / 1000 < 2
