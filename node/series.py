"""Images as a plugin sees them: a series of frames in order, and the volume they make."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node.errors import UnsuitableSeries

Vector = tuple[float, float, float]

STEP_TOLERANCE = 0.02
"""How far one slice distance may lie from the mean, as a part of it; positions are written with few digits."""
TILT_TOLERANCE = 0.5
"""Degrees between the direction of stacking and the slices' normal that rounding alone explains."""
SAME_PLACE = 0.01
"""Slices nearer to each other than this, in mm along their normal, lie at the same position."""
GRID_TOLERANCE = 0.01
"""Millimetres by which a corner of a grid may be off: affines are float64, headers are decimal text."""
INT16 = np.iinfo(np.int16)
LOWEST_HU = -1024
"""Below this lies only what a scanner fills in outside its field of view (PS3.3 C.11.1.1.2: air is -1000)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Volume:
    """An array with its place in the patient.

    Parameters
    ----------
    array
        (slice, row, column).
    affine
        float64 (4, 4): takes (slice, row, column, 1) to (x, y, z, 1), the centre of that voxel in mm, LPS
        (x to the patient's left, y to the back, z to the head; PS3.3 C.7.6.2.1.1).
    frame_of_reference_uid
        Frame of Reference UID of the images, empty where they have none.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]
    frame_of_reference_uid: str = ""

    def __post_init__(self) -> None:
        if self.array.ndim != 3:
            raise ValueError(f"a volume has the axes slice, row and column, not {self.array.ndim} axes")
        if self.affine.shape != (4, 4):
            raise ValueError(f"the affine of a volume is 4 × 4, not {self.affine.shape}")

    @property
    def spacing(self) -> Vector:
        """Distance of neighbours in mm: slice, row, column."""
        slices, rows, columns = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(slices), float(rows), float(columns)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000

    def with_array(self, array: NDArray[Any]) -> "Volume":
        """Return another array on the same grid; ValueError where its shape is another."""
        if array.shape != self.array.shape:
            raise ValueError(f"an array of {array.shape} does not fit the grid of {self.array.shape}")
        return replace(self, array=array)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One image plane: a single-frame instance, or one frame of a multi-frame instance.

    Parameters
    ----------
    header
        The instance's data set without pixel data, shared by all frames of the instance.
    number
        Frame number from 1, as references give it (PS3.3 10.3); 1 in a single-frame instance.
    position, orientation, spacing
        Image Position (Patient), mm LPS; Image Orientation (Patient), row then column direction; Pixel Spacing, row
        then column, mm (PS3.3 C.7.6.2). None where the image has no place in the patient.
    slope, intercept
        Rescale of stored values (PS3.3 C.11.1), 1 and 0 where there is none.
    """

    header: Dataset
    number: int = 1
    position: Vector | None = None
    orientation: tuple[float, float, float, float, float, float] | None = None
    spacing: tuple[float, float] | None = None
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def sop_instance_uid(self) -> str:
        """SOP Instance UID of the instance that holds the frame."""
        return str(self.header.SOPInstanceUID)

    @property
    def sop_class_uid(self) -> str:
        """SOP Class UID of the instance that holds the frame."""
        return str(self.header.SOPClassUID)

    @property
    def multi_frame(self) -> bool:
        """Whether references to it must give the frame number."""
        return "NumberOfFrames" in self.header

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector across the plane: row direction × column direction."""
        if self.orientation is None:
            raise UnsuitableSeries(f"instance {self.sop_instance_uid} has no orientation")
        return np.cross(self.orientation[:3], self.orientation[3:])


