"""A picture of the phantom that was sent through a chain, and of what came back: why a model was not added."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

SENT, BACK = np.array([235, 120, 40]), np.array([40, 160, 235])
SCALE, GAP = 6, 12


def draw(sent: NDArray[np.bool_], back: NDArray[np.bool_], path: Path) -> Path:
    """Draw two masks (slice, row, column) of the same shape from three sides, and return where the picture lies.

    What was sent is orange, what came back blue, and pale where they agree.
    """
    views = [_view(sent.any(axis), back.any(axis)) for axis in range(3)]
    width = sum(view.width for view in views) + GAP * (len(views) + 1)
    page = Image.new("RGB", (width, max(view.height for view in views) + 4 * GAP))
    words, left = ImageDraw.Draw(page), GAP
    font = ImageFont.load_default(GAP)
    for view, axes in zip(views, ("rows × columns", "slices × columns", "slices × rows"), strict=True):
        page.paste(view, (left, 2 * GAP))
        words.text((left, GAP // 2), axes, font=font)
        left += view.width + GAP
    words.text((GAP, page.height - 2 * GAP), "orange: sent, blue: came back, pale: both", font=font)
    page.save(path)
    return path


def _view(sent: NDArray[np.bool_], back: NDArray[np.bool_]) -> Image.Image:
    colors = sent[..., None] * SENT + back[..., None] * BACK
    small = Image.fromarray(np.minimum(colors, 255).astype(np.uint8))
    return small.resize((small.width * SCALE, small.height * SCALE), Image.Resampling.NEAREST)
