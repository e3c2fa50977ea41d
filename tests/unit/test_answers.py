"""What a network's answer becomes on the server, beside labels: findings, boxes, images."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from node.serving.answers import answer
from node.serving.chain import Chain

OBLIQUE = np.array([[0.2, 0.1, 0.8, -90.0], [-0.1, 0.8, -0.1, -70.0], [2.4, 0.1, -0.2, 30.0], [0, 0, 0, 1.0]])
BOX = [4, 10, 30, 12, 34, 50]
"""Where a thing begins and ends: slice, row, column."""


def image() -> Tensor:
    made = torch.zeros((24, 48, 56))
    made[BOX[0] : BOX[3], BOX[1] : BOX[4], BOX[2] : BOX[5]] = 1
    return made


def around(given: Tensor, *, flipped: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """A detector that sees what is bright, if anything is."""
    places = (given[0, 0] > 0.5).nonzero()
    if not len(places):
        return torch.zeros((0, 2 * places.shape[1])), torch.zeros(0), torch.zeros(0)
    low, high = places.amin(0).float(), places.amax(0).float() + 1
    box = torch.cat([low.flip(0), high.flip(0)] if flipped else [low, high])
    return box[None], torch.tensor([float(len(places)) / 1e5]).clamp(max=1), torch.zeros(1)


@pytest.mark.parametrize("orientation", ["native", "RAS", "LPI", "SAR", "reversed"])
def test_a_box_lies_on_its_object_in_every_orientation_of_the_network(orientation: str) -> None:
    chain = Chain(answer="boxes", orientation=orientation, threshold=0.0)
    found = answer(chain, [(image(), OBLIQUE)], around)
    assert found["boxes"].tolist() == [BOX]


def test_boxes_of_several_windows_that_agree_are_one_box() -> None:
    chain = Chain(answer="boxes", tile=(24, 40, 40), overlap=0.5, threshold=0.0, distinct=0.3)
    found = answer(chain, [(image(), np.eye(4))], around)
    assert BOX in found["boxes"].tolist()
    assert len(found["boxes"]) < 4
    assert found["scores"].tolist() == sorted(found["scores"].tolist(), reverse=True)


def test_boxes_of_a_plane_may_have_their_columns_first() -> None:
    chain = Chain(answer="boxes", planar=True, corners="xy", threshold=0.0)
    found = answer(chain, [(image(), np.eye(4))], lambda given: around(given, flipped=True))
    assert found["boxes"].tolist() == [[plane, 10, 30, plane + 1, 34, 50] for plane in range(4, 12)]


def test_boxes_below_the_threshold_are_left_out() -> None:
    found = answer(Chain(answer="boxes", threshold=0.5), [(image(), np.eye(4))], around)
    assert found["boxes"].shape == (0, 6)


def bright(given: Tensor) -> Tensor:
    mean = given.mean((1, 2, 3))
    return torch.stack([mean, 1 - mean], 1)


def test_findings_of_planes_exclude_one_another_on_average_or_are_the_highest() -> None:
    planes = [(torch.tensor([0.0, 0.9])[:, None, None].expand(2, 4, 4), np.eye(4))]
    one = answer(Chain(answer="findings", planar=True), planes, bright)
    assert one["present"].tolist() == [False, True]
    assert float(one["probabilities"].sum()) == pytest.approx(1)
    several = answer(Chain(answer="findings", planar=True, activation="none", threshold=0.8), planes, bright)
    assert several["probabilities"].tolist() == pytest.approx([0.9, 1.0])
    assert several["present"].tolist() == [True, True]


def test_an_image_lies_on_the_grid_of_the_images_in_their_values() -> None:
    chain = Chain(answer="image", orientation="RAS", activation="none", scale=(0, 2), values=(0, 2))
    made = answer(chain, [(image(), OBLIQUE)], lambda given: given)
    assert torch.allclose(made["values"], image(), atol=1e-5)


@pytest.mark.parametrize("orientation", ["reversed", "RAS"])
def test_an_image_that_is_not_restored_has_the_grid_of_the_network(orientation: str) -> None:
    """Of a field that is linear in the patient, every voxel of the finer grid has the value of its place."""
    z, y, x = torch.meshgrid(*(torch.arange(float(n)) for n in (7, 9, 5)), indexing="ij")
    chain = Chain(answer="image", orientation=orientation, spacing=(0, 0, 1.5), activation="none", restore="nothing")
    affine = OBLIQUE @ np.diag([3.0, 3.0, 3.0, 1.0])
    places = np.stack([z, y, x, torch.ones_like(z)], -1) @ affine.T
    made = answer(chain, [(torch.from_numpy(places @ (1.0, 2.0, 3.0, 0.0)), affine)], lambda given: given)
    values, own = made["values"].numpy(), made["affine"]
    assert np.linalg.norm(own[:3, 0]) == pytest.approx(1.5)
    finer = np.stack([*np.indices(values.shape), np.ones(values.shape)], -1) @ own.T
    inside = (slice(0, -1),) * 3  # half a step beyond the last plane there is nothing to interpolate
    assert values[inside] == pytest.approx((finer @ (1.0, 2.0, 3.0, 0.0))[inside], abs=1e-3)


def test_padding_to_a_multiple_may_repeat_the_outermost_voxels() -> None:
    ramp = torch.arange(5.0).expand(2, 4, 5)
    given: list[Tensor] = []

    def network(tiles: Tensor) -> Tensor:
        given.append(tiles)
        return tiles

    chain = Chain(answer="image", activation="none", planar=True, multiple=4, fill="edge")
    made = answer(chain, [(ramp, np.eye(4))], network)
    assert given[0][0, 0, 0].tolist() == [0, 0, 1, 2, 3, 4, 4, 4]
    assert torch.equal(made["values"], ramp)
    with pytest.raises(ValueError, match="fill is a value"):
        Chain(fill="air")


@pytest.mark.parametrize(
    ("chain", "network"),
    [
        (Chain(answer="findings"), lambda given: given),
        (Chain(answer="findings"), lambda given: torch.full((1, 2), torch.nan)),
        (Chain(answer="boxes"), lambda given: (torch.zeros(3, 4), torch.ones(3), torch.ones(3))),
        (Chain(answer="image", activation="none"), lambda given: given * torch.nan),
    ],
)
def test_an_answer_of_another_form_is_an_error(chain: Chain, network: Callable[..., Tensor]) -> None:
    with pytest.raises(ValueError, match="the network answered"):
        answer(chain, [(image(), np.eye(4))], network)
