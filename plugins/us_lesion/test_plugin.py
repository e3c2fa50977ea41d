"""What the plugin makes of the model's answers; the network is judged by triton_models/us_lesion/train.py."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from node import Finding, KeyImages, Measurement, NotSuitable, Region, Result, Summary, codes, testing

HERE = Path(__file__).parent
ROWS, COLUMNS = 150, 200
BEST = 2


def results(
    image: Dataset, *, likely: float = 0.9, malignant: float = 0.8, given: list[NDArray[np.float32]] | None = None
) -> tuple[Result, ...]:
    """Run the plugin: a lesion is seen best on the third frame, rows 30 to 49 and columns 40 to 79 of what is given."""

    def model(image: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        if given is not None:
            given.append(image)
        probabilities = np.full((len(image), 2), 0.2, np.float32)
        probabilities[BEST] = likely, malignant
        maps = np.zeros((2, *image.shape), np.float32)
        maps[1, BEST, 30:50, 40:80] = 0.7
        maps[1, BEST, 5:8, 5:8] = 0.6
        return {"probabilities": probabilities, "shown": np.array([1, 0]), "maps": maps}

    return testing.run_plugin(HERE, {"us": [image]}, {"us_lesion": model})


def region(box: tuple[int, int, int, int], *, spatial: int = 1, data: int = 1, cm: float = 0.02) -> Dataset:
    """Return an item of Sequence of Ultrasound Regions; the box is left, top, right and bottom."""
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = spatial, data, 0
    item.RegionLocationMinX0, item.RegionLocationMinY0, item.RegionLocationMaxX1, item.RegionLocationMaxY1 = box
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.PhysicalDeltaX, item.PhysicalDeltaY = cm, cm
    return item


def ultrasound(*regions: Dataset, rows: int = ROWS, **values: Any) -> Dataset:
    array = np.arange(4 * rows * COLUMNS, dtype=np.uint32).reshape(4, rows, COLUMNS) % 251
    image = testing.ultrasound(array=array.astype(np.uint8))
    image.BodyPartExamined = "BREAST"
    image.ImageType = ["ORIGINAL", "PRIMARY", "BREAST", "0001"]
    if regions:
        image.SequenceOfUltrasoundRegions = Sequence(regions)
    for keyword, value in values.items():
        setattr(image, keyword, value)
    return image


def test_a_lesion_is_boxed_on_its_best_frame_and_judged() -> None:
    found = results(ultrasound())
    (lesion,) = (result for result in found if isinstance(result, Region))
    assert lesion.points.tolist() == [[40, 30], [80, 50]]
    assert lesion.image is not None
    assert lesion.image.number == BEST + 1
    assert lesion.score == pytest.approx(0.9)
    reported = {result.name.meaning: result for result in found if isinstance(result, Finding)}
    assert [name for name, finding in reported.items() if finding.present] == ["Lesion", "Malignant"]
    assert reported["Benign"].score == pytest.approx(0.2)
    (key,) = (result for result in found if isinstance(result, KeyImages))
    assert key.images == (lesion.image,)
    assert not any(isinstance(result, Measurement) for result in found)


def test_the_network_gets_the_scanned_tissue_alone_and_the_size_is_in_mm() -> None:
    given: list[NDArray[np.float32]] = []
    image = ultrasound(region((150, 0, 199, 149), spatial=4, data=10), region((20, 10, 180, 140)))
    found = results(image, given=given)
    assert (given[0] == image.pixel_array[:, 10:140, 20:180].mean(3)).all()
    (lesion,) = (result for result in found if isinstance(result, Region))
    assert lesion.points.tolist() == [[60, 40], [100, 60]]
    measures = {result.name.meaning: result.value for result in found if isinstance(result, Measurement)}
    assert measures == {"Width": pytest.approx(40 * 0.2), "Height": pytest.approx(20 * 0.2)}


@pytest.mark.parametrize(
    ("part", "cm_down", "name"),
    [
        ("BREAST", 0.02, codes.DCM.Parallel),
        ("BREAST", 0.04, codes.DCM.NotParallel),
        ("BREAST", 0.05, codes.DCM.NotParallel),
        ("THYROID", 0.02, None),
    ],
)
def test_a_lesion_of_the_breast_that_is_wider_than_tall_is_parallel(
    part: str, cm_down: float, name: codes.Code | None
) -> None:
    scanned = region((20, 10, 180, 140))
    scanned.PhysicalDeltaY = cm_down
    image = ultrasound(scanned, BodyPartExamined=part, ImageType=["ORIGINAL", "PRIMARY", part, "0001"])
    orientations = {codes.DCM.Parallel, codes.DCM.NotParallel}
    found = [item.name for item in results(image) if isinstance(item, Finding) and item.name in orientations]
    assert found == ([name] if name else [])


def test_an_ultrasound_region_outside_the_image_is_ignored() -> None:
    given: list[NDArray[np.float32]] = []
    found = results(ultrasound(region((20, 10, 2 * COLUMNS, 140))), given=given)
    assert given[0].shape == (4, ROWS, COLUMNS)
    assert not any(isinstance(result, Measurement) for result in found)


def test_without_a_lesion_there_is_one_finding() -> None:
    finding, summary = results(ultrasound(), likely=0.3)
    assert summary == Summary("No lesion found", glance="no lesion found")
    assert isinstance(finding, Finding)
    assert not finding.present


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (ultrasound(BodyPartExamined="ABDOMEN"), "show ABDOMEN, not breast or thyroid"),
        (ultrasound(ImageType=["DERIVED", "PRIMARY", "EPICARDIAL", "0001"]), "Image Type is EPICARDIAL"),
        (ultrasound(region((0, 0, 199, 149)), region((50, 50, 90, 90), data=2)), "colours of flow"),
        (ultrasound(region((0, 0, 199, 149), spatial=3, data=3)), "no tissue in two dimensions"),
        (ultrasound(rows=80), "80 rows and 200 columns"),
    ],
)
def test_images_that_are_no_ultrasound_of_breast_or_thyroid_are_not_suitable(image: Dataset, words: str) -> None:
    (result,) = results(image)
    assert isinstance(result, NotSuitable)
    assert words in result.reason
