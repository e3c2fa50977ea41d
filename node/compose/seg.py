"""Segmentation (PS3.3 A.51), on the grid of its images; each frame names the image it lies on.

BINARY, one bit for each pixel, is what every viewer shows. LABELMAP holds the Segment Number in a byte, FRACTIONAL the
probability. highdicom makes everything but the frames.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from node.codes import Code
from node.compose.ascii_text import LO, concept, plain
from node.compose.case import Case
from node.compose.finish import count_series, finish
from node.compose.identity import MANUFACTURER, MODEL_NAME, SOFTWARE_VERSIONS
from node.compose.palette import segment_colors
from node.compose.seg_frames import (
    PixelStream,
    SegmentFrame,
    binary_pixels,
    encoded_references,
    encoded_sequence,
    encoded_series_item,
    fractional_pixels,
    labelmap_pixels,
    per_frame_groups,
    pixel_data,
    stored_areas,
)
from node.compose.source_images import (
    copy_body_and_compression,
    copy_element,
    is_same_direction,
    set_dimension_uid,
    stand_in,
)
from node.errors import BrokenResult
from node.images.series import Series
from node.results import Segmentation

FLAT = 1.0
"""mm: the Slice Thickness of images that have none, so that a volume in mm³ is an area in mm²."""
LABELS = 255
"""Greatest number of segments in a label map of one byte; OHIF opens none with more (RangeError, a black screen)."""

SEGMENT_NUMBER, FRAME_CONTENT, IN_STACK_POSITION = (
    Tag(keyword) for keyword in ("ReferencedSegmentNumber", "FrameContentSequence", "InStackPositionNumber")
)

Form = Literal["BINARY", "LABELMAP", "FRACTIONAL"]
"""Segmentation Type (PS3.3 C.8.20.2)."""
UID_NAMES = {"BINARY": "seg", "LABELMAP": "labelmap", "FRACTIONAL": "fractional"}
DESCRIPTIONS = {"BINARY": "SEG", "LABELMAP": "SEG label map", "FRACTIONAL": "SEG probability"}
PIXELS: dict[Form, Callable[[Segmentation, Sequence[SegmentFrame]], PixelStream]] = {
    "BINARY": binary_pixels,
    "LABELMAP": labelmap_pixels,
    "FRACTIONAL": fractional_pixels,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentationForm:
    """A segmentation of a case, in one of the forms that DICOM can store it in.

    Parameters
    ----------
    order
        Index of the segmentation among the segmentations of the case.
    """

    case: Case
    order: int
    form: Form

    @cached_property
    def result(self) -> Segmentation:
        """The segmentation."""
        return self.case.results_of(Segmentation)[self.order]

    @cached_property
    def series(self) -> Series:
        """The images on whose grid the labels are."""
        return self.case.series_of(self.result)

    @cached_property
    def occupied(self) -> NDArray[np.bool_]:
        """Whether a segment has a stored pixel on a slice: (segment, slice)."""
        return (stored_areas(self.result) if self.form == "FRACTIONAL" else self.result.areas) > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentationPart:
    """The part of a segmentation that one object holds: segments by their numbers, on a range of slices."""

    segments: tuple[int, ...]
    slices: range

    @property
    def rows(self) -> list[int]:
        """Indices of the segments in `SegmentationForm.occupied`."""
        return [number - 1 for number in self.segments]


def compose_seg(case: Case, made: Sequence[Dataset]) -> Iterator[Dataset]:
    """Yield BINARY Segmentations of all segmentations that have a voxel."""
    return _compose_form(case, made, lambda _: "BINARY")


def compose_labelmap(case: Case, made: Sequence[Dataset]) -> Iterator[Dataset]:
    """Yield label maps, and BINARY Segmentations where segments overlap or are too many for a label map."""
    return _compose_form(case, made, lambda result: "LABELMAP" if fits_labelmap(result) else "BINARY")


def compose_fractional(case: Case, made: Sequence[Dataset]) -> Iterator[Dataset]:
    """Yield FRACTIONAL Segmentations of the segmentations that have probabilities."""
    return _compose_form(case, made, lambda result: "FRACTIONAL" if result.fractional else None)


def _compose_form(
    case: Case, made: Sequence[Dataset], form_of: Callable[[Segmentation], Form | None]
) -> Iterator[Dataset]:
    for order, result in enumerate(case.results_of(Segmentation)):
        series, form = case.series_of(result), form_of(result)
        if form is not None and takes_segmentation(series):
            segmentation = SegmentationForm(case=case, order=order, form=form)
            yield from segmentation_objects(segmentation, number=count_series(made))


def fits_labelmap(result: Segmentation) -> bool:
    """Return whether a label map of one byte can hold all of a segmentation."""
    return not result.masks and len(result.segments) <= LABELS


def takes_segmentation(series: Series) -> bool:
    """Return whether a Segmentation can lie on a series: it has a frame of reference, or no positions at all.

    The tiles of a slide have positions, in the slide and not in the patient.
    """
    return bool(series.frame_of_reference_uid) if series.placed else "TotalPixelMatrixRows" not in series.header


def segmentation_objects(segmentation: SegmentationForm, *, number: int) -> list[Dataset]:
    """Return the Segmentations of all segments; none where no segment has a voxel.

    Frames without a voxel are left out. There is one object, unless that had more frames than `case.most_frames`: then
    there are several, each in a series of its own. Viewers show only the last object of a series, and know no
    concatenations (PS3.3 C.7.6.16.2.2.4).

    Parameters
    ----------
    segmentation
        On a series that `takes_segmentation`.
    number
        Number of series that the job has before.

    Raises
    ------
    BrokenResult
        A frame would not lie on the image that it names, or a code is invalid.
    """
    identity, series, form = segmentation.case.identity, segmentation.series, segmentation.form
    if series.placed:
        _check_orientations(series)
    made: list[Dataset] = []
    for index, part in enumerate(_divide(segmentation.occupied, form, segmentation.case.most_frames)):
        names = (str(segmentation.order), str(index)) if index else (str(segmentation.order),)
        try:
            built = _template(segmentation, part)
        except (TypeError, ValueError) as error:
            raise BrokenResult(
                f"plugin {identity.plugin} made a segmentation that DICOM cannot hold: {error}"
            ) from error
        built.SOPInstanceUID = identity.uid(UID_NAMES[form], *names)
        if not series.placed:
            _describe_unplaced(built, series.header)
        set_dimension_uid(built, identity.uid("dimensions", UID_NAMES[form], *names))
        copy_body_and_compression(series.header, built)
        done = finish(built, series.header, identity, kind=DESCRIPTIONS[form], modality="SEG", number=number + index)
        _add_frames(done, segmentation, part)
        made.append(done)
    return made


def _divide(occupied: NDArray[np.bool_], form: Form, most: int | None) -> list[SegmentationPart]:
    """Distribute segments among objects of at most `most` frames; a segment with more frames is cut by slices.

    Parameters
    ----------
    occupied
        Whether a segment has a voxel on a slice: (segment, slice).
    """
    if not occupied.any():
        return []
    all_segments, all_slices = tuple(range(1, len(occupied) + 1)), range(occupied.shape[1])
    if form == "LABELMAP":
        return [SegmentationPart(segments=all_segments, slices=run) for run in _runs(occupied.any(axis=0), most)]
    if most is None or occupied.sum() <= most:
        return [SegmentationPart(segments=all_segments, slices=all_slices)]
    parts: list[SegmentationPart] = []
    gathered: tuple[int, ...] = ()
    for number in all_segments:
        runs = _runs(occupied[number - 1], most)
        if len(runs) > 1:
            parts += [SegmentationPart(segments=(number,), slices=run) for run in runs]
            continue
        together = SegmentationPart(segments=(*gathered, number), slices=all_slices)
        if gathered and occupied[together.rows].sum() > most:
            parts.append(SegmentationPart(segments=gathered, slices=all_slices))
            gathered = ()
        gathered = (*gathered, number)
    if gathered:
        parts.append(SegmentationPart(segments=gathered, slices=all_slices))
    return [part for part in parts if occupied[np.ix_(part.rows, part.slices)].any()]


def _runs(slices: NDArray[np.bool_], most: int | None) -> list[range]:
    """Cut a stack into runs so that each has at most `most` of the slices that are true."""
    indices = np.flatnonzero(slices)
    cuts = [int(index) for index in indices[most::most]] if most else []
    return [range(start, stop) for start, stop in zip([0, *cuts], [*cuts, len(slices)], strict=True)]


def _template(segmentation: SegmentationForm, part: SegmentationPart) -> Dataset:
    """Return what highdicom makes of one slice with one pixel: everything but the frames."""
    identity = segmentation.case.identity
    pixel = np.zeros((1, *segmentation.result.labels.array.shape[1:]), np.uint8)
    pixel[0, 0, 0] = 1
    built = hd.seg.Segmentation(
        source_images=[stand_in(segmentation.series)],
        pixel_array=pixel,
        segmentation_type=segmentation.form,
        segment_descriptions=list(_segment_descriptions(segmentation, part)),
        series_instance_uid=identity.uid("series"),
        series_number=1,
        sop_instance_uid=identity.uid("seg"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL_NAME,
        software_versions=SOFTWARE_VERSIONS,
        device_serial_number=identity.device_uid,
        content_label="AI_SEGMENTATION",
        content_description=identity.content_description(),
    )
    for keyword in ("PixelData", "PerFrameFunctionalGroupsSequence", "ReferencedSeriesSequence", "SourceImageSequence"):
        del built[keyword]
    if segmentation.form == "LABELMAP":
        built["PixelPaddingValue"].VR = "US"
        # OHIF gives segment n the colour of the n-th item; highdicom puts the background first
        built.SegmentSequence = [*built.SegmentSequence[1:], built.SegmentSequence[0]]
    return built


def _segment_descriptions(
    segmentation: SegmentationForm, part: SegmentationPart
) -> Iterator[hd.seg.SegmentDescription]:
    case, segments = segmentation.case, segmentation.result.segments
    algorithm = hd.AlgorithmIdentificationSequence(
        name=case.identity.algorithm,
        family=concept(case.identity.family),
        version=plain(case.identity.version, LO),
        source=plain(case.identity.manufacturer, LO) or None,
        parameters=case.identity.parameters,
    )
    colors = segment_colors(segments)
    for number_here, number in enumerate(part.segments, 1):
        segment = segments[number - 1]
        label = plain(segment.label, LO)
        description = hd.seg.SegmentDescription(
            segment_number=number_here,
            segment_label=label,
            segmented_property_category=concept(segment.category),
            segmented_property_type=concept(segment.type),
            algorithm_type="AUTOMATIC",
            algorithm_identification=algorithm,
            tracking_id=label,
            tracking_uid=case.segment_tracking_uid(segmentation.order, number),
            anatomic_regions=[concept(segment.region)] if segment.region else None,
            display_color=hd.color.CIELabColor.from_rgb(*colors[number - 1]),
        )
        if segment.laterality:
            _set_laterality(description, segment.laterality)
        yield description


def _set_laterality(description: Dataset, laterality: Code) -> None:
    """Set the side on the anatomic region if there is one, else on the type (PS3.3 C.8.20.2, PS3.16 CID 244)."""
    if "AnatomicRegionSequence" in description:
        description.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [concept(laterality)]
    else:
        kind = description.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [concept(laterality)]


def _describe_unplaced(built: Dataset, header: Dataset) -> None:
    """Describe frames without a position by their number (PS3.3 C.7.6.16.2.2), pixel spacing and directions.

    OHIF opens no Segmentation without Pixel Measures and Plane Orientation, and takes the images to be axial. Without a
    Frame of Reference that orientation says nothing of the patient; Patient Orientation does.
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


