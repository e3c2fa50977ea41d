"""Check the quality of a chest radiograph: view, grey scale, rotation, marker, cropping, exposure."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node import Finding, Frame, Measurement, Region, Result, Series, Summary, Triton, codes

FRONTAL = codes.own("cxr-frontal", "Frontal view of the chest")
VIEW_DIFFERS = codes.own("cxr-view-differs", "View is not the one in the header")
INVERTED = codes.own("cxr-inverted", "Grey scale inverted")
OFF_MIDDLE = codes.own("cxr-off-middle", "Mediastinum off the middle: rotated, or one lung smaller")
CUT_OFF = codes.DCM.AnatomyCoverageIncomplete
WRONG_SIDE = codes.DCM.ViewAndLateralityMarkerIsIncorrect
OFFSET = codes.own("cxr-mediastinal-offset", "Offset of the mediastinum in widths of the lungs")
MARKER = codes.SCT.OpaqueMarker

FRONTAL_VIEWS = ("PA", "AP")
LATERAL_VIEWS = ("LL", "RL", "LLD", "RLD", "LATERAL")
LIKE_A_CHEST = 0.5
"""Correlation with two lungs: 0.61 to 0.65 in real frontal views, at most 0.49 in lateral ones and in breasts."""
OFFSET_ALLOWED = 0.06
"""Part of the width of both lungs; at most 0.05 in real frontal views that are not rotated."""
OUTLINE_ON_EDGE = 0.03
"""At most 0.015 in whole chests, at least 0.038 in real ones of which a fifth or more was cut off."""
CLIPPED = 0.05
DEVIATION = 3.0
"""Deviation Index (IEC 62494-1) beyond which an exposure is out of range (AAPM TG 116, Med Phys 2009;36:2898)."""


def run(xray: Series, triton: Triton) -> Iterator[Result]:
    """Check each image of the series."""
    answers = [triton.infer("cxr_quality", image=xray.brightness(index)) for index in range(len(xray.frames))]
    faults = []
    for number, (frame, answer) in enumerate(zip(xray.frames, answers, strict=True), 1):
        for result in _checked(frame, answer, f" {number}" if len(answers) > 1 else ""):
            yield result
            if isinstance(result, Finding) and result.present and result.notable:
                faults.append(result.name.meaning)
    if faults:
        yield Summary(f"Image quality: {'; '.join(dict.fromkeys(faults))}", glance=f"quality faults: {len(faults)}")
    else:
        yield Summary("No fault of image quality found", glance="no fault found")


def _frontal(answer: Mapping[str, NDArray[Any]]) -> bool:
    return bool(abs(answer["chest"][0]) >= LIKE_A_CHEST)


def _checked(frame: Frame, answer: Mapping[str, NDArray[Any]], number: str) -> Iterator[Result]:
    header, frontal = frame.header, _frontal(answer)
    rows, columns = answer["lungs"].shape
    box = _around(answer["lungs"]) if frontal else (0, 0, rows, columns)
    seen = _box(
        frame, box, label=f"{'Lungs' if frontal else 'Image'}{number}", kind=codes.SCT.Lung, shape=(rows, columns)
    )
    yield seen
    yield Finding(name=FRONTAL, present=frontal, of=seen, notable=False)
    view = str(header.get("ViewPosition") or "").upper()
    if view in FRONTAL_VIEWS + LATERAL_VIEWS:
        yield Finding(name=VIEW_DIFFERS, present=frontal != (view in FRONTAL_VIEWS), of=seen)
    yield from _exposure(header, answer, seen)
    if not frontal:
        return
    offset, on_edge = (float(part) for part in answer["measures"][:2])
    yield Finding(name=INVERTED, present=bool(answer["chest"][0] < 0), of=seen)
    yield Finding(name=OFF_MIDDLE, present=abs(offset) > OFFSET_ALLOWED, of=seen)
    yield Measurement(name=OFFSET, value=round(100 * offset, 1), unit=codes.UCUM.Percent, of=seen)
    yield Finding(name=CUT_OFF, present=on_edge > OUTLINE_ON_EDGE, of=seen)
    yield from _markers(frame, answer, number)


def _exposure(header: Any, answer: Mapping[str, NDArray[Any]], seen: Region) -> Iterator[Result]:
    """Judge exposure by the Deviation Index, else by the part of the chest that has the lowest or the highest value."""
    deviation = header.get("DeviationIndex")
    if deviation is not None and deviation != "":
        under, over = float(deviation) < -DEVIATION, float(deviation) > DEVIATION
    else:
        black, white = answer["measures"][2:]
        under, over = bool(white > CLIPPED), bool(black > CLIPPED)
    yield Finding(name=codes.DCM.UnderExposed, present=under, of=seen)
    yield Finding(name=codes.DCM.OverExposed, present=over, of=seen)


def _markers(frame: Frame, answer: Mapping[str, NDArray[Any]], number: str) -> Iterator[Result]:
    """Yield each letter, and whether its side is wrong: the patient's left is on the right of the image."""
    shape = answer["lungs"].shape
    middle = float(answer["chest"][2] + answer["chest"][4]) / 2
    turned_over = str((frame.header.get("PatientOrientation") or ["L"])[0]).startswith("R")
    for count, (letter, _, *box) in enumerate(answer["markers"], 1):
        name, side = ("R", codes.SCT.Right) if letter else ("L", codes.SCT.Left)
        label = f"Marker {name}{number}" + (f" ({count})" if count > 1 else "")
        marker = _box(frame, box, label=label, kind=MARKER, shape=shape)
        on_the_right = (box[1] + box[3]) / 2 > middle
        belongs_on_the_right = (side == codes.SCT.Left) != turned_over
        yield marker
        yield Finding(name=WRONG_SIDE, present=on_the_right != belongs_on_the_right, of=marker)


def _around(mask: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Return top, left, bottom and right of the box around a mask."""
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    if not len(rows):
        return 0, 0, mask.shape[0], mask.shape[1]
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _box(frame: Frame, box: Any, *, label: str, kind: codes.Code, shape: tuple[int, ...]) -> Region:
    """Return a box of top, left, bottom and right in pixels, cut at the edges of the image."""
    top, left, bottom, right = (float(edge) for edge in box)
    points = np.clip([[left, top], [right, bottom]], 0, [shape[1], shape[0]])
    category = codes.SCT.PhysicalObject if kind == MARKER else codes.SCT.AnatomicalStructure
    return Region(kind="box", points=points, label=label, type=kind, category=category, image=frame)
