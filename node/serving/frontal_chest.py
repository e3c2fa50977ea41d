"""Whether a radiograph shows a chest from the front: two lungs, the head up, bone white."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

from torch import Tensor

from .appearance import Likeness
from .guarding import Answer, answer, blank, colourful

LEAST = 0.45
"""Likeness of a frontal chest. Chests have 0.49 or more, nearly all others 0.4 or less: the card has the figures."""
SURELY = 0.6
"""Likeness from which a reason names a chest that is turned or inverted."""
NEGATIVE = 0.8
"""From this likeness on, an inverted image counts as the negative of a frontal chest; ultrasound reaches 0.79."""
LONGEST, WIDEST = 1.7, 1.7
"""Rows for each column, and columns for each row, at most: half a chest is longer or wider."""
EITHER_WAY = "not a chest from the front, upright, nor its negative"
EXPECTED = "not a frontal chest, upright, in which bone is white"
TURNS: tuple[tuple[str, Callable[[Tensor], Tensor]], ...] = (
    ("whose grey scale is inverted", lambda plane: 255 - plane),
    ("upside down", lambda plane: plane.flip(0)),
    ("turned by 90 degrees", lambda plane: plane.transpose(0, 1).flip(0)),
    ("turned by 90 degrees", lambda plane: plane.transpose(0, 1).flip(1)),
    ("upside down, whose grey scale is inverted", lambda plane: 255 - plane.flip(0)),
)
"""How a frontal chest is shown, and what undoes that."""


@cache
def weights() -> Likeness:
    """Return the likeness of a frontal chest, from the file of the same name."""
    return Likeness.read(Path(__file__).with_suffix(".json"))


def judge(images: Tensor, spacing: Tensor, header: str) -> Answer:  # noqa: ARG001 - the pixels decide
    """Say whether one of the images is a frontal chest; docs/plugin-author.md has what is given and returned."""
    alike, plane = most_alike(images, likeness)
    return answer(alike, "" if alike >= LEAST else f"{looks_like(plane)}, {EXPECTED}")


def judge_either_way(images: Tensor, spacing: Tensor, header: str) -> Answer:  # noqa: ARG001 - the pixels decide
    """Say whether one of the images is a frontal chest or its negative: for plugins that look for negatives."""
    alike, plane = most_alike(images, likeness)
    negative, _ = most_alike(255 - images, likeness)
    reason = "" if alike >= LEAST or negative >= NEGATIVE else f"{looks_like(plane)}, {EITHER_WAY}"
    return answer(max(alike, negative), reason)


def most_alike(images: Tensor, measure: Callable[[Tensor], float]) -> tuple[float, Tensor]:
    """Return the plane of images (image, row, column, sample) that a measure is highest of, after that measure."""
    measured = [(measure(plane.float()), plane.float()) for plane in images]
    return max(measured, key=lambda likeness: likeness[0])


def likeness(plane: Tensor) -> float:
    """Return how alike a plane (row, column, sample) is to a frontal chest, 0 to 1; half a chest and colour give 0."""
    rows, columns = plane.shape[:2]
    if blank(plane) or colourful(plane) or rows > LONGEST * columns or columns > WIDEST * rows:
        return 0.0
    return weights().of(plane)


def looks_like(plane: Tensor) -> str:
    """Say what a plane looks like that is no frontal chest."""
    if blank(plane):
        return "the image is blank"
    if colourful(plane):
        return "the image is in colour"
    alike, shown = turned(plane)
    return f"these pixels look like {f'a frontal chest {shown}' if alike >= SURELY else 'something else'}"


def turned(plane: Tensor) -> tuple[float, str]:
    """Return how alike a plane is to a frontal chest that is shown in another way, and in which."""
    return max((likeness(undo(plane)), shown) for shown, undo in TURNS)
