"""Derived images (PS3.3 C.7.6.1.1.2): of the IOD of their source, in a new series, saying how and of what."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.valuerep import DSfloat

from node.codes import DCM
from node.compose.ascii_text import LO, SH, concept, plain
from node.compose.finish import SCANNER, finish
from node.compose.identity import RESEARCH_USE, Identity
from node.compose.object_references import by_study, images, refer_in_common
from node.compose.object_references import instance as instance_of
from node.compose.source_images import copy_element
from node.errors import BrokenResult
from node.images.frame import Frame
from node.results import DerivedSeries

DROPPED = frozenset(
    {
        *SCANNER,
        "ContributingEquipmentSequence",
        "DigitalSignaturesSequence",
        "EncryptedAttributesSequence",
        "FloatPixelPaddingValue",
        "IconImageSequence",
        "LargestImagePixelValue",
        "LargestPixelValueInSeries",
        "MACParametersSequence",
        "OriginalAttributesSequence",
        "PerFrameFunctionalGroupsSequence",
        "PixelData",
        "PixelDataProviderURL",
        "PixelPaddingRangeLimit",
        "PixelPaddingValue",
        "SmallestImagePixelValue",
        "SmallestPixelValueInSeries",
    }
)
"""What an image says of its own pixels, of the machine that made it, or seals."""
ACQUIRED = (
    "AcquisitionDate",
    "AcquisitionTime",
    "AcquisitionDateTime",
    "AcquisitionDuration",
    "AcquisitionUID",
    "IrradiationEventUID",
)
"""When what is shown was acquired, and by which event (PS3.3 C.7.6.1, C.7.6.16)."""
PALETTE = (
    "RedPalette",
    "GreenPalette",
    "BluePalette",
    "SegmentedRed",
    "SegmentedGreen",
    "SegmentedBlue",
    "PaletteColor",
)
SHOWN = frozenset(
    {
        "ModalityLUTSequence",
        "RealWorldValueMappingSequence",
        "RescaleIntercept",
        "RescaleSlope",
        "RescaleType",
        "VOILUTFunction",
        "VOILUTSequence",
        "WindowCenterWidthExplanation",
    }
)
"""What an image says of what its values are and how they are shown, which is not true of another quantity."""
RESCALED = {"CT": "HU", "PT": ""}
"""Modalities whose images have a rescale of their own, with its Rescale Type; others hold whole numbers as they are."""
PRECISION = 1e-2
"""Part of the range of values by which storing whole numbers may change one: 8 bits do, 0 and 1 alone do not."""


def derived_series(result: DerivedSeries, identity: Identity, *, order: int, number: int) -> list[Dataset]:
    """Return an image for each image of the source, or for each slice where the grid is another.

    Parameters
    ----------
    order
        Place of the result among the derived series of the job.
    number
        How many series of the job come before it.

    Raises
    ------
    BrokenResult
        The values cannot be stored as whole numbers, or the source cannot be resampled to another grid.
    """
    if result.affine is not None:
        return _resampled(result, result.affine, identity, order, number)
    made = []
    for instance, header in enumerate(result.source.headers, 1):
        uid = header.SOPInstanceUID
        chosen = [index for index, frame in enumerate(result.source.frames) if frame.sop_instance_uid == uid]
        frames = [result.source.frames[index] for index in chosen]
        built = _begin(result, header, identity, f"{order} {instance}")
        built.SourceImageSequence = [_source(reference, "YES") for reference in images(frames)]
        _set_pixels(built, result.array[chosen], frames, result)
        if frames[0].multi_frame:
            built.NumberOfFrames = len(frames)
        if "SharedFunctionalGroupsSequence" in header or result.shows:
            refer_in_common(built, [header, *_shown(result)], header.StudyInstanceUID)
        if "PerFrameFunctionalGroupsSequence" in header:
            _set_frames(built, frames, result)
        made.append(_end(built, header, identity, result, order=order, instance=instance, number=number))
    return made


def _shown(result: DerivedSeries) -> tuple[Dataset, ...]:
    """Return who the images are whose values are shown, where those are not the source's own."""
    return result.shows.identities if result.shows else ()


def _begin(result: DerivedSeries, header: Dataset, identity: Identity, name: str) -> Dataset:
    built = Dataset()
    built.SOPClassUID = header.SOPClassUID
    built.SOPInstanceUID = identity.uid("derived", name)
    given = [str(value) for value in header.get("ImageType") or []] if "ImageType" in header else []
    built.ImageType = ["DERIVED", "SECONDARY" if result.synthetic else "PRIMARY", *given[2:]]
    built.DerivationDescription = plain(f"{result.description} by {identity.algorithm}. {RESEARCH_USE}")
    built.DerivationCodeSequence = [concept(result.derivation)]
    built.ImageComments = RESEARCH_USE
    if result.synthetic:
        built.SyntheticData = "YES"
        built.ImageComments = f"SYNTHETIC, never measured. {RESEARCH_USE}"
    built.BurnedInAnnotation = "NO"
    if "ContentQualification" in header:
        built.ContentQualification = "RESEARCH"
    return built


