"""Train the network of ct_denoise anew: python triton_models/ct_denoise/train.py --images FOLDER --unseen FOLDER …

Nobody labels anything: noise and streaks are made, and added to images that have few: phantoms, and, of the series in
`--images`, means of neighbouring slices and pixels. Without `--unseen` the network is judged on phantoms.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from monai.networks.nets.unet import UNet
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor, nn

from node.images.series import LOWEST_HU
from node.serving.answers import image
from node.serving.chain import Chain
from node.serving.volume import scaled
from node.training import trainer
from node.training.phantoms import tomography
from node.training.phantoms.sections import section

HERE = Path(__file__).parent
CHAIN = Chain.read(HERE / "1" / "chain.json")
ROWS, INNER, PATCH = 256, 176, 64
"""Of a plane whose noise is made, of the square within its circle, and of what the network is shown."""
REAL, DRAWN = 48, 16
"""Planes that are prepared: cut out of images, and phantoms."""
PIXEL_MM = 0.8
STEPS = 4, 6, 10
"""Only each such view of `tomography.VIEWS` is left where views are sparse."""
CUTOFFS = 0.6, 1.0
"""Kernels, soft to sharp."""
STRONGEST_HU = 80.0
TEST_STEP, TEST_HU = 5, 40.0
"""On what it is judged: streaks of a fifth of the views, and noise of this deviation in the middle of the plane."""
SHOWN_HU = -1000.0, 1000.0
BLOCK, EVEN_HU = 16, 30.0
"""Squares of so many pixels count as homogeneous where the deviation of the clean image is less."""

Plane = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A plane in HU, its noise of deviation 1 for each kernel, and its streaks for each number of views."""

    clean: Plane
    noises: tuple[Plane, ...]
    streaks: tuple[Plane, ...]


def network() -> nn.Module:
    """Return a U-Net that answers with what is to be taken away (residual learning, Chen et al. 2017)."""
    body = UNet(2, 1, 1, channels=(16, 16, 24, 32, 48), strides=(1, 1, 2, 2), norm=None, bias=False)  # type: ignore[arg-type]
    return trainer.Residual(body)


def noise(projections: Tensor, cutoff: float, generator: torch.Generator) -> Tensor:
    """Return noise as photons make it, with a deviation of 1 in the middle of the plane."""
    plane = tomography.reconstructed(tomography.quantum_noise(projections, generator), cutoff)
    middle = len(plane) // 3
    return plane / plane[middle:-middle, middle:-middle].std()


def streaks(projections: Tensor, *steps: int) -> list[Tensor]:
    """Return what is added to a plane in HU when only each n-th view is there, for several n."""
    whole = tomography.reconstructed(projections)
    sparse = (tomography.reconstructed(projections[::step]) for step in steps)
    return [(projection - whole) / (tomography.WATER * PIXEL_MM) * 1000 for projection in sparse]


def pair(hu: NDArray[np.number], generator: torch.Generator) -> Pair:
    """Return a plane, `ROWS` square, with noise and streaks for it."""
    projections = tomography.projected(tomography.attenuation(torch.from_numpy(hu.astype(np.float32)), PIXEL_MM))
    edge = (ROWS - INNER) // 2
    inner = (slice(edge, edge + INNER),) * 2
    return Pair(
        clean=hu[inner].astype(np.float32),
        noises=tuple(noise(projections, cutoff, generator)[inner].numpy() for cutoff in CUTOFFS),
        streaks=tuple(plane[inner].numpy() for plane in streaks(projections, *STEPS)),
    )


def pairs(images: Sequence[Plane], random: np.random.Generator) -> list[Pair]:
    """Return planes cut out of images, if there are any, and phantoms."""
    generator = torch.Generator().manual_seed(1)
    planes: list[NDArray[np.number]] = [section(ROWS, random) for _ in range(DRAWN)]
    for _ in range(REAL if images else 0):
        whole = images[random.integers(len(images))]
        row, column = (random.integers(length - ROWS + 1) for length in whole.shape)
        planes.append(whole[row : row + ROWS, column : column + ROWS])
    return [pair(plane, generator) for plane in planes]


def draw(prepared: Sequence[Pair], random: np.random.Generator) -> trainer.Example:
    """Return a patch with noise, streaks, both or, one time in four, neither; and without."""
    section = prepared[random.integers(len(prepared))]
    row, column = random.integers(INNER - PATCH + 1, size=2)
    window = slice(row, row + PATCH), slice(column, column + PATCH)
    added = np.zeros((PATCH, PATCH), np.float32)
    if random.random() < 0.5:
        added += np.float32(random.uniform(0, STRONGEST_HU)) * section.noises[random.integers(len(CUTOFFS))][window]
    if random.random() < 0.5:
        added += np.float32(random.uniform(0, 1)) * section.streaks[random.integers(len(STEPS))][window]
    both = np.stack([section.clean[window] + added, section.clean[window]])
    turned = np.rot90(both, random.integers(4), (1, 2))
    given, truth = scaled(CHAIN, torch.from_numpy(turned.copy())).numpy()[:, None]
    return given, truth


