"""Registration against motions that are known everywhere, and what is promised of the deformation."""

import numpy as np
import pytest
import SimpleITK
import torch
from numpy.typing import NDArray

from node.host import read_plugin
from node.infer.run import load
from node.training.phantoms.motion import Motion, moved
from tests.peers import ROOT
from tests.serving import method
from tests.studies import register_prior as study

registering = method("register_prior", "registering")
Field, Grid = registering.Field, registering.Grid

MOTION = Motion(turn=0.05, shift=(10.0, -6.0, 12.0), swings=(5.0, 5.0, 6.0))


def hu() -> NDArray[np.int16]:
    return np.stack([image.pixel_array for image in study.images()]).astype(np.int16) - 1024


def every_second() -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """Return every second voxel of the study, and the affine: enough where no deformation is measured."""
    return hu()[::2, ::2, ::2].copy(), study.affine() * (2, 2, 2, 1)


def found(
    fixed: NDArray[np.int16],
    affine: NDArray[np.float64],
    moving: NDArray[np.int16],
    there: NDArray[np.float64],
) -> dict[str, NDArray[np.float64]]:
    given = [torch.from_numpy(image) for image in (fixed, affine, moving, there)]
    outputs = registering.register(*given, torch.tensor([-1024], dtype=torch.int16))
    return {name: np.asarray(value) for name, value in outputs.items()}


def errors(answer: dict[str, NDArray[np.float64]], fixed: NDArray[np.int16]) -> tuple[float, float, float]:
    """Return the mean distance in mm in the body: before, after the rigid step, after both."""
    places = np.argwhere(fixed[6:-6:3, 8:-8:4, 8:-8:4] > -500) * (3, 4, 4) + (6, 8, 8)
    affine, back = study.affine(), np.linalg.inv(answer["matrix"])
    there = places @ affine[:3, :3].T + affine[:3, 3]
    here = MOTION(there)
    vectors = torch.from_numpy(answer["vectors"]).permute(3, 0, 1, 2).contiguous()
    field = Field(vectors, Grid(tuple(vectors.shape[1:]), torch.from_numpy(answer["vectors_affine"])))
    shift = field.at(torch.from_numpy(here.astype(np.float32))[None, None]).reshape(3, -1).numpy().T
    ways = [here, *((points @ back[:3, :3].T + back[:3, 3]) for points in (here, here + shift))]
    before, rigid, deformed = (float(np.linalg.norm(points - there, axis=1).mean()) for points in ways)
    return before, rigid, deformed


@pytest.fixture(scope="module")
def answer() -> dict[str, NDArray[np.float64]]:
    return found(hu(), study.affine(), moved(hu(), study.affine(), MOTION), study.affine())


def test_a_known_motion_is_found(answer: dict[str, NDArray[np.float64]]) -> None:
    before, rigid, deformed = errors(answer, moved(hu(), study.affine(), MOTION))
    assert before > 15
    assert rigid < before / 2
    assert deformed < min(rigid / 1.5, 5.0), "less than a voxel"


def test_nothing_folds_and_the_jacobian_is_simpleitks(answer: dict[str, NDArray[np.float64]]) -> None:
    grid = answer["vectors_affine"]
    spacing = np.linalg.norm(grid[:3, :3], axis=0)
    image = SimpleITK.GetImageFromArray(answer["vectors"].astype(np.float64), isVector=True)
    image.SetSpacing(spacing[::-1].tolist())
    theirs = SimpleITK.GetArrayFromImage(SimpleITK.DisplacementFieldJacobianDeterminant(image))[1:-1, 1:-1, 1:-1]
    assert 0 < float(answer["least_jacobian"][0]) <= 1
    assert theirs.min() > 0
    assert float(answer["least_jacobian"][0]) == pytest.approx(theirs.min(), abs=0.15)


def test_the_prior_in_place_is_more_like_the_present_images(answer: dict[str, NDArray[np.float64]]) -> None:
    fixed, prior = hu().astype(np.float64), moved(hu(), study.affine(), MOTION)
    middle = slice(10, -10), slice(10, -10), slice(10, -10)
    before = np.abs(prior - fixed)[middle].mean()
    assert np.abs(answer["image"] - fixed)[middle].mean() < before / 2
    _, rigid, deformed = answer["likeness"]
    assert deformed > rigid


