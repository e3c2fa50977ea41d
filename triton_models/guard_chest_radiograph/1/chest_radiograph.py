"""Whether a radiograph shows a chest from the front: two lungs, the head up, bone white."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

from serving.appearance import Likeness
from serving.guarding import Answer, answer, blank, colourful
from torch import Tensor

LEAST = 0.45
"""Likeness of a frontal chest. Chests have 0.49 or more, nearly all others 0.4 or less: the card has the figures."""
LONGEST, WIDEST = 1.7, 1.7
"""Rows for each column, and columns for each row, at most: half a chest is longer or wider."""
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
    """Return the likeness of a frontal chest, from the file beside this one."""
    return Likeness.read(Path(__file__).with_name("likeness.json"))


def judge(images: Tensor, spacing: Tensor, header: str) -> Answer:  # noqa: ARG001 - the pixels decide
    """Say whether one of the images is a frontal chest; see docs/plugin-author.md for what is given and returned."""
    planes = [plane.float() for plane in images]
    alike = [likeness(plane) for plane in planes]
    best = max(range(len(planes)), key=lambda number: alike[number])
    return answer(alike[best], "" if alike[best] >= LEAST else f"{looks_like(planes[best])}, {EXPECTED}")


def likeness(plane: Tensor) -> float:
    """Return how alike a plane (row, column, sample) is to a frontal chest, 0 to 1; 0 for half of one, or in colour."""
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
    alike, shown = max((likeness(undo(plane)), shown) for shown, undo in TURNS)
    return f"these pixels look like {f'a frontal chest {shown}' if alike >= LEAST else 'something else'}"
