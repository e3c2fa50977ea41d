"""Images as a plugin sees them: a series of frames in order, and the volume that they form."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from node.arena import PROCESS_MEMORY, Memory
from node.errors import UnsuitableSeries
from node.images.frame import Frame, FrameReader, Image, Vector
from node.images.real_values import meaning_fault
from node.images.rescaling import INT16, rescaled
from node.images.stack_geometry import corners, part_of_spacing, slice_step

GRID_TOLERANCE = 0.01
"""Millimetres by which a corner of a grid may be off, and never more than a twentieth of a voxel.

Affines are float64, headers are decimal text.
"""
IDENTITY = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
LOWEST_HU = -1024
"""Lower values are padding outside the scanner's field of view (PS3.3 C.11.1.1.2: air is -1000)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Volume:
    """An array with its position in the patient.

    Parameters
    ----------
    array
        (slice, row, column).
    affine
        float64 (4, 4): maps (slice, row, column, 1) to (x, y, z, 1), the centre of that voxel in mm, LPS
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
        """Distance of neighbouring voxels in mm: slice, row, column."""
        slices, rows, columns = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(slices), float(rows), float(columns)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000

    def with_array(self, array: NDArray[Any]) -> "Volume":
        """Return another array on the same grid; ValueError if its shape differs."""
        if array.shape != self.array.shape:
            raise ValueError(f"an array of {array.shape} does not fit the grid of {self.array.shape}")
        return replace(self, array=array)

    def as_int16(self) -> "Volume":
        """Return the volume with int16 values: rounded, and limited to -32768 … 32767; itself if it is int16."""
        if self.array.dtype == np.int16:
            return self
        return self.with_array(np.rint(self.array).clip(INT16.min, INT16.max).astype(np.int16))


@dataclass(frozen=True, kw_only=True, eq=False)
class Series:
    """One stack of images of one DICOM series, as a plugin gets it for a role.

    A DICOM series that holds several stacks (orientations, echoes, time points, a localiser) becomes several `Series`.

    Parameters
    ----------
    key
        Names the stack in the ledger and in messages: the Series Instance UID, with "#2" and so on after the first.
    frames
        Along the normal of the stack where the images have positions, else by Instance Number and frame number.
    read
        Decodes stored values on demand.
    warnings
        Sentences about what is unusual in the stack but does not prevent its use.
    memory
        Where its volume is allocated.
    """

    key: str
    frames: tuple[Frame, ...]
    read: FrameReader
    warnings: tuple[str, ...] = ()
    memory: Memory = PROCESS_MEMORY

    @property
    def header(self) -> Dataset:
        """The data set of the first instance, without pixel data."""
        return self.frames[0].header

    @cached_property
    def headers(self) -> tuple[Dataset, ...]:
        """The data set of each instance, in the order of the frames. The first access reads all headers: it is slow."""
        return tuple(image.header for image in self._images)

    @cached_property
    def identities(self) -> tuple[Dataset, ...]:
        """A data set with the UIDs of each instance, in the order of the frames. No header is read for it.

        SOP Class UID, SOP Instance UID, Study Instance UID, Series Instance UID.
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
        """Return the grid of the stack: float64 (4, 4), maps (slice, row, column, 1) to mm LPS.

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
        grid[:3, 0] = slice_step(self.frames)
        grid[:3, 1] = np.multiply(first.orientation[3:], first.spacing[0])
        grid[:3, 2] = np.multiply(first.orientation[:3], first.spacing[1])
        grid[:3, 3] = first.position
        return grid

    def volume(self) -> Volume:
        """Return the stack as one volume: (slice, row, column), rescaled (HU for CT; PS3.3 C.11.1), LPS in mm.

        int16 where that is exact, else float32. In CT, values below -1024 HU are raised to -1024: they are padding.

        Raises
        ------
        UnsuitableSeries
            Slices are missing, repeated, unevenly spaced or tilted, or the images are in colour or cannot be decoded;
            the header does not say what the values are, as in a CT without Rescale Slope (PS3.3 C.8.2.1), or says that
            they are impossible. The message names the instance.
        """
        affine = self.affine()
        self._check_meaning()
        array = rescaled(self.frames, self.read, LOWEST_HU if self.modality == "CT" else None, self.memory)
        return Volume(array=array, affine=affine, frame_of_reference_uid=self.frame_of_reference_uid)

    def _check_meaning(self) -> None:
        if self.meaning_fault:
            raise UnsuitableSeries(self.meaning_fault)

    @cached_property
    def meaning_fault(self) -> str:
        """Why the values of the images have no meaning, or another than that of their modality; empty if they have."""
        return meaning_fault(self.frames, self.modality)

    @property
    def placed(self) -> bool:
        """Whether the images have a position in the patient. Radiographs, ultrasound and photographs have none."""
        return self.frames[0].position is not None

    def on_pixels(self, array: NDArray[Any]) -> Volume:
        """Return an array, (image, row, column), as a `Volume` on the pixels of the images, for a `Segmentation`.

        It is meant for images without a position in the patient, which have no volume. Its affine then is the identity:
        it counts slices, rows and columns, and says nothing in mm.

        Raises
        ------
        UnsuitableSeries
            The images have positions, and slices are missing, repeated, unevenly spaced or tilted.
        """
        return Volume(array=array, affine=_grid(self), frame_of_reference_uid=self.frame_of_reference_uid)

    def image(self, index: int = 0) -> NDArray[Any]:
        """Return one frame by its index in the stack.

        (row, column), rescaled as in `volume`; in colour (row, column, 3), as stored.

        Raises
        ------
        UnsuitableSeries
            The image cannot be decoded, or its header does not say what its values are.
        """
        frame = self.frames[index]
        stored = next(iter(self.read([frame])))
        if stored.ndim == 3:
            return stored
        self._check_meaning()
        return np.asarray(rescaled((frame,), lambda frames, into=None: [stored], None)[0])  # noqa: ARG005

    def brightness(self, index: int = 0) -> NDArray[np.float32]:
        """Return one frame as it is meant to be seen, before any window: float32 (row, column), higher is whiter.

        MONOCHROME1 is inverted (PS3.3 C.7.6.3.1.2). Colour becomes the mean of red, green and blue.
        """
        seen = self.image(index)
        if seen.ndim == 3:
            seen = seen.mean(axis=2)
        inverted = self.frames[index].header.get("PhotometricInterpretation") == "MONOCHROME1"
        return np.asarray(seen, np.float32) * (-1 if inverted else 1)


def _grid(series: Series) -> NDArray[np.float64]:
    return series.affine() if series.placed else np.eye(4)


def on_grid(volume: Volume, series: Series) -> bool:
    """Return whether a volume has exactly the grid of a series: shape, frame of reference, and all eight corners."""
    shape = (len(series.frames), series.header.get("Rows"), series.header.get("Columns"))
    if volume.array.shape != shape or volume.frame_of_reference_uid != series.frame_of_reference_uid:
        return False
    try:
        expected = _grid(series)
    except UnsuitableSeries:
        return False
    allowed = part_of_spacing(GRID_TOLERANCE, volume.spacing)
    return bool(np.abs(corners(volume.affine, shape) - corners(expected, shape)).max() <= allowed)


def _identity(values: Mapping[str, Any] | Dataset) -> Dataset:
    identity = Dataset()
    for keyword in IDENTITY:
        if (uid := values.get(keyword)) is not None:
            identity[keyword] = DataElement(keyword, "UI", uid, validation_mode=IGNORE)
    return identity
