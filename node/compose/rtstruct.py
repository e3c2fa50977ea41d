"""RT Structure Set (PS3.3 A.19): outlines in the patient, for treatment planning."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID, RTStructureSetStorage
from pydicom.valuerep import DSfloat

from node.compose.ascii_text import LO, SH, ST, plain
from node.compose.finish import finish
from node.compose.identity import RESEARCH_USE, Identity
from node.compose.object_references import image, images
from node.compose.outlines import Shape, Thing, closed, in_patient
from node.images.contours import keyholed
from node.images.frame import Frame
from node.images.series import Series
from node.results import Region

STUDY_CLASS = UID("1.2.840.10008.3.1.2.3.1")
"""Detached Study Management, retired: structure sets name studies by it to this day (PS3.3 C.8.8.5)."""


def structure_set(
    series: Series, things: Sequence[Thing], identity: Identity, *, name: str, number: int
) -> Dataset | None:
    """Return a structure set of all that is drawn on a series, None where that is nothing.

    Parameters
    ----------
    series
        With a frame of reference and positions.
    name
        Tells the structure sets of the job apart.
    number
        How many series of the job come before it.
    """
    rois = [(thing, contours) for thing in things if thing.series is series and (contours := list(_contours(thing)))]
    if not rois:
        return None
    built = Dataset()
    built.SOPClassUID = RTStructureSetStorage
    built.SOPInstanceUID = identity.uid("rtstruct", name)
    built.FrameOfReferenceUID = series.frame_of_reference_uid
    built.PositionReferenceIndicator = None
    built.OperatorsName = None
    built.StructureSetLabel = plain("AI research", SH)
    built.StructureSetName = plain(identity.algorithm, LO)
    built.StructureSetDescription = plain(RESEARCH_USE, ST)
    built.StructureSetDate, built.StructureSetTime = identity.moment(series.header)
    built.ReferencedFrameOfReferenceSequence = [_frame_of_reference(series)]
    built.StructureSetROISequence = []
    built.ROIContourSequence = []
    built.RTROIObservationsSequence = []
    for roi, (thing, contours) in enumerate(rois, 1):
        built.StructureSetROISequence.append(_roi(roi, thing, series))
        built.ROIContourSequence.append(_roi_contour(roi, thing, contours))
        built.RTROIObservationsSequence.append(_observation(roi, thing))
    built.ApprovalStatus = "UNAPPROVED"
    return finish(built, series.header, identity, kind="RTSTRUCT", number=number)


def _contours(thing: Thing) -> Iterator[Dataset]:
    """Return contours on their images, and of a polygon in the patient the one it is."""
    if isinstance(thing.result, Region) and thing.result.in_patient:
        yield _contour(closed(thing.result.points), None)
        return
    for shape in thing.shapes(keyholed):
        yield _contour(in_patient(shape), shape)


def _contour(points: NDArray[np.float64], shape: Shape | None) -> Dataset:
    contour = Dataset()
    if shape is not None:
        contour.ContourImageSequence = [image(shape.frame)]
    contour.ContourGeometricType, count = _form(points)
    contour.NumberOfContourPoints = count
    contour.ContourData = [DSfloat(number, auto_format=True) for number in points[:count].ravel().tolist()]
    return contour


def _form(points: NDArray[np.float64]) -> tuple[str, int]:
    """Return what a contour is, and of how many points: a closed one does not repeat its first (PS3.3 C.8.8.6)."""
    if len(points) == 1 or (len(points) == 2 and np.array_equal(points[0], points[1])):
        return "POINT", 1
    if np.allclose(points[0], points[-1]):
        return "CLOSED_PLANAR", len(points) - 1
    return "OPEN_PLANAR", len(points)


def _frame_of_reference(series: Series) -> Dataset:
    of_series = Dataset()
    of_series.SeriesInstanceUID = series.series_uid
    of_series.ContourImageSequence = images(series.frames)
    study = Dataset()
    study.ReferencedSOPClassUID = STUDY_CLASS
    study.ReferencedSOPInstanceUID = series.study_uid
    study.RTReferencedSeriesSequence = [of_series]
    item = Dataset()
    item.FrameOfReferenceUID = series.frame_of_reference_uid
    item.RTReferencedStudySequence = [study]
    return item


def _roi(number: int, thing: Thing, series: Series) -> Dataset:
    item = Dataset()
    item.ROINumber = number
    item.ReferencedFrameOfReferenceUID = series.frame_of_reference_uid
    item.ROIName = thing.label
    item.ROIDescription = plain("Research use, unverified", ST)
    item.ROIGenerationAlgorithm = "AUTOMATIC"
    return item


def _roi_contour(number: int, thing: Thing, contours: list[Dataset]) -> Dataset:
    item = Dataset()
    item.ReferencedROINumber = number
    item.ROIDisplayColor = list(thing.color)
    item.ContourSequence = contours
    return item


def _observation(number: int, thing: Thing) -> Dataset:
    item = Dataset()
    item.ObservationNumber = number
    item.ReferencedROINumber = number
    item.ROIObservationLabel = plain(thing.label, SH)
    item.RTROIInterpretedType = None
    item.ROIInterpreter = None
    return item


def drawable(series: Series) -> bool:
    """Say whether images have the positions that a structure set needs."""
    return bool(series.frame_of_reference_uid) and all(_placed(frame) for frame in series.frames)


def _placed(frame: Frame) -> bool:
    return frame.position is not None and frame.orientation is not None and frame.spacing is not None