def _source(reference: Dataset, preserved: str) -> Dataset:
    reference.PurposeOfReferenceCodeSequence = [concept(DCM.SourceImageForImageProcessingOperation)]
    reference.SpatialLocationsPreserved = preserved
    return reference


def _end(
    built: Dataset,
    header: Dataset,
    identity: Identity,
    result: DerivedSeries,
    *,
    order: int,
    instance: int,
    number: int,
) -> Dataset:
    """Return the finished image, with all that its source says and nobody has said otherwise."""
    modality = str(header.get("Modality") or "OT")
    done = finish(
        built,
        header,
        identity,
        kind="derived",
        modality=modality,
        number=number,
        series=f"derived {order}",
        instance=instance,
    )
    tail = f" ({'synthetic, ' if result.synthetic else ''}AI research)"
    done.SeriesDescription = plain(result.description, LO - len(tail)) + tail
    if "InstanceNumber" in header and result.affine is None:
        copy_element(header, done, "InstanceNumber")
    # text goes over last and as bytes: to decode it is to risk that it is written otherwise
    palette = PALETTE if header.get("PhotometricInterpretation") == "PALETTE COLOR" else ()
    if result.shows:
        for keyword in ACQUIRED:
            copy_element(result.shows.header, done, keyword)
        if "PerFrameFunctionalGroupsSequence" not in done:
            done.ReferencedImageSequence = [instance_of(one) for one in _shown(result)]
    dropped = {*DROPPED, *(ACQUIRED if result.shows else ()), *(SHOWN if result.unit else ())}
    for keyword in header.dir():
        if keyword not in done and keyword not in dropped and not keyword.startswith(palette):
            copy_element(header, done, keyword)
    return done


def _set_pixels(built: Dataset, array: NDArray[Any], frames: Sequence[Frame], result: DerivedSeries) -> None:
    """Store (frame, row, column) or (frame, row, column, 3) as its source does where that holds the values."""
    header = frames[0].header
    if result.unit is not None:
        _set_quantity(built, array, frames, result)
        return
    if array.ndim == 4:
        _write_pixels(built, array, 8, signed=False)
        built.SamplesPerPixel, built.PhotometricInterpretation, built.PlanarConfiguration = 3, "RGB", 0
        return
    grey = int(header.get("SamplesPerPixel") or 1) == 1 and header.PhotometricInterpretation != "PALETTE COLOR"
    built.SamplesPerPixel = 1
    built.PhotometricInterpretation = header.PhotometricInterpretation if grey else "MONOCHROME2"
    bits, signed = int(header.BitsStored), bool(header.PixelRepresentation)
    stored = np.stack([_as_stored(plane, frame) for plane, frame in zip(array, frames, strict=True)])
    if _holds(stored, array, frames, bits, signed=signed):
        _write_pixels(built, stored, bits, signed=signed)
    elif header.get("Modality") in RESCALED and not frames[0].multi_frame:
        _rescale(built, array, header, result)
    else:
        raise BrokenResult(
            f"the values of derived series {plain(result.description)!r}, {array.min():g} to {array.max():g}, cannot "
            f"be stored as whole numbers of {bits} bits, as {header.get('Modality')} images hold them: whoever made "
            "the plugin must scale them to the values of the source"
        )


def _set_quantity(built: Dataset, array: NDArray[Any], frames: Sequence[Frame], result: DerivedSeries) -> None:
    """Store int16 as it is, and say of what quantity it is (Real World Value Mapping, PS3.3 C.7.6.16.2.11)."""
    if frames[0].multi_frame or result.unit is None:
        raise BrokenResult(
            f"derived series {plain(result.description)!r} has a unit of its own: that takes single-frame images"
        )
    built.SamplesPerPixel, built.PhotometricInterpretation = 1, "MONOCHROME2"
    _write_pixels(built, array, 16, signed=True)
    mapping = Dataset()
    mapping.LUTExplanation, mapping.LUTLabel = plain(result.description, LO), "AI"
    mapping.MeasurementUnitsCodeSequence = [concept(result.unit)]
    mapping.RealWorldValueIntercept, mapping.RealWorldValueSlope = 0.0, 1.0
    for keyword, value in (("First", np.iinfo(np.int16).min), ("Last", np.iinfo(np.int16).max)):
        mapping.add_new(f"RealWorldValue{keyword}ValueMapped", "SS", int(value))
    built.RealWorldValueMappingSequence = [mapping]
    low, high = result.window
    built.WindowCenter, built.WindowWidth = _decimals([(low + high) / 2, high - low])


def _as_stored(plane: NDArray[Any], frame: Frame) -> NDArray[np.float64]:
    return np.asarray(np.rint((plane.astype(np.float64) - frame.intercept) / frame.slope))


def _holds(
    stored: NDArray[np.float64], array: NDArray[Any], frames: Sequence[Frame], bits: int, *, signed: bool
) -> bool:
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    if stored.min() < low or stored.max() > high:
        return False
    allowed = PRECISION * float(array.max() - array.min())
    off = [np.abs(s * f.slope + f.intercept - a).max() for s, f, a in zip(stored, frames, array, strict=True)]
    return float(max(off)) <= allowed


