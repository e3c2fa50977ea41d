"""Segmentation (PS3.3 A.51), on the grid of its images, each frame naming the image it lies on.

BINARY, one bit a pixel, is what every viewer shows. LABELMAP holds the number of the segment in a byte, FRACTIONAL the
probability. highdicom makes all but the frames.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import UID

from node.codes import Code
from node.compose.ascii_text import LO, concept, plain
from node.compose.finish import finish
from node.compose.identity import MANUFACTURER, MODEL_NAME, SOFTWARE_VERSIONS, Identity
from node.compose.object_references import instance
from node.compose.seg_frames import (
    Placed,
    bits,
    groups,
    numbers,
    octets,
    pixel_data,
    raw,
    references,
    series_item,
)
from node.compose.source_images import copy_element, stand_in, stand_in_uid
from node.errors import BrokenResult
from node.images.frame import Frame
from node.images.series import Series
from node.results import Segment, Segmentation

PALETTE = (
    (230, 75, 53),
    (77, 187, 213),
    (0, 160, 135),
    (240, 190, 70),
    (145, 110, 200),
    (132, 200, 90),
    (220, 130, 170),
    (90, 130, 220),
    (190, 140, 100),
    (120, 210, 190),
)
"""(red, green, blue) for segments that bring no colour, in the order of their numbers, over again after the last."""

POSITION_TOLERANCE = 1e-3
"""mm; Image Position is a decimal string of 16 characters, so a copied one is closer than that."""
ORIENTATION_TOLERANCE = 1e-4
"""Of a direction cosine: at 512 pixels of 1 mm the far corner is then off by 0.05 mm."""
FLAT = 1.0
"""mm: the Slice Thickness of what has none, so that a volume in mm³ is an area in mm²."""
LABELS = 255
"""Segments that a label map of one byte can tell apart; OHIF opens none with more (RangeError, a black screen)."""

SEGMENT_NUMBER, FRAME_CONTENT, IN_STACK_POSITION = (
    Tag(keyword) for keyword in ("ReferencedSegmentNumber", "FrameContentSequence", "InStackPositionNumber")
)

Form = Literal["BINARY", "LABELMAP", "FRACTIONAL"]
NAMES = {"BINARY": "seg", "LABELMAP": "labelmap", "FRACTIONAL": "fractional"}
CALLED = {"BINARY": "SEG", "LABELMAP": "SEG label map", "FRACTIONAL": "SEG probability"}
PIXELS = {"BINARY": bits, "LABELMAP": numbers, "FRACTIONAL": octets}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outline:
    """One segment as a report needs it.

    Parameters
    ----------
    number
        Segment Number among the segments of `result`, from 1.
    tracking_uid
        Names the thing in SEG and SR alike (PS3.16 TID 4108).
    found
        Whether at least one voxel is of it.
    largest
        The slice on which most of its voxels lie.
    objects
        The Segmentations it is in that a report can refer to, each with its Segment Number there.
    """

    segment: Segment
    number: int
    tracking_uid: str
    found: bool
    largest: int
    series: Series
    result: Segmentation
    objects: tuple[tuple[Dataset, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one object holds of a segmentation: segments by their numbers, on slices from `first` to `last`."""

    segments: tuple[int, ...]
    slices: range


def colors(segments: Sequence[Segment]) -> list[tuple[int, int, int]]:
    """Return (red, green, blue) of every segment: its own, else the next of the palette."""
    return [segment.color or PALETTE[index % len(PALETTE)] for index, segment in enumerate(segments)]


def tracking_uid(result: Segmentation, identity: Identity, order: int, number: int) -> str:
    """Return the Tracking UID of a segment: its own, else by the place of its segmentation among the results."""
    return result.segments[number - 1].tracking_uid or identity.uid("tracking", str(order), str(number))


def mappable_labels(result: Segmentation) -> bool:
    """Say whether a label map of one byte can hold all of a segmentation."""
    return not result.masks and len(result.segments) <= LABELS


def segmentable(series: Series) -> bool:
    """Say whether a Segmentation can lie on a series: in its frame of reference, or on images without any place.

    The tiles of a slide have one, in the slide.
    """
    return bool(series.frame_of_reference_uid) if series.placed else "TotalPixelMatrixRows" not in series.header


