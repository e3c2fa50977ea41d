"""What a plugin gives back: values that are checked when they are built, and composed into DICOM objects later."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from node.codes import DCM, UCUM, Code
from node.images.frame import Frame
from node.images.series import Series, Volume, on_grid

__all__ = [
    "Comparison",
    "Deformation",
    "DerivedSeries",
    "Finding",
    "Heatmap",
    "KeyImages",
    "Measurement",
    "NotSuitable",
    "Region",
    "Registration",
    "Result",
    "Segment",
    "Segmentation",
]

LABEL_LENGTH = 64
"""Segment Label, Tracking ID and Series Description are LO: 64 characters at most (PS3.5 section 6.2)."""

RegionKind = Literal["point", "polyline", "contour", "ellipse", "box", "point3d", "polygon3d"]

REGION_POINTS = {
    "point": (2, 1, 1),
    "polyline": (2, 2, None),
    "contour": (2, 3, None),
    "ellipse": (2, 4, 4),
    "box": (2, 2, 2),
    "point3d": (3, 1, 1),
    "polygon3d": (3, 3, None),
}
"""Kind of region → how many coordinates a point has, and how many points there are at least and at most."""

HALF = 0.5
"""From this probability on a voxel is taken for one of the segment, where only one answer can be given."""
OUTSIDE = 1e-6
"""By how much of a pixel a point may leave its image: what rounding does."""
PLANE_TOLERANCE = 0.1
"""Millimetres by which a vertex of a 3-D polygon may lie off the plane of the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One thing that a segmentation outlines; the same value names it in measurements and findings (`of=`).

    Parameters
    ----------
    label
        What a reader sees, at most 64 characters: "Right lung".
    type, category
        Segmented Property Type and Category (PS3.3 C.8.20.2): `codes.SCT.Lung`, `codes.SCT.Organ`.
    laterality
        `codes.SCT.Right` or `codes.SCT.Left`, where the type is one of a pair.
    region
        The anatomic region it lies in, for a lesion.
    color
        (red, green, blue), 0 to 255; a colour of the node's own choice without it.
    tracking_uid
        Tracking UID of the thing where it has one already, such as in a prior's report; a new one without it.
    """

    label: str
    type: Code
    category: Code
    laterality: Code | None = None
    region: Code | None = None
    color: tuple[int, int, int] | None = None
    tracking_uid: str = ""

    def __post_init__(self) -> None:
        _check_label(self.label, "a segment's label")
        _check_color(self.color, self.label)


@dataclass(frozen=True, kw_only=True, eq=False)
class Segmentation:
    """Which voxel belongs to which segment.

    Parameters
    ----------
    labels
        Integers on the grid of the images the plugin was given, (slice, row, column): n is `segments[n - 1]`, 0 none.
        Made with `ct.volume().with_array(mask)`.
    segments
        In the order of their numbers, labels unlike one another.
    masks
        Where segments overlap or are known by probability: one volume for each, see `of_masks`. Empty else.
    source
        The series it lies on, where several of those the plugin was given have the same grid: T1 and T2 of one head,
        the phases of one heart. The first with the grid of the labels without it.
    """

    labels: Volume
    segments: Sequence[Segment]
    masks: Sequence[Volume] = ()
    source: Series | None = None

    def lies_on(self, series: Series) -> bool:
        """Say whether it lies on a series: has its very grid, and names no other as its source."""
        return self.source in (None, series) and on_grid(self.labels, series)

    @classmethod
    def of_masks(cls, masks: Sequence[Volume], segments: Sequence[Segment]) -> "Segmentation":
        """Return a segmentation of one volume per segment: true/false, or 0 and 1, or floats, probabilities 0 to 1.

        Segments may overlap; `labels`, for whatever shows one segment a voxel, then has the last of them on top, and
        probabilities count from 0.5 on.
        """
        if not masks or len({mask.array.shape for mask in masks}) > 1:
            raise ValueError("the masks of a segmentation are one volume for each segment, all of one shape")
        labels = np.zeros(masks[0].array.shape, np.uint8 if len(masks) < 256 else np.uint16)
        for number, mask in enumerate(masks, 1):
            labels[mask.array >= HALF] = number
        return cls(labels=masks[0].with_array(labels), segments=segments, masks=masks)

    @property
    def fractional(self) -> bool:
        """Whether the masks are probabilities."""
        return any(mask.array.dtype.kind == "f" for mask in self.masks)

    @cached_property
    def areas(self) -> NDArray[np.int64]:
        """How many pixels each segment has on each slice: (segment, slice); probabilities count from 0.5 on."""
        return self.counted(self.plane)

    def counted(self, plane: Callable[[int, int, Any], NDArray[np.bool_]]) -> NDArray[np.int64]:
        """Return how many pixels of each segment there are on each slice, by a rule that is asked as `plane` is."""
        slices, *size = self.labels.array.shape
        counts = np.zeros((len(self.segments), slices), np.int64)
        room = np.empty(size, np.bool_)
        for index in range(slices):
            # most slices hold few of the segments: the highest label tells where there is nothing to count
            highest = len(self.segments) if self.masks else int(self.labels.array[index].max())
            for number in range(1, highest + 1):
                counts[number - 1, index] = np.count_nonzero(plane(index, number, room))
        return counts

    def plane(self, index: int, number: int, out: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
        """Return which pixels of a slice are of a segment, by its number from 1: (row, column), in `out` if given."""
        if not self.masks:
            labels = self.labels.array[index]
            return np.equal(labels, labels.dtype.type(number), out=out)
        mask = self.masks[number - 1].array[index]
        if mask.dtype.kind == "f":
            return np.greater_equal(mask, HALF, out=out)
        return np.not_equal(mask, mask.dtype.type(0), out=out)

    def __post_init__(self) -> None:
        object.__setattr__(self, "segments", tuple(self.segments))
        object.__setattr__(self, "masks", tuple(self.masks))
        array = self.labels.array
        if array.dtype != np.bool_ and not np.issubdtype(array.dtype, np.integer):
            raise ValueError(f"labels are whole numbers or true/false, not {array.dtype}")
        names = [segment.label for segment in self.segments]
        if not names or len(set(names)) < len(names):
            raise ValueError("a segmentation has at least one segment, and no two with the same label")
        low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
        if low < 0 or high > len(names):
            raise ValueError(f"labels run from {low} to {high}, but there are segments 1 to {len(names)}")
        self._check_masks()

    def _check_masks(self) -> None:
        if self.masks and len(self.masks) != len(self.segments):
            raise ValueError(f"there are {len(self.masks)} masks for {len(self.segments)} segments")
        for segment, mask in zip(self.segments, self.masks, strict=False):
            labels, array = self.labels, mask.array
            if array.shape != labels.array.shape or not np.array_equal(mask.affine, labels.affine):
                raise ValueError(f"the mask of {segment.label!r} lies on another grid than the others")
            low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
            if not 0 <= low <= high <= 1:  # nor is anything between "not a number" and 1
                raise ValueError(f"the mask of {segment.label!r} runs from {low:g} to {high:g}, not from 0 to 1")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Region:
    """A place in one image or in the patient; the very value names it in measurements and findings (`of=`).

    Parameters
    ----------
    kind
        On an image: "point"; "polyline", open; "contour", closed; "ellipse", the ends of its major and then of its
        minor axis; "box", two opposite corners. In the patient: "point3d"; "polygon3d", closed and in one plane.
        Closed ones do not repeat their first point.
    points
        On an image (n, 2): column, row, in pixels from the outer corner of the first pixel, whose centre is (0.5, 0.5)
        (PS3.3 C.18.6.1.1): add 0.5 to indices of an array. In the patient (n, 3): x, y, z in mm, LPS.
    label
        What a reader sees, at most 64 characters: "Nodule 1".
    type
        What it is: `codes.SCT.Nodule`.
    image
        For a region on an image, which one: `ct.frames[12]`.
    frame_of_reference_uid
        For a region in the patient, of the images it was found in: `ct.frame_of_reference_uid`.
    category, site, laterality
        Finding category, where in the body, and on which side, as far as they are known.
    probability, calibrated
        Of its being what `type` says, 0 to 1, and whether it may be read as a probability.
    tracking_uid
        Tracking UID of the thing where it has one already, such as in a prior's report; a new one without it.
    color
        (red, green, blue), 0 to 255; a colour of the node's own choice without it.
    """

    kind: RegionKind
    points: NDArray[np.float64]
    label: str
    type: Code
    image: Frame | None = None
    frame_of_reference_uid: str = ""
    category: Code | None = None
    site: Code | None = None
    laterality: Code | None = None
    probability: float | None = None
    calibrated: bool = False
    tracking_uid: str = ""
    color: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        if self.kind not in REGION_POINTS:
            raise ValueError(f"a region is one of {', '.join(REGION_POINTS)}, not {self.kind!r}")
        _check_label(self.label, "a region's label")
        _check_probability(self.probability, self.label)
        _check_color(self.color, self.label)
        if self.laterality is not None and self.site is None:
            raise ValueError(f"region {self.label!r} has a laterality but no site")
        points = np.array(self.points, np.float64, ndmin=2)
        points.flags.writeable = False
        object.__setattr__(self, "points", points)
        axes, least, most = REGION_POINTS[self.kind]
        if points.ndim != 2 or points.shape[1] != axes or not least <= len(points) <= (most or len(points)):
            number = str(least) if least == most else f"{least} or more"
            raise ValueError(f"a {self.kind} has points ({number}, {axes}), not {points.shape}")
        if not np.isfinite(points).all():
            raise ValueError(f"region {self.label!r} has a point that is nowhere: {points}")
        (self._check_in_patient if self.in_patient else self._check_on_image)()

    @property
    def in_patient(self) -> bool:
        """Whether the points are in mm in the patient, not in pixels of an image."""
        return REGION_POINTS[self.kind][0] == 3

    def _check_on_image(self) -> None:
        if self.image is None or self.frame_of_reference_uid:
            raise ValueError(f"region {self.label!r} is a {self.kind}: it needs the image it is on, and that alone")
        size = int(self.image.header.Columns), int(self.image.header.Rows)
        if (self.points < -OUTSIDE).any() or (self.points > np.add(size, OUTSIDE)).any():
            raise ValueError(f"region {self.label!r} leaves its image of {size[0]} columns and {size[1]} rows")

    def _check_in_patient(self) -> None:
        if self.image is not None or not self.frame_of_reference_uid:
            raise ValueError(f"region {self.label!r} is a {self.kind}: it needs a frame of reference, and no image")
        centred = self.points - self.points.mean(axis=0)
        if len(centred) > 3 and np.abs(centred @ np.linalg.svd(centred)[2][2]).max() > PLANE_TOLERANCE:
            raise ValueError(f"the vertices of region {self.label!r} do not lie in one plane")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Heatmap:
    """A number for every pixel of a series: where a network looked, how probable something is, a physical quantity.

    Parameters
    ----------
    array
        float32, float64, uint8 or uint16, finite, (slice, row, column): a plane for every frame of `source`.
    source
        The images it lies on, as the plugin was given them.
    name
        What the numbers are: `codes.DCM.ClassActivation`.
    label
        What a reader sees, at most 64 characters: "Where the network looked".
    unit
        UCUM; no unit without it.
    slope, intercept
        The number is stored value × slope + intercept (PS3.3 C.7.6.16.2.11), which whole numbers need.
    window
        Lowest and highest number to show; the lowest and highest there are without it.
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
        _check_label(self.label, "a heat map's label")
        _check_stack(self.array, self.label, ("float32", "float64", "uint8", "uint16"))
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
    """New images made of old ones: with less noise, finer, or of another kind.

    Parameters
    ----------
    array
        Real values as `Series.volume` gives them (HU for CT): any number type, finite, (slice, row, column); in colour
        uint8, (slice, row, column, 3).
    source
        The images they were made of, as the plugin was given them.
    description
        What a reader sees in the list of series, at most 64 characters: "Denoised".
    derivation
        How they were made (PS3.16 CID 7203): `codes.DCM.Smoothing`.
    affine
        Where the grid is not that of `source`: float64 (4, 4), (slice, row, column, 1) to mm LPS.
    synthetic
        Whether they show what was never measured, as images of another modality made by a generative network do.
    shows
        Another series that the plugin was given, whose values they show where `source` lies: a prior, registered. They
        then have its dates of acquisition, and name its images.
    unit
        What the values are, where they are another quantity than those of `source`, UCUM: `codes.UCUM.HounsfieldUnit`
        of images made of MR. They are int16 then, and are stored as they are.
    window
        Lowest and highest value to show, where they have a unit.
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
        _check_label(self.description, "the description of a derived series")
        if self.unit is not None and (self.unit.scheme_designator != "UCUM" or self.array.dtype != np.int16):
            raise ValueError(f"derived series {self.description!r} has a unit: it is of UCUM, and the values are int16")
        if not -math.inf < self.window[0] < self.window[1] < math.inf:
            raise ValueError(f"the window of {self.description!r} runs from {self.window[0]} to {self.window[1]}")
        if self.array.ndim == 4 and (self.array.shape[3] != 3 or self.array.dtype != np.uint8):
            raise ValueError(f"images in colour are uint8 (slice, row, column, 3), not {_kind(self.array)}")
        _check_stack(self.array[..., 0] if self.array.ndim == 4 else self.array, self.description)
        if self.affine is not None:
            _check_matrix(self.affine, "the affine of a derived series")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Deformation:
    """How far each point of a grid is moved.

    Parameters
    ----------
    vectors
        float32 (slice, row, column, 3): x, y, z in mm, LPS.
    affine
        float64 (4, 4), with axes at right angles: (slice, row, column, 1) to mm LPS of the fixed images.
    """

    vectors: NDArray[np.float32]
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.vectors.ndim != 4 or self.vectors.shape[3] != 3 or 0 in self.vectors.shape:
            raise ValueError(f"vectors are (slice, row, column, 3), not {self.vectors.shape}")
        if not np.isfinite(self.vectors).all():
            raise ValueError("a vector of the deformation is not finite")
        _check_matrix(self.affine, "the affine of a deformation")
        axes = self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)
        if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-4):
            raise ValueError("the axes of the grid of a deformation are not at right angles")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Registration:
    """Where points of the moving images lie in the fixed ones.

    Parameters
    ----------
    fixed, moving
        Two of the series the plugin was given, each with a frame of reference.
    matrix
        float64 (4, 4): takes (x, y, z, 1) of the moving images to the fixed ones, mm LPS (PS3.3 C.20.2.1.1).
    kind
        "rigid", "rigid_scale" or "affine"; a matrix that is not what it is called is refused.
    deformation
        For a registration that is not linear: added to a point of the *fixed* images before the inverse of `matrix`
        takes it to the moving ones (PS3.3 C.20.3.1.3).
    """

    fixed: Series
    moving: Series
    matrix: NDArray[np.float64]
    kind: Literal["rigid", "rigid_scale", "affine"] = "rigid"
    deformation: Deformation | None = None

    def __post_init__(self) -> None:
        _check_matrix(self.matrix, "the matrix of a registration")
        for role, series in (("fixed", self.fixed), ("moving", self.moving)):
            if not series.frame_of_reference_uid:
                raise ValueError(f"the {role} images of a registration have no frame of reference")
        axes = self.matrix[:3, :3]
        if self.kind == "rigid_scale":
            axes = axes / np.linalg.norm(axes, axis=0)
        if self.kind != "affine" and not (np.allclose(axes.T @ axes, np.eye(3), atol=1e-4) and np.linalg.det(axes) > 0):
            raise ValueError(f"the matrix of a registration is not {self.kind}: {self.matrix[:3, :3].tolist()}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeyImages:
    """The images a reader should look at first.

    Parameters
    ----------
    images
        Frames of the series the plugin was given: `[ct.frames[12]]`.
    title
        Why (PS3.16 CID 7010): `codes.DCM.OfInterest`.
    description
        A sentence for the reader; may be empty.
    """

    images: Sequence[Frame]
    title: Code = DCM.OfInterest
    description: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "images", tuple(self.images))
        if not self.images:
            raise ValueError("there is no key image: yield nothing where there is none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One number with its unit, of a segment, of a region or, without `of`, of the images as a whole.

    Parameters
    ----------
    name
        What was measured: `codes.SCT.Volume`.
    value
        A finite number.
    unit
        UCUM (PS3.16 CID 82): `codes.UCUM.CubicCentimeter`.
    derivation
        How one number was made of many: `codes.SCT.Mean`.
    percentile
        The value is this percentile, 0 to 100, of all there are (PS3.16 TID 1419): 15 for the HU below which 15 % lie.
    after_r_wave
        When in a heartbeat it was measured: ms after the R wave, as Trigger Time (PS3.3 C.8.3.1) is.
    site, laterality
        Where it was measured, for one that is not of a segment: `codes.SCT.Lung`, `codes.SCT.Bilateral`.
    """

    name: Code
    value: float
    unit: Code
    of: Segment | Region | None = None
    derivation: Code | None = None
    percentile: float | None = None
    after_r_wave: float | None = None
    site: Code | None = None
    laterality: Code | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", float(self.value))
        if not math.isfinite(self.value):
            raise ValueError(f"{self.name.meaning} is {self.value}: a measurement is a finite number")
        if self.percentile is not None and not 0 <= self.percentile <= 100:
            raise ValueError(f"the percentile of {self.name.meaning} is {self.percentile}, outside 0 to 100")
        if self.after_r_wave is not None and not 0 <= self.after_r_wave < math.inf:
            raise ValueError(f"{self.name.meaning} is of {self.after_r_wave} ms after the R wave, which is no time")
        if self.laterality is not None and self.site is None:
            raise ValueError(f"{self.name.meaning} has a laterality but no site")
        if self.unit.scheme_designator != "UCUM":
            raise ValueError(f"the unit of {self.name.meaning} is of scheme {self.unit.scheme_designator}, not UCUM")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something seen or ruled out, with the model's probability between 0 and 1 where it gives one."""

    name: Code
    present: bool
    probability: float | None = None
    calibrated: bool = False
    of: Segment | Region | None = None

    def __post_init__(self) -> None:
        _check_probability(self.probability, self.name.meaning)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How a measurement of a thing differs from that of the same thing in a prior; it is reported with the measurement.

    Parameters
    ----------
    measurement
        The present one, of a segment or region that keeps the `tracking_uid` it has in the prior's report.
    prior
        The value in the prior, in the unit of the measurement.
    days
        From the prior to the present images, more than 0.
    """

    measurement: Measurement
    prior: float
    days: float

    def __post_init__(self) -> None:
        name = self.measurement.name.meaning
        if self.measurement.of is None or not self.measurement.of.tracking_uid:
            raise ValueError(f"{name} is compared of nothing: name a segment or region with the prior's tracking_uid")
        if not math.isfinite(self.prior):
            raise ValueError(f"the prior {name} is {self.prior}: a measurement is a finite number")
        if not 0 < self.days < math.inf:
            raise ValueError(f"{name} is compared over {self.days} days: a prior is older")

    @property
    def change(self) -> float:
        """Present value less the prior one."""
        return self.measurement.value - self.prior

    @property
    def percent(self) -> float | None:
        """Change in percent of the prior value; None where that is 0."""
        return 100 * self.change / abs(self.prior) if self.prior else None

    @property
    def doubling_days(self) -> float | None:
        """Days in which the value doubles when it grows on as it did; None where it does not grow.

        Of a volume it is the volume doubling time; a diameter grows eightfold in volume while it doubles.
        """
        if not 0 < self.prior < self.measurement.value:
            return None
        return self.days * math.log(2) / math.log(self.measurement.value / self.prior)


@dataclass(frozen=True, slots=True)
class NotSuitable:
    """The images cannot be analysed, because of `reason`: a result too, and reported as one.

    The reason completes the sentence "not suitable, because …" and is read by a radiologist.
    """

    reason: str = field()

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise ValueError("say why the images are not suitable")


Result = (
    Segmentation
    | Region
    | Measurement
    | Comparison
    | Finding
    | Heatmap
    | DerivedSeries
    | Registration
    | KeyImages
    | NotSuitable
)


def _check_label(label: str, what: str) -> None:
    if not label or len(label) > LABEL_LENGTH:
        raise ValueError(f"{what} has 1 to {LABEL_LENGTH} characters, not {len(label)}")


def _check_color(color: tuple[int, int, int] | None, label: str) -> None:
    if color is not None and not all(0 <= part <= 255 for part in color):
        raise ValueError(f"colour {color} of {label!r} is outside 0 to 255")


def _check_probability(probability: float | None, what: str) -> None:
    if probability is not None and not 0 <= probability <= 1:
        raise ValueError(f"the probability of {what} is {probability}, outside 0 to 1")


def _check_stack(array: NDArray[Any], label: str, types: Sequence[str] = ()) -> None:
    if array.ndim != 3 or 0 in array.shape:
        raise ValueError(f"{label!r} has the axes slice, row and column, not {_kind(array)}")
    if types and array.dtype.name not in types:
        raise ValueError(f"{label!r} is of {array.dtype}, not of {', '.join(types)}")
    # the ends tell of every number, and no array of the same size is made: that of a slide may be one number a tile
    if array.dtype.kind not in "iuf" or not np.isfinite([array.min(), array.max()]).all():
        raise ValueError(f"{label!r} holds something that is not a finite number")


def _kind(array: NDArray[Any]) -> str:
    return f"{array.dtype} {array.shape}"


def _check_matrix(matrix: NDArray[np.float64], what: str) -> None:
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not np.allclose(matrix[3], (0, 0, 0, 1)):
        raise ValueError(f"{what} is 4 × 4 and finite, its last row 0, 0, 0, 1")
    if abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
        raise ValueError(f"{what} takes different points to the same place")
