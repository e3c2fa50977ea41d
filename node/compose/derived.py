"""Derived images (PS3.3 C.7.6.1.1.2): of the IOD of their source, in a new series, with derivation and sources."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.valuerep import DSfloat

from node.codes import DCM
from node.compose.ascii_text import LO, SH, concept, plain
from node.compose.case import Case
from node.compose.finish import SCANNER, count_series, finish
from node.compose.object_references import by_study, image_references, instance_reference, refer_in_common
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
"""Attributes of a source image that a derived image must not have: on its pixels, its scanner, its signatures."""
ACQUIRED = (
    "AcquisitionDate",
    "AcquisitionTime",
    "AcquisitionDateTime",
    "AcquisitionDuration",
    "AcquisitionUID",
    "IrradiationEventUID",
)
"""Time and event of the acquisition (PS3.3 C.7.6.1, C.7.6.16)."""
PALETTE_PREFIXES = (
    "RedPalette",
    "GreenPalette",
    "BluePalette",
    "SegmentedRed",
    "SegmentedGreen",
    "SegmentedBlue",
    "PaletteColor",
)
DISPLAY = frozenset(
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
"""Attributes on quantity and display of the values, which do not hold for another quantity."""
RESCALED = {"CT": "HU", "PT": ""}
"""Modalities whose images have a rescale, with its Rescale Type; images of others store whole numbers unchanged."""
PRECISION = 1e-2
"""Greatest change of a value when it is stored as a whole number, as a part of the range of values.

256 steps are enough for it, two are not.
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DerivedObjects:
    """A derived series of a case, while its objects are made.

    Parameters
    ----------
    order
        Index of the result among the derived series of the case.
    number
        Number of series that the job has before.
    """

    case: Case
    result: DerivedSeries
    order: int
    number: int

    @property
    def shown(self) -> tuple[Dataset, ...]:
        """Identities of the images whose values are shown, such as a prior's, if they are not the source's own."""
        return self.result.shows.identities if self.result.shows else ()


def compose_derived(case: Case, made: Sequence[Dataset]) -> Iterator[Dataset]:
    """Yield the images of each derived series: one for each image of the source, or for each slice of its own grid.

    Raises
    ------
    BrokenResult
        The values cannot be stored as whole numbers, or the source cannot be resampled to another grid.
    """
    for order, result in enumerate(case.results_of(DerivedSeries)):
        case.check_in_study(result.source)
        derived = DerivedObjects(case=case, result=result, order=order, number=count_series(made))
        if result.affine is None:
            yield from _on_source_grid(derived)
        else:
            yield from _on_own_grid(derived, result.affine)


def _on_source_grid(derived: DerivedObjects) -> Iterator[Dataset]:
    result = derived.result
    for instance, header in enumerate(result.source.headers, 1):
        uid = header.SOPInstanceUID
        chosen = [index for index, frame in enumerate(result.source.frames) if frame.sop_instance_uid == uid]
        frames = [result.source.frames[index] for index in chosen]
        built = _begin(derived, header, instance)
        _set_sources(built, derived, frames, "YES")
        _set_pixels(built, result.array[chosen], frames, result)
        if frames[0].multi_frame:
            built.NumberOfFrames = len(frames)
        if "SharedFunctionalGroupsSequence" in header or result.shows:
            refer_in_common(built, [header, *derived.shown], header.StudyInstanceUID)
        if "PerFrameFunctionalGroupsSequence" in header:
            _set_frames(built, derived, frames)
        yield _end(derived, built, header, instance)


def _begin(derived: DerivedObjects, header: Dataset, instance: int) -> Dataset:
    identity, result = derived.case.identity, derived.result
    built = Dataset()
    built.SOPClassUID = header.SOPClassUID
    built.SOPInstanceUID = identity.uid("derived", f"{derived.order} {instance}")
    given = [str(value) for value in header.get("ImageType") or []] if "ImageType" in header else []
    built.ImageType = ["DERIVED", "SECONDARY" if result.synthetic else "PRIMARY", *given[2:]]
    built.DerivationDescription = plain(" ".join((f"{result.description} by {identity.algorithm}.", *identity.notices)))
    built.DerivationCodeSequence = [concept(result.derivation)]
    if result.synthetic:
        built.SyntheticData = "YES"
    built.BurnedInAnnotation = "NO"
    if "ContentQualification" in header:
        built.ContentQualification = "RESEARCH"
    return built


def _set_sources(built: Dataset, derived: DerivedObjects, frames: Sequence[Frame], preserved: str) -> None:
    """Name the images that the pixels are of; those whose grid they have are images of later, beside a prior's."""
    references = image_references(frames)
    if derived.shown:
        built.SourceImageSequence = [_source(instance_reference(image), "NO") for image in derived.shown]
        built.ReferencedImageSequence = [_later(reference) for reference in references]
    else:
        built.SourceImageSequence = [_source(reference, preserved) for reference in references]


def _later(reference: Dataset) -> Dataset:
    """Return a reference with its purpose (PS3.16 CID 7201)."""
    reference.PurposeOfReferenceCodeSequence = [concept(DCM.TemporalSuccessor)]
    return reference


def _source(reference: Dataset, preserved: str) -> Dataset:
    reference.PurposeOfReferenceCodeSequence = [concept(DCM.SourceImageForImageProcessingOperation)]
    reference.SpatialLocationsPreserved = preserved
    return reference


