"""One trainer for the networks that come with the node: seeded, on the CPU, from examples drawn as they are needed."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from node.images.part10 import Part10
from node.images.stacks import group_into_stacks

Example = tuple[NDArray[np.float32], NDArray[np.generic]]
"""What the network is given, (channel, …) float32, and what it should answer."""
RESAMPLED = 1000
FAINT = 0.1
"""Of what a residual network adds: untrained, it leaves an image nearly as it is."""
NETWORK, FIGURES = "network.pt", "figures.json"


class ClassMaps(nn.Module):
    """A network that averages its features before a last linear layer, made to answer with the maps it averages.

    `body` gives features (example, feature, row, column) and `last` takes their means to logits; the mean of a class
    map (example, class, row, column) is that class's logit.
    """

    def __init__(self, body: nn.Module, last: nn.Linear) -> None:
        super().__init__()
        self.body, self.last = body, last

    @classmethod
    def of_densenet(cls, net: Any) -> "ClassMaps":
        """Return the class maps of MONAI's DenseNet."""
        return cls(nn.Sequential(net.features, nn.ReLU()), net.class_layers.out)

    def forward(self, planes: Tensor) -> Tensor:
        """Return the class maps of planes (example, channel, row, column)."""
        features = self.body(planes)
        return nn.functional.conv2d(features, self.last.weight[:, :, None, None], self.last.bias)


class Residual(nn.Module):
    """A network that answers with its input, its `body`'s answer added: it learns what is wrong with an image.

    Without a constant anywhere in the body the answer to twice the image is twice the answer, so that one network does
    for every scale of signal, and for noise of strengths it never saw (Mohan et al. 2020).
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, images: Tensor) -> Tensor:
        """Return images (example, channel, row, column) restored."""
        restored: Tensor = images + FAINT * self.body(images)
        return restored


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a network is trained.

    Parameters
    ----------
    draw
        Makes one example with the generator it is handed.
    loss
        (answers, truths), both (example, …), to one number.
    steps, batch, rate
        Steps of AdamW, examples in each, and the highest learning rate of its single cycle.
    """

    draw: Callable[[np.random.Generator], Example]
    loss: Callable[[Tensor, Tensor], Tensor]
    steps: int
    batch: int
    rate: float = 3e-3


LOOKED_AT = 0.1
"""How much it weighs in `seen_where` that a class is seen where it is, beside whether it is seen."""


def seen_where(maps: Tensor, truths: Tensor) -> Tensor:
    """Return the binary cross-entropy of every class, and how far its map is from lying where the class is.

    Both are (example, class, row, column); a truth is which part of each place is of the class. A class that is there
    has a map whose softmax over the places should be its share of each.
    """
    there = truths.amax((2, 3)) > 0
    seen = nn.functional.binary_cross_entropy_with_logits(maps.mean((2, 3)), there.float())
    share = truths.flatten(2) / truths.sum((2, 3)).clamp(min=1e-6)[..., None]
    astray = -(share * maps.flatten(2).log_softmax(2)).sum(2)
    return seen + LOOKED_AT * astray.sum() / there.sum().clamp(min=1)


def on_map(marks: NDArray[np.bool_], rows: int) -> NDArray[np.float32]:
    """Return marks (class, row, column) on the places of a square class map of so many rows: which part of each."""
    parts = nn.functional.adaptive_avg_pool2d(torch.from_numpy(marks.astype(np.float32)), rows)
    return np.asarray(parts.numpy())


def train(build: Callable[[], nn.Module], course: Course, *, seed: int = 1) -> nn.Module:
    """Build a network and train it; return it ready to answer. The same seed gives the same on the same machine.

    On one thread: sums are added in the same order whatever else the machine does.
    """
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    network = build().train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=course.rate)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, course.rate, total_steps=course.steps)
    for _ in range(course.steps):
        given, truths = zip(*(course.draw(random) for _ in range(course.batch)), strict=True)
        loss = course.loss(network(torch.from_numpy(np.stack(given))), torch.from_numpy(np.stack(truths)))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        rate.step()
    return network.eval()


def planes(folders: Sequence[Path]) -> list[NDArray[Any]]:
    """Return the images of one channel in folders of DICOM files, rescaled, (row, column); files are read in order."""
    files = sorted(path for folder in folders for path in folder.rglob("*.dcm"))
    series = group_into_stacks(Part10.of_file(path) for path in files).series
    images = [stack.image(index) for stack in series for index in range(len(stack.frames))]
    return [image for image in images if image.ndim == 2]


def save(network: nn.Module, given: Sequence[int], folder: Path, name: str = NETWORK) -> None:
    """Write a network as TorchScript into a model's version folder, traced with a tile of the shape `given`."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        torch.jit.trace(network, torch.zeros(*given)).save(folder / name)  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of merit with its 95 % confidence interval."""

    value: float
    low: float
    high: float


def mean(rows: NDArray[np.float64]) -> float:
    """Return the mean of all there is."""
    return float(rows.mean())


def figure(cases: Sequence[Sequence[float]], statistic: Callable[[NDArray[np.float64]], float] = mean) -> Figure:
    """Return a statistic of cases, (case, …), with the percentile bootstrap's interval over the cases (Efron 1979)."""
    rows = np.asarray(cases, np.float64)
    random = np.random.default_rng(0)
    drawn = [statistic(rows[random.integers(len(rows), size=len(rows))]) for _ in range(RESAMPLED)]
    low, high = np.nanpercentile(drawn, (2.5, 97.5))
    return Figure(statistic(rows), float(low), float(high))


def dice(truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> float:
    """Return twice the overlap of two masks over their sum; 1 where both are empty."""
    together = int(truth.sum() + found.sum())
    return float(2 * (truth & found).sum() / together) if together else 1.0


def area_under_curve(rows: NDArray[np.float64]) -> float:
    """Return the area under the ROC curve of rows (truth 0 or 1, probability), by the ranks; NaN of one class alone."""
    positive, negative = rows[rows[:, 0] == 1, 1], rows[rows[:, 0] == 0, 1]
    if not (len(positive) and len(negative)):
        return float("nan")
    apart = positive[:, None] - negative[None, :]
    return float(((apart > 0) + 0.5 * (apart == 0)).mean())


def write_figures(figures: Mapping[str, Figure], folder: Path) -> None:
    """Write figures beside the script that made them; the model card quotes them."""
    rounded = {name: [round(part, 3) for part in (f.value, f.low, f.high)] for name, f in figures.items()}
    (folder / FIGURES).write_text(json.dumps(rounded, indent=2) + "\n", encoding="utf-8")
