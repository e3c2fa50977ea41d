"""RT Structure Set (PS3.3 A.19): outlines in the patient, for treatment planning."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID, RTStructureSetStorage
from pydicom.valuerep import DSfloat

from node.compose.ascii_text import LO, SH, ST, plain
from node.compose.case import Case
from node.compose.finish import count_series, finish
from node.compose.object_references import image_reference, image_references
from node.compose.outlines import Drawable, Shape, closed, drawables, points_in_patient
from node.images.contours import keyholed
from node.images.frame import Frame
from node.images.series import Series
from node.results import Region

STUDY_CLASS = UID("1.2.840.10008.3.1.2.3.1")
"""Detached Study Management, retired; structure sets still name studies by it (PS3.3 C.8.8.5)."""


def compose_rtstruct(case: Case, made: Sequence[Dataset]) -> Iterator[Dataset]:
    """Yield a structure set for each series with positions on which something can be drawn."""
    drawn = drawables(case)
    for order, series in enumerate(case.study_series):
        on_series = [drawable for drawable in drawn if drawable.series is series]
        contours = [(drawable, list(_contours(drawable))) for drawable in on_series] if _takes(series) else []
        if rois := [(drawable, items) for drawable, items in contours if items]:
            built = _structure_set(case, series, rois)
            built.SOPInstanceUID = case.identity.uid("rtstruct", str(order))
            yield finish(built, series.header, case.identity, kind="RTSTRUCT", number=count_series(made))


def _takes(series: Series) -> bool:
    """Return whether images have the positions that a structure set needs."""
    return bool(series.frame_of_reference_uid) and all(_is_placed(frame) for frame in series.frames)


def _is_placed(frame: Frame) -> bool:
    return frame.position is not None and frame.orientation is not None and frame.spacing is not None


def _structure_set(case: Case, series: Series, rois: Sequence[tuple[Drawable, list[Dataset]]]) -> Dataset:
    built = Dataset()
    built.SOPClassUID = RTStructureSetStorage
    built.FrameOfReferenceUID = series.frame_of_reference_uid
    built.PositionReferenceIndicator = None
    built.OperatorsName = None
    built.StructureSetLabel = plain("DEMONSTRATION" if case.identity.is_demonstration else "AI research", SH)
    built.StructureSetName = plain(case.identity.algorithm, LO)
    built.StructureSetDescription = plain(" ".join(case.identity.notices), ST)
    built.StructureSetDate, built.StructureSetTime = case.identity.moment(series.header)
    built.ReferencedFrameOfReferenceSequence = [_frame_of_reference(series)]
    built.StructureSetROISequence = [_roi(number, drawable) for number, (drawable, _) in enumerate(rois, 1)]
    built.ROIContourSequence = [_roi_contour(number, *roi) for number, roi in enumerate(rois, 1)]
    built.RTROIObservationsSequence = [_observation(number, drawable) for number, (drawable, _) in enumerate(rois, 1)]
    built.ApprovalStatus = "UNAPPROVED"
    return built


def _contours(drawable: Drawable) -> Iterator[Dataset]:
    """Yield the contours on images; a region in the patient gives its own points."""
    if isinstance(drawable.result, Region) and drawable.result.in_patient:
        yield _contour(closed(drawable.result.points), None)
        return
    for shape in drawable.shapes(keyholed):
        yield _contour(points_in_patient(shape), shape)


def _contour(points: NDArray[np.float64], shape: Shape | None) -> Dataset:
    contour = Dataset()
    if shape is not None:
        contour.ContourImageSequence = [image_reference(shape.frame)]
    contour.ContourGeometricType, count = _geometric_type(points)
    contour.NumberOfContourPoints = count
    contour.ContourData = [DSfloat(number, auto_format=True) for number in points[:count].ravel().tolist()]
    return contour


def _geometric_type(points: NDArray[np.float64]) -> tuple[str, int]:
    """Return Contour Geometric Type and number of points: a closed contour omits the repeated one (PS3.3 C.8.8.6)."""
    if len(points) == 1 or (len(points) == 2 and np.array_equal(points[0], points[1])):
        return "POINT", 1
    if np.allclose(points[0], points[-1]):
        return "CLOSED_PLANAR", len(points) - 1
    return "OPEN_PLANAR", len(points)


def _frame_of_reference(series: Series) -> Dataset:
    of_series = Dataset()
    of_series.SeriesInstanceUID = series.series_uid
    of_series.ContourImageSequence = image_references(series.frames)
    study = Dataset()
    study.ReferencedSOPClassUID = STUDY_CLASS
    study.ReferencedSOPInstanceUID = series.study_uid
    study.RTReferencedSeriesSequence = [of_series]
    item = Dataset()
    item.FrameOfReferenceUID = series.frame_of_reference_uid
    item.RTReferencedStudySequence = [study]
    return item


def _roi(number: int, drawable: Drawable) -> Dataset:
    item = Dataset()
    item.ROINumber = number
    item.ReferencedFrameOfReferenceUID = drawable.series.frame_of_reference_uid
    item.ROIName = drawable.label
    item.ROIDescription = plain("Research use, unverified", ST)
    item.ROIGenerationAlgorithm = "AUTOMATIC"
    return item


def _roi_contour(number: int, drawable: Drawable, contours: list[Dataset]) -> Dataset:
    item = Dataset()
    item.ReferencedROINumber = number
    item.ROIDisplayColor = list(drawable.color)
    item.ContourSequence = contours
    return item


def _observation(number: int, drawable: Drawable) -> Dataset:
    item = Dataset()
    item.ObservationNumber = number
    item.ReferencedROINumber = number
    item.ROIObservationLabel = plain(drawable.label, SH)
    item.RTROIInterpretedType = None
    item.ROIInterpreter = None
    return item
