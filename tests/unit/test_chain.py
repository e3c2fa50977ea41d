"""What is done to a volume around its network: every way there and back leaves things where they are."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from node.serving.chain import ALIGN, RESTORE, Chain
from node.serving.components import largest
from node.serving.grid import axes, from_elsewhere, to_network
from node.serving.intensity import Intensity
from node.serving.sliding_window import infer, slabs, starts, weights
from node.serving.volume import prepared, scaled, segment

SAGITTAL_AND_OBLIQUE = np.array(
    [[0.2, 0.1, 0.8, -90.0], [-0.1, 0.8, -0.1, -70.0], [2.4, 0.1, -0.2, 30.0], [0, 0, 0, 1.0]]
)


def block() -> torch.Tensor:
    image = torch.zeros((24, 48, 56), dtype=torch.int16)
    image[4:16, 10:34, 30:50] = 1000
    image[16:20, 10:14, 4:34] = 1000
    return image


def bright(tiles: torch.Tensor) -> torch.Tensor:
    return (tiles - 500) / 10


def dice(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.mark.parametrize("align", ALIGN)
@pytest.mark.parametrize("restore", RESTORE[:2])
@pytest.mark.parametrize("spacing", [(), (1.0, 1.1, 1.2)])
@pytest.mark.parametrize("orientation", ["native", "RAS", "LPS", "ASR", "PIR"])
def test_the_answer_of_a_network_lies_where_its_input_was(
    orientation: str, spacing: tuple[float, ...], restore: str, align: str
) -> None:
    chain = Chain(orientation=orientation, spacing=spacing, align=align, restore=restore, activation="sigmoid")
    found = segment(chain, [(block(), SAGITTAL_AND_OBLIQUE)], bright)
    assert dice(found > 0, block() > 0) > (0.9 if spacing else 0.9999)


@pytest.mark.parametrize("orientation", ["RAS", "LPI", "SAR"])
def test_the_networks_axes_grow_where_their_letters_say(orientation: str) -> None:
    shape = (24, 48, 56)
    towards = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) @ SAGITTAL_AND_OBLIQUE[:3, :3].T
    for axis, letter in enumerate(orientation):
        patient, sign = towards[letter]
        field = torch.from_numpy(places[..., patient] * sign)
        given = to_network(field, axes(Chain(orientation=orientation), shape, SAGITTAL_AND_OBLIQUE))
        assert float(given.diff(dim=axis).mean()) > 0.5


def test_a_conformed_volume_has_its_middle_in_the_middle() -> None:
    chain = Chain(orientation="LPS", spacing=(1, 1, 1), size=(64, 64, 64), align="centre")
    image = torch.zeros((21, 31, 41), dtype=torch.int16)
    image[10, 15, 20] = 900
    given = to_network(image, axes(chain, image.shape, np.diag([3.0, 1.0, 1.0, 1.0])[[2, 1, 0, 3]]))
    assert given.shape == (64, 64, 64)
    mass = torch.stack(torch.meshgrid(*[torch.arange(64.0)] * 3, indexing="ij")) * given
    assert (mass.sum((1, 2, 3)) / given.sum()).tolist() == pytest.approx([31.5] * 3, abs=0.01)


@pytest.mark.parametrize("tile", [(16, 16, 16), (64, 64, 64), (20, 33)])
@pytest.mark.parametrize("blend", ["gaussian", "constant"])
def test_blended_windows_of_a_voxelwise_network_equal_its_answer_to_the_whole(tile, blend) -> None:
    x = torch.randn((1, 24, 48, 56), generator=torch.Generator().manual_seed(1))
    chain = Chain(tile=tile, overlap=0.4, blend=blend, activation="sigmoid", tiles_at_once=3, mirror=(0, 1))
    assert torch.allclose(infer(chain, x, lambda tiles: tiles * 2), (x * 2).sigmoid(), atol=1e-5)


def test_labels_are_decided_slab_by_slab_from_blended_windows() -> None:
    """A network that says where in its window it looked, so that each window's part counts, and its blending."""
    shape, tile = (40, 24, 30), (16, 16, 16)
    ramp = torch.stack([torch.arange(16.0).roll(turn)[:, None, None].expand(tile) for turn in range(0, 16, 4)])

    def network(tiles: torch.Tensor) -> torch.Tensor:
        return ramp * tiles

    x = torch.rand((1, *shape), generator=torch.Generator().manual_seed(3))
    chain = Chain(tile=tile, overlap=0.4, activation="none", tiles_at_once=3)
    bell, blended, counted = weights(tile, "gaussian"), torch.zeros((4, *shape)), torch.zeros(shape)
    for place in product(*(starts(n, t, 0.4) for n, t in zip(shape, tile, strict=True))):
        there = tuple(slice(p, p + t) for p, t in zip(place, tile, strict=True))
        blended[(slice(None), *there)] += ramp * x[(slice(None), *there)] * bell
        counted[there] += bell
    found = list(slabs(chain, x, network))
    assert torch.allclose(torch.cat(found, 1), blended / counted, atol=1e-5)
    assert max(slab.shape[1] for slab in found) <= tile[0], "no more planes than a window has are ever held"
    labels = segment(chain, [(x[0], np.eye(4))], network)
    assert torch.equal(labels, (blended / counted).argmax(0).to(torch.uint8))