def _add_frames(done: Dataset, segmentation: SegmentationForm, part: SegmentationPart) -> None:
    """Add the frames and the images they lie on. This comes last: reading encoded groups would decode them."""
    series, form, occupied = segmentation.series, segmentation.form, segmentation.occupied
    # highdicom's order: against the normal
    slices = reversed(part.slices) if series.placed else part.slices
    order = [index for index in slices if occupied[part.rows, index].any()]
    if form == "LABELMAP":
        frames = stored = [SegmentFrame(0, index) for index in order]
    else:
        frames = [
            SegmentFrame(number_here, index)
            for number_here, row in enumerate(part.rows, 1)
            for index in order
            if occupied[row, index]
        ]
        stored = [SegmentFrame(part.segments[frame.segment - 1], frame.slice) for frame in frames]
    several = form != "LABELMAP" and len(part.segments) > 1
    done.NumberOfFrames = len(frames)
    done.SegmentsOverlap = "UNDEFINED" if form == "FRACTIONAL" and several else _overlap(segmentation.result)
    if series.placed and not several and len(order) > 1 and len(set(np.diff(order))) == 1:
        done.DimensionOrganizationType = "3D"
    instances = encoded_references(series.identities)
    done["SourceImageSequence"] = encoded_sequence("SourceImageSequence", *instances)
    listed = encoded_series_item(series.series_uid, instances)
    done["ReferencedSeriesSequence"] = encoded_sequence("ReferencedSeriesSequence", listed)
    groups = per_frame_groups(frames, series.frames, order, several=several)
    done["PerFrameFunctionalGroupsSequence"] = groups
    done["PixelData"] = pixel_data(PIXELS[form](segmentation.result, stored))


def _overlap(result: Segmentation) -> str:
    """Return Segments Overlap (PS3.3 C.8.20.2): whether a voxel belongs to two segments."""
    if not result.masks:
        return "NO"
    for index, plane in enumerate(result.labels.array):
        pixels = sum(int(np.count_nonzero(result.plane(index, number))) for number, _ in enumerate(result.masks, 1))
        if pixels > np.count_nonzero(plane):
            return "YES"
    return "NO"


def _check_orientations(series: Series) -> None:
    """Raise BrokenResult unless all images have a position and the orientation of the first, which the frames share.

    Viewers draw a frame on the image that it names and read no positions: a wrong position would be a wrong slice that
    nobody notices.
    """
    first = series.frames[0].orientation
    for frame in series.frames:
        if frame.position is None or not is_same_direction(first, frame.orientation):
            raise BrokenResult(
                f"a frame of the segmentation would not lie on instance {frame.sop_instance_uid}, which it would name: "
                f"the images of series {series.key} do not share one orientation"
            )
