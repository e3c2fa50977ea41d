"""Measure breast density in a mammogram, and outline masses and clusters of calcifications."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node import (
    Caveat,
    Code,
    Finding,
    Frame,
    Measurement,
    NotSuitable,
    Region,
    RegionKind,
    Result,
    Series,
    Summary,
    Triton,
    codes,
)
from node.measuring import contours, label_components

LESIONS = (("Mass", codes.SCT.Mass), ("Calcifications", codes.SCT.CalcificationCluster))
"""Name and code of each kind, in the order of the model's labels."""
COMPOSITION = (
    (25.0, codes.SCT.AlmostEntirelyFat),
    (50.0, codes.SCT.ScatteredFibroglandularDensities),
    (75.0, codes.SCT.HeterogeneouslyDense),
    (100.1, codes.SCT.ExtremelyDense),
)
"""Breast composition (PS3.16 CID 6000) below each percent density: quarters, as in BI-RADS, 4th edition, 2003."""
SIDES = {"L": codes.SCT.Left, "R": codes.SCT.Right}
CRANIO_CAUDAL = {"CC", "399162004", "R-10242"}
"""View Position, or the code of the view (PS3.16 CID 4014) in SNOMED CT or in the older SNOMED-RT."""
BIOPSY = "STEREO", "PREFIRE", "POSTFIRE"
"""The third value of Image Type begins so in images for a biopsy (PS3.3 C.8.11.7.1.4)."""
LEAST_BREAST = 0.05
"""Least part of an image that is breast."""
LEAST_PIXELS = 256
"""Least number of rows and of columns."""
SMALLEST = 2e-4
"""Least part of the image that a lesion covers: a mass of 4 mm in 240 mm."""
MOST = 10
"""At most so many lesions of a kind are listed: the largest."""
MM = codes.UCUM.Millimeter


def run(mg: Series, triton: Triton) -> Iterator[Result]:
    """Outline the breast and measure its density; ask the network for lesions, and keep those inside the breast."""
    if reason := unsuitable(mg):
        yield NotSuitable(reason)
        return
    (frame,), image = mg.frames, mg.brightness()
    answer = triton.infer("mg_lesion", image=image[None])
    (labels,), (tissue,) = answer["labels"], answer["tissue"]
    if (tissue > 0).mean() < LEAST_BREAST:
        yield NotSuitable("no breast is seen in the image")
        return
    spacing = spacing_of(frame.header)
    breast = region(frame, "box", box_of(tissue > 0), "Breast", codes.SCT.Breast)
    yield breast
    dense = None
    if cranio_caudal(frame.header):
        dense = 100 * float((tissue == 2).sum() / (tissue > 0).sum())
        yield from density(tissue, dense, breast, spacing)
    counts = []
    for label, (name, kind) in enumerate(LESIONS, 1):
        outlines = list(outlined((labels == label) & (tissue > 0)))
        yield Finding(name=kind, present=bool(outlines))
        counts.append(len(outlines))
        for count, outline in enumerate(outlines, 1):
            lesion = region(frame, "contour", outline, f"{name} {count}", kind)
            yield lesion
            yield from sizes(outline, lesion, spacing)
    yield summary(counts, dense)


def summary(counts: list[int], dense: float | None) -> Summary:
    """Say how many lesions of each kind there are, and the density in percent; None: the view does not show it."""
    seen = f"; {dense:.0f} % of the breast is dense" if dense is not None else ""
    if not any(counts):
        return Summary(f"No mass and no cluster of calcifications found{seen}", glance="no lesion found")
    masses, clusters = counts
    said = f"masses: {masses}, clusters of calcifications: {clusters}{seen}"
    return Summary(f"Found {said}", glance=f"masses {masses}, calcif. {clusters}")


def unsuitable(mg: Series) -> str:
    """Return why the image is not suitable; empty if its header allows a mammogram."""
    return next((reason for wrong, reason in _reasons(mg) if wrong), "")