def test_the_last_window_ends_with_the_volume() -> None:
    assert starts(100, 32, 0.5) == [0, 16, 32, 48, 64, 68]
    assert starts(32, 32, 0.5) == [0]
    assert float(weights((8, 8), "gaussian").min()) > 0


def test_neighbouring_planes_are_channels_of_a_network_with_context() -> None:
    x = torch.arange(5.0)[None, :, None, None].expand(1, 5, 4, 4).contiguous()
    seen: list[list[float]] = []

    def network(tiles: torch.Tensor) -> torch.Tensor:
        seen.extend(tiles[:, :, 0, 0].tolist())
        return tiles[:, 1:2]

    infer(Chain(tile=(4, 4), context=1, activation="none"), x, network)
    assert seen == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 4]]


def test_another_series_is_sampled_where_the_voxels_of_the_first_are() -> None:
    """Its values are the places of its voxels in the patient, so that what is sampled tells where."""
    towards = Chain(orientation="RAS", spacing=(2, 2, 2))
    grid = axes(towards, (24, 48, 56), SAGITTAL_AND_OBLIQUE)
    turn = np.deg2rad(20)
    other = np.array([[0, -np.sin(turn), np.cos(turn)], [0, np.cos(turn), np.sin(turn)], [1, 0, 0]]) * (1.5, 1, 1)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = other, (-120, -160, -20)
    shape = (90, 200, 190)
    voxels = np.stack([*np.meshgrid(*map(np.arange, shape), indexing="ij"), np.ones(shape)], -1)
    own = np.stack([*np.meshgrid(*(np.arange(n) for n in (24, 48, 56)), indexing="ij"), np.ones((24, 48, 56))], -1)
    for axis in range(3):
        elsewhere = torch.from_numpy(voxels @ affine[axis])
        sampled = from_elsewhere(elsewhere, affine, SAGITTAL_AND_OBLIQUE, grid)
        here = to_network(torch.from_numpy(own @ SAGITTAL_AND_OBLIQUE[axis]), grid)
        inside = sampled > float(elsewhere.min())
        inside[-1], inside[:, -1], inside[:, :, -1] = False, False, False  # the last may lie past the images' end
        assert inside.float().mean() > 0.5
        assert torch.allclose(sampled[inside], here[inside], atol=0.01)


def test_a_series_on_the_same_grid_is_as_it_would_be_alone() -> None:
    chain = Chain(orientation="RAS", spacing=(1, 1, 1), roles=("a", "b"))
    both, grid = prepared(chain, [(block(), SAGITTAL_AND_OBLIQUE)] * 2)
    assert torch.equal(both[0], both[1])
    again = from_elsewhere(block(), SAGITTAL_AND_OBLIQUE, SAGITTAL_AND_OBLIQUE, grid)
    assert torch.allclose(both[0], again, atol=0.5)


def test_each_role_may_have_its_own_intensities() -> None:
    chain = Chain(clip=(0, 100), scale=(0, 100), roles=("a", "b"), each={"b": {"clip": [0, 10], "scale": [0, 10]}})
    image = torch.full((2, 2, 2), 5.0)
    given, _ = prepared(chain, [(image, np.eye(4))] * 2)
    assert given[:, 0, 0, 0].tolist() == pytest.approx([0.05, 0.5])


def test_roles_and_their_neighbouring_planes_are_channels() -> None:
    x = torch.arange(5.0)[None, :, None, None].expand(1, 5, 4, 4)
    seen: list[list[float]] = []

    def network(tiles: torch.Tensor) -> torch.Tensor:
        seen.extend(tiles[:, :, 0, 0].tolist())
        return tiles[:, 1:2]

    chain = Chain(tile=(4, 4), context=1, activation="none", roles=("a", "b"))
    infer(chain, torch.cat([x, x + 10]), network)
    assert seen[:2] == [[0, 0, 1, 10, 10, 11], [0, 1, 2, 10, 11, 12]]


