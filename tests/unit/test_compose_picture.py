"""The page is looked at pixel by pixel where it must be right: outlines, proportions, directions, grey values."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from node.codes import DCM, SCT
from node.compose import Case, draw_summary_page, fonts
from node.compose.annotated_image import SMALL, directions, draw_annotated_image
from node.compose.display import WINDOWS, select_window
from node.compose.identity import RESEARCH_USE
from node.compose.overlays import Layer, Overlays, overlays_on
from node.compose.sr.whole_images import NOT_CALIBRATED
from node.compose.summary_page import UNWRITABLE, WARNING, key_slices
from node.compose.summary_table import table_rows
from node.errors import UnsuitableSeries
from node.images.series import Series, Volume
from node.results import (
    Finding,
    Heatmap,
    NotSuitable,
    Region,
    Result,
    Segment,
    Segmentation,
)
from node.testing import CORONAL, SAGITTAL, ct_series, enhanced_ct, pet_series, radiograph
from tests.spleen_case import GREEN, IDENTITY, LUNG, ORGAN, nodule_region, series_of, spleen_case, spleen_segmentation

SIZE = 480


def test_the_outline_runs_round_the_segment_and_leaves_its_inside_alone(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series(slices=3, rows=32, columns=32))
    labels = np.zeros((3, 32, 32), np.uint8)
    labels[1, 8:16, 4:20] = 1
    drawn = _green(series, 1, [spleen_segmentation(series, labels)])
    top, bottom, left, right = _extent(drawn)
    pixel = SIZE / 32
    assert np.allclose([top, bottom, left, right], np.array([8, 16, 4, 20]) * pixel, atol=2)
    assert not drawn[int(9 * pixel) : int(15 * pixel), int(5 * pixel) : int(19 * pixel)].any()
    assert not _green(series, 0, [spleen_segmentation(series, labels)]).any()


def test_a_tile_of_the_page_is_the_outlined_slice(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series(slices=3, rows=32, columns=32))
    labels = np.zeros((3, 32, 32), np.uint8)
    labels[1, 8:16, 4:20] = 1
    page = _page(series, [spleen_segmentation(series, labels)])
    expected = np.array(
        draw_annotated_image(series, 1, overlays_on(series, [spleen_segmentation(series, labels)]), 976)
    )
    top = page.shape[0] - next(
        row for row in range(page.shape[0], 0, -1) if (page[row - expected.shape[0] : row, 16:992] == expected).all()
    )
    assert top > 0


def test_a_segment_of_one_pixel_gets_a_frame_that_can_be_found(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series(slices=3, rows=256, columns=256))
    labels = np.zeros((3, 256, 256), np.uint8)
    labels[1, 100, 200] = 1
    top, bottom, left, right = _extent(_green(series, 1, [spleen_segmentation(series, labels)]))
    assert SMALL <= bottom - top <= 2 * SMALL
    assert (top + bottom) / 2 == pytest.approx(100.5 * SIZE / 256, abs=2)
    assert (left + right) / 2 == pytest.approx(200.5 * SIZE / 256, abs=2)


@pytest.mark.parametrize(
    ("kind", "points", "extent"),
    [
        ("box", [(4, 8), (20, 16)], (8, 16, 4, 20)),
        ("contour", [(4, 8), (20, 8), (12, 16)], (8, 16, 4, 20)),
        ("polyline", [(4, 8), (20, 16)], (8, 16, 4, 20)),
        ("ellipse", [(4, 12), (20, 12), (12, 8), (12, 16)], (8, 16, 4, 20)),
    ],
)
def test_a_region_is_drawn_where_its_points_are(tmp_path: Path, kind: Any, points: Any, extent: Any) -> None:
    series = series_of(tmp_path, ct_series(slices=3, rows=32, columns=32))
    region = nodule_region(series, 2, kind=kind, points=np.array(points, float), label=".")
    drawn = _green(series, 2, [region])[:, : int(20.2 * SIZE / 32)]  # the label stands to the right
    assert np.allclose(_extent(drawn), np.array(extent) * SIZE / 32, atol=3)
    assert not _green(series, 1, [region]).any()


def test_a_point_in_the_patient_is_on_the_slice_nearest_to_it(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series(orientation=CORONAL, slices=5, rows=32, columns=32))
    place = series.affine() @ (3, 10, 20, 1)
    region = Region(
        kind="point3d", points=place[None, :3], label=".", type=SCT.Nodule, color=GREEN,
        frame_of_reference_uid=series.frame_of_reference_uid,
    )  # fmt: skip
    (outlined,) = overlays_on(series, [region]).regions
    assert outlined.index == 3
    assert np.allclose(outlined.points, [(20.5, 10.5)])


def test_pixels_keep_their_proportions(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series(orientation=CORONAL, rows=16, columns=32, spacing=(2.0, 3.0, 0.75)))
    labels = np.zeros((8, 16, 32), np.uint8)
    labels[:, 4:12, 8:24] = 1
    top, bottom, left, right = _extent(_green(series, 4, [spleen_segmentation(series, labels)]))
    assert (bottom - top) / (right - left) == pytest.approx((8 * 3.0) / (16 * 0.75), rel=0.05)


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
    series = series_of(tmp_path, ct_series(orientation=orientation))
    assert directions(series.frames[0]) == expected


def test_a_radiograph_says_its_directions_by_patient_orientation(tmp_path: Path) -> None:
    assert directions(series_of(tmp_path, [radiograph()]).frames[0]) == ("R", "L", "H")


def test_every_segment_is_shown_where_it_is() -> None:
    labels = np.zeros((100, 8, 8), np.uint8)
    labels[20:80, :4] = 1
    labels[33, 6, 6] = 2
    labels[77, 6, 2] = 3
    chosen = key_slices(Overlays(layers=[_layer(labels, [ORGAN, LUNG, ORGAN])]), 100)
    assert {33, 77} < set(chosen)
    assert len(chosen) == 6
    assert all(20 <= place < 80 for place in chosen)


def test_what_was_asked_for_and_what_has_a_region_is_shown(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series(slices=9))
    labels = np.ones((9, 32, 32), np.uint8)
    shown = overlays_on(series, [spleen_segmentation(series, labels), nodule_region(series, 1)])
    chosen = key_slices(shown, 9, [7])
    assert {1, 7} < set(chosen)
    assert len(chosen) == 6


def test_a_heat_map_is_shown_where_it_is_highest_and_warms_the_image_there(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series(slices=5))
    array = np.zeros((5, 32, 32), np.float32)
    array[3, 8:16, 8:16] = 1
    heatmap = Heatmap(array=array, source=series, name=DCM.ClassActivation, label="Attention")
    shown = overlays_on(series, [heatmap])
    image = np.array(draw_annotated_image(series, 3, shown, SIZE)).astype(int)
    assert (image[..., 0] - image[..., 2])[12 * 15, 12 * 15] > 80
    assert (image[..., 0] == image[..., 2])[24 * 15, 24 * 15]


def test_without_an_outline_the_middle_image_is_shown() -> None:
    empty = _layer(np.zeros((9, 2, 2), np.uint8), [ORGAN])
    assert key_slices(Overlays(), 9) == [4]
    assert key_slices(Overlays(layers=[empty]), 9) == [4]


def test_lung_is_shown_in_a_lung_window_and_all_else_in_that_of_the_header(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series())
    image, frame = series.image(0), series.frames[0]
    assert select_window(image, series, frame, {SCT.Lung}) == WINDOWS[SCT.Lung]
    assert select_window(image, series, frame, {SCT.Spleen}) == (40, 400)
    nodule = Segment(label="Nodule 1", type=SCT.Nodule, category=SCT.Organ, region=SCT.Lung)
    types = Overlays(layers=[_layer(np.ones((1, 2, 2), np.uint8), [nodule])]).types
    assert select_window(image, series, frame, types) == WINDOWS[SCT.Lung], "a nodule of the lung, too"


def test_a_head_without_a_window_is_shown_in_that_of_the_brain(tmp_path: Path) -> None:
    images = ct_series()
    for image in images:
        image.BodyPartExamined = "HEAD"
        del image.WindowCenter, image.WindowWidth
    series = series_of(tmp_path, images)
    assert select_window(series.image(0), series, series.frames[0], set()) == WINDOWS[SCT.Brain]


def test_a_window_in_which_nothing_would_be_seen_is_not_used(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series())
    faint = np.linspace(0, 5, 1024).reshape(32, 32)
    center, width = select_window(faint, series, series.frames[0], set())
    assert (center, width) == (40, 400)  # CT has one of its own
    series = series_of(tmp_path / "pt", pet_series())
    center, width = select_window(faint, series, series.frames[0], set())
    assert 0 < center < 5
    assert 4 < width < 6


def test_inverse_images_are_shown_the_right_way(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 4095, 64).astype(np.uint16), (48, 1))
    for kind, darker in (("MONOCHROME1", -40), ("MONOCHROME2", 40)):
        series = series_of(tmp_path / kind, [radiograph(array=ramp, photometric=kind)])
        image = np.array(draw_annotated_image(series, 0, Overlays(), SIZE)).astype(int)
        assert image[100, darker, 0] < image[100, -darker, 0]


def test_uptake_is_dark_on_white(tmp_path: Path) -> None:
    images = list(ct_series(slices=1))
    images[0].Modality = "PT"
    images[0].WindowCenter = images[0].WindowWidth = None
    series = series_of(tmp_path, images)
    stored, shown = series.image(0), np.array(draw_annotated_image(series, 0, Overlays(), 32 * 15))[7::15, 7::15, 0]
    lowest, highest = np.unravel_index(stored.argmin(), stored.shape), np.unravel_index(stored.argmax(), stored.shape)
    assert shown[lowest] > shown[highest]


def test_a_spacing_of_zero_stops_no_page(tmp_path: Path) -> None:
    image = radiograph()
    image.PixelSpacing = image.ImagerPixelSpacing = [0, 0]
    assert len(_page(series_of(tmp_path, [image]), [])) > 976


def test_an_image_that_cannot_be_decoded_stops_no_page(tmp_path: Path) -> None:
    def broken(frames: object) -> Iterable[NDArray[Any]]:
        raise UnsuitableSeries("it is torn")

    series = replace(series_of(tmp_path, ct_series()), read=broken)
    assert len(_page(series, [NotSuitable("the images cannot be decoded")])) > 300


def test_the_tiles_of_a_slide_are_shown_as_one_with_what_is_on_them(tmp_path: Path) -> None:
    series = series_of(tmp_path, [enhanced_ct(array=np.arange(6 * 8 * 8, dtype=np.int16).reshape(6, 8, 8))])
    header = series.header
    header.DimensionOrganizationType = "TILED_FULL"
    header.TotalPixelMatrixRows, header.TotalPixelMatrixColumns = 15, 24
    region = nodule_region(series, 4, kind="box", points=np.array([(2, 1), (6, 5)], float), label=".")
    (outlined,) = overlays_on(series, [region]).regions
    assert np.allclose(outlined.points, [(10, 9), (14, 13)])  # the fifth of three across: second line, second column
    assert draw_annotated_image(series, 0, Overlays(), 240).size == (240, 150)


def test_what_overlaps_is_shown_and_counted_each_for_itself(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series(slices=3))
    inner = Segment(label="Tumour", type=SCT.Neoplasm, category=SCT.Organ, color=(3, 1, 254))
    masks = [np.zeros((3, 32, 32), bool) for _ in range(2)]
    masks[0][1, 4:28, 4:28] = masks[1][1, 10:20, 10:20] = True
    grid = spleen_segmentation(series, np.zeros((3, 32, 32), np.uint8)).labels
    result = Segmentation.of_masks([grid.with_array(mask) for mask in masks], [ORGAN, inner])
    image = np.array(draw_annotated_image(series, 1, overlays_on(series, [result]), SIZE))
    assert np.allclose(_extent((image == GREEN).all(axis=-1)), np.array([4, 28, 4, 28]) * 15, atol=2)
    assert np.allclose(_extent((image == inner.color).all(axis=-1)), np.array([10, 20, 10, 20]) * 15, atol=2)
    assert [row.name for row in table_rows(spleen_case(series, [result]))] == ["", ""]


def test_all_that_a_reader_needs_is_written_and_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = list(ct_series())
    for image in images:
        image.SpecificCharacterSet = "ISO_IR 192"
        image.SeriesDescription, image.PatientName, image.PatientID = "грудь 胸部", "Doe^Jane", "P-4711"
    series = replace(series_of(tmp_path, images), warnings=("slice 3 is odd",))
    written = _written(monkeypatch)
    _page(series, [NotSuitable("no lung is there"), Finding(name=SCT.Mass, score=0.5, threshold=0.5)])
    said = "\n".join(written)
    for words in (
        "CT spleen", RESEARCH_USE, "грудь 胸部", f"Series {series.header.SeriesNumber}", "8 images", "slice 3 is odd",
        "Not suitable, because no lung is there", "Mass", "present", "score 0.5 (threshold 0.5)", NOT_CALIBRATED,
        "spleen 1.2.0", "spleen_net 4", "a maker", "2024-01-02 03:04", "image 5 at -40.0 mm",
    ):  # fmt: skip
        assert words in said
    assert "Doe" not in said
    assert "4711" not in said


def test_a_reason_is_marked_and_as_long_as_it_must_be(tmp_path: Path) -> None:
    series = series_of(tmp_path, [enhanced_ct()])
    short = _page(series, [NotSuitable("no lung is in the images")])
    long = _page(series, [NotSuitable("no lung is in the images " * 12)])
    assert len(long) > len(short)
    assert (long == WARNING).all(axis=-1).sum() > 2 * (short == WARNING).all(axis=-1).sum()


def test_a_broken_grid_stops_no_page(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series())
    elsewhere = Volume(array=np.ones((2, 3, 4), np.uint8), affine=np.eye(4))
    assert len(_page(series, [Segmentation(labels=elsewhere, segments=[ORGAN])])) > 976


def test_the_input_on_which_something_lies_is_the_one_that_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = series_of(tmp_path / "a", ct_series(slices=3)), series_of(tmp_path / "b", ct_series(slices=5))
    segmentation = spleen_segmentation(second, np.ones((5, 32, 32), np.uint8))
    written = _written(monkeypatch)
    draw_summary_page(Case(inputs={"first": first, "second": second}, results=[segmentation], identity=IDENTITY))
    assert any(words.startswith("image 4 ") for words in written)


def test_the_same_results_give_the_same_page(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series())
    labels = np.ones((8, 32, 32), np.uint8)
    first, second = (draw_summary_page(spleen_case(series, [spleen_segmentation(series, labels)])) for _ in range(2))
    assert first == second


def test_words_are_broken_to_fit_and_letters_keep_apart() -> None:
    lines = fonts.wrap_text("one two three " + "x" * 100, 18, 200)
    assert "".join(lines).replace(" ", "") == "onetwothree" + "x" * 100
    assert all(fonts.text_width(line, 18) <= 200 for line in lines)


CUNEIFORM = "\N{CUNEIFORM SIGN A}"
"""A letter that none of the fonts in `FURTHER_FONTS` has."""


def test_letters_that_no_font_has_are_said_to_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fonts.missing_letters("Lung \N{PRIVATE USE TWO} \U000e0fff") == ""  # not printed at all
    written = _written(monkeypatch)
    assert fonts.missing_letters(f"Lunge {CUNEIFORM} Größe") == CUNEIFORM
    series = series_of(tmp_path, ct_series())
    _page(series, [replace(nodule_region(series, 1), label=CUNEIFORM)])
    assert UNWRITABLE in written


@pytest.mark.parametrize("letter", ["Л", "肺", "λ"])
def test_letters_of_other_scripts_are_drawn_by_fonts_of_the_machine(letter: str) -> None:
    if fonts.missing_letters(letter):
        pytest.skip(f"no font with {letter} is installed: fonts-dejavu-core and fonts-vlgothic have these")
    assert fonts._drawn(fonts._own(18), letter) == fonts._drawn(fonts._own(18), fonts.NOWHERE)
    font = fonts._font_of(letter, 18)
    assert font is not None
    assert fonts._drawn(font, letter) != fonts._drawn(font, fonts.NOWHERE)


def _layer(labels: NDArray[np.uint8], segments: Sequence[Segment]) -> Layer:
    areas = np.array([(labels == number).sum((1, 2)) for number in range(1, len(segments) + 1)])
    return Layer(labels=labels, areas=areas, segments=segments, colors=[GREEN] * len(segments))


def _green(series: Series, index: int, results: Sequence[Result]) -> NDArray[np.bool_]:
    """Return which pixels of a tile have the colour of what was found."""
    return np.asarray(
        (np.array(draw_annotated_image(series, index, overlays_on(series, results), SIZE)) == GREEN).all(axis=-1)
    )


def _extent(drawn: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


def _page(series: Series, results: Sequence[Result]) -> NDArray[np.uint8]:
    """Return the page as (row, column, red green blue)."""
    return np.array(Image.open(BytesIO(draw_summary_page(spleen_case(series, results)))))


def _written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list to which everything is added that is written from now on."""
    import sys

    written: list[str] = []
    real = fonts.draw_text

    def noted(draw: Any, at: Any, words: str, *more: Any, **ways: Any) -> None:
        written.append(words)
        real(draw, at, words, *more, **ways)

    for module in (sys.modules[draw_summary_page.__module__], sys.modules[draw_annotated_image.__module__]):
        monkeypatch.setattr(module, "draw_text", noted)
    return written
