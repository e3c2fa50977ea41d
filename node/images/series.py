"""Images as a plugin sees them: a series of frames in order, and the volume they make."""

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from node import arena
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
WORKERS = min(4, os.cpu_count() or 1)
"""Threads that read and decode; the codecs let go of the interpreter lock for part of their work only."""
FEWEST_OF_A_SHARE = 8
"""Fewer slices than this are not worth a thread of their own."""
IDENTITY = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
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


class Image(Protocol):
    """One instance, as its frames share it."""

    @property
    def values(self) -> Mapping[str, Any] | Dataset:
        """What is known of it by keyword, without reading its header: `get` gives a value, or None."""

    @property
    def header(self) -> Dataset:
        """The data set without pixel data, read when it is first asked for."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One image plane: a single-frame instance, or one frame of a multi-frame instance.

    Parameters
    ----------
    image
        The instance, shared by all its frames.
    number
        Frame number from 1, as references give it (PS3.3 10.3); 1 in a single-frame instance.
    position, orientation, spacing
        Image Position (Patient), mm LPS; Image Orientation (Patient), row then column direction; Pixel Spacing, row
        then column, mm (PS3.3 C.7.6.2). None where the image has no place in the patient.
    slope, intercept
        Rescale of stored values (PS3.3 C.11.1), 1 and 0 where there is none.
    """

    image: Image
    number: int = 1
    position: Vector | None = None
    orientation: tuple[float, float, float, float, float, float] | None = None
    spacing: tuple[float, float] | None = None
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def header(self) -> Dataset:
        """The instance's data set without pixel data."""
        return self.image.header

    @property
    def sop_instance_uid(self) -> str:
        """SOP Instance UID of the instance that holds the frame."""
        return str(self.image.values.get("SOPInstanceUID"))

    @property
    def sop_class_uid(self) -> str:
        """SOP Class UID of the instance that holds the frame."""
        return str(self.image.values.get("SOPClassUID"))

    @property
    def multi_frame(self) -> bool:
        """Whether references to it must give the frame number."""
        return "NumberOfFrames" in self.image.values

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector across the plane: row direction × column direction."""
        if self.orientation is None:
            raise UnsuitableSeries(f"instance {self.sop_instance_uid} has no orientation")
        return np.cross(self.orientation[:3], self.orientation[3:])


class FrameReader(Protocol):
    """Gives the stored values of frames in the same order: (row, column), or (row, column, sample) in colour."""

    def __call__(self, frames: Sequence[Frame], into: NDArray[Any] | None = None) -> Iterable[NDArray[Any]]:
        """Read; `into`, (frame, row, column), may be used to hold values of 16 bits.

        They are then a view of it, in their own type, and lie within Bits Stored.
        """


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
        """The data set of every instance once, in the order of the frames: to have all of them read takes a while."""
        return tuple(image.header for image in self._images)

    @cached_property
    def identities(self) -> tuple[Dataset, ...]:
        """Who every instance is, once, in the order of the frames: a data set of its UIDs alone.

        SOP Class UID, SOP Instance UID, Study Instance UID, Series Instance UID; no header is read for it.
        """
        return tuple(_identity(image.values) for image in self._images)

    @property
    def _images(self) -> Iterable[Image]:
        return {frame.sop_instance_uid: frame.image for frame in self.frames}.values()

    @property
    def study_uid(self) -> str:
        """Study Instance UID."""
        return self._first("StudyInstanceUID")

    @property
    def series_uid(self) -> str:
        """Series Instance UID."""
        return self._first("SeriesInstanceUID")

    @property
    def modality(self) -> str:
        """Modality as the header gives it, empty where it gives none."""
        return self._first("Modality")

    @property
    def frame_of_reference_uid(self) -> str:
        """Frame of Reference UID, empty where the images have none."""
        return self._first("FrameOfReferenceUID")

    def _first(self, keyword: str) -> str:
        return str(self.frames[0].image.values.get(keyword) or "")

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
        array = _rescaled(self.frames, self.read, LOWEST_HU if self.modality == "CT" else None)
        return Volume(array=array, affine=affine, frame_of_reference_uid=self.frame_of_reference_uid)

    @property
    def placed(self) -> bool:
        """Whether the images have a place in the patient, as radiographs, ultrasound and photographs have not."""
        return self.frames[0].position is not None

    def on_pixels(self, array: NDArray[Any]) -> Volume:
        """Return an array, (image, row, column), on the pixels of the images, as a `Segmentation` of them has it.

        For images with no place in the patient, of which there is no volume: its affine only counts slices, rows and
        columns, and its distances are none in mm.

        Raises
        ------
        UnsuitableSeries
            The images have a place, and slices are missing, repeated, unevenly spaced or tilted.
        """
        return Volume(array=array, affine=_grid(self), frame_of_reference_uid=self.frame_of_reference_uid)

    def image(self, index: int = 0) -> NDArray[Any]:
        """One frame by its place in the stack: (row, column) rescaled as in `volume`, or (row, column, 3) as stored."""
        frame = self.frames[index]
        stored = next(iter(self.read([frame])))
        if stored.ndim == 3:
            return stored
        return np.asarray(_rescaled((frame,), lambda frames, into=None: [stored], None)[0])  # noqa: ARG005

    def brightness(self, index: int = 0) -> NDArray[np.float32]:
        """One frame as it is meant to be seen, before any window: float32 (row, column), the higher the whiter.

        MONOCHROME1 is turned over (PS3.3 C.7.6.3.1.2); colour is the mean of red, green and blue.
        """
        seen = self.image(index)
        if seen.ndim == 3:
            seen = seen.mean(axis=2)
        white_is_low = self.frames[index].header.get("PhotometricInterpretation") == "MONOCHROME1"
        return np.asarray(seen, np.float32) * (-1 if white_is_low else 1)


def _grid(series: Series) -> NDArray[np.float64]:
    return series.affine() if series.placed else np.eye(4)


def on_grid(volume: Volume, series: Series) -> bool:
    """Say whether a volume has the very grid of a series: shape, frame of reference, and all eight corners."""
    shape = (len(series.frames), series.header.get("Rows"), series.header.get("Columns"))
    if volume.array.shape != shape or volume.frame_of_reference_uid != series.frame_of_reference_uid:
        return False
    try:
        expected = _grid(series)
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
        try:
            if value := frame.header.get(keyword):
                return abs(float(value))
        except (LookupError, NotImplementedError, TypeError, ValueError) as error:  # pydicom reads it only now
            raise UnsuitableSeries(f"{_named(frame)} has a {keyword} that is no number") from error
    return 1.0


def _identity(values: Mapping[str, Any] | Dataset) -> Dataset:
    identity = Dataset()
    for keyword in IDENTITY:
        if (uid := values.get(keyword)) is not None:
            identity[keyword] = DataElement(keyword, "UI", uid, validation_mode=IGNORE)
    return identity


class _TooWide(Exception):
    """Values that int16 does not hold."""


def _rescaled(frames: Sequence[Frame], read: FrameReader, lowest: int | None) -> NDArray[Any]:
    """Return (slice, row, column) of real values, none below `lowest`: int16 where that is exact, else float32."""
    if all(frame.slope == 1 and frame.intercept.is_integer() for frame in frames):
        with suppress(_TooWide):
            return _gathered(frames, read, np.dtype(np.int16), lowest)
    return _gathered(frames, read, np.dtype(np.float32), lowest)


def _gathered(frames: Sequence[Frame], read: FrameReader, dtype: np.dtype[Any], lowest: int | None) -> NDArray[Any]:
    """Return all frames rescaled, each read into its own place; several threads have a share of them each."""
    values = frames[0].image.values
    array = arena.empty((len(frames), int(values.get("Rows") or 0), int(values.get("Columns") or 0)), dtype)
    shares = np.array_split(np.arange(len(frames)), min(WORKERS, -(-len(frames) // FEWEST_OF_A_SHARE)))
    parts = [slice(int(share[0]), int(share[-1]) + 1) for share in shares]

    def fill(part: slice) -> None:
        mine, places = frames[part], array[part]
        arena.populate(places)
        floor = None if lowest is None else np.full(array.shape[1:], lowest, dtype)
        into = places if dtype == np.int16 else None
        for frame, stored, place in zip(mine, read(mine, into), places, strict=True):
            if stored.ndim != 2:
                raise UnsuitableSeries(f"{_named(frame)} is in colour")
            if stored.shape != place.shape:
                raise UnsuitableSeries(f"{_named(frame)} is of another size than its header says")
            settle = _as_int16 if dtype == np.int16 else _as_float32
            settle(frame, stored, place, floor)

    if len(parts) == 1:
        fill(parts[0])
    else:
        with ThreadPoolExecutor(len(parts)) as pool:
            for _ in pool.map(fill, parts):
                pass
    return array


def _as_int16(frame: Frame, stored: NDArray[Any], place: NDArray[Any], floor: NDArray[Any] | None) -> None:
    """Put the stored values plus the intercept into their place; _TooWide where that is not exact.

    Values of 16 bits, which may lie in their place already, are added to modulo 2**16: the result is known to fit.
    """
    if not np.issubdtype(stored.dtype, np.integer):
        raise _TooWide
    intercept = int(frame.intercept)
    lowest = INT16.min if floor is None else int(floor.flat[0])
    low, high = (bound + intercept for bound in _bounds(frame, stored, place))
    if low < lowest or high > INT16.max:
        low, high = int(stored.min()) + intercept, int(stored.max()) + intercept
    if low < INT16.min or high > INT16.max:
        raise _TooWide
    if stored.itemsize > place.itemsize:
        np.add(stored, np.int64(intercept), out=place, dtype=np.int64, casting="unsafe")
    else:
        wrapped = np.int16((intercept - INT16.min) % 2**16 + INT16.min)
        np.add(stored.view(np.int16) if stored.itemsize == place.itemsize else stored, wrapped, out=place)
    if floor is not None and low < lowest:
        np.maximum(place, floor, out=place)


def _bounds(frame: Frame, stored: NDArray[Any], place: NDArray[Any]) -> tuple[int, int]:
    """Return between what the stored values lie without looking at them."""
    if not np.may_share_memory(stored, place):
        limits = np.iinfo(stored.dtype)
        return int(limits.min), int(limits.max)
    used = int(frame.image.values.get("BitsStored") or 16)
    return (-(2 ** (used - 1)), 2 ** (used - 1) - 1) if stored.dtype.kind == "i" else (0, 2**used - 1)


def _as_float32(frame: Frame, stored: NDArray[Any], place: NDArray[Any], floor: NDArray[Any] | None) -> None:
    place[...] = stored * np.float32(frame.slope) + np.float32(frame.intercept)
    if floor is not None:
        np.maximum(place, floor, out=place)
