"""Two nodules are found and measured; what is too small is none."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from node import Finding, Measurement, Result, Segmentation, codes, testing

HERE = Path(__file__).parent


def fake_model(image: NDArray[np.int16]) -> dict[str, NDArray[np.uint8]]:
    return {"mask": (image > -300).astype(np.uint8)}


def results(*cubes: tuple[int, int]) -> tuple[Result, ...]:
    """Return the results on lung with cubes: where each begins, and its edge in voxels of 1 mm."""
    array = np.full((24, 64, 64), -850, np.int16)
    for start, edge in cubes:
        array[4 : 4 + edge, start : start + edge, start : start + edge] = 30
    images = testing.ct_series(array=array, spacing=(1.0, 1.0, 1.0))
    return testing.run_plugin(HERE, {"ct": images}, {"template": fake_model})


def test_each_nodule_is_a_segment_with_its_volume() -> None:
    found = results((10, 8), (40, 6), (30, 2))
    (segmentation,) = [result for result in found if isinstance(result, Segmentation)]
    assert [segment.label for segment in segmentation.segments] == ["Nodule 1", "Nodule 2"]
    volumes = [size.value for size in found if isinstance(size, Measurement) and size.name == codes.SCT.Volume]
    assert sorted(volumes) == [6**3, 8**3]


def test_without_nodules_that_is_the_finding() -> None:
    (finding,) = results((30, 2))
    assert isinstance(finding, Finding)
    assert not finding.present