def segmentations(
    result: Segmentation,
    series: Series,
    identity: Identity,
    *,
    there: NDArray[np.bool_],
    order: int,
    number: int,
    form: Form = "BINARY",
    most: int | None = None,
) -> list[Dataset]:
    """Return Segmentations of all segments.

    There are no frames without a voxel. One object, unless that had more than `most` frames: then several, in series of
    their own, since viewers show the last object of a series only and know no concatenations (PS3.3 C.7.6.16.2.2.4).
    None where there is no voxel at all.

    Parameters
    ----------
    series
        The images on whose grid the labels are; `segmentable`.
    there
        Whether a segment has a pixel on a slice that is stored: (segment, slice).
    order
        Place of the result among the segmentations of the job.
    number
        How many objects of the job come before it.

    Raises
    ------
    BrokenResult
        A frame would not lie on the image that it names, or a code is none.
    """
    if series.placed:
        _check_stack(series)
    parts = _parts(there, form, most)
    made: list[Dataset] = []
    for index, part in enumerate(parts):
        try:
            built = _template(result, series, identity, order, part, form)
        except (TypeError, ValueError) as error:
            raise BrokenResult(
                f"plugin {identity.plugin} made a segmentation that DICOM cannot hold: {error}"
            ) from error
        names = (str(order), str(index)) if index else (str(order),)
        built.SOPInstanceUID = identity.uid(NAMES[form], *names)
        if not series.placed:
            _unplace(built, series.header)
        organise(built, identity.uid("dimensions", NAMES[form], *names))
        describe_images(built, series.header)
        done = finish(built, series.header, identity, kind=CALLED[form], modality="SEG", number=number + index)
        _fill(done, result, series, part, there, form)
        made.append(done)
    return made


def _parts(there: NDArray[np.bool_], form: Form, most: int | None) -> list[Part]:
    """Share segments out among objects of at most `most` frames; one that is too large alone is cut by slices.

    Parameters
    ----------
    there
        Whether a segment has a voxel on a slice: (segment, slice).
    """
    if not there.any():
        return []
    everything = tuple(range(1, len(there) + 1))
    if form == "LABELMAP":
        return [Part(segments=everything, slices=slices) for slices in _runs(there.any(axis=0), most)]
    if most is None or there.sum() <= most:
        return [Part(segments=everything, slices=range(there.shape[1]))]
    parts: list[Part] = []
    together: list[int] = []
    for number in everything:
        runs = _runs(there[number - 1], most)
        if len(runs) > 1:
            parts += [Part(segments=(number,), slices=slices) for slices in runs]
            continue
        if together and there[[one - 1 for one in (*together, number)]].sum() > most:
            parts.append(Part(segments=tuple(together), slices=range(there.shape[1])))
            together = []
        together.append(number)
    if together:
        parts.append(Part(segments=tuple(together), slices=range(there.shape[1])))
    return [part for part in parts if there[np.ix_([one - 1 for one in part.segments], part.slices)].any()]


def _runs(slices: NDArray[np.bool_], most: int | None) -> list[range]:
    """Cut a stack so that each run has at most `most` of the slices that are true."""
    places = np.flatnonzero(slices)
    cuts = [int(place) for place in places[most::most]] if most else []
    return [range(start, stop) for start, stop in zip([0, *cuts], [*cuts, len(slices)], strict=True)]