def test_intensities_are_clipped_and_scaled_as_said() -> None:
    x = torch.tensor([-2000.0, -1000, 0, 1000, 3000])
    assert scaled(Chain(clip=(-1000, 1000), scale=(-1000, 1000)), x).tolist() == [0, 0, 0.5, 1, 1]
    assert scaled(Chain(clip_percentiles=(25, 75)), x).tolist() == [0, 0, 0.5, 1, 1]
    assert scaled(Chain(normalise=True), x).std(correction=0).item() == pytest.approx(1)
    assert scaled(Chain(normalise=True, mean=1000, deviation=500), x).tolist() == [-6, -4, -2, 0, 4]


def test_steps_of_intensity_come_in_their_order_before_and_after_resampling() -> None:
    image = torch.tensor([0.0, 2000.0]).repeat(4, 4, 1)
    clipped = {"clip": [0, 1000]}
    first = Chain(spacing=(1, 1, 0.5), steps=(clipped, "place"))
    then = Chain(spacing=(1, 1, 0.5), steps=["place", clipped, {"scale": [0, 1000], "onto": [-1, 1]}])
    for chain, middle in ((first, 500), (then, 1)):
        given, _ = prepared(chain, [(image, np.eye(4))])
        assert given[0, 0, 0, 1] == middle


def test_only_values_other_than_0_are_normalised_where_they_alone_count() -> None:
    step = Intensity(normalise=True, nonzero=True)
    assert step.of(torch.tensor([0.0, 1, 3])).tolist() == [0, -1, 1]
    both = Intensity(mean=(1, 2), deviation=(1, 2), together=True).of_all([torch.ones(1, 1, 1) * 3] * 2)
    assert [float(number) for number in both] == [2, 0.5]


@pytest.mark.parametrize(
    "steps", [("place", {"crop": 2}), ("place", {"crop": 6, "within": False}), ("place", {"resize": [40, 0, 33]})]
)
def test_a_cropped_or_resized_answer_lies_where_its_input_was(steps) -> None:
    chain = Chain(orientation="RAS", spacing=(1, 1.1, 1.2), activation="sigmoid", steps=steps)
    found = segment(chain, [(block(), SAGITTAL_AND_OBLIQUE)], bright)
    assert dice(found > 0, block() > 0) > 0.9
    given, _ = prepared(chain, [(block(), SAGITTAL_AND_OBLIQUE)])
    assert given.shape[1:] != prepared(replace(chain, steps=()), [(block(), SAGITTAL_AND_OBLIQUE)])[0].shape[1:]


def test_the_likeliest_class_wins_and_only_the_largest_piece_stays() -> None:
    image = torch.zeros((4, 8, 8))
    image[:, :4, :4], image[0, 7, 7] = 1, 1
    two = segment(Chain(largest=(2,)), [(image, np.eye(4))], lambda t: torch.cat([1 - t, 0 * t, 3 * t], 1))
    assert two.unique().tolist() == [0, 2]
    assert two[0, 7, 7] == 0
    assert (two[:, :4, :4] == 2).all()
    assert torch.equal(largest(two, 1), two)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda tiles: tiles[..., 1:], "another extent"),
        (lambda tiles: tiles * torch.nan, "no finite numbers"),
    ],
)
def test_a_nonsensical_answer_of_a_network_is_an_error(answer, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        segment(Chain(), [(block(), np.eye(4))], answer)


@pytest.mark.parametrize(
    "words",
    [
        {"orientation": "RAX"}, {"orientation": "RLS"}, {"spacing": [1, 1]}, {"clip": [3, 1]}, {"tile": [0, 1, 1]},
        {"overlap": 1}, {"context": 1}, {"mirror": [3]}, {"align": "left"}, {"blend": "none"}, {"tilt": 1},
        {"roles": []}, {"roles": ["a", "a"]}, {"each": {"a": {}}}, {"each": {"image": {"tile": [1, 1, 1]}}},
        {"each": {"image": {"clip": [1, 0]}}}, {"steps": ["place", {"blur": 1}]}, {"steps": [{"clip": [0, 1]}]},
        {"steps": ["place", {"resize": [1, 2]}]}, {"activate": "never"},
    ],
)  # fmt: skip
def test_a_chain_that_makes_no_sense_is_refused(words: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"is|are|says|have|chain|tile"):
        Chain.of(words)


def test_a_chain_is_the_same_after_writing_and_reading(tmp_path: Path) -> None:
    chain = Chain(orientation="RAS", spacing=(1.5, 1.5, 2), tile=(96, 96, 96), largest=(1, 2))
    chain.write(tmp_path / "chain.json")
    assert Chain.read(tmp_path / "chain.json") == chain
