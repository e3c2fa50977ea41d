"""What a plugin may give back is refused when it is built, in a sentence its author understands."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from node.codes import DCM, SCT, UCUM
from node.errors import BrokenResult
from node.images.part10 import Part10
from node.images.series import Series
from node.images.stacks import group_into_stacks
from node.infer.geometry import check
from node.results import Deformation, DerivedSeries, Finding, Heatmap, KeyImages, Measurement, Region, Registration
from node.testing import ct_series, radiograph
from node.testing import write as write_images

HEAT = np.zeros((8, 32, 32), np.float32)


@pytest.fixture
def ct(tmp_path: Path) -> Series:
    return _series(tmp_path / "ct", ct_series())


@pytest.fixture
def other(tmp_path: Path) -> Series:
    return _series(tmp_path / "other", ct_series(series="other", slices=3))


def _series(folder: Path, images: list[Any]) -> Series:
    (series,) = group_into_stacks(Part10.of_file(path) for path in write_images(images, folder)).series
    return series


def _on_image(ct: Series, **wanted: Any) -> Region:
    return Region(
        **{"kind": "point", "points": [[3, 4]], "label": "A", "type": SCT.Mass, "image": ct.frames[2], **wanted}
    )


def _in_patient(ct: Series, points: Any, kind: Any = "point3d", **wanted: Any) -> Region:
    return Region(
        kind=kind,
        points=points,
        label="B",
        type=SCT.Mass,
        **{"frame_of_reference_uid": ct.frame_of_reference_uid, **wanted},
    )


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"kind": "blob"}, "not 'blob'"),
        ({"points": [[3, 4, 5]]}, r"points \(1, 2\)"),
        ({"points": [[3, 4], [5, 6]]}, r"points \(1, 2\)"),
        ({"kind": "contour", "points": [[3, 4], [5, 6]]}, r"points \(3 or more, 2\)"),
        ({"kind": "ellipse", "points": [[3, 4], [5, 6]]}, r"points \(4, 2\)"),
        ({"points": [[3, math.nan]]}, "nowhere"),
        ({"points": [[32.1, 4]]}, "leaves its image"),
        ({"points": [[-0.1, 4]]}, "leaves its image"),
        ({"image": None}, "needs the image"),
        ({"frame_of_reference_uid": "1.2"}, "needs the image"),
        ({"kind": "point3d", "points": [[1, 2, 3]]}, "needs a frame of reference"),
        ({"label": ""}, "1 to 64 characters"),
        ({"score": 1.5, "threshold": 0.5}, "both are 0 to 1"),
        ({"score": 0.5}, "a score is read by its threshold"),
        ({"score": 0.3, "threshold": 0.5}, "below its threshold"),
        ({"laterality": SCT.Left}, "no site"),
        ({"color": (0, 0, 300)}, "outside 0 to 255"),
    ],
)
def test_a_malformed_region_is_refused(ct: Series, wanted: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        _on_image(ct, **wanted)


def test_a_region_keeps_its_points_from_being_changed(ct: Series) -> None:
    points = np.array([[3.0, 4.0]])
    region = _on_image(ct, points=points)
    points[:] = 0
    assert region.points.tolist() == [[3, 4]]
    with pytest.raises(ValueError, match="read-only"):
        region.points[:] = 0


def test_a_polygon_in_the_patient_lies_in_one_plane(ct: Series) -> None:
    flat = [[0, 0, 0], [9, 0, 0], [9, 9, 9], [0, 9, 9]]
    assert len(_in_patient(ct, flat, "polygon3d").points) == 4
    with pytest.raises(ValueError, match="one plane"):
        _in_patient(ct, [*flat, [0, 0, 5]], "polygon3d")


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"array": HEAT.astype(np.int16)}, "not of float32"),
        ({"array": HEAT[0]}, "axes slice, row and column"),
        ({"array": HEAT + np.nan}, "not a finite number"),
        ({"slope": 0.0}, "slope"),
        ({"window": (2.0, 1.0)}, "window"),
        ({"unit": SCT.Mass}, "not UCUM"),
    ],
)
def test_a_malformed_heat_map_is_refused(ct: Series, wanted: dict[str, Any], said: str) -> None:
    whole = {"array": HEAT, "source": ct, "name": DCM.ClassActivation, "label": "Heat", **wanted}
    with pytest.raises(ValueError, match=said):
        Heatmap(**whole)


@pytest.mark.parametrize(
    ("matrix", "kind"),
    [
        (np.diag([1, 1, 2, 1.0]), "rigid"),
        (np.diag([1, 1, -1, 1.0]), "rigid"),
        (np.array([[1, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "rigid_scale"),
        (np.diag([1, 1, 0, 1.0]), "affine"),
        (np.ones((3, 3)), "affine"),
    ],
)
def test_a_registration_is_what_it_is_called(ct: Series, other: Series, matrix: Any, kind: Any) -> None:
    with pytest.raises(ValueError, match=r"registration"):
        Registration(fixed=ct, moving=other, matrix=matrix, kind=kind)


def test_a_deformation_has_a_grid_at_right_angles() -> None:
    skew = np.array([[1, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    with pytest.raises(ValueError, match="right angles"):
        Deformation(vectors=np.zeros((2, 2, 2, 3), np.float32), affine=skew)


BEYOND = np.array([[0, 0, 0.8, -120], [0, 0.8, 0, -110], [2.5, 0, 0, 500], [0, 0, 0, 1.0]])

ASTRAY: dict[str, tuple[Callable[[Series, Series], Any], str]] = {
    "region on another image": (lambda ct, other: _on_image(other), "not given"),
    "point outside": (lambda ct, other: _in_patient(ct, [[0, 0, 900]]), "outside the images"),
    "other frame of reference": (
        lambda ct, other: _in_patient(ct, [[0, 0, 0]], frame_of_reference_uid="1.2"),
        "no image has",
    ),
    "heat map of another series": (
        lambda ct, other: Heatmap(array=HEAT, source=other, name=DCM.ClassActivation, label="Heat"),
        "not given",
    ),
    "heat map of another shape": (
        lambda ct, other: Heatmap(array=HEAT[1:], source=ct, name=DCM.ClassActivation, label="Heat"),
        "does not fit",
    ),
    "derived series beyond its images": (
        lambda ct, other: DerivedSeries(
            array=HEAT, source=ct, description="New", derivation=DCM.Smoothing, affine=BEYOND
        ),
        "reaches beyond",
    ),
    "registration of another series": (
        lambda ct, other: Registration(fixed=ct, moving=other, matrix=np.eye(4)),
        "none the plugin was given",
    ),
    "registration with itself": (lambda ct, other: Registration(fixed=ct, moving=ct, matrix=np.eye(4)), "with itself"),
    "key image of another series": (lambda ct, other: KeyImages(images=[other.frames[0]]), "none of the images"),
    "finding of another region": (
        lambda ct, other: Finding(name=SCT.Mass, present=True, of=_on_image(ct)),
        "not given back",
    ),
}


@pytest.mark.parametrize("kind", ASTRAY)
def test_a_result_that_does_not_lie_on_the_images_is_broken(ct: Series, other: Series, kind: str) -> None:
    build, said = ASTRAY[kind]
    with pytest.raises(BrokenResult, match=said):
        check([build(ct, other)], {"ct": ct})


def test_a_result_that_lies_on_the_images_is_not_broken(ct: Series, other: Series) -> None:
    region = _on_image(ct)
    corner = (ct.affine() @ (7, 31, 31, 1))[:3]
    finer = ct.affine() @ np.diag([0.5, 1, 1, 1])
    check(
        [
            region,
            Measurement(name=SCT.Volume, value=1, unit=UCUM.CubicCentimeter, of=region),
            _in_patient(ct, [corner]),
            Heatmap(array=HEAT, source=ct, name=DCM.ClassActivation, label="Heat"),
            DerivedSeries(
                array=np.zeros((15, 32, 32), np.int16),
                source=ct,
                description="Finer",
                derivation=DCM.SpatialResampling,
                affine=finer,
            ),
            Registration(fixed=ct, moving=other, matrix=np.eye(4)),
            KeyImages(images=[ct.frames[7]]),
        ],
        {"ct": ct, "other": other},
    )


def test_a_finding_of_an_equal_but_other_region_is_of_none(ct: Series) -> None:
    region = _on_image(ct)
    with pytest.raises(BrokenResult, match="not given back"):
        check([region, Finding(name=SCT.Mass, present=True, of=replace(region))], {"ct": ct})


def test_images_without_a_frame_of_reference_are_not_registered(ct: Series, tmp_path: Path) -> None:
    flat = _series(tmp_path / "cr", [radiograph()])
    with pytest.raises(ValueError, match="no frame of reference"):
        Registration(fixed=ct, moving=flat, matrix=np.eye(4))
