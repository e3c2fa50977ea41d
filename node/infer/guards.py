"""Guards: before a plugin runs, a model says whether the images of a role are such as the plugin was made for.

A guard is the model `guard_NAME` on Triton; `guard = "NAME"` in `[series.ROLE]` asks for it. It judges the pixels. The
header is a hint only: it may be empty, wrong, or in a vocabulary of the site. `docs/plugin-author.md` has the
contract.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node.arena import PROCESS_MEMORY
from node.errors import UnsuitableSeries
from node.host.manifest import Role
from node.images.series import Series, Volume
from node.records import GUARD
from node.triton.client import Triton

MOST_PLANES = 32
"""Largest number of images of a series that a guard gets; they are evenly chosen."""
LONGEST_SIDE = 512
"""Rows or columns of an image that a guard gets, at most."""
LONGEST_AXIS = 256
"""Slices, rows or columns of a volume that a guard gets, at most."""
HINTS = (
    "Modality", "BodyPartExamined", "AnatomicRegionSequence", "ViewPosition", "ViewCodeSequence", "ImageType",
    "ImageLaterality", "Laterality", "PatientOrientation", "PhotometricInterpretation", "PresentationIntentType",
    "EstimatedRadiographicMagnificationFactor",
    "SeriesDescription", "ProtocolName", "ContrastBolusAgent", "ConvolutionKernel", "ScanningSequence",
    "SequenceVariant", "RepetitionTime", "EchoTime", "InversionTime", "Units", "Radiopharmaceutical",
    "NumberOfFrames",
)  # fmt: skip
"""Attributes of the first header that a guard gets; none is of the patient."""
GROUPED = {
    "EchoTime": ("MREchoSequence", "EffectiveEchoTime"),
    "RepetitionTime": ("MRTimingAndRelatedParametersSequence", "RepetitionTime"),
    "InversionTime": ("MRModifierSequence", "InversionTimes"),
}
"""Where the functional groups of an enhanced MR have a hint (PS3.3 C.8.13.5)."""
Inputs = dict[str, Any]


def suitable_inputs(roles: Mapping[str, Role], inputs: Mapping[str, Series], triton: Triton) -> dict[str, Series]:
    """Ask the guards of all roles; return the inputs without the priors and optional series that a guard refuses.

    Of a role with `several`, the guard looks at the middle stack.

    Raises
    ------
    UnsuitableSeries
        The guard of a role that is neither optional nor a prior refuses its images; the message says what they show.
    ModelRefused, TritonUnavailable
        The guard does not answer.
    """
    left = dict(inputs)
    for name, role in roles.items():
        keys = [key for key in inputs if key.partition("#")[0] == name]
        if role.guard is None or not keys:
            continue
        reason = refusal(role.guard, inputs[keys[len(keys) // 2]], triton)
        if reason and not (role.optional or role.prior_of):
            raise UnsuitableSeries(reason)
        if reason:
            left = {key: series for key, series in left.items() if key not in keys}
    return left


def refusal(guard: str, series: Series, triton: Triton) -> str:
    """Ask a guard about a series; return why it refuses, with what the header says, or "" if it accepts."""
    model = f"{GUARD}{guard}"
    given = volume_for(series) if series.placed else planes_for(series)
    answer = triton.infer(model, **given, header=np.array([json.dumps(hints(series.header))]))
    if bool(answer["suitable"][0]):
        return ""
    part = str(series.header.get("BodyPartExamined") or "")
    said = f"Body Part Examined says {part}" if part else "the header names no part of the body"
    return f"{answer['reason'][0]}; {said}"


def planes_for(series: Series) -> Inputs:
    """Return the inputs of a guard for images without a position in the patient.

    images: uint8 (image, row, column, sample), 1 sample or, in colour, red, green and blue; `MOST_PLANES` images at
    most, evenly chosen. Grey values are as displayed: MONOCHROME1 is inverted (PS3.3 C.7.6.3.1.2); values of 8 bits are
    kept, others are scaled so that 0.5 % of the pixels are 0 or less, and 0.5 % 255 or more. An image is reduced by the
    mean of whole pixels to `LONGEST_SIDE`.
    spacing: float32 (2), mm between rows and between columns of these images; 0 where the header does not say.
    """
    count = min(len(series.frames), MOST_PLANES)
    chosen = np.linspace(0, len(series.frames) - 1, count).round().astype(int)
    shown = [shown_plane(series, int(index)) for index in chosen]
    spacing = np.array(pixel_spacing(series.header), np.float32)
    rows = int(series.header.get("Rows") or shown[0].shape[0])
    return {"images": np.stack(shown), "spacing": spacing * round(rows / shown[0].shape[0])}


def shown_plane(series: Series, index: int) -> NDArray[np.uint8]:
    """Return one image as it is displayed, reduced: uint8 (row, column, sample)."""
    stored = series.image(index)
    grey = stored.ndim == 2
    plane = series.brightness(index)[..., None] if grey else stored.astype(np.float32)
    small = reduced(plane, -(-max(plane.shape[:2]) // LONGEST_SIDE))
    inverted = series.frames[index].header.get("PhotometricInterpretation") == "MONOCHROME1"
    if int(series.frames[index].header.get("BitsStored") or 16) <= 8:
        return (small + (255 if grey and inverted else 0)).round().clip(0, 255).astype(np.uint8)
    low, high = np.percentile(small, (0.5, 99.5)) if grey else (0.0, 65535.0)
    return ((small - low) * (255 / max(high - low, 1e-6))).round().clip(0, 255).astype(np.uint8)


def reduced(plane: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Return the mean of each square of `factor` × `factor` pixels, (row, column, …); pixels left over are dropped."""
    if factor == 1:
        return plane
    rows, columns = plane.shape[0] // factor, plane.shape[1] // factor
    whole = plane[: rows * factor, : columns * factor]
    squares = whole.reshape(rows, factor, columns, factor, *plane.shape[2:])
    return np.asarray(squares.mean((1, 3)), np.float32)


