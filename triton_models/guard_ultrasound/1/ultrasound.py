"""Whether an image is a greyscale ultrasound of the breast or the thyroid: soft tissue in layers under the skin."""

import torch
from serving.guarding import Answer, MeasureLimit, answer_by_best_image, blank
from serving.picture_measures import LIT, box_of, colour_difference, largest_piece, mean_over, sized
from torch import Tensor
from torch.nn import functional

EXPECTED = "not a greyscale ultrasound of the breast or the thyroid"
VIVID = 60
"""Of 255: difference of colours of flow, unlike that of a tinted grey scale."""
LIMITS = (
    MeasureLimit("vivid", 0, 0.02, "colours, such as those of flow"),
    MeasureLimit("tint", 0, 12, "a picture in colour"),
    MeasureLimit("area", 0.12, 1, "no scanned area"),
    MeasureLimit("filled", 0.6, 1, "little but black in the scanned area"),
    MeasureLimit("sides", 0.3, 1, "a sector that is narrow at the top, as of a heart or a fetus"),
    MeasureLimit("layers", 1.3, 2.6, "no layers along the skin"),
    MeasureLimit("speckle", 0.05, 0.165, "no speckle of ultrasound"),
    MeasureLimit("near", 1, 1000, "no bright tissue near the probe"),
    MeasureLimit("height", 0.53, 2, "an area wider or deeper than that of a probe for the breast"),
)
"""Read off development pictures; the card has what they have."""


def judge(images: Tensor, spacing: Tensor, header: str) -> Answer:  # noqa: ARG001 - the pixels decide
    """Say whether one of the images is such an ultrasound; docs/plugin-author.md has what is given and returned."""
    return answer_by_best_image([measures(plane) for plane in images[:: max(1, len(images) // 8)]], LIMITS, EXPECTED)


def measures(plane: Tensor) -> dict[str, float]:
    """Measure a plane (row, column, sample); empty if it is blank."""
    picture = sized(plane)
    whole = picture.mean(0)
    area = largest_piece(mean_over(whole, 5) > LIT / 2)
    box = box_of(area)
    if blank(plane) or box is None or min(side.stop - side.start for side in box) < 16:
        return {}
    grey, vivid = whole[box], colour_difference(picture)
    mean = mean_over(grey, 5)
    spread = (mean_over(grey * grey, 5) - mean * mean).clamp(min=0).sqrt()
    bright = mean > LIT
    down, across = (functional.avg_pool2d(grey[None, None], 2)[0, 0].diff(dim=axis).abs().mean() for axis in (0, 1))
    rows, columns = grey.shape
    edge = max(2, columns // 40)
    sides = torch.cat([area[box][:, :edge], area[box][:, -edge:]])
    middle = grey[:, columns // 4 : 3 * columns // 4]
    return {
        "vivid": float((vivid > VIVID).float().mean()),
        "tint": float(vivid.mean()),
        "area": rows * columns / whole.numel(),
        "filled": float(area[box].float().mean()),
        "sides": float(sides.float().mean()),
        "layers": float(down / across.clamp(min=1e-3)),
        "speckle": float((spread[bright] / mean[bright]).median()) if bool(bright.any()) else 0.0,
        "near": float(middle[: rows // 5].mean() / middle[-rows // 5 :].mean().clamp(min=1)),
        "height": rows / columns,
    }
