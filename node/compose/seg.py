"""Segmentation (PS3.3 A.51): BINARY, on the grid of its images, each frame naming the image it lies on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID

from node.codes import Code
from node.compose.finish import finish
from node.compose.identity import MANUFACTURER, MODEL_NAME, SOFTWARE_VERSIONS, Identity
from node.compose.source import copy_element, stand_in_uid, stand_ins
from node.compose.text import LO, concept, plain
from node.errors import BrokenResult
from node.results import Segment, Segmentation
from node.series import Frame, Series

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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outline:
    """One segment as a report needs it.

    Parameters
    ----------
    number
        Segment Number in `object`.
    tracking_uid
        Names the thing in SEG and SR alike (PS3.16 TID 4108).
    found
        Whether at least one voxel is of it.
    object
        The Segmentation it is in; None where there is none.
    """

    segment: Segment
    number: int
    tracking_uid: str
    found: bool
    series: Series
    object: Dataset | None


def colors(segments: Sequence[Segment]) -> list[tuple[int, int, int]]:
    """Return (red, green, blue) of every segment: its own, else the next of the palette."""
    return [segment.color or PALETTE[index % len(PALETTE)] for index, segment in enumerate(segments)]


def tracking_uid(identity: Identity, order: int, number: int) -> str:
    """Return the Tracking UID of a segment, by the place of its segmentation among the results and its own number."""
    return identity.uid("tracking", str(order), str(number))


def segmentation(result: Segmentation, series: Series, identity: Identity, *, order: int, number: int) -> Dataset:
    """Return a BINARY Segmentation of all segments, without the frames that are empty.

    Parameters
    ----------
    series
        The images on whose grid the labels are; with a frame of reference.
    order
        Place of the result among the segmentations of the job.
    number
        How many objects of the job come before it.

    Raises
    ------
    BrokenResult
        A frame would not lie on the image that it names, or a code is none.
    """
    images = stand_ins(series)
    try:
        built = hd.seg.Segmentation(
            source_images=images,
            pixel_array=_labels(result),
            segmentation_type="BINARY",
            segment_descriptions=list(_descriptions(result, identity, order)),
            series_instance_uid=identity.uid("series"),
            series_number=1,
            sop_instance_uid=identity.uid("seg", str(order)),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=MODEL_NAME,
            software_versions=SOFTWARE_VERSIONS,
            device_serial_number=identity.device_uid,
            content_label="AI_SEGMENTATION",
            content_description=plain(f"{identity.algorithm}: research use, unverified", LO),
        )
    except (TypeError, ValueError) as error:
        raise BrokenResult(f"plugin {identity.plugin} made a segmentation that DICOM cannot hold: {error}") from error
    refer(built, series)
    organise(built, identity.uid("dimensions", str(order)))
    built["PixelData"].VR = "OB"
    describe_images(built, series.header)
    return finish(built, series.header, identity, kind="SEG", number=number)


def describe_images(built: Dataset, header: Dataset) -> None:
    """Copy what the images say of the body and of their compression, where they do (PS3.3 C.7.3.1, C.8.20.2)."""
    for keyword in ("BodyPartExamined", "Laterality", "PositionReferenceIndicator"):
        if header.get(keyword):
            copy_element(header, built, keyword)
    if header.get("LossyImageCompression") == "01":
        for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            copy_element(header, built, keyword)


def _labels(result: Segmentation) -> NDArray[Any]:
    """Return the label map in the type that highdicom packs without a copy: any other takes many times as long."""
    array = result.labels.array
    if array.dtype == np.bool_:
        return array.view(np.uint8)
    return array.astype(np.uint8 if len(result.segments) < 256 else np.uint16, copy=False)


def _descriptions(result: Segmentation, identity: Identity, order: int) -> Iterator[hd.seg.SegmentDescription]:
    algorithm = hd.AlgorithmIdentificationSequence(
        name=identity.algorithm,
        family=concept(identity.family),
        version=plain(identity.version, LO),
        source=plain(identity.manufacturer, LO) or None,
        parameters=identity.parameters,
    )
    for number, (segment, color) in enumerate(zip(result.segments, colors(result.segments), strict=True), 1):
        label = plain(segment.label, LO)
        description = hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=concept(segment.category),
            segmented_property_type=concept(segment.type),
            algorithm_type="AUTOMATIC",
            algorithm_identification=algorithm,
            tracking_id=label,
            tracking_uid=tracking_uid(identity, order, number),
            anatomic_regions=[concept(segment.region)] if segment.region else None,
            display_color=hd.color.CIELabColor.from_rgb(*color),
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
    instances = [_instance(header) for header in series.headers]
    built.SourceImageSequence = instances
    built.ReferencedSeriesSequence[0].ReferencedInstanceSequence = instances


def _close(ours: Sequence[float], theirs: Sequence[float] | None, tolerance: float) -> bool:
    return theirs is not None and all(abs(float(a) - b) <= tolerance for a, b in zip(ours, theirs, strict=True))


def _name(reference: Dataset, frame: Frame) -> None:
    reference.ReferencedSOPClassUID = UID(frame.sop_class_uid)
    reference.ReferencedSOPInstanceUID = UID(frame.sop_instance_uid)
    if frame.multi_frame:
        reference.ReferencedFrameNumber = frame.number


def _instance(header: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = header.SOPClassUID
    item.ReferencedSOPInstanceUID = header.SOPInstanceUID
    return item


def organise(built: Dataset, uid: str) -> None:
    """Give the dimensions a UID that is the same at every run; highdicom draws one by lot."""
    for item in (*built.DimensionOrganizationSequence, *built.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid
