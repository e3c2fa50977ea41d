"""Find a lesion of breast or thyroid in an ultrasound: the best frame, the position there, and its kind."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node import (
    Caveat,
    Code,
    Finding,
    KeyImages,
    Measurement,
    NotSuitable,
    Region,
    Result,
    Series,
    Summary,
    Triton,
    codes,
)
from node.measuring import label_components

LESION, MALIGNANT = 0, 1
"""Classes of the model."""
HEIGHT = codes.DCM.Height
"""Extent away from the transducer (PS3.16 CID 7470)."""
PRESENT = 0.5
WITHIN = 0.9
"""A pixel belongs to the lesion from this part of the highest value of the map on; chosen on phantoms."""
PARTS = {"BREAST", "THYROID", "NECK"}
"""Body Part Examined (PS3.16 Annex L)."""
USES = {"BREAST", "SMALL PARTS", "THYROID"}
"""Third value of Image Type (PS3.3 C.8.5.6.1.1)."""
TWO_DIMENSIONAL, TISSUE, COLOUR_FLOW, CENTIMETRES = 1, 1, 2, 3
"""Region Spatial Format, Region Data Type (twice) and Physical Units (PS3.3 C.8.5.5.1)."""
LEAST_PIXELS = 96
"""Least rows and columns of the scanned area."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """Where the frames show tissue, and the mm between its columns and rows, None if unknown."""

    rows: slice
    columns: slice
    spacing: tuple[float, float] | None = None


def run(us: Series, triton: Triton) -> Iterator[Result]:
    """Ask the network about the scanned area, and report the frame on which a lesion is most probable."""
    scanned = scanned_of(us.header)
    if reason := unsuitable(us.header, scanned):
        yield NotSuitable(reason)
        return
    planes = np.stack([us.brightness(index)[scanned.rows, scanned.columns] for index in range(len(us.frames))])
    answer = triton.infer("us_lesion", image=planes)
    probabilities = answer["probabilities"]
    best = int(probabilities[:, LESION].argmax())
    likely, malignant = map(float, probabilities[best])
    yield Finding(name=codes.SCT.Lesion, score=likely, threshold=PRESENT)
    if likely < PRESENT:
        yield Summary("No lesion found", glance="no lesion found")
        return
    seen = answer["maps"][answer["shown"].tolist().index(LESION), best]
    box = np.add(box_of(seen), (scanned.columns.start, scanned.rows.start))
    lesion = Region(
        kind="box",
        points=box,
        label="Lesion",
        type=codes.SCT.Lesion,
        image=us.frames[best],
        score=likely,
        threshold=PRESENT,
    )
    yield lesion
    yield Finding(name=codes.SCT.Malignant, score=malignant, threshold=PRESENT, of=lesion)
    yield Finding(name=codes.SCT.Benign, score=1 - malignant, threshold=PRESENT, of=lesion)
    if scanned.spacing is not None:
        width, height = ((box[1] - box[0]) * scanned.spacing).tolist()
        yield Measurement(name=codes.SCT.Width, value=round(width, 1), unit=codes.UCUM.Millimeter, of=lesion)
        yield Measurement(name=HEIGHT, value=round(height, 1), unit=codes.UCUM.Millimeter, of=lesion)
        if str(us.header.get("BodyPartExamined") or "").upper() == "BREAST":
            yield Finding(name=orientation(width, height), present=True, of=lesion, notable=False)
    yield Caveat(
        "No BI-RADS and no TI-RADS category: margin, echo pattern, composition and what lies behind are not judged."
    )
    yield KeyImages(images=[us.frames[best]], description="Where a lesion is likeliest")
    look = "malignant" if malignant >= PRESENT else "benign"
    yield Summary(
        f"A lesion found that looks {look} to the network, with a score for malignant of {malignant:.2g}",
        glance=f"lesion, looks {look}",
    )


def orientation(width: float, height: float) -> Code:
    """Return the orientation of a lesion of the breast: parallel to the skin if wider than tall (BI-RADS, 2013)."""
    name: Code = codes.DCM.Parallel if width > height else codes.DCM.NotParallel  # PS3.16 CID 6152
    return name


def regions_of(header: Dataset) -> list[Dataset]:
    """Return the items of Sequence of Ultrasound Regions (PS3.3 C.8.5.5)."""
    return list(header.get("SequenceOfUltrasoundRegions") or ())


def scanned_of(header: Dataset) -> Scanned:
    """Return the largest region of two-dimensional tissue that lies on the image, else the whole image.

    Names, scales and curves are outside it. A region that exceeds the image (as after the image was scaled down without
    its regions) says neither where tissue is nor how large.
    """
    rows, columns = int(header.Rows), int(header.Columns)
    found = []
    for region in regions_of(header):
        left, top, right, bottom = (
            int(region.get(f"RegionLocation{edge}") or 0) for edge in ("MinX0", "MinY0", "MaxX1", "MaxY1")
        )
        of_tissue = region.get("RegionSpatialFormat") == TWO_DIMENSIONAL and region.get("RegionDataType") == TISSUE
        if of_tissue and left < right <= columns and top < bottom <= rows:
            found.append(Scanned(rows=slice(top, bottom), columns=slice(left, right), spacing=spacing_of(region)))
    whole = Scanned(rows=slice(0, rows), columns=slice(0, columns))
    return max(
        found,
        key=lambda area: (area.rows.stop - area.rows.start) * (area.columns.stop - area.columns.start),
        default=whole,
    )


def spacing_of(region: Dataset) -> tuple[float, float] | None:
    """Return mm from column to column and from row to row of a region; None unless both are given in cm."""
    deltas: list[Any] = [
        region.get(f"PhysicalDelta{axis}") if region.get(f"PhysicalUnits{axis}Direction") == CENTIMETRES else None
        for axis in "XY"
    ]
    return None if None in deltas else (abs(float(deltas[0])) * 10, abs(float(deltas[1])) * 10)


def unsuitable(header: Dataset, scanned: Scanned) -> str:
    """Return why the images are not suitable; empty if they may be greyscale ultrasound of breast or thyroid."""
    part = str(header.get("BodyPartExamined") or "").upper()
    if part and part not in PARTS:
        return f"the header says that the images show {part}, not breast or thyroid"
    use = [*(header.get("ImageType") or ()), "", "", ""][2]
    if use and use not in USES:
        return f"they were made for another use: the third value of Image Type is {use}"
    kinds = {(region.get("RegionSpatialFormat"), region.get("RegionDataType")) for region in regions_of(header)}
    if any(kind == COLOUR_FLOW for _, kind in kinds):
        return "colours of flow lie over the tissue"
    if kinds and (TWO_DIMENSIONAL, TISSUE) not in kinds:
        return "they show no tissue in two dimensions, but curves such as M-mode or Doppler"
    height, width = scanned.rows.stop - scanned.rows.start, scanned.columns.stop - scanned.columns.start
    if min(height, width) < LEAST_PIXELS:
        return f"what was scanned has {height} rows and {width} columns: fewer than {LEAST_PIXELS} show too little"
    return ""


def box_of(seen: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the corners of the box around the peak of a map (row, column): (2, 2), column and row, in pixels."""
    peak = np.unravel_index(int(seen.argmax()), seen.shape)
    numbers = label_components(seen >= WITHIN * seen.max())
    mask = numbers == numbers[peak]
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([[columns[0], rows[0]], [columns[-1] + 1, rows[-1] + 1]], np.float64)