def quieter(plane: NDArray[np.integer]) -> Plane:
    """Return a plane of half as many rows and columns, means of 2 × 2 pixels: with less noise of its own."""
    rows, columns = (length // 2 for length in plane.shape)
    return plane[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2).mean((1, 3), dtype=np.float32)


def calmed(planes: Sequence[NDArray[np.integer]]) -> list[Plane]:
    """Return the means of each three neighbours, quieter: the noise that its truth has a network learns to keep."""
    calm = [quieter(plane) for plane in planes]
    return [(before + plane + behind) / 3 for before, plane, behind in zip(calm, calm[1:], calm[2:], strict=False)]


def judge(found: nn.Module, planes: Sequence[Plane]) -> dict[str, trainer.Figure]:
    """Return by how much noise and streaks made on planes it never saw are less, plane by plane."""
    generator = torch.Generator().manual_seed(1000)
    rows: dict[str, list[list[float]]] = {}
    for plane in planes:
        clean = torch.from_numpy(plane)
        attenuation = tomography.attenuation(clean, PIXEL_MM)
        projections = tomography.projected(attenuation)
        added = {
            "low dose": TEST_HU * noise(projections, 1.0, generator),
            "sparse views": streaks(projections, TEST_STEP)[0],
        }
        for name, artefact in added.items():
            given = torch.where(attenuation > 0, clean + artefact, clean)
            answer = image(CHAIN, [(given[None], np.eye(4))], found)["values"][0]
            figures = {
                f"PSNR gain, {name}, dB:": psnr(clean, answer) - psnr(clean, given),
                f"SSIM gain, {name}:": ssim(clean, answer) - ssim(clean, given),
                f"shift of homogeneous regions, {name}, HU:": shift(clean, given, answer),
            }
            for figure, value in figures.items():
                if np.isfinite(value):  # some planes have no homogeneous square
                    rows.setdefault(figure, []).append([value])
    return {name: trainer.figure(values) for name, values in rows.items()}


def psnr(clean: Tensor, other: Tensor) -> float:
    """Return the peak signal-to-noise ratio in dB, of the range that is shown."""
    low, high = SHOWN_HU
    shown = [plane.clamp(low, high).numpy() for plane in (clean, other)]
    return float(peak_signal_noise_ratio(*shown, data_range=high - low))


def ssim(clean: Tensor, other: Tensor) -> float:
    """Return the structural similarity (Wang et al. 2004), of the range that is shown."""
    low, high = SHOWN_HU
    shown = [plane.clamp(low, high).numpy() for plane in (clean, other)]
    return float(structural_similarity(*shown, data_range=high - low))


def shift(clean: Tensor, given: Tensor, answer: Tensor) -> float:
    """Return by how much the network moves the mean of homogeneous squares of tissue on average, in HU."""
    squares = [
        part[: len(part) // BLOCK * BLOCK, : len(part) // BLOCK * BLOCK].unfold(0, BLOCK, BLOCK).unfold(1, BLOCK, BLOCK)
        for part in (clean, given, answer)
    ]
    even = (squares[0].std((2, 3)) < EVEN_HU) & (squares[0].mean((2, 3)) > -200)
    return float((squares[2] - squares[1]).mean((2, 3))[even].mean())


def main(steps: int = 8000) -> None:
    """Train, save the network where Triton loads it, and write how good it is."""
    asked = argparse.ArgumentParser()
    asked.add_argument("--images", type=Path, nargs="*", default=[])
    asked.add_argument("--unseen", type=Path, nargs="*", default=[])
    asked.add_argument("--steps", type=int, default=steps)
    arguments = asked.parse_args()
    torch.set_num_threads(1)
    random = np.random.default_rng(2)
    images = calmed([plane.clip(LOWEST_HU) for plane in trainer.planes(arguments.images)])
    prepared = pairs(images, random)
    course = trainer.Course(draw=partial(draw, prepared), loss=nn.L1Loss(), steps=arguments.steps, batch=8)
    trained = trainer.train(network, course)
    trainer.save(trained, (1, 1, PATCH, PATCH), HERE / "1")
    unseen = list({plane.tobytes(): plane.clip(LOWEST_HU) for plane in trainer.planes(arguments.unseen)}.values())
    unseen = unseen or [section(2 * ROWS, random) for _ in range(8)]
    with torch.inference_mode():
        trainer.write_figures(judge(trained, [quieter(plane) for plane in unseen]), HERE)


if __name__ == "__main__":
    main()