def volume_for(series: Series) -> Inputs:
    """Return the inputs of a guard for images with a position in the patient.

    volume: float32 (slice, row, column), real values (HU in CT; PS3.3 C.11.1). Where an axis is longer than
    `LONGEST_AXIS`, every n-th slice is taken, and rows and columns are reduced by their mean.
    affine: float64 (4, 4), maps (slice, row, column, 1) to mm LPS.

    Raises
    ------
    UnsuitableSeries
        The images form no volume, as `Series.volume` says.
    """
    series.affine()  # of all slices: none is missing
    every = -(-len(series.frames) // LONGEST_AXIS)
    coarse: Volume = replace(series, frames=series.frames[::every], memory=PROCESS_MEMORY).volume()
    factor = -(-max(coarse.array.shape[1:]) // LONGEST_AXIS)
    array = np.stack([reduced(np.asarray(plane, np.float32), factor) for plane in coarse.array])
    affine = coarse.affine.copy()
    affine[:3, 3] += affine[:3, 1:3].sum(1) * (factor - 1) / 2
    affine[:3, 1:3] *= factor
    return {"volume": array, "affine": affine}


def hints(header: Dataset) -> dict[str, Any]:
    """Return what the header says, by keyword: text, a list of texts, or for a sequence the meanings of its codes."""
    found = {keyword: header.get(keyword) for keyword in HINTS}
    found |= {keyword: _grouped(header, *place) for keyword, place in GROUPED.items() if not found.get(keyword)}
    return {keyword: _plain(value) for keyword, value in found.items() if value not in (None, "")}


def _grouped(header: Dataset, sequence: str, keyword: str) -> Any:
    """Return a value of the shared functional groups, else of the first frame's; None if neither has it."""
    for kind in ("Shared", "PerFrame"):
        for groups in (header.get(f"{kind}FunctionalGroupsSequence") or ())[:1]:
            for item in (groups.get(sequence) or ())[:1]:
                if (value := item.get(keyword)) is not None:
                    return value[0] if keyword == "InversionTimes" and hasattr(value, "__iter__") else value
    return None


def _plain(value: Any) -> Any:
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        return str(value)
    return [str(item.get("CodeMeaning") or "") if isinstance(item, Dataset) else str(item) for item in value]


def pixel_spacing(header: Dataset) -> tuple[float, float]:
    """Return mm between rows and between columns, on the detector if only that is known; 0 if nothing is known."""
    for holder in _holders(header):
        for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
            if value := holder.get(keyword):
                return float(value[0]), float(value[1])
    return 0.0, 0.0


def _holders(header: Dataset) -> Iterator[Dataset]:
    """Yield the header, and where an enhanced image has its spacing (PS3.3 C.7.6.16.2.1)."""
    yield header
    for shared in header.get("SharedFunctionalGroupsSequence") or ():
        yield from shared.get("PixelMeasuresSequence") or ()
