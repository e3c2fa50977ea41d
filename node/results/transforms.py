"""Registrations: how points of one series are mapped to another."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from node.images.series import Series
from node.results.checks import check_matrix


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Deformation:
    """A displacement vector for each point of a grid.

    Parameters
    ----------
    vectors
        float32 (slice, row, column, 3): x, y, z in mm, LPS.
    affine
        float64 (4, 4), maps (slice, row, column, 1) to mm LPS of the fixed images; its axes are at right angles.
    """

    vectors: NDArray[np.float32]
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.vectors.ndim != 4 or self.vectors.shape[3] != 3 or 0 in self.vectors.shape:
            raise ValueError(f"vectors are (slice, row, column, 3), not {self.vectors.shape}")
        if not np.isfinite(self.vectors).all():
            raise ValueError("a vector of the deformation is not finite")
        check_matrix(self.affine, "the affine of a deformation")
        axes = self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)
        if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-4):
            raise ValueError("the axes of the grid of a deformation are not at right angles")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Registration:
    """A transform from the moving images to the fixed images.

    Parameters
    ----------
    fixed, moving
        Two series that the plugin was given, each with a frame of reference.
    matrix
        float64 (4, 4): maps (x, y, z, 1) of the moving images to the fixed images, mm LPS (PS3.3 C.20.2.1.1).
    kind
        "rigid", "rigid_scale" or "affine"; a matrix that is not of that kind raises ValueError.
    deformation
        For a non-linear registration: its vector is added to a point of the *fixed* images before the inverse of
        `matrix` maps that point to the moving images (PS3.3 C.20.3.1.3).
    """

    fixed: Series
    moving: Series
    matrix: NDArray[np.float64]
    kind: Literal["rigid", "rigid_scale", "affine"] = "rigid"
    deformation: Deformation | None = None

    def __post_init__(self) -> None:
        check_matrix(self.matrix, "the matrix of a registration")
        for role, series in (("fixed", self.fixed), ("moving", self.moving)):
            if not series.frame_of_reference_uid:
                raise ValueError(f"the {role} images of a registration have no frame of reference")
        axes = self.matrix[:3, :3]
        if self.kind == "rigid_scale":
            axes = axes / np.linalg.norm(axes, axis=0)
        if self.kind != "affine" and not (np.allclose(axes.T @ axes, np.eye(3), atol=1e-4) and np.linalg.det(axes) > 0):
            raise ValueError(f"the matrix of a registration is not {self.kind}: {self.matrix[:3, :3].tolist()}")
