"""From stored values to what is seen: the window of an image, its polarity, and the colours of a heat map over it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.codes import SCT, Code
from node.compose.fonts import Color
from node.compose.pm import stored_range
from node.compose.source_images import functional_groups
from node.images.frame import Frame
from node.images.series import Series
from node.results import Heatmap

DARK_ON_WHITE = {"PT", "NM"}
"""Modalities whose uptake readers are used to see dark on white."""
WINDOWS: dict[Code, tuple[float, float]] = {SCT.Lung: (-600.0, 1500.0), SCT.Bone: (400.0, 1800.0)}
"""Center and width in HU in which CT is shown where something of this type is outlined."""
CT_WINDOW = (40.0, 400.0)
"""Where a CT header gives no window."""
FAINTEST = 0.1
"""Part of a header's window that the image fills at the least: a wider one was meant for other numbers."""
STRONGEST = 0.6
"""How much of its colour a heat map has where it is highest; where it is lowest it has none."""
HEAT: tuple[Color, ...] = ((30, 20, 90), (40, 110, 190), (60, 190, 120), (250, 220, 60), (220, 30, 30))
"""Colours of a map from its lowest to its highest value."""


def window(stored: NDArray[Any], series: Series, frame: Frame, types: set[Code]) -> tuple[float, float]:
    """Return center and width: of what is outlined in CT, else the header's, else what the values suggest."""
    fitting = [suited for kind, suited in WINDOWS.items() if kind in types] if series.modality == "CT" else []
    if fitting:
        return fitting[0]
    low, high = map(float, np.percentile(stored, (1, 99.9 if series.modality in DARK_ON_WHITE else 99)))
    for holder in (frame.header, *functional_groups(frame.header, frame.number - 1, "FrameVOILUTSequence")):
        center, across = _first(holder.get("WindowCenter")), _first(holder.get("WindowWidth"))
        if center is not None and across is not None and across > 1 and high - low > FAINTEST * across:
            return center, across
    if series.modality == "CT":
        return CT_WINDOW
    return (low + high) / 2, max(high - low, 1e-6)


def _first(value: Any) -> float | None:
    """Return the first of one or several numbers: a header may offer several windows."""
    if value is None or value == "":
        return None
    return float(value if isinstance(value, int | float) else value[0])


def grey(stored: NDArray[Any], frame: Frame, shown: tuple[float, float], modality: str) -> NDArray[np.uint8]:
    """Return the image as the window shows it, 0 to 255, white where the header means white (PS3.3 C.11.2.1.2)."""
    if stored.ndim == 3:
        if stored.dtype == np.uint8:
            return stored
        return np.asarray(stored / max(float(stored.max()), 1.0) * 255, np.uint8)
    center, across = shown
    brightness = np.clip((stored.astype(np.float32) - (center - across / 2)) / across, 0, 1)
    inverse = frame.header.get("PhotometricInterpretation") == "MONOCHROME1"
    if inverse != (modality in DARK_ON_WHITE):
        brightness = 1 - brightness
    return np.asarray(brightness * 255, np.uint8)


def colored(heat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the colours of numbers from 0 to 1: (…, 3), red, green, blue, 0 to 255."""
    stops = np.linspace(0, 1, len(HEAT))
    return np.stack([np.interp(heat, stops, [color[part] for color in HEAT]) for part in range(3)], axis=-1)


def heat(result: Heatmap, index: int) -> NDArray[np.float64]:
    """Return how warm each pixel of an image is: 0 at the lowest stored value that is shown, 1 at the highest."""
    low, high = stored_range(result)
    least = float(np.finfo(np.float32).eps)
    return np.asarray(np.clip((result.array[index].astype(np.float64) - low) / max(high - low, least), 0, 1))


def in_color(shown: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image in grey, or in colour already, as (row, column, 3)."""
    return shown if shown.ndim == 3 else np.repeat(shown[..., None], 3, axis=2)


def warmed(image: NDArray[np.uint8], heat: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Return an image, (row, column, 3), under the colours of numbers from 0 to 1, (row, column)."""
    strength = heat[..., None] * STRONGEST
    return np.asarray((image * (1 - strength) + colored(heat) * strength).round(), np.uint8)
