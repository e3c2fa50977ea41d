"""Train the network of mr_superres anew: python triton_models/mr_superres/train.py --images FOLDER --unseen FOLDER …

Nobody labels anything: slices of MR are fine in their own plane, so one of its axes is made thick, and the network
learns to make it thin again (SMORE, Zhao et al. 2021). Without `--images` these are phantoms alone, without `--unseen`
the network is judged on phantoms.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from monai.networks.nets.unet import UNet
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, map_coordinates
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import nn

from node.serving.answers import image
from node.serving.chain import Chain
from node.training import trainer
from node.training.phantoms.head_pair import mr_and_ct

HERE = Path(__file__).parent
CHAIN = Chain.read(HERE / "1" / "chain.json")
PATCH = 96
DRAWN = 12
DISTANCES = 2.5, 6.5
"""From slice to slice, in pixels of the plane: the factors that the network learns."""
WIDTHS = 0.6, 1.0
"""Full width at half maximum of a slice's profile, as a part of that distance: about its thickness."""
DEVIATIONS = 2.355
"""That width of a Gaussian, in its deviations."""
TEST_DISTANCES = 3.0, 5.0

Plane = NDArray[np.float32]


def network() -> nn.Module:
    """Return a U-Net that answers with what interpolation lacks, at any scale of signal."""
    body = UNet(2, 1, 1, channels=(16, 16, 24, 32, 48), strides=(1, 1, 2, 2), norm=None, bias=False)  # type: ignore[arg-type]
    return trainer.Residual(body)


def thick(plane: Plane, distance: float, width: float) -> Plane:
    """Return a plane (row, column) with fewer, thicker columns, `distance` of its pixels apart."""
    blurred = gaussian_filter1d(plane, distance * width / DEVIATIONS, axis=1, mode="nearest")
    return between(blurred, np.arange(0, plane.shape[1] - 1, distance), order=1)


def between(plane: Plane, columns: NDArray[np.float64], *, order: int) -> Plane:
    """Return a plane interpolated at columns that need not be whole: order 1 linearly, 3 by cubic splines."""
    places = np.meshgrid(np.arange(len(plane)), columns, indexing="ij")
    return np.asarray(map_coordinates(plane, places, order=order, mode="nearest"), np.float32)


def normalised(images: Sequence[NDArray[np.integer]]) -> list[Plane]:
    """Return planes that show something, and whose brightest is about 1."""
    planes = [np.asarray(image, np.float32) / max(float(np.percentile(image, 99.5)), 1.0) for image in images]
    return [plane for plane in planes if plane.mean() > 0.05]


def phantoms(random: np.random.Generator) -> list[NDArray[np.integer]]:
    """Return planes of heads."""
    return [mr_and_ct(random.uniform(-45, 50, 1), 240, random)[0][0] for _ in range(DRAWN)]


def draw(planes: Sequence[Plane], random: np.random.Generator) -> trainer.Example:
    """Return a patch of a plane that was made thick along one axis and interpolated; and as it was."""
    plane = planes[random.integers(len(planes))]
    plane = np.rot90(plane, random.integers(4)) ** np.float32(random.uniform(0.6, 1.5))  # of other contrasts too
    plane = plane[:, random.integers(plane.shape[1] - PATCH - 15) :]
    distance = random.uniform(*DISTANCES)
    slices = thick(plane, distance, random.uniform(*WIDTHS))
    count = int((slices.shape[1] - 1) * distance) + 1
    given = between(slices, np.arange(count) / distance, order=1)
    row, column = (random.integers(length - PATCH + 1) for length in given.shape)
    window = slice(row, row + PATCH), slice(column, column + PATCH)
    return given[window][None], plane[window][None].astype(np.float32)


def judge(found: nn.Module, planes: Sequence[Plane]) -> dict[str, trainer.Figure]:
    """Return how much nearer than interpolation the network comes to planes it never saw, plane by plane."""
    rows: dict[str, list[list[float]]] = {}
    for plane in planes:
        for distance in TEST_DISTANCES:
            slices = thick(plane, distance, sum(WIDTHS) / 2)
            stack = torch.from_numpy(slices.T[:, :, None].copy())  # (slice, row, column)
            made = image(CHAIN, [(stack, np.diag([distance, 1.0, 1.0, 1.0]))], found)["values"][:, :, 0].numpy().T
            truth = plane[:, : made.shape[1]]
            for name, order in (("linear", 1), ("cubic", 3)):
                other = between(slices, np.arange(made.shape[1]) / distance, order=order)
                for quality, of in (("PSNR gain (dB)", psnr), ("SSIM gain", ssim)):
                    gain = [of(truth, made) - of(truth, other)]
                    rows.setdefault(f"{quality} over {name}, slices {distance:.0f} pixels thick:", []).append(gain)
    return {name: trainer.figure(values) for name, values in rows.items()}


def psnr(truth: Plane, other: Plane) -> float:
    """Return the peak signal-to-noise ratio in dB."""
    return float(peak_signal_noise_ratio(truth, other, data_range=1.0))


def ssim(truth: Plane, other: Plane) -> float:
    """Return the structural similarity (Wang et al. 2004)."""
    return float(structural_similarity(truth, other, data_range=1.0))


def main(steps: int = 1500) -> None:
    """Train, save the network where Triton loads it, and write how good it is."""
    asked = argparse.ArgumentParser()
    asked.add_argument("--images", type=Path, nargs="*", default=[])
    asked.add_argument("--unseen", type=Path, nargs="*", default=[])
    asked.add_argument("--steps", type=int, default=steps)
    arguments = asked.parse_args()
    random = np.random.default_rng(2)
    planes = normalised([*trainer.planes(arguments.images), *phantoms(random)])
    course = trainer.Course(draw=partial(draw, planes), loss=nn.L1Loss(), steps=arguments.steps, batch=4, rate=2e-3)
    trained = trainer.train(network, course)
    trainer.save(trained, (1, 1, PATCH, PATCH), HERE / "1")
    unseen = normalised(trainer.planes(arguments.unseen) or phantoms(random))
    with torch.inference_mode():
        trainer.write_figures(judge(trained, unseen), HERE)


if __name__ == "__main__":
    main()
