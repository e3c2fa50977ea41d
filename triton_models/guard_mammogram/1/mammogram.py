"""Whether an image is a mammogram: one breast, on a black ground, from the chest wall on the left or right edge."""

import json

import torch
from serving.guarding import Answer, MeasureLimit, answer, answer_by_best_image, blank
from serving.picture_measures import LIT, box_of, colour_difference, largest_piece, mean_over, sized
from torch import Tensor

EXPECTED = "not a mammogram of one breast in a standard view"
MAGNIFIED = 1.4
"""Estimated Radiographic Magnification Factor (PS3.3 C.8.7.1) of a magnification view, at least."""
STRIP = 0.08
"""Part of the columns of the breast that lie at the chest wall, or before the nipple."""
LIMITS = (
    MeasureLimit("colour", 0, 8, "a picture in colour"),
    MeasureLimit("ground", 0.3, 0.97, "no black ground beside a breast"),
    MeasureLimit("one", 0.8, 1, "several bright objects"),
    MeasureLimit("wall", 0.42, 1, "no chest wall on one side"),
    MeasureLimit("front", 0, 0.5, "no end of a breast before the other side"),
    MeasureLimit("taller", 0.9, 4.5, "an object wider than a breast, or longer"),
    MeasureLimit("filled", 0.6, 0.93, "an outline that is not a breast's"),
    MeasureLimit("gaps", 0, 0.12, "gaps in what should be a breast"),
)
"""Read off development pictures; the card has what they have."""


def judge(images: Tensor, spacing: Tensor, header: str) -> Answer:  # noqa: ARG001 - mm are not needed
    """Say whether one of the images is a mammogram; docs/plugin-author.md has what is given and returned."""
    factor = float(json.loads(header or "{}").get("EstimatedRadiographicMagnificationFactor") or 1)
    verdict = answer_by_best_image([measures(plane) for plane in images], LIMITS, EXPECTED)
    if factor >= MAGNIFIED and not verdict["reason"]:
        return answer(1.0, f"this is a magnification by {factor:.1f}, {EXPECTED}")
    return verdict


def measures(plane: Tensor) -> dict[str, float]:
    """Measure a plane (row, column, sample); empty if it is blank."""
    picture = sized(plane)
    lit = mean_over(picture.amax(0), 3) > LIT / 2
    breast = largest_piece(lit)
    box = box_of(breast)
    if blank(plane) or box is None:
        return {}
    inside = breast[box]
    strip = max(1, round(STRIP * inside.shape[1]))
    ends = inside[:, :strip].float().mean(), inside[:, -strip:].float().mean()
    outline = front(inside if ends[0] > ends[1] else inside.flip(1))
    return {
        "colour": float(colour_difference(picture).mean()),
        "ground": 1 - float(lit.float().mean()),
        "one": float(breast.sum() / lit.sum().clamp(min=1)),
        "wall": float(max(ends)),
        "front": float(min(ends)),
        "taller": inside.shape[0] / inside.shape[1],
        "filled": float(inside.float().mean()),
        "gaps": float((outline - inside.float().sum(1)).mean() / inside.shape[1]),
    }


def front(breast: Tensor) -> Tensor:
    """Return how far a breast reaches from the left edge of (row, column) in each row, in pixels."""
    numbers = torch.arange(1, breast.shape[1] + 1, device=breast.device)
    return (numbers * breast).amax(1).float()
