"""What the plugin makes of the model's answers; the network is judged by triton_models/sm_breast/train.py."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node import Finding, Heatmap, KeyImages, Measurement, NotSuitable, Result, testing
from node.training.phantoms.slide import CLASSES, GLASS, field, slide

HERE = Path(__file__).parent
Kind = TypeVar("Kind")
TILE = 64
PINK = field(2 * TILE, np.random.default_rng(1), kind="normal")


def slide_of(down: int, across: int, **wanted: Any) -> Dataset:
    """Return a slide of so many tiles with pink tissue all over."""
    picture = np.tile(PINK, (-(-down // 2), -(-across // 2), 1))[: down * TILE, : across * TILE]
    words = {"rows": TILE, "columns": TILE, "spacing": 0.002, "array": picture, **wanted}
    return testing.slide(tiles=(down, across), **words)


def results(image: Dataset, classes: Callable[[int], int] = lambda number: 0) -> tuple[tuple[Result, ...], list[int]]:
    """Run the plugin with a network that tells the class of the n-th field; return also how many came together."""
    together: list[int] = []

    def model(image: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        probabilities = np.full((len(image), len(CLASSES)), 0.05, np.float32)
        for row in range(len(image)):
            probabilities[row, classes(sum(together) + row)] = 0.85
        together.append(len(image))
        maps = np.zeros((1, *image.shape[:3]), np.float32)
        return {"probabilities": probabilities, "shown": np.array([0]), "maps": maps}

    return testing.run_plugin(HERE, {"slide": [image]}, {"sm_breast": model}), together


def of(found: tuple[Result, ...], kind: type[Kind]) -> list[Kind]:
    return [result for result in found if isinstance(result, kind)]


def test_each_field_of_tiles_has_its_number_and_the_slide_its_class() -> None:
    found, together = results(slide_of(8, 8), lambda number: 3 if number in (5, 6) else int(number == 0))
    assert together == [8, 8]
    assert [item.value for item in of(found, Measurement)] == [81.2, 6.2, 0.0, 12.5]
    (heat,) = of(found, Heatmap)
    tiles = heat.array[:, 0, 0].reshape(8, 8)
    assert tiles[2:4, 2:6] == pytest.approx(0.9)
    assert np.count_nonzero(tiles > 0.5) == 8
    present = [item.name.meaning for item in of(found, Finding) if item.present]
    assert present == [
        "Normal breast tissue",
        "Invasive carcinoma of breast",
        "The slide as a whole: invasive carcinoma",
    ]
    (key,) = of(found, KeyImages)
    assert [frame.number for frame in key.images] == [3 * 8 + 3 + 1, 3 * 8 + 5 + 1]


def test_a_heat_map_takes_one_number_a_tile() -> None:
    (heat,) = of(results(slide_of(4, 4))[0], Heatmap)
    assert heat.array.strides[1:] == (0, 0)


def test_fields_at_the_far_edges_overlap_those_before() -> None:
    found, together = results(slide_of(5, 3), lambda number: 3 * (number == 5))
    assert sum(together) == 3 * 2
    (heat,) = of(found, Heatmap)
    assert (heat.array[:, 0, 0].reshape(5, 3)[3:, 1:] > 0.5).all()


def test_a_slide_without_another_class_is_normal() -> None:
    found, _ = results(slide_of(4, 4))
    assert [item.name.value for item in of(found, Finding) if item.present] == ["111287", "SLIDE_NORMAL"]
    assert not of(found, KeyImages)


def test_glass_is_not_asked_about() -> None:
    half = slide([[GLASS, "normal"]], 2 * TILE, np.random.default_rng(3))
    found, together = results(slide_of(2, 4, array=half), lambda number: 3)
    assert together == [1]
    (heat,) = of(found, Heatmap)
    assert heat.array[:, 0, 0].reshape(2, 4).tolist() == [[0, 0, heat.array.max(), heat.array.max()]] * 2


def with_header(image: Dataset, **values: Any) -> Dataset:
    for keyword, value in values.items():
        setattr(image, keyword, value)
    return image


def of_the_lung() -> Dataset:
    image = slide_of(2, 2)
    organ = Dataset()
    organ.CodeValue, organ.CodingSchemeDesignator, organ.CodeMeaning = "39607008", "SCT", "Lung"
    image.SpecimenDescriptionSequence[0].PrimaryAnatomicStructureSequence = [organ]
    return image


def grey() -> Dataset:
    image = slide_of(2, 2)
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.PixelData = image.PixelData[::3]
    return image


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (of_the_lung(), "another organ: Lung"),
        (grey(), "not in colour"),
        (with_header(slide_of(2, 2), DimensionOrganizationType="TILED_SPARSE"), "TILED_FULL"),
        (with_header(slide_of(4, 2), TotalPixelMatrixRows=2 * TILE), "8 frames for 4 tiles"),
        (slide_of(2, 2, spacing=0.01), "10.0 µm apart"),
        (slide_of(2, 2, spacing=0.0002), "smaller than"),
        (testing.slide(tiles=(2, 2), rows=256, columns=256, spacing=0.002), "0.51 mm wide"),
        (slide_of(2, 2, array=np.full((2 * TILE, 2 * TILE, 3), 243, np.uint8)), "no stained tissue"),
    ],
)
def test_images_that_are_no_slide_of_breast_tissue_are_not_suitable(image: Dataset, words: str) -> None:
    (result,), _ = results(image)
    assert isinstance(result, NotSuitable)
    assert words in result.reason
