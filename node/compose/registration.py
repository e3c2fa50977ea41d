"""Spatial and Deformable Spatial Registration (PS3.3 A.39.1, A.39.2): how images lie to each other."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import DeformableSpatialRegistrationStorage, SpatialRegistrationStorage

from node.codes import DCM
from node.compose.ascii_text import concept
from node.compose.case import Case
from node.compose.finish import finish_in_series
from node.compose.object_references import instance_reference, refer_in_common
from node.compose.source_images import copy_body_part, copy_element
from node.images.series import Series
from node.results import Deformation, Registration

MATRIX_TYPE = {"rigid": "RIGID", "rigid_scale": "RIGID_SCALE", "affine": "AFFINE"}
"""Frame of Reference Transformation Matrix Type (PS3.3 C.20.2.1.2)."""
COMMENT = "Research use, unverified"


def compose_reg(case: Case, made: Sequence[Dataset]) -> Iterator[Dataset]:
    """Yield a Spatial Registration for each linear registration (PS3.3 C.20.2).

    The fixed images keep their coordinates, the matrix maps those of the moving images.
    """
    for order, result in enumerate(case.results_of(Registration)):
        if result.deformation is None:
            built = _begin(case, result)
            built.SOPClassUID = SpatialRegistrationStorage
            built.SOPInstanceUID = case.identity.uid("reg", str(order))
            built.RegistrationSequence = [
                _linear(result.fixed, np.eye(4), "RIGID"),
                _linear(result.moving, result.matrix, MATRIX_TYPE[result.kind]),
            ]
            yield _finished(built, case, made)


def compose_deformable(case: Case, made: Sequence[Dataset]) -> Iterator[Dataset]:
    """Yield a Deformable Spatial Registration for each non-linear registration (PS3.3 C.20.3).

    Its grid of vectors and its matrix map the fixed images to the moving images.
    """
    for order, result in enumerate(case.results_of(Registration)):
        if result.deformation is not None:
            built = _begin(case, result)
            built.SOPClassUID = DeformableSpatialRegistrationStorage
            built.SOPInstanceUID = case.identity.uid("deformable", str(order))
            built.DeformableRegistrationSequence = [_non_linear(result, result.deformation)]
            yield _finished(built, case, made)


def _finished(built: Dataset, case: Case, made: Sequence[Dataset]) -> Dataset:
    """Return a registration in the series of all registrations to its frame of reference."""
    series = f"registrations {built.FrameOfReferenceUID}"
    return finish_in_series(built, case.header, case.identity, made, kind="REG", series=series)


def _begin(case: Case, result: Registration) -> Dataset:
    built = Dataset()
    built.FrameOfReferenceUID = result.fixed.frame_of_reference_uid
    built.PositionReferenceIndicator = None
    copy_element(result.fixed.header, built, "PositionReferenceIndicator")
    built.ContentLabel = "AI_REGISTRATION"
    built.ContentDescription = case.identity.content_description()
    built.ContentCreatorName = None
    copy_body_part(case.header, built)
    refer_in_common(built, [*result.fixed.headers, *result.moving.headers], case.header.StudyInstanceUID)
    return built


def _linear(series: Series, matrix: NDArray[np.float64], kind: str) -> Dataset:
    registration = Dataset()
    registration.FrameOfReferenceTransformationComment = COMMENT
    registration.RegistrationTypeCodeSequence = [concept(DCM.ImageContentBasedAlignment)]
    registration.MatrixSequence = [_matrix(matrix, kind)]
    item = Dataset()
    item.FrameOfReferenceUID = series.frame_of_reference_uid
    item.ReferencedImageSequence = [instance_reference(header) for header in series.identities]
    item.MatrixRegistrationSequence = [registration]
    return item


def _non_linear(result: Registration, deformation: Deformation) -> Dataset:
    item = Dataset()
    item.SourceFrameOfReferenceUID = result.moving.frame_of_reference_uid
    item.ReferencedImageSequence = [instance_reference(header) for header in result.moving.headers]
    item.FrameOfReferenceTransformationComment = COMMENT
    item.RegistrationTypeCodeSequence = [concept(DCM.ImageContentBasedAlignment)]
    item.PostDeformationMatrixRegistrationSequence = [
        _matrix(np.linalg.inv(result.matrix), "RIGID" if result.kind == "rigid" else "AFFINE")
    ]
    item.DeformableRegistrationGridSequence = [_grid(deformation)]
    return item


def _matrix(matrix: NDArray[np.float64], kind: str) -> Dataset:
    item = Dataset()
    item.FrameOfReferenceTransformationMatrix = [f"{number:.10g}" for number in matrix.ravel().tolist()]
    item.FrameOfReferenceTransformationMatrixType = kind
    return item


def _grid(deformation: Deformation) -> Dataset:
    """Return the grid: its x runs along the columns of the array, its y along the rows, its z along the slices."""
    affine = deformation.affine
    slices, rows, columns = deformation.vectors.shape[:3]
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    across, along = affine[:3, 2] / spacing[2], affine[:3, 1] / spacing[1]
    vectors, origin = deformation.vectors, affine[:3, 3]
    if np.cross(across, along) @ affine[:3, 0] < 0:  # the third axis is always their cross product
        vectors, origin = vectors[::-1], origin + affine[:3, 0] * (slices - 1)
    item = Dataset()
    item.ImageOrientationPatient = [f"{number:.10g}" for number in (*across, *along)]
    item.ImagePositionPatient = [f"{number:.10g}" for number in origin]
    item.GridDimensions = [columns, rows, slices]
    item.GridResolution = [float(spacing[2]), float(spacing[1]), float(spacing[0])]
    item.VectorGridData = np.ascontiguousarray(vectors, "<f4").tobytes()
    return item