def _end(derived: DerivedObjects, built: Dataset, header: Dataset, instance: int) -> Dataset:
    """Return the finished image, with every attribute of its source that it does not have yet and that still holds."""
    result = derived.result
    done = finish(
        built,
        header,
        derived.case.identity,
        kind="derived",
        modality=str(header.get("Modality") or "OT"),
        number=derived.number,
        series=f"derived {derived.order}",
        instance=instance,
    )
    identity = derived.case.identity
    tail = f" ({'synthetic, ' if result.synthetic else ''}AI {identity.in_short})"
    done.SeriesDescription = plain(identity.warned(result.description), LO - len(tail)) + tail
    if result.synthetic:
        done.ImageComments = f"SYNTHETIC, never measured. {done.ImageComments}"
    if "InstanceNumber" in header and result.affine is None:
        copy_element(header, done, "InstanceNumber")
    # text is copied last, and as bytes: once decoded, it might be written otherwise
    if result.shows:
        for keyword in ACQUIRED:
            copy_element(result.shows.header, done, keyword)
    palette = PALETTE_PREFIXES if header.get("PhotometricInterpretation") == "PALETTE COLOR" else ()
    dropped = {*DROPPED, *(ACQUIRED if result.shows else ()), *(DISPLAY if result.unit else ())}
    if result.source.frames[0].lut is not None:  # the values are those that it gave, and went through it already
        dropped.add("ModalityLUTSequence")
    for keyword in header.dir():
        if keyword not in done and keyword not in dropped and not keyword.startswith(palette):
            copy_element(header, done, keyword)
    return done


def _set_pixels(built: Dataset, array: NDArray[Any], frames: Sequence[Frame], result: DerivedSeries) -> None:
    """Store (frame, row, column) or (frame, row, column, 3) in the encoding of its source, if that is possible."""
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
    bits, signed = (16, False) if frames[0].lut else (int(header.BitsStored), bool(header.PixelRepresentation))
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
    """Store int16 unchanged, with its quantity as a Real World Value Mapping (PS3.3 C.7.6.16.2.11)."""
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
    """Return whether stored values fit into `bits` and give back the array within `PRECISION`."""
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    if stored.min() < low or stored.max() > high:
        return False
    allowed = PRECISION * float(array.max() - array.min())
    errors = [
        np.abs(plane * frame.slope + frame.intercept - expected).max()
        for plane, frame, expected in zip(stored, frames, array, strict=True)
    ]
    return float(max(errors)) <= allowed


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


def _set_frames(built: Dataset, derived: DerivedObjects, frames: Sequence[Frame]) -> None:
    """Copy the functional groups of the frames, and add the derivation of each (PS3.3 C.7.6.16.2.6)."""
    header = frames[0].header
    chosen = [deepcopy(header.PerFrameFunctionalGroupsSequence[frame.number - 1]) for frame in frames]
    shared = deepcopy(list(header.get("SharedFunctionalGroupsSequence") or []))
    for group, frame in zip(chosen, frames, strict=True):
        derivation = Dataset()
        derivation.DerivationDescription = built.DerivationDescription
        derivation.DerivationCodeSequence = [concept(derived.result.derivation)]
        _set_sources(derivation, derived, [frame], "YES")
        if "ReferencedImageSequence" in derivation:
            group.ReferencedImageSequence = derivation.ReferencedImageSequence
            del derivation.ReferencedImageSequence
        group.DerivationImageSequence = [derivation]
    for item in _frame_types([*shared, *chosen]):
        item.FrameType = ["DERIVED", *list(item.FrameType)[1:]]
    built.SharedFunctionalGroupsSequence = shared
    built.PerFrameFunctionalGroupsSequence = chosen
    for keyword in (
        "DerivationDescription",
        "DerivationCodeSequence",
        "SourceImageSequence",
        "ReferencedImageSequence",
    ):
        built.pop(keyword, None)
    built.SourceImageEvidenceSequence = by_study([header, *derived.shown])


def _frame_types(groups: Sequence[Dataset]) -> Iterator[Dataset]:
    for group in groups:
        for element in group:
            if element.keyword.endswith("FrameTypeSequence"):
                yield from element.value


def _on_own_grid(derived: DerivedObjects, affine: NDArray[np.float64]) -> Iterator[Dataset]:
    result, source = derived.result, derived.result.source
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    axes = affine[:3, :3] / spacing
    if any(frame.multi_frame for frame in source.frames) or not np.allclose(axes.T @ axes, np.eye(3), atol=1e-4):
        raise BrokenResult(
            f"derived series {plain(result.description)!r} has a grid of its own: that takes single-frame images, and "
            "axes at right angles"
        )
    inverse = np.linalg.inv(source.affine())
    for instance, plane in enumerate(result.array, 1):
        position = affine[:3, 3] + affine[:3, 0] * (instance - 1)
        middle = affine @ (instance - 1, (plane.shape[0] - 1) / 2, (plane.shape[1] - 1) / 2, 1)
        index = int(np.clip(round(float((inverse @ middle)[0])), 0, len(source.frames) - 1))
        frame = source.frames[index]
        built = _begin(derived, frame.header, instance)
        built.ImagePositionPatient = _decimals(position)
        built.ImageOrientationPatient = _decimals([*axes[:, 2], *axes[:, 1]])
        built.PixelSpacing = _decimals(spacing[1:])
        built.SliceThickness, built.SpacingBetweenSlices = _decimals([spacing[0], spacing[0]])
        if frame.header.get("Modality") == "CT":
            del built.SpacingBetweenSlices  # the CT Image Module has none
        built.SliceLocation = _decimals([float(np.cross(axes[:, 2], axes[:, 1]) @ position)])[0]
        nearest = source.frames[max(index - 1, 0) : index + 2]
        _set_sources(built, derived, nearest, "NO")
        _set_pixels(built, plane[None], [frame], result)
        yield _end(derived, built, frame.header, instance)


def _decimals(numbers: Any) -> list[DSfloat]:
    return [DSfloat(float(number), auto_format=True) for number in numbers]
