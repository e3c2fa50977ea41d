"""The lungs of a real chest CT in OHIF: opened by a double click, on the right pixels, with the right numbers."""

from pathlib import Path

import pytest

from plugins.ct_lung.plugin import LEFT, RIGHT
from tests.viewer.ohif import Viewer
from tests.viewer.study import Study, in_patient, measured

PLACES = {
    20: {"right": [(135, 200), (150, 310)], "left": [(365, 190), (345, 320)], "": [(265, 215), (245, 330), (250, 60)]},
    35: {"right": [(148, 190), (130, 270)], "left": [(335, 165), (350, 290)], "": [(278, 307), (243, 320)]},
    50: {"right": [(160, 200), (165, 300)], "left": [(321, 185), (335, 310)], "": [(241, 210), (253, 262)]},
    65: {"right": [(160, 215), (160, 300)], "left": [(335, 210), (340, 290)], "": [(275, 250), (242, 243), (430, 240)]},
    80: {"right": [(183, 250), (180, 280)], "left": [(308, 250), (320, 275)], "": [(248, 222), (246, 290)]},
}
"""By slice from the feet: (column, row), read off the images by eye, in the lungs; in heart, vessel, spine, airway."""
COLORED = 40
"""By how much the stronger of red and blue exceeds the other under an overlay; the image itself is grey."""
GREY = 15


@pytest.mark.parametrize("kind", ["SEG", "SEG label map"])
def test_a_segmentation_opens_on_the_lungs_with_its_names_and_numbers(
    kind: str, study: Study, viewer: Viewer, shots: Path
) -> None:
    seg = study.named(f"AI {kind} ct_lung")
    viewer.open(study.uid, series=study.series)
    viewer.open_segmentation(seg.SeriesDescription)
    panel = viewer.panel()
    assert RIGHT.label in panel
    assert LEFT.label in panel
    for number, sides in PLACES.items():
        image = study.images[number]
        viewer.go_to(image.SOPInstanceUID)
        viewer.shot(shots / f"{kind}, slice {number}.png")
        colors = {(side, at): viewer.color(in_patient(image, *at)) for side, some in sides.items() for at in some}
        assert {key: color for key, color in colors.items() if side_of(color) != key[0]} == {}

    # what the viewer itself counts under the overlay: another slice, a flip or a shift has another mean
    known = measured([study.report])
    segments = viewer.segments(seg.SeriesDescription)
    assert set(segments) == {RIGHT.label, LEFT.label}
    for label, segment in segments.items():
        assert segment.volume / 1000 == pytest.approx(known[label, "Volume"], abs=0.1)
        assert segment.mean == pytest.approx(known[label, "Mean Attenuation Coefficient"], abs=0.1)
    assert not viewer.errors


def side_of(color: tuple[int, int, int]) -> str:
    """Return the lung in whose colour a pixel is, right being blue and left orange, "" where it is grey."""
    red, _, blue = color
    if max(color) - min(color) < GREY:
        return ""
    return "right" if blue - red > COLORED else "left" if red - blue > COLORED else f"neither: {color}"
