"""An image is named by its Instance Number and its place, as viewers show them, and never by its order."""

from pathlib import Path

import pytest

from node.compose.image_names import image_name, name_in_series
from node.testing import ct_series, enhanced_ct, radiograph
from tests.lung_case import series_of, without

CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
FEET_UP = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)


def test_a_slice_counted_from_the_feet_has_the_number_of_the_archive(tmp_path: Path) -> None:
    images = ct_series()
    for image in images:
        image.InstanceNumber = len(images) + 1 - image.InstanceNumber  # the scanner counts from the head
    series = series_of(tmp_path, images)
    assert name_in_series(series, 0) == "image 8 at -50.0 mm"
    assert name_in_series(series, 7) == "image 1 at -32.5 mm"


def test_slice_location_comes_before_the_position_in_the_patient(tmp_path: Path) -> None:
    images = ct_series()
    for image in images:
        image.SliceLocation = 100.04
    assert image_name(series_of(tmp_path, images).frames[2]) == "image 3 at 100.0 mm"


@pytest.mark.parametrize(("orientation", "place"), [(CORONAL, "-110.0"), (FEET_UP, "-50.0")])
def test_the_position_is_reported_in_the_directions_of_the_patient(
    tmp_path: Path, orientation: tuple[float, float, float, float, float, float], place: str
) -> None:
    series = series_of(tmp_path, without(ct_series(orientation=orientation), "SliceLocation"))
    names = [image_name(frame) for frame in series.frames]
    assert f"image 1 at {place} mm" in names


def test_a_frame_has_its_number_and_what_the_header_lacks_is_left_out(tmp_path: Path) -> None:
    enhanced = series_of(tmp_path / "enhanced", [enhanced_ct()])
    assert name_in_series(enhanced, 2).startswith("frame 3 at ")
    assert name_in_series(series_of(tmp_path / "cr", [radiograph()]), 0) == ""
    unnumbered = series_of(tmp_path / "ct", without(ct_series(), "InstanceNumber"))
    assert name_in_series(unnumbered, 1) == "at -47.5 mm"
