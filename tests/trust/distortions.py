"""Distortions that make a suitable image unsuitable: by name, a function of the whole image."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tests.trust.real_images import RealImage

Changed = Callable[[RealImage], RealImage]


def _on_array(change: Callable[[NDArray], NDArray]) -> Changed:
    """Return a change of the values; the last axes are (row, column), before them slices, after them colours."""
    return lambda image: replace(image, array=np.ascontiguousarray(change(image.array)))


def _rows(image: RealImage) -> int:
    """Return which axis the rows are."""
    return 1 if image.is_volume else 0


def _flipped(axis: int) -> Changed:
    return lambda image: replace(image, array=np.ascontiguousarray(np.flip(image.array, _rows(image) + axis)))


def _upside_down(image: RealImage) -> RealImage:
    return replace(image, array=np.ascontiguousarray(np.flip(image.array, 0)))


def _rotated(image: RealImage) -> RealImage:
    axes = (_rows(image), _rows(image) + 1)
    spacing = image.spacing and (image.spacing[0], image.spacing[2], image.spacing[1])
    return replace(image, array=np.ascontiguousarray(np.rot90(image.array, axes=axes)), spacing=spacing)


def _half(image: RealImage) -> RealImage:
    rows = image.array.shape[0] // 2
    return replace(image, array=np.ascontiguousarray(image.array[:rows]))


def _noise(values: NDArray) -> NDArray:
    """Return the same values in another order."""
    return np.random.default_rng(7).permutation(values.ravel()).reshape(values.shape)


def _with_text(image: RealImage) -> RealImage:
    """Return the image with large letters across each plane."""
    shape = image.array.shape[_rows(image) :][:2]
    sheet = Image.new("L", (shape[1] // 3 + 1, shape[0] // 3 + 1))
    for line in range(0, sheet.height, 12):
        ImageDraw.Draw(sheet).text((1, line), "DOE JANE 1950", fill=255)
    letters = np.asarray(sheet.resize((shape[1], shape[0]))) > 127
    array = image.array.copy()
    array[(slice(None), letters) if image.is_volume else letters] = array.max()
    return replace(image, array=array)


DISTORTIONS: Mapping[str, Changed] = {
    "mirrored": _flipped(1),
    "flipped front to back": _flipped(0),
    "upside down": _upside_down,
    "rotated": _rotated,
    "inverted": _on_array(lambda values: values.max() - values + values.min()),
    "half": _half,
    "blank": _on_array(lambda values: np.full_like(values, values.min())),
    "uniform": _on_array(lambda values: np.full_like(values, np.median(values[values > values.min()]))),
    "noise": _on_array(_noise),
    "text": _with_text,
}
"""Of a plane, flipped front to back and upside down are the same."""
