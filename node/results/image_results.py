"""Results that are images: heat maps and derived series."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.codes import UCUM, Code
from node.images.series import Series
from node.results.checks import check_codes, check_label, check_matrix, check_stack, describe_array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Heatmap:
    """A number for each pixel of a series: the attention of a network, a probability, or a physical quantity.

    Parameters
    ----------
    array
        float32, float64, uint8 or uint16, finite, (slice, row, column): one plane for each frame of `source`.
    source
        The series it lies on, as the plugin was given it.
    name
        The quantity that the numbers are: `codes.DCM.ClassActivation`.
    label
        What a reader sees, at most 64 characters: "Where the network looked".
    unit
        UCUM; by default the numbers have no unit.
    slope, intercept
        The quantity is array value × slope + intercept (PS3.3 C.7.6.16.2.11); integer arrays need them.
    window
        Lowest and highest quantity to show. Without it, those that occur.
    """

    array: NDArray[Any]
    source: Series
    name: Code
    label: str
    unit: Code = UCUM.NoUnits
    slope: float = 1.0
    intercept: float = 0.0
    window: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        check_codes(self)
        check_label(self.label, "a heat map's label")
        check_stack(self.array, self.label, ("float32", "float64", "uint8", "uint16"))
        if self.unit.scheme_designator != "UCUM":
            raise ValueError(
                f"the unit of heat map {self.label!r} is of scheme {self.unit.scheme_designator}, not UCUM"
            )
        if not (math.isfinite(self.slope) and self.slope and math.isfinite(self.intercept)):
            raise ValueError(f"heat map {self.label!r} has the slope {self.slope} and the intercept {self.intercept}")
        if self.window is not None and not -math.inf < self.window[0] < self.window[1] < math.inf:
            raise ValueError(f"the window of heat map {self.label!r} runs from {self.window[0]} to {self.window[1]}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DerivedSeries:
    """New images computed from a series: denoised, resampled, or of another modality.

    Parameters
    ----------
    array
        Real values as `Series.volume` gives them (HU for CT): any number type, finite, (slice, row, column); in colour
        uint8, (slice, row, column, 3).
    source
        The series they were computed from, as the plugin was given it.
    description
        What a reader sees in the list of series, at most 64 characters: "Denoised".
    derivation
        How they were computed (PS3.16 CID 7203): `codes.DCM.Smoothing`.
    affine
        float64 (4, 4), maps (slice, row, column, 1) to mm LPS. Needed where the grid is not that of `source`.
    synthetic
        Whether the values were never measured, as in images of another modality made by a generative network.
    shows
        Another series that the plugin was given, whose values they show on the grid of `source`: a registered prior.
        They then have its dates of acquisition, and refer to its images.
    unit
        UCUM, where the values are another quantity than those of `source`: `codes.UCUM.HounsfieldUnit` for a CT made
        from MR. The array is then int16 and is stored unchanged.
    window
        Lowest and highest value to show; used where there is a unit.
    """

    array: NDArray[Any]
    source: Series
    description: str
    derivation: Code
    affine: NDArray[np.float64] | None = None
    synthetic: bool = False
    shows: Series | None = None
    unit: Code | None = None
    window: tuple[float, float] = (-1000.0, 1000.0)

    def __post_init__(self) -> None:
        check_codes(self)
        check_label(self.description, "the description of a derived series")
        if self.unit is not None and (self.unit.scheme_designator != "UCUM" or self.array.dtype != np.int16):
            raise ValueError(f"derived series {self.description!r} has a unit: it is of UCUM, and the values are int16")
        if not -math.inf < self.window[0] < self.window[1] < math.inf:
            raise ValueError(f"the window of {self.description!r} runs from {self.window[0]} to {self.window[1]}")
        if self.array.ndim == 4 and (self.array.shape[3] != 3 or self.array.dtype != np.uint8):
            raise ValueError(f"colour images are uint8 (slice, row, column, 3), not {describe_array(self.array)}")
        check_stack(self.array[..., 0] if self.array.ndim == 4 else self.array, self.description)
        if self.affine is not None:
            check_matrix(self.affine, "the affine of a derived series")
