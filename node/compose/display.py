"""How stored values are displayed: window and polarity of an image, and the colours of a heat map over it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.codes import SCT, Code
from node.compose.fonts import Color
from node.compose.source_images import functional_groups
from node.images.frame import Frame
from node.images.series import Series
from node.results import Heatmap

DARK_ON_WHITE = {"PT", "NM"}
"""Modalities whose uptake is displayed dark on white, as readers are used to."""
WINDOWS: dict[Code, tuple[float, float]] = {
    SCT.Lung: (-600.0, 1500.0),
    SCT.Bone: (400.0, 1800.0),
    SCT.Liver: (60.0, 200.0),
    SCT.Brain: (40.0, 80.0),
}
"""Type or anatomic region of a segment → center and width in HU in which a CT is displayed if it is outlined."""
HEADS = {"HEAD", "BRAIN", "SKULL", "HEADNECK"}
"""Body Part Examined (PS3.16 Annex L) of a CT that is shown in the window of the brain if its header has none."""
CT_WINDOW = (40.0, 400.0)
"""Center and width in HU for a CT whose header has no window."""
FAINTEST = 0.1
"""Least part of a header's window that the values must fill; a wider window was meant for other values."""
STRONGEST = 0.6
"""Opacity of a heat map where it is highest; where it is lowest, it is transparent."""
HEAT: tuple[Color, ...] = ((30, 20, 90), (40, 110, 190), (60, 190, 120), (250, 220, 60), (220, 30, 30))
"""Colours of a map from its lowest to its highest value."""


def select_window(stored: NDArray[Any], series: Series, frame: Frame, types: set[Code]) -> tuple[float, float]:
    """Return window center and width for an image on which segments of `types` are outlined.

    In CT that of an outlined type comes first, then that of the header, then one of the range of values.
    """
    fitting = [window for kind, window in WINDOWS.items() if kind in types] if series.modality == "CT" else []
    if fitting:
        return fitting[0]
    low, high = map(float, np.percentile(stored, (1, 99.9 if series.modality in DARK_ON_WHITE else 99)))
    for holder in (frame.header, *functional_groups(frame.header, frame.number - 1, "FrameVOILUTSequence")):
        center, width = _first(holder.get("WindowCenter")), _first(holder.get("WindowWidth"))
        if center is not None and width is not None and width > 1 and high - low > FAINTEST * width:
            return center, width
    if series.modality == "CT":
        return WINDOWS[SCT.Brain] if str(frame.header.get("BodyPartExamined") or "").upper() in HEADS else CT_WINDOW
    return (low + high) / 2, max(high - low, 1e-6)


def _first(value: Any) -> float | None:
    """Return the first of one or several numbers: a header may have several windows."""
    if value is None or value == "":
        return None
    return float(value if isinstance(value, int | float) else value[0])


def to_grey(stored: NDArray[Any], frame: Frame, shown: tuple[float, float], modality: str) -> NDArray[np.uint8]:
    """Return an image in its window, 0 to 255, in the polarity of its header (PS3.3 C.11.2.1.2); colour is kept."""
    if stored.ndim == 3:
        if stored.dtype == np.uint8:
            return stored
        return np.asarray(stored / max(float(stored.max()), 1.0) * 255, np.uint8)
    center, width = shown
    brightness = np.clip((stored.astype(np.float32) - (center - width / 2)) / width, 0, 1)
    inverse = frame.header.get("PhotometricInterpretation") == "MONOCHROME1"
    if inverse != (modality in DARK_ON_WHITE):
        brightness = 1 - brightness
    return np.asarray(brightness * 255, np.uint8)


def heat_colors(heat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the colours of numbers from 0 to 1: (…, 3) red, green, blue, 0 to 255."""
    stops = np.linspace(0, 1, len(HEAT))
    return np.stack([np.interp(heat, stops, [color[part] for color in HEAT]) for part in range(3)], axis=-1)


def stored_range(result: Heatmap) -> tuple[float, float]:
    """Return the lowest and highest stored value to show: those of the window, else those that occur."""
    if result.window is None:
        return float(result.array.min()), float(result.array.max())
    low, high = sorted((value - result.intercept) / result.slope for value in result.window)
    return low, high


def relative_heat(result: Heatmap, index: int) -> NDArray[np.float64]:
    """Return the heat of each pixel (row, column): 0 at the lowest stored value to show, 1 at the highest."""
    low, high = stored_range(result)
    least = float(np.finfo(np.float32).eps)
    return np.asarray(np.clip((result.array[index].astype(np.float64) - low) / max(high - low, least), 0, 1))


def to_rgb(shown: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image in grey or colour as (row, column, 3)."""
    return shown if shown.ndim == 3 else np.repeat(shown[..., None], 3, axis=2)


def blend_heat(image: NDArray[np.uint8], heat: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Return an image (row, column, 3) with a heat map of numbers from 0 to 1, (row, column), over it."""
    strength = heat[..., None] * STRONGEST
    return np.asarray((image * (1 - strength) + heat_colors(heat) * strength).round(), np.uint8)
