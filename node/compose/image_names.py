"""What an image is called where a person reads: its Instance Number and its place, as viewers show them."""

import math
from typing import Any

import numpy as np

from node.compose.overlays import tile_matrix
from node.errors import UnsuitableSeries
from node.images.frame import Frame
from node.images.series import Series


def image_name(frame: Frame) -> str:
    """Return the name of an image: "image 87 at -412.5 mm".

    The number is Instance Number (0020,0013), of an instance with several frames the frame number: "frame 12". The
    place is Slice Location (0020,1041), which viewers show; without it, the position along the slices' normal, mm LPS.
    What the header does not have is left out; the name is empty where it has neither.
    """
    number = _whole_number(frame.header.get("InstanceNumber"))
    parts = [f"frame {frame.number}" if frame.multi_frame else "" if number is None else f"image {number}"]
    place = table_position(frame)
    if place is not None:
        parts.append(f"at {place:.1f} mm".replace("at -0.0 ", "at 0.0 "))
    return " ".join(filter(None, parts))


def table_position(frame: Frame) -> float | None:
    """Return Slice Location, else the position along the normal in mm; None without both."""
    given = None if frame.multi_frame else _number(frame.header.get("SliceLocation"))
    if given is not None or frame.position is None:
        return given
    try:
        normal = frame.normal
    except UnsuitableSeries:
        return None
    # the normal of axial images whose columns run to the head points to the feet, but positions are told in LPS
    main = normal[int(np.argmax(np.abs(normal)))]
    return float(normal @ frame.position) * (1.0 if main > 0 else -1.0)


def name_in_series(series: Series, index: int) -> str:
    """Return the name of an image among the others of its series.

    Empty for a series of one image, and for a slide, whose tiles are seen as one image.
    """
    if len(series.frames) == 1 or tile_matrix(series):
        return ""
    return image_name(series.frames[index]) or f"image {index + 1} of {len(series.frames)}"


def _whole_number(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _number(value: Any) -> float | None:
    """Return a number of a header, which may be empty, or text that is none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
