"""What the stored values of an image mean (PS3.3 C.11.1): Modality LUT, padding, and whether the header says it all.

A number that decides the values and is missing has no default: its images are unsuitable, and the reason names them.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.errors import NotUnderstood
from node.images.frame import Frame, ModalityLut, Values

UNSCALED = "Rescale Slope and Rescale Intercept are absent"
"""Of an image whose header does not say what its values mean. That is no fault in MR, radiographs and ultrasound."""
TYPE_1 = {"CT": "PS3.3 C.8.2.1", "PT": "PS3.3 C.8.9.4"}
"""Modalities in which Rescale Slope and Rescale Intercept are required, and where the standard says so."""
UNITS = {"CT": ("", "HU", "US")}
"""Modality → Rescale Types of the values that its volumes promise. US is unspecified: converters write it for HU."""
HIGHEST_HU = 1e5
"""No CT has such values. Those of metal, in the extended range of 16 bits, end below 65 536."""


def read_modality_lut(values: Values) -> ModalityLut | None:
    """Return the Modality LUT of an image; None if it has none.

    Raises
    ------
    NotUnderstood
        LUT Descriptor and LUT Data are absent, or do not fit each other.
    """
    items = values.get("ModalityLUTSequence")
    if not items:
        return None
    descriptor, data = items[0].get("LUTDescriptor"), items[0].get("LUTData")
    if descriptor is None or len(descriptor) != 3 or not data:
        raise NotUnderstood("its Modality LUT has no LUT Descriptor of three numbers, or no LUT Data")
    entries, first, bits = (int(number) % 2**16 for number in descriptor)
    if values.get("PixelRepresentation") and first >= 2**15:
        first -= 2**16
    table = _table(data, bits)
    if len(table) != (entries := entries or 2**16):
        raise NotUnderstood(f"its Modality LUT has {len(table)} entries, and its LUT Descriptor says {entries}")
    return ModalityLut(table=table, first=first, kind=str(items[0].get("ModalityLUTType") or ""))


def _table(data: Any, bits: int) -> NDArray[np.uint16]:
    """Return LUT Data as whole numbers: pydicom gives bytes for OW, numbers for US."""
    if not isinstance(data, bytes):
        return np.asarray([int(number) % 2**16 for number in data], np.uint16)
    kind, size = ("u1", 1) if bits <= 8 else ("<u2", 2)
    if len(data) % size:
        raise NotUnderstood(f"its Modality LUT has {len(data)} bytes, which are no entries of {bits} bits")
    return np.asarray(np.frombuffer(data, kind).astype(np.uint16))


# Padding (PS3.3 C.7.5.1.1.2)


def padding_range(values: Values) -> tuple[int, int] | None:
    """Return the lowest and highest stored value that is padding and no value of the image; None if there is none.

    Pixel Padding Value and Pixel Padding Range Limit have 16 bits. Whatever VR they were written with, Pixel
    Representation says whether they are signed.
    """
    ends = [values.get(keyword) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    numbers = [end for end in ends if isinstance(end, int)]
    if not isinstance(ends[0], int):
        return None
    if values.get("PixelRepresentation"):
        numbers = [(number + 2**15) % 2**16 - 2**15 for number in numbers]
    else:
        numbers = [number % 2**16 for number in numbers]
    return min(numbers), max(numbers)


def find_padding(frame: Frame, stored: NDArray[Any], floor: int | None) -> NDArray[np.bool_] | None:
    """Return where a plane of stored values is padding; None where it is not, or where `floor` raises it anyway."""
    padding = padding_range(frame.image.values)
    if padding is None or stored.dtype.kind not in "iu":
        return None
    low, high = padding
    if floor is not None and frame.lut is None and frame.slope > 0 and high * frame.slope + frame.intercept <= floor:
        return None
    mask = stored == low if low == high else (stored >= low) & (stored <= high)
    return np.asarray(mask) if mask.any() else None


def without_padding(stored: NDArray[Any], mask: NDArray[np.bool_]) -> NDArray[Any]:
    """Return a plane in which padding has the lowest stored value that is none; 0 if all is padding."""
    rest = stored[~mask]
    return np.asarray(np.where(mask, rest.min() if len(rest) else stored.dtype.type(0), stored))


def fill_padding(frame: Frame, plane: NDArray[Any], mask: NDArray[np.bool_], floor: int | None) -> None:
    """Make padding background in a plane of real values: `floor`, else what is displayed black, 0 or darker."""
    rest = plane[~mask]
    if floor is not None:
        plane[mask] = floor
    elif frame.image.values.get("PhotometricInterpretation") == "MONOCHROME1":
        plane[mask] = rest.max(initial=0)
    else:
        plane[mask] = rest.min(initial=0)


# Whether the header says what the values mean


def meaning_fault(frames: Sequence[Frame], modality: str) -> str:
    """Return why the values of a stack have no meaning, or not the meaning that its volume promises; "" if they do.

    Rescale Slope and Intercept are required in CT and PET, and in no stack may some images have them and others not.
    """
    if unclear := [frame for frame in frames if frame.mapping_fault]:
        return f"{unclear[0].mapping_fault}, in {len(unclear)} of {len(frames)} images, {listed(unclear)}"
    lacking = [frame for frame in frames if frame.unscaled]
    if lacking and (modality in TYPE_1 or len(lacking) < len(frames) or any(f.unscaled != UNSCALED for f in lacking)):
        clause = f" (Type 1, {TYPE_1[modality]})" if modality in TYPE_1 else ""
        what = " or ".join(dict.fromkeys(frame.unscaled for frame in lacking))
        return f"{what}{clause} in {len(lacking)} of {len(frames)} images, {listed(lacking)}"
    if other := [frame for frame in frames if frame.unit not in UNITS.get(modality, (frame.unit,))]:
        return f"values are not in Hounsfield units: Rescale Type is {other[0].unit} in {listed(other)}"
    return ""


def listed(frames: Sequence[Frame]) -> str:
    """Return a list of images for a message: their Instance Numbers, or frame numbers, and the first by its UID."""
    numbers = [f.number if f.multi_frame else f.image.values.get("InstanceNumber") for f in frames]
    known = sorted({int(number) for number in numbers if isinstance(number, int)})
    if len(known) < len(frames) or len(frames) == 1:
        return f"the first is {frames[0]}" if len(frames) > 1 else str(frames[0])
    kind = "frames" if frames[0].multi_frame else "Instance Numbers"
    return f"{kind} {', '.join(_ranges(known))}; the first is {frames[0]}"


def _ranges(numbers: Sequence[int]) -> Iterable[str]:
    """Yield whole numbers in ascending order as "1", "2" and "4 to 9"."""
    starts = [0, *(index for index, (number, other) in enumerate(pairwise(numbers), 1) if other != number + 1)]
    for start, end in zip(starts, [*starts[1:], len(numbers)], strict=True):
        run = numbers[start:end]
        yield str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}"