def _rescale(built: Dataset, array: NDArray[Any], header: Dataset, result: DerivedSeries) -> None:
    """Spread the values of the whole series over 16 bits; PET has no intercept (PS3.3 C.8.9.4)."""
    low = 0.0 if header.Modality == "PT" else float(result.array.min())
    high = float(result.array.max())
    if float(result.array.min()) < low:
        raise BrokenResult(f"derived series {plain(result.description)!r} has negative values, which PET cannot hold")
    slope = max((high - low) / 65535, 1e-9)
    built.RescaleSlope, built.RescaleIntercept = (DSfloat(part, auto_format=True) for part in (slope, low))
    if kind := RESCALED[header.Modality]:
        built.RescaleType = plain(kind, SH)
    stored = np.clip(np.rint((array.astype(np.float64) - low) / float(built.RescaleSlope)), 0, 65535)
    _write_pixels(built, stored, 16, signed=False)


def _write_pixels(built: Dataset, array: NDArray[Any], bits: int, *, signed: bool) -> None:
    allocated = 8 if bits <= 8 else 16
    built.Rows, built.Columns = array.shape[1:3]
    built.BitsAllocated, built.BitsStored, built.HighBit = allocated, bits, bits - 1
    built.PixelRepresentation = int(signed)
    content = array.astype(f"<{'i' if signed else 'u'}{allocated // 8}").tobytes()
    built.PixelData = content + b"\0" * (len(content) % 2)
    built["PixelData"].VR = "OB" if allocated == 8 else "OW"


def _set_frames(built: Dataset, frames: Sequence[Frame], result: DerivedSeries) -> None:
    """Give an enhanced image the functional groups of its frames, and say in them how each was made (C.7.6.16.2.6)."""
    header = frames[0].header
    chosen = [deepcopy(header.PerFrameFunctionalGroupsSequence[frame.number - 1]) for frame in frames]
    shared = deepcopy(list(header.get("SharedFunctionalGroupsSequence") or []))
    for group, frame in zip(chosen, frames, strict=True):
        derivation = Dataset()
        derivation.DerivationDescription = built.DerivationDescription
        derivation.DerivationCodeSequence = [concept(result.derivation)]
        derivation.SourceImageSequence = [_source(reference, "YES") for reference in images([frame])]
        derivation.SourceImageSequence.extend(_source(instance_of(one), "NO") for one in _shown(result))
        group.DerivationImageSequence = [derivation]
    for item in _frame_types([*shared, *chosen]):
        item.FrameType = ["DERIVED", *list(item.FrameType)[1:]]
    built.SharedFunctionalGroupsSequence = shared
    built.PerFrameFunctionalGroupsSequence = chosen
    for keyword in ("DerivationDescription", "DerivationCodeSequence", "SourceImageSequence"):
        delattr(built, keyword)
    built.SourceImageEvidenceSequence = by_study([header, *_shown(result)])


def _frame_types(groups: Sequence[Dataset]) -> Iterator[Dataset]:
    for group in groups:
        for element in group:
            if element.keyword.endswith("FrameTypeSequence"):
                yield from element.value


def _resampled(
    result: DerivedSeries, affine: NDArray[np.float64], identity: Identity, order: int, number: int
) -> list[Dataset]:
    source = result.source
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    axes = affine[:3, :3] / spacing
    if any(frame.multi_frame for frame in source.frames) or not np.allclose(axes.T @ axes, np.eye(3), atol=1e-4):
        raise BrokenResult(
            f"derived series {plain(result.description)!r} has a grid of its own: that takes single-frame images, and "
            "axes at right angles"
        )
    inverse = np.linalg.inv(source.affine())
    made = []
    for instance, plane in enumerate(result.array, 1):
        position = affine[:3, 3] + affine[:3, 0] * (instance - 1)
        middle = affine @ (instance - 1, (plane.shape[0] - 1) / 2, (plane.shape[1] - 1) / 2, 1)
        index = int(np.clip(round(float((inverse @ middle)[0])), 0, len(source.frames) - 1))
        frame = source.frames[index]
        built = _begin(result, frame.header, identity, f"{order} {instance}")
        built.ImagePositionPatient = _decimals(position)
        built.ImageOrientationPatient = _decimals([*axes[:, 2], *axes[:, 1]])
        built.PixelSpacing = _decimals(spacing[1:])
        built.SliceThickness, built.SpacingBetweenSlices = _decimals([spacing[0], spacing[0]])
        if frame.header.get("Modality") == "CT":
            del built.SpacingBetweenSlices  # the CT Image Module has none
        built.SliceLocation = _decimals([float(np.cross(axes[:, 2], axes[:, 1]) @ position)])[0]
        nearest = source.frames[max(index - 1, 0) : index + 2]
        built.SourceImageSequence = [_source(reference, "NO") for reference in images(nearest)]
        _set_pixels(built, plane[None], [frame], result)
        made.append(_end(built, frame.header, identity, result, order=order, instance=instance, number=number))
    return made


def _decimals(numbers: Any) -> list[DSfloat]:
    return [DSfloat(float(number), auto_format=True) for number in numbers]
