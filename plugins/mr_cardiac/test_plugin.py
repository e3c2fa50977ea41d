"""What the plugin measures of outlines it is given, against the volumes of ellipsoids by hand; what it declines."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node import Measurement, NotSuitable, Result, Segmentation, testing

HERE = Path(__file__).parent
PHASES, SLICES, ROWS = 9, 20, 64
APART, PIXEL = 5.0, 2.0
BEAT_MS = 800.0
ORDER = [4, 0, 7, 2, 8, 1, 5, 3, 6]
"""In which the phases were stored."""


def measures(phase: int) -> tuple[float, float, float]:
    """Return length from base to apex, radius of the cavity at the base, thickness of the wall, in mm."""
    part = np.sin(np.pi * phase / 8.5)  # 0 in the first phase, most in the fifth
    return 80 - 10 * part, 26 - 9 * part, 9 + 3 * part


def ellipsoid(phase: int, more: float = 0.0) -> float:
    """Return ml of half an ellipsoid of revolution, by hand."""
    length, radius, _ = measures(phase)
    return 2 / 3 * np.pi * (radius + more) ** 2 * (length + more) / 1000


def marked() -> NDArray[np.uint8]:
    """Return what a faultless network marks: (phase, slice, row, column), the base on the edge of the first slice."""
    slice_, row, column = np.indices((SLICES, ROWS, ROWS))
    height = (slice_ + 0.5) * APART
    across = np.hypot(row - 31.5, column - 31.5) * PIXEL
    labels = np.zeros((PHASES, SLICES, ROWS, ROWS), np.uint8)
    for phase in range(PHASES):
        length, radius, wall = measures(phase)
        for number, more in ((2, wall), (1, 0.0)):
            labels[phase][(across / (radius + more)) ** 2 + (height / (length + more)) ** 2 <= 1] = number
    return labels


def cine(order: list[int] = ORDER, slices: int = SLICES, spacing: float = APART) -> list[Dataset]:
    """Return one series of phases, slice by slice, the phases stored in some order."""
    plain = testing.mr_series(slices=slices, rows=8, columns=8, spacing=(spacing, PIXEL, PIXEL))
    images = testing.repeated(plain, len(order), TriggerTime=[BEAT_MS * phase / PHASES for phase in order])
    for image in images:
        image.InstanceNumber = (image.InstanceNumber - 1) % slices * len(order) + (image.InstanceNumber - 1) // slices
    return images


def paint(images: list[Dataset], *, still: bool = False) -> None:
    """Draw the heart into images: a bright cavity, as large as it is in their phase, or if still in the first."""
    heart = marked() == 1
    places = sorted({float(image.ImagePositionPatient[2]) for image in images})
    for image in images:
        phase = 0 if still else round(float(image.TriggerTime) * PHASES / BEAT_MS) % PHASES
        cavity = heart[phase, min(places.index(float(image.ImagePositionPatient[2])), SLICES - 1)]
        image.Rows = image.Columns = ROWS
        image.PixelData = np.where(cavity, 400, 100).astype(np.uint16).tobytes()


def results(labels: NDArray[np.uint8], images: list[Dataset] | None = None) -> tuple[Result, ...]:
    """Run the plugin on images of which the model answers with labels."""
    given = images or cine()
    paint(given)
    answer = labels.reshape(-1, ROWS, ROWS)
    return testing.run_plugin(HERE, {"cine": given}, {"mr_cardiac": lambda **_: {"labels": answer}})


def values(found: tuple[Result, ...]) -> dict[str, float]:
    reported = [result for result in found if isinstance(result, Measurement)]
    return {item.name.meaning: item.value for item in reported}


def test_volumes_fraction_and_mass_are_those_of_the_ellipsoids() -> None:
    found = values(results(marked()))
    large, small = ellipsoid(0), ellipsoid(4)
    assert found["Left Ventricular End Diastolic Volume"] == pytest.approx(large, rel=0.02)
    assert found["Left Ventricular End Systolic Volume"] == pytest.approx(small, rel=0.02)
    assert found["Stroke Volume"] == pytest.approx(large - small, rel=0.03)
    assert found["Left ventricular ejection fraction by MR"] == pytest.approx(100 * (1 - small / large), abs=1)
    assert found["Left Ventricle Mass"] == pytest.approx(1.05 * (ellipsoid(0, 9.0) - large), rel=0.03)


def test_volumes_and_mass_are_indexed_where_height_and_weight_are_known() -> None:
    images = cine()
    for image in images:
        image.PatientSize, image.PatientWeight = 1.8, 80
    found = values(results(marked(), images))
    surface = 0.007184 * 80**0.425 * 180**0.725
    index = found["LV end-diastolic volume indexed to body surface area"]
    assert index == pytest.approx(found["Left Ventricular End Diastolic Volume"] / surface, abs=0.1)
    assert "LV mass indexed to body surface area" not in values(results(marked()))


def test_outlines_lie_on_the_images_of_their_phase() -> None:
    diastole, systole = (result for result in results(marked()) if isinstance(result, Segmentation))
    assert diastole.source is not None
    assert systole.source is not None
    assert float(diastole.source.header.TriggerTime) == 0
    assert float(systole.source.header.TriggerTime) == pytest.approx(BEAT_MS * 4 / PHASES, abs=0.1)
    assert diastole.source.series_uid == systole.source.series_uid


def test_pieces_apart_from_the_ventricle_do_not_count() -> None:
    labels = marked()
    clean = values(results(labels))
    labels[:, 3:6, 2:8, 2:8] = 1
    assert values(results(labels)) == clean


def test_the_phases_of_a_series_are_one_run_and_other_series_are_others() -> None:
    other = testing.mr_series(series="still", rows=8, columns=8)
    (planned,) = testing.plan_plugin(HERE, [*cine(), *other]).plans
    (inputs,) = planned.inputs
    assert list(inputs) == [f"cine#{number}" for number in range(1, PHASES + 1)]
    assert {key.partition("#")[0] for key in inputs.values()} == {str(testing.uid("phantom", "mr", "series"))}


def moved(images: list[Dataset]) -> list[Dataset]:
    """Move one phase by a slice along the stack."""
    for image in images:
        if image.TriggerTime == 0:
            image.ImagePositionPatient = [*image.ImagePositionPatient[:2], image.ImagePositionPatient[2] + APART]
    return images


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (cine(list(range(5))), "phases of a heartbeat are needed, at least 8; there are 5"),
        (cine(slices=3), "3 slices over 15 mm are too few for a stack from base to apex"),
        (cine(slices=8, spacing=20.0), "its slices are 20 mm apart, more than 15 mm"),
        (moved(cine()), "its phases do not lie on the same slices"),
    ],
)
def test_images_that_are_no_short_axis_cine_are_not_suitable(images: list[Dataset], reason: str) -> None:
    (result,) = results(marked(), images)
    assert isinstance(result, NotSuitable)
    assert reason in result.reason


def test_images_without_a_ventricle_are_not_suitable() -> None:
    (result,) = results(np.zeros((PHASES, SLICES, ROWS, ROWS), np.uint8))
    assert isinstance(result, NotSuitable)
    assert "no left ventricle was found" in result.reason


def test_a_heart_that_does_not_move_is_not_suitable() -> None:
    images = cine()
    paint(images, still=True)
    (result,) = testing.run_plugin(HERE, {"cine": images}, {})
    assert result == NotSuitable("nothing moves from phase to phase: no beating heart is seen")


def test_noise_is_no_beating_heart() -> None:
    images, random = cine(), np.random.default_rng(1)
    paint(images)
    for image in images:
        image.PixelData = random.integers(0, 400, (ROWS, ROWS)).astype(np.uint16).tobytes()
    (result,) = testing.run_plugin(HERE, {"cine": images}, {})
    assert isinstance(result, NotSuitable)
    assert result.reason.endswith("of the images change from phase to phase: that is noise, or the patient moved")