FrameReader = Callable[[Sequence[Frame]], Iterable[NDArray[Any]]]
"""Gives the stored values of frames in the same order: (row, column), or (row, column, sample) in colour."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Series:
    """One stack of images of one series, as a plugin gets it for a role.

    A DICOM series that holds several stacks (orientations, echoes, time points, a localiser) comes as several of these.

    Parameters
    ----------
    key
        Names the stack in the ledger and in messages: the Series Instance UID, with "#2" and so on after the first.
    frames
        Along the normal of the stack where the images have positions, else by Instance Number and frame number.
    read
        Decodes stored values on demand.
    warnings
        Sentences about what is odd in it but does not stop anybody.
    """

    key: str
    frames: tuple[Frame, ...]
    read: FrameReader
    warnings: tuple[str, ...] = ()

    @property
    def header(self) -> Dataset:
        """The data set of the first instance, without pixel data."""
        return self.frames[0].header

    @cached_property
    def headers(self) -> tuple[Dataset, ...]:
        """The data set of every instance once, in the order of the frames."""
        return tuple({frame.sop_instance_uid: frame.header for frame in self.frames}.values())

    @property
    def study_uid(self) -> str:
        """Study Instance UID."""
        return str(self.header.StudyInstanceUID)

    @property
    def series_uid(self) -> str:
        """Series Instance UID."""
        return str(self.header.SeriesInstanceUID)

    @property
    def modality(self) -> str:
        """Modality as the header gives it, empty where it gives none."""
        return str(self.header.get("Modality") or "")

    @property
    def frame_of_reference_uid(self) -> str:
        """Frame of Reference UID, empty where the images have none."""
        return str(self.header.get("FrameOfReferenceUID") or "")

    def affine(self) -> NDArray[np.float64]:
        """The grid of the stack: float64 (4, 4), (slice, row, column, 1) to mm LPS.

        Raises
        ------
        UnsuitableSeries
            Slices are missing, repeated, unevenly spaced or tilted; the message names the instance.
        """
        first = self.frames[0]
        if first.position is None or first.orientation is None or first.spacing is None:
            raise UnsuitableSeries(
                f"instance {first.sop_instance_uid} has no position in the patient: Image Position (Patient), "
                "Image Orientation (Patient) or Pixel Spacing is missing"
            )
        grid = np.eye(4)
        grid[:3, 0] = _step(self.frames)
        grid[:3, 1] = np.multiply(first.orientation[3:], first.spacing[0])
        grid[:3, 2] = np.multiply(first.orientation[:3], first.spacing[1])
        grid[:3, 3] = first.position
        return grid

    def volume(self) -> Volume:
        """The stack as one volume: (slice, row, column), rescaled (HU for CT; PS3.3 C.11.1), LPS in mm.

        int16 where that is exact, else float32. In CT, values below -1024 HU are raised to it: they are padding.

        Raises
        ------
        UnsuitableSeries
            Slices are missing, repeated, unevenly spaced or tilted, or the images are in colour or cannot be decoded;
            the message names the instance.
        """
        affine = self.affine()
        array = _rescaled(self.frames, self.read(self.frames))
        if self.modality == "CT":
            np.maximum(array, LOWEST_HU, out=array)
        return Volume(array=array, affine=affine, frame_of_reference_uid=self.frame_of_reference_uid)

    def image(self, index: int = 0) -> NDArray[Any]:
        """One frame by its place in the stack: (row, column) rescaled as in `volume`, or (row, column, 3) as stored."""
        frame = self.frames[index]
        stored = next(iter(self.read([frame])))
        if stored.ndim == 3:
            return stored
        return np.asarray(_rescaled((frame,), [stored])[0])


def on_grid(volume: Volume, series: Series) -> bool:
    """Say whether a volume has the very grid of a series: shape, frame of reference, and all eight corners."""
    shape = (len(series.frames), series.header.get("Rows"), series.header.get("Columns"))
    if volume.array.shape != shape or volume.frame_of_reference_uid != series.frame_of_reference_uid:
        return False
    try:
        expected = series.affine()
    except UnsuitableSeries:
        return False
    return bool(np.abs(corners(volume.affine, shape) - corners(expected, shape)).max() <= GRID_TOLERANCE)


def corners(affine: NDArray[np.float64], shape: Sequence[int]) -> NDArray[np.float64]:
    """Return where the centres of the eight outermost voxels of a grid lie: (8, 3), mm LPS."""
    ends = np.array([[*(np.array(shape) - 1) * corner, 1] for corner in np.ndindex(2, 2, 2)], np.float64)
    return np.asarray((ends @ affine.T)[:, :3])


def along_normal(frames: Sequence[Frame]) -> NDArray[np.float64]:
    """Return how far each frame lies along the normal of the first, in mm: its position · (row × column direction)."""
    return np.array([frame.position for frame in frames], dtype=np.float64) @ frames[0].normal


def usual_distance(distances: NDArray[np.float64]) -> tuple[float, NDArray[np.bool_]]:
    """Return the distance that most neighbouring slices have, in mm, and which pairs of neighbours have it."""
    usual = float(np.sort(distances)[(len(distances) - 1) // 2])
    return usual, np.abs(distances - usual) <= STEP_TOLERANCE * usual + SAME_PLACE


def _step(frames: Sequence[Frame]) -> NDArray[np.float64]:
    """Return the vector from one slice to the next, or say between which instances it is not the same."""
    first = frames[0]
    if len(frames) == 1:
        return first.normal * _thickness(first)
    distances = np.diff(along_normal(frames))
    if (same := distances < SAME_PLACE).any():
        raise UnsuitableSeries(f"{_neighbours(frames, int(same.argmax()))} lie at the same position")
    usual, even = usual_distance(distances)
    if not even.all():
        odd = int(even.argmin())
        raise UnsuitableSeries(
            f"slices are missing or unevenly spaced: {_neighbours(frames, odd)} are {distances[odd]:.2f} mm apart, "
            f"others {usual:.2f} mm"
        )
    positions = np.array([frame.position for frame in frames], dtype=np.float64)
    step: NDArray[np.float64] = (positions[-1] - positions[0]) / (len(frames) - 1)
    astray = np.linalg.norm(positions - positions[0] - np.outer(np.arange(len(frames)), step), axis=1)
    tilt = float(np.degrees(np.arccos(np.clip(step @ first.normal / np.linalg.norm(step), -1, 1))))
    if tilt > TILT_TOLERANCE:
        raise UnsuitableSeries(
            f"the gantry was tilted: {_named(first)} and the others are stacked {tilt:.1f} degrees off their normal"
        )
    if astray.max() > max(first.spacing or (1.0,)):
        raise UnsuitableSeries(
            f"{_named(frames[int(astray.argmax())])} lies {astray.max():.1f} mm off the even grid of the others"
        )
    return step


def _named(frame: Frame) -> str:
    instance = f"instance {frame.sop_instance_uid}"
    return f"frame {frame.number} of {instance}" if frame.multi_frame else instance


def _neighbours(frames: Sequence[Frame], index: int) -> str:
    return f"{_named(frames[index])} and {_named(frames[index + 1])}"


def _thickness(frame: Frame) -> float:
    """Return the extent in mm of a lone slice across its plane."""
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        if value := frame.header.get(keyword):
            return abs(float(value))
    return 1.0


def _rescaled(frames: Sequence[Frame], stored: Iterable[NDArray[Any]]) -> NDArray[Any]:
    """Return (slice, row, column) of real values: int16 where that is exact, else float32."""
    whole = all(frame.slope == 1 and frame.intercept.is_integer() for frame in frames)
    array = np.empty(0)
    for index, (frame, plane) in enumerate(zip(frames, stored, strict=True)):
        if plane.ndim != 2:
            raise UnsuitableSeries(f"{_named(frame)} is in colour")
        if index == 0:
            array = np.empty((len(frames), *plane.shape), np.int16 if whole else np.float32)
        if whole and not _fits_int16(plane, int(frame.intercept)):
            whole, array = False, array.astype(np.float32)
        if whole:
            np.add(plane, np.int32(frame.intercept), out=array[index], casting="unsafe")
        else:
            array[index] = plane * np.float32(frame.slope) + np.float32(frame.intercept)
    return array


def _fits_int16(plane: NDArray[Any], intercept: int) -> bool:
    """Whether the plane's values plus the intercept are all whole numbers that int16 holds."""
    if not np.issubdtype(plane.dtype, np.integer):
        return False
    low, high = int(plane.min()) + intercept, int(plane.max()) + intercept
    return INT16.min <= low and high <= INT16.max