def test_the_image_is_the_prior_sampled_where_matrix_and_vectors_say(answer: dict[str, NDArray[np.float64]]) -> None:
    prior, affine = moved(hu(), study.affine(), MOTION), study.affine()
    vectors, back = answer["vectors"], np.linalg.inv(answer["matrix"])
    node = np.array(vectors.shape[:3]) // 2
    point = (answer["vectors_affine"] @ [*node, 1])[:3]
    there = back[:3, :3] @ (point + vectors[tuple(node)]) + back[:3, 3]
    image = SimpleITK.GetImageFromArray(prior.astype(np.float32))
    index = (np.linalg.inv(affine) @ [*there, 1])[:3]
    wanted = image.EvaluateAtContinuousIndex(index[::-1].tolist(), SimpleITK.sitkLinear)
    here = (np.linalg.inv(affine) @ [*point, 1])[:3]
    shown = SimpleITK.GetImageFromArray(answer["image"].astype(np.float32))
    near = shown.EvaluateAtContinuousIndex(here[::-1].tolist(), SimpleITK.sitkLinear)
    assert near == pytest.approx(wanted, abs=60)


def test_a_prior_with_other_axes_and_voxels_is_found_too() -> None:
    fixed, affine = every_second()
    flipped, turned = fixed[::-1, :, ::-1].copy(), affine.copy()
    turned[:3, 3] += affine[:3, 0] * (fixed.shape[0] - 1) + affine[:3, 2] * (fixed.shape[2] - 1)
    turned[:3, 0], turned[:3, 2] = -affine[:3, 0], -affine[:3, 2]
    outputs = found(fixed, affine, flipped, turned)
    assert np.abs(outputs["matrix"] - np.eye(4))[:3, 3].max() < 3
    assert np.abs(outputs["matrix"] - np.eye(4))[:3, :3].max() < 0.02


def test_voxels_outside_the_prior_have_the_value_for_outside() -> None:
    fixed, affine = every_second()
    outputs = found(fixed, affine, fixed[:13].copy(), affine)
    assert (outputs["image"][16:] == -1024).all()
    assert (outputs["image"][3:10] > -1000).any()


def unlike(answer: dict[str, NDArray[np.float64]]) -> str:
    return load(read_plugin(ROOT / "plugins" / "register_prior")).__globals__["unlike"](answer)


def test_a_known_motion_is_accepted(answer: dict[str, NDArray[np.float64]]) -> None:
    assert unlike(answer) == ""


@pytest.mark.parametrize(("axis", "words"), [(0, "upside down"), (2, "mirrored from right to left")])
def test_a_prior_upside_down_or_mirrored_is_rejected(axis: int, words: str) -> None:
    """The phantom is nearly symmetric: the deformation makes its mirror image fit."""
    prior = np.ascontiguousarray(np.flip(moved(hu(), study.affine(), MOTION), axis))
    volumes = [registering._normalised(torch.from_numpy(v), torch.from_numpy(study.affine())) for v in (hu(), prior)]
    mirrored = np.array(registering.mirrored_likeness(*volumes))
    believed = {"likeness": [0, 0.7, 0.7], "least_jacobian": [0.7], "overlap": [0.9, 0.95], "matrix": np.eye(4)}
    assert words in unlike({**{name: np.array(value) for name, value in believed.items()}, "mirrored": mirrored})


def noise(hu: NDArray[np.int16]) -> NDArray[np.int16]:
    return np.random.default_rng(1).integers(-1000, 1000, hu.shape).astype(np.int16)


def test_a_motion_between_different_contents_is_rejected() -> None:
    fixed, affine = every_second()
    assert unlike(found(fixed, affine, noise(fixed), affine))


def test_two_without_a_place_in_common_have_no_likeness() -> None:
    outputs = found(hu(), study.affine(), hu()[:3, :3, :3].copy(), np.diag([0.1, 0.1, 0.1, 1.0])[[2, 1, 0, 3]])
    assert unlike(outputs)
    assert (outputs["image"] == -1024).all()