def _template(result: Segmentation, series: Series, identity: Identity, order: int, part: Part, form: Form) -> Dataset:
    """Return what highdicom makes of one slice with one pixel: everything but the frames."""
    pixel = np.zeros((1, *result.labels.array.shape[1:]), np.uint8)
    pixel[0, 0, 0] = 1
    built = hd.seg.Segmentation(
        source_images=[stand_in(series)],
        pixel_array=pixel,
        segmentation_type=form,
        segment_descriptions=list(_descriptions(result, identity, order, part)),
        series_instance_uid=identity.uid("series"),
        series_number=1,
        sop_instance_uid=identity.uid("seg"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL_NAME,
        software_versions=SOFTWARE_VERSIONS,
        device_serial_number=identity.device_uid,
        content_label="AI_SEGMENTATION",
        content_description=plain(f"{identity.algorithm}: research use, unverified", LO),
    )
    for keyword in ("PixelData", "PerFrameFunctionalGroupsSequence", "ReferencedSeriesSequence", "SourceImageSequence"):
        del built[keyword]
    if form == "LABELMAP":
        built["PixelPaddingValue"].VR = "US"
        # OHIF gives segment n the colour of the n-th item; highdicom puts the background first
        built.SegmentSequence = [*built.SegmentSequence[1:], built.SegmentSequence[0]]
    return built


def _unplace(built: Dataset, header: Dataset) -> None:
    """Describe frames without a place in the patient: by their number (PS3.3 C.7.6.16.2.2), pixels, and directions.

    OHIF opens none without Pixel Measures and a Plane Orientation, where it takes the images to be axial. Without a
    Frame of Reference it says nothing of the patient; Patient Orientation does.
    """
    dimensions = [item for item in built.DimensionIndexSequence if item.DimensionIndexPointer == SEGMENT_NUMBER]
    stacked = Dataset()
    stacked.DimensionOrganizationUID = built.DimensionOrganizationSequence[0].DimensionOrganizationUID
    stacked.DimensionIndexPointer, stacked.FunctionalGroupPointer = IN_STACK_POSITION, FRAME_CONTENT
    stacked.DimensionDescriptionLabel = "In-Stack Position Number"
    built.DimensionIndexSequence = [*dimensions, stacked]
    (shared,) = built.SharedFunctionalGroupsSequence
    plane = Dataset()
    plane.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PlaneOrientationSequence = [plane]
    if spacing := header.get("PixelSpacing") or header.get("ImagerPixelSpacing"):
        measures = Dataset()
        measures.PixelSpacing, measures.SliceThickness = list(spacing), FLAT
        shared.PixelMeasuresSequence = [measures]
    built.PatientOrientation = None
    copy_element(header, built, "PatientOrientation")


def _fill(
    done: Dataset, result: Segmentation, series: Series, part: Part, there: NDArray[np.bool_], form: Form
) -> None:
    """Put in the frames and the images they lie on; last, since whoever looks at encoded groups decodes them."""
    # highdicom's order: against the normal
    slices = reversed(part.slices) if series.placed else part.slices
    order = [place for place in slices if there[[one - 1 for one in part.segments], place].any()]
    if form == "LABELMAP":
        frames = stored = [Placed(0, place) for place in order]
    else:
        named = list(enumerate(part.segments, 1))
        frames = [Placed(here, place) for here, one in named for place in order if there[one - 1, place]]
        stored = [Placed(part.segments[frame.segment - 1], frame.slice) for frame in frames]
    several = form != "LABELMAP" and len(part.segments) > 1
    done.NumberOfFrames = len(frames)
    done.SegmentsOverlap = "UNDEFINED" if form == "FRACTIONAL" and several else _overlap(result)
    if series.placed and not several and len(order) > 1 and len(set(np.diff(order))) == 1:
        done.DimensionOrganizationType = "3D"
    instances = references(series.identities)
    done["SourceImageSequence"] = raw("SourceImageSequence", *instances)
    done["ReferencedSeriesSequence"] = raw("ReferencedSeriesSequence", series_item(series.series_uid, instances))
    per_frame = groups(frames, series.frames, order, several=several)
    done["PerFrameFunctionalGroupsSequence"] = per_frame
    done["PixelData"] = pixel_data(PIXELS[form](result, stored))


def _overlap(result: Segmentation) -> str:
    """Say whether a voxel is of two segments (PS3.3 C.8.20.2, Segments Overlap)."""
    if not result.masks:
        return "NO"
    for index, plane in enumerate(result.labels.array):
        pixels = sum(int(np.count_nonzero(result.plane(index, number))) for number, _ in enumerate(result.masks, 1))
        if pixels > np.count_nonzero(plane):
            return "YES"
    return "NO"


def _check_stack(series: Series) -> None:
    """See that all images have the orientation of the first, which the frames will share.

    Viewers draw a frame on the image it names and read no positions: a wrong place is a wrong slice that nobody sees.
    """
    first = series.frames[0].orientation
    for frame in series.frames:
        if frame.position is None or not _close(first, frame.orientation, ORIENTATION_TOLERANCE):
            raise BrokenResult(
                f"a frame of the segmentation would not lie on instance {frame.sop_instance_uid}, which it would name: "
                f"the images of series {series.key} do not share one orientation"
            )


def _close(ours: Sequence[float] | None, theirs: Sequence[float] | None, tolerance: float) -> bool:
    if ours is None or theirs is None:
        return False
    return all(abs(float(a) - b) <= tolerance for a, b in zip(ours, theirs, strict=True))


def describe_images(built: Dataset, header: Dataset) -> None:
    """Copy what the images say of the body and of their compression, where they do (PS3.3 C.7.3.1, C.8.20.2)."""
    for keyword in ("BodyPartExamined", "Laterality", "PositionReferenceIndicator"):
        if header.get(keyword):
            copy_element(header, built, keyword)
    if header.get("LossyImageCompression") == "01":
        for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            copy_element(header, built, keyword)


def _descriptions(
    result: Segmentation, identity: Identity, order: int, part: Part
) -> Iterator[hd.seg.SegmentDescription]:
    algorithm = hd.AlgorithmIdentificationSequence(
        name=identity.algorithm,
        family=concept(identity.family),
        version=plain(identity.version, LO),
        source=plain(identity.manufacturer, LO) or None,
        parameters=identity.parameters,
    )
    palette = colors(result.segments)
    for here, number in enumerate(part.segments, 1):
        segment = result.segments[number - 1]
        label = plain(segment.label, LO)
        description = hd.seg.SegmentDescription(
            segment_number=here,
            segment_label=label,
            segmented_property_category=concept(segment.category),
            segmented_property_type=concept(segment.type),
            algorithm_type="AUTOMATIC",
            algorithm_identification=algorithm,
            tracking_id=label,
            tracking_uid=tracking_uid(result, identity, order, number),
            anatomic_regions=[concept(segment.region)] if segment.region else None,
            display_color=hd.color.CIELabColor.from_rgb(*palette[number - 1]),
        )
        if segment.laterality:
            _set_laterality(description, segment.laterality)
        yield description


def _set_laterality(description: Dataset, laterality: Code) -> None:
    """Say the side of the region where there is one, else of the type itself (PS3.3 C.8.20.2, PS3.16 CID 244)."""
    if "AnatomicRegionSequence" in description:
        description.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [concept(laterality)]
    else:
        kind = description.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [concept(laterality)]


def refer(built: Dataset, series: Series) -> None:
    """Put the true images in place of the stand-ins, and see that each frame lies where its image lies.

    Viewers draw a frame on the image it names and read no positions: a wrong name is a wrong slice that nobody notices.
    """
    by_uid = {stand_in_uid(index): frame for index, frame in enumerate(series.frames)}
    shared = built.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    references: list[tuple[Dataset, Frame]] = []
    for number, group in enumerate(built.PerFrameFunctionalGroupsSequence, 1):
        named = [reference for item in group.DerivationImageSequence for reference in item.SourceImageSequence]
        if len(named) != 1:
            raise BrokenResult(
                f"frame {number} of the segmentation lies on {len(named)} images of series {series.key}, not on one: "
                "the images are not one even stack"
            )
        frame = by_uid[named[0].ReferencedSOPInstanceUID]
        if not (
            _close(group.PlanePositionSequence[0].ImagePositionPatient, frame.position, POSITION_TOLERANCE)
            and _close(shared.ImageOrientationPatient, frame.orientation, ORIENTATION_TOLERANCE)
        ):
            raise BrokenResult(
                f"frame {number} of the segmentation does not lie on instance {frame.sop_instance_uid}, which it would "
                f"name: the images of series {series.key} are not one even stack"
            )
        references.append((named[0], frame))
    # only now: highdicom has the frames of several segments share the item of the image they lie on
    for reference, frame in references:
        _name(reference, frame)
    instances = [instance(header) for header in series.identities]
    built.SourceImageSequence = instances
    built.ReferencedSeriesSequence[0].ReferencedInstanceSequence = instances


def _name(reference: Dataset, frame: Frame) -> None:
    reference.ReferencedSOPClassUID = UID(frame.sop_class_uid)
    reference.ReferencedSOPInstanceUID = UID(frame.sop_instance_uid)
    if frame.multi_frame:
        reference.ReferencedFrameNumber = frame.number


def organise(built: Dataset, uid: str) -> None:
    """Give the dimensions a UID that is the same at every run; highdicom draws one by lot."""
    for item in (*built.DimensionOrganizationSequence, *built.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid
