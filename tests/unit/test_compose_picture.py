"""The page is looked at pixel by pixel where it must be right: outlines, proportions, directions, grey values."""

from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from node.assemble.stacks import stacks
from node.codes import DCM, SCT, UCUM
from node.compose import picture
from node.compose.picture import HEADING, LUNG_WINDOW, MARGIN, TILE, WARNING, _directions, _key_slices, _Layer, _window
from node.part10 import Part10
from node.results import Finding, Measurement, NotSuitable, Result, Segment, Segmentation
from node.series import Series, Volume
from node.testing import CORONAL, SAGITTAL, ct_series, enhanced_ct, radiograph
from node.testing import write as write_images

GREEN = (1, 254, 3)
ORGAN = Segment(label="Spleen", type=SCT.Spleen, category=SCT.Organ, color=GREEN)
LUNG = Segment(label="Lung", type=SCT.Lung, category=SCT.Organ)


def test_the_outline_runs_round_the_segment_and_leaves_its_inside_alone(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series(slices=3, rows=32, columns=32))
    labels = np.zeros((3, 32, 32), np.uint8)
    labels[1, 8:16, 4:20] = 1
    page = _page(series, [_segmentation(series, labels)])
    drawn = (page[HEADING : HEADING + TILE, MARGIN : MARGIN + TILE] == GREEN).all(axis=-1)
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    pixel = TILE / 32
    assert np.allclose([rows[0], rows[-1] + 1, columns[0], columns[-1] + 1], np.array([8, 16, 4, 20]) * pixel, atol=2)
    assert not drawn[int(9 * pixel) : int(15 * pixel), int(5 * pixel) : int(19 * pixel)].any()


def test_pixels_keep_their_proportions(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series(orientation=CORONAL, rows=16, columns=32, spacing=(2.0, 3.0, 0.75)))
    labels = np.zeros((8, 16, 32), np.uint8)
    labels[:, 4:12, 8:24] = 1
    page = _page(series, [_segmentation(series, labels)])
    drawn = (page[HEADING : HEADING + TILE, MARGIN : MARGIN + TILE] == GREEN).all(axis=-1)
    height, width = (np.ptp(np.flatnonzero(drawn.any(axis=axis))) for axis in (1, 0))
    assert height / width == pytest.approx((8 * 3.0) / (16 * 0.75), rel=0.05)


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        ((1, 0, 0, 0, 1, 0), ("R", "L", "A")),
        (CORONAL, ("R", "L", "H")),
        (SAGITTAL, ("A", "P", "H")),
        ((-1, 0, 0, 0, 1, 0), ("L", "R", "A")),
    ],
)
def test_the_edges_say_where_the_patient_is(tmp_path: Path, orientation: Any, expected: tuple[str, str, str]) -> None:
    series = _series(tmp_path, ct_series(orientation=orientation))
    assert _directions(series.frames[0]) == expected


def test_a_radiograph_says_its_directions_by_patient_orientation(tmp_path: Path) -> None:
    assert _directions(_series(tmp_path, [radiograph()]).frames[0]) == ("R", "L", "H")


def test_every_segment_is_shown_where_it_is(tmp_path: Path) -> None:
    labels = np.zeros((100, 8, 8), np.uint8)
    labels[20:80, :4] = 1
    labels[33, 6, 6] = 2
    labels[77, 6, 2] = 3
    chosen = _key_slices([_Layer(labels=labels, segments=[ORGAN, LUNG, ORGAN], colors=[GREEN] * 3)], 100)
    assert {33, 77} < set(chosen)
    assert len(chosen) == 6
    assert all(20 <= place < 80 for place in chosen)


def test_without_an_outline_the_middle_image_is_shown() -> None:
    assert _key_slices([], 9) == [4]
    assert _key_slices([_Layer(labels=np.zeros((9, 2, 2), np.uint8), segments=[ORGAN], colors=[GREEN])], 9) == [4]


def test_lung_is_shown_in_a_lung_window_and_all_else_in_that_of_the_header(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    image, frame = series.image(0), series.frames[0]
    labels = np.ones((8, 32, 32), np.uint8)
    assert _window(image, series, frame, [_Layer(labels=labels, segments=[LUNG], colors=[GREEN])]) == LUNG_WINDOW
    assert _window(image, series, frame, [_Layer(labels=labels, segments=[ORGAN], colors=[GREEN])]) == (40, 400)


def test_inverse_images_are_shown_the_right_way(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 4095, 64).astype(np.uint16), (48, 1))
    pages = [
        _page(_series(tmp_path / kind, [radiograph(array=ramp, photometric=kind)]), [])
        for kind in ("MONOCHROME1", "MONOCHROME2")
    ]
    middle = HEADING + 200
    dark_right, dark_left = (page[middle, [MARGIN + 40, MARGIN + TILE - 40], 0] for page in pages)
    assert dark_right[0] > dark_right[1]
    assert dark_left[0] < dark_left[1]


def test_a_spacing_of_zero_stops_no_page(tmp_path: Path) -> None:
    image = radiograph()
    image.PixelSpacing = image.ImagerPixelSpacing = [0, 0]
    assert len(_page(_series(tmp_path, [image]), [])) > HEADING


def test_results_of_every_kind_make_a_page(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    labels = np.zeros((8, 32, 32), np.uint8)
    labels[2:5, 4:9, 4:9] = 1
    shown = _page(
        series,
        [
            _segmentation(series, labels),
            Measurement(name=SCT.Volume, value=12.3456, unit=UCUM.CubicCentimeter, of=ORGAN),
            Measurement(name=DCM.AttenuationCoefficient, value=-3, unit=UCUM.HounsfieldUnit, derivation=SCT.Mean),
            Finding(name=SCT.Mass, present=False, probability=0.1, calibrated=True),
        ],
    )
    fewer = _page(series, [_segmentation(series, labels)])
    assert len(shown) > len(fewer)


def test_the_reason_why_images_were_not_suitable_is_on_the_page(tmp_path: Path) -> None:
    series = _series(tmp_path, [enhanced_ct()])
    short = _page(series, [NotSuitable("no lung is in the images")])
    long = _page(series, [NotSuitable("no lung is in the images " * 12)])
    assert len(long) > len(short)
    marked = (short[HEADING + TILE :] == WARNING).all(axis=-1)
    assert marked[:60, :60].any()


def test_a_broken_grid_stops_no_page(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    elsewhere = Volume(array=np.ones((2, 3, 4), np.uint8), affine=np.eye(4))
    assert len(_page(series, [Segmentation(labels=elsewhere, segments=[ORGAN])])) > HEADING


def test_the_same_results_give_the_same_page(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    labels = np.ones((8, 32, 32), np.uint8)
    first, second = (picture(series, [_segmentation(series, labels)], "t") for _ in range(2))
    assert first == second


def _series(folder: Path, images: Iterable[Any]) -> Series:
    folder.mkdir(exist_ok=True, parents=True)
    (series,) = stacks(Part10.of_file(path) for path in write_images(images, folder)).series
    return series


def _segmentation(series: Series, labels: NDArray[np.uint8]) -> Segmentation:
    volume = Volume(array=labels, affine=series.affine(), frame_of_reference_uid=series.frame_of_reference_uid)
    return Segmentation(labels=volume, segments=[ORGAN])


def _page(series: Series, results: Sequence[Result]) -> NDArray[np.uint8]:
    """Return the page as (row, column, red green blue)."""
    return np.array(Image.open(BytesIO(picture(series, results, "CT spleen 1.0.0"))))
