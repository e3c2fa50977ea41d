"""One image plane, as all later steps see it, and how its stored values are read."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node.errors import UnsuitableSeries

Vector = tuple[float, float, float]
Values = Mapping[str, Any] | Dataset
"""Attributes of an instance by keyword: those of its header summary, or its header."""


class Image(Protocol):
    """One instance, shared by all of its frames."""

    @property
    def values(self) -> Values:
        """Its attributes by keyword, known without reading the header: `get` returns a value, or None."""

    @property
    def header(self) -> Dataset:
        """The data set without pixel data. It is read at the first access."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModalityLut:
    """A table of real values by stored value (PS3.3 C.11.1.1.1).

    Parameters
    ----------
    table
        Real values, (entry).
    first
        The stored value of the first entry. Lower values have that of the first entry, higher values that of the last.
    kind
        Modality LUT Type, as "HU"; empty if the header has none.
    """

    table: NDArray[np.uint16]
    first: int
    kind: str = ""

    def apply(self, stored: NDArray[Any]) -> NDArray[np.uint16]:
        """Return the real values of stored whole numbers, in an array of the same shape."""
        index = np.clip(stored.astype(np.int64) - self.first, 0, len(self.table) - 1)
        return np.asarray(self.table[index])


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
        then column, mm (PS3.3 C.7.6.2). None where the image has no position in the patient.
    slope, intercept
        Rescale of stored values (PS3.3 C.11.1), 1 and 0 where the header has none.
    lut
        Modality LUT that stored values go through in place of a rescale; None where the header has none.
    unit
        Rescale Type or Modality LUT Type, empty where the header has none.
    unscaled
        What the header lacks to say what stored values mean; empty where it lacks nothing.
    mapping_fault
        Why its Real World Value Mapping leaves open what stored values mean; empty where it does not.
    ignored
        Sentences about values of the header that cannot be used, and count as absent.
    """

    image: Image
    number: int = 1
    position: Vector | None = None
    orientation: tuple[float, float, float, float, float, float] | None = None
    spacing: tuple[float, float] | None = None
    slope: float = 1.0
    intercept: float = 0.0
    lut: ModalityLut | None = None
    unit: str = ""
    unscaled: str = ""
    mapping_fault: str = ""
    ignored: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Name the frame in a message."""
        instance = f"instance {self.sop_instance_uid}"
        return f"frame {self.number} of {instance}" if self.multi_frame else instance

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
        """Whether references to the frame must give its number."""
        return "NumberOfFrames" in self.image.values

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector across the plane: row direction × column direction. UnsuitableSeries without an orientation."""
        if self.orientation is None:
            raise UnsuitableSeries(f"instance {self.sop_instance_uid} has no orientation")
        return np.cross(self.orientation[:3], self.orientation[3:])


class FrameReader(Protocol):
    """Reads the stored values of frames, in the same order: (row, column), or (row, column, sample) in colour."""

    def __call__(self, frames: Sequence[Frame], into: NDArray[Any] | None = None) -> Iterable[NDArray[Any]]:
        """Read frames.

        The reader may use `into`, (frame, row, column), to hold values of 16 bits. The returned arrays are then views
        of `into` in the type of the stored values, and all values lie within Bits Stored.
        """