def _reasons(mg: Series) -> Iterator[tuple[bool, str]]:
    header = mg.header
    use = [*(header.get("ImageType") or ()), "", "", ""][2]
    rows, columns = int(header.Rows), int(header.Columns)
    yield (
        header.get("PresentationIntentType") == "FOR PROCESSING",
        "it is for processing: send the one for presentation, whose grey values are those that are read",
    )
    yield (
        use.startswith(BIOPSY),
        f"it is one for a biopsy, which shows a part of the breast: the third value of Image Type is {use}",
    )
    yield (
        len(mg.frames) > 1,
        "there are several frames, as in tomosynthesis: only mammograms of one frame are looked at",
    )
    yield header.get("BreastImplantPresent") == "YES", "there is an implant, which is taken for dense tissue"
    yield (
        min(rows, columns) < LEAST_PIXELS,
        f"the image has {rows} rows and {columns} columns: fewer than {LEAST_PIXELS} show too little",
    )


def density(
    tissue: NDArray[np.uint8], percent: float, breast: Region, spacing: tuple[float, float] | None
) -> Iterator[Result]:
    """Measure area percent density, and report the composition; areas in cm² if the size of pixels is known."""
    yield Measurement(
        name=codes.DCM.PercentFibroglandularTissue, value=round(percent, 1), unit=codes.UCUM.Percent, of=breast
    )
    composition = next(name for most, name in COMPOSITION if percent < most)
    yield Finding(name=composition, present=True, of=breast, notable=False)
    yield Caveat(
        f"{composition.meaning}: by quarters of the percent density, as in BI-RADS, 4th edition, 2003. No letter of "
        "the 5th edition is given: it is judged by eye, by what dense tissue may hide."
    )
    if spacing is not None:
        area = float((tissue > 0).sum()) * spacing[0] * spacing[1] / 100
        yield Measurement(name=codes.SCT.Area, value=round(area, 1), unit=codes.UCUM.SquareCentimeter, of=breast)


def outlined(mask: NDArray[np.bool_]) -> Iterator[NDArray[np.float64]]:
    """Yield the outlines of the components of a mask (row, column), the largest first, without small ones: (n, 2)."""
    numbers = label_components(mask)
    areas = np.bincount(numbers.ravel())
    areas[0] = 0
    for number in np.argsort(-areas, kind="stable")[:MOST]:
        if areas[number] >= SMALLEST * mask.size:
            component = numbers == number
            (left, top), (right, bottom) = box_of(component).astype(int)
            (outline, *_), _ = contours(component[top:bottom, left:right])
            yield np.add(outline, (left, top))


def box_of(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the corners of the box around a mask: (2, 2), column and row, from the outer edge of the first pixel."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([[columns[0], rows[0]], [columns[-1] + 1, rows[-1] + 1]], np.float64)


def sizes(outline: NDArray[np.float64], of: Region, spacing: tuple[float, float] | None) -> Iterator[Measurement]:
    """Measure an outline along columns and rows, if the size of pixels is known."""
    if spacing is None:
        return
    for name, pixels, length in zip(
        (codes.SCT.Width, codes.SCT.Length), np.ptp(outline, 0), spacing[::-1], strict=True
    ):
        yield Measurement(name=name, value=round(float(pixels) * length, 1), unit=MM, of=of)


def region(frame: Frame, kind: RegionKind, points: NDArray[np.float64], label: str, of: Code) -> Region:
    """Return a region of a type on an image, with the side of the breast."""
    return Region(
        kind=kind,
        points=points,
        label=label,
        type=of,
        category=(
            codes.SCT.AnatomicalStructure if of == codes.SCT.Breast else codes.SCT.MorphologicallyAbnormalStructure
        ),
        image=frame,
        site=codes.SCT.Breast,
        laterality=SIDES.get(str(frame.header.get("ImageLaterality") or "")),
    )


def spacing_of(header: Dataset) -> tuple[float, float] | None:
    """Return the distance of rows and of columns in mm in the breast; None if the header does not have it.

    Imager Pixel Spacing is at the detector, where it is larger by the magnification (PS3.3 C.8.11.3.1.4, C.8.7.1).
    """
    at_detector: Any = header.get("ImagerPixelSpacing")
    if not at_detector:
        return None
    magnified = float(header.get("EstimatedRadiographicMagnificationFactor") or 1)
    return float(at_detector[0]) / magnified, float(at_detector[1]) / magnified


def cranio_caudal(header: Dataset) -> bool:
    """Return whether the view is from above. In other views the pectoral muscle is as bright as dense tissue."""
    views = {str(header.get("ViewPosition") or "").upper()}
    views |= {str(item.get("CodeValue") or "") for item in header.get("ViewCodeSequence") or ()}
    return bool(views & CRANIO_CAUDAL)
