"""Regions: points, lines and outlines on one image or in the patient."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from node.codes import Code
from node.images.frame import Frame
from node.results.checks import check_codes, check_color, check_label, check_score

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
"""Kind of region → number of coordinates of a point, least and greatest number of points (None: no limit)."""

OUTSIDE = 1e-6
"""A point may lie outside its image by this part of a pixel, which rounding causes."""
PLANE_TOLERANCE = 0.1
"""mm; a vertex of a 3-D polygon may lie this far off the plane of the others, and never more than `BENT`."""
BENT = 0.05
"""The part of the polygon's extent that a vertex may lie off its plane."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Region:
    """A point, line or outline; measurements and findings refer to it by the very same object (`of=`).

    Parameters
    ----------
    kind
        On an image: "point"; "polyline", open; "contour", closed; "ellipse", the two ends of its major axis, then those
        of its minor axis; "box", two opposite corners. In the patient: "point3d"; "polygon3d", closed and in one plane.
        A closed region does not repeat its first point.
    points
        On an image (n, 2): column, row, in pixels from the outer corner of the first pixel, whose centre is (0.5, 0.5)
        (PS3.3 C.18.6.1.1): add 0.5 to indices of an array. In the patient (n, 3): x, y, z in mm, LPS.
    label
        What a reader sees, at most 64 characters: "Nodule 1".
    type
        What it is: `codes.SCT.Nodule`.
    image
        For a region on an image: that image, `ct.frames[12]`.
    frame_of_reference_uid
        For a region in the patient: frame of reference of the images it was found in, `ct.frame_of_reference_uid`.
    category, site, laterality
        Finding category, body site and side, where they are known.
    score, threshold
        The model's number for the presence of `type` there, 0 to 1, and the least number with which it is reported.
    tracking_uid
        Tracking UID that the structure already has, such as in the report on a prior. Else the node makes a UID.
    color
        (red, green, blue), 0 to 255. Without it the node chooses a colour.
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
    score: float | None = None
    threshold: float | None = None
    tracking_uid: str = ""
    color: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        check_codes(self)
        if self.kind not in REGION_POINTS:
            raise ValueError(f"a region is one of {', '.join(REGION_POINTS)}, not {self.kind!r}")
        check_label(self.label, "a region's label")
        check_score(self.score, self.threshold, self.label)
        if self.score is not None and self.threshold is not None and self.score < self.threshold:
            raise ValueError(f"region {self.label!r} has the score {self.score:g}, below its threshold: leave it out")
        check_color(self.color, self.label)
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
            raise ValueError(f"region {self.label!r} has a point that is nowhere: {points} are not all finite")
        (self._check_in_patient if self.in_patient else self._check_on_image)()

    @property
    def in_patient(self) -> bool:
        """Whether the points are in mm in the patient, and not in pixels of an image."""
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
        allowed = min(PLANE_TOLERANCE, BENT * np.ptp(centred, axis=0).max())
        if len(centred) > 3 and np.abs(centred @ np.linalg.svd(centred)[2][2]).max() > allowed:
            raise ValueError(f"the vertices of region {self.label!r} do not lie in one plane")
