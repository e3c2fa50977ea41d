"""Real pictures for making and judging guards: a folder for each class; names of files say the source.

The pictures are not part of isocenter. `SOURCES.md` beside them names source, licence and attribution of each.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Picture = NDArray[np.uint8]
"""(row, column, sample): 1 sample, or red, green and blue."""
LICENSED: dict[str, tuple[str, ...]] = {
    "chest_frontal": ("covidcx_",),
    "fundus": ("idrid_",),
    "mammogram": ("mastery_", "cbis-ddsm"),
    "histology_he": ("camelyon_",),
    "dental_panoramic": ("teeth",),
    "bone_xray_other": ("frac-atlas",),
    "ultrasound_other_carotid": ("ccaus",),
    "ultrasound_other_fetal": ("fetal-head",),
    "other_endoscopy": ("hyper-kvasir",),
    "other_blood_smear": ("bccd",),
}
"""Class → how names of files begin whose licence (CC BY, CC0, MIT) stands in their source: weights are made of them.

Of others only limits are read off.
"""
ONLY_MAKING = "other_blood_smear", "other_endoscopy"
"""Classes of so few pictures that half of them would say nothing."""
PATIENT = re.compile(r"_(p\d+|v\d\d)[_b]")


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures in a folder."""

    folder: Path

    @property
    def classes(self) -> list[str]:
        """The classes, in order of their names."""
        return sorted(path.name for path in self.folder.iterdir() if path.is_dir())

    def files(self, kind: str, *, making: bool) -> list[Path]:
        """Return the files of a class for making guards, or the others, which judge them: half of the patients each."""
        return [path for path in sorted((self.folder / kind).glob("*.jpg")) if for_making(path) == making]

    def licensed(self, kind: str) -> list[Path]:
        """Return the files for making guards whose licence allows weights to be made of them."""
        return [path for path in self.files(kind, making=True) if path.name.startswith(LICENSED.get(kind, ()))]


def for_making(path: Path) -> bool:
    """Return whether a picture is for making guards. All pictures of a patient or recording are on one side."""
    if path.parent.name in ONLY_MAKING:
        return True
    found = PATIENT.search(path.name)
    return crc32((found[1] if found else path.stem).encode()) % 2 == 0


def read(path: Path) -> Picture:
    """Read a picture."""
    with Image.open(path) as image:
        array: Picture = np.array(image if image.mode == "L" else image.convert("RGB"), np.uint8)
    return array[..., None] if array.ndim == 2 else array


def inverted(picture: Picture) -> Picture:
    """Return a picture in its negative."""
    return np.invert(picture)


def turned(quarters: int) -> Callable[[Picture], Picture]:
    """Return what turns a picture by quarters of a full turn."""
    return lambda picture: np.rot90(picture, quarters)


def half(axis: int, number: int) -> Callable[[Picture], Picture]:
    """Return what takes one half of a picture: the first, 0, or the second, 1, along an axis."""
    return lambda picture: np.array_split(picture, 2, axis)[number]


WRONG: dict[str, Callable[[Picture], Picture]] = {
    "inverted": inverted,
    "upside down": turned(2),
    "turned left": turned(1),
    "turned right": turned(3),
    "inverted, upside down": lambda picture: inverted(turned(2)(picture)),
    "upper half": half(0, 0),
    "lower half": half(0, 1),
    "left half": half(1, 0),
    "right half": half(1, 1),
}
"""Changes that make an unsuitable picture from a suitable picture."""


def crops(picture: Picture, random: np.random.Generator, count: int) -> Iterator[Picture]:
    """Yield a picture as it might have been collimated: 78 to 100 % of its rows and columns."""
    for _ in range(count):
        extent = [round(length * random.uniform(0.78, 1)) for length in picture.shape[:2]]
        row, column = (random.integers(whole - part + 1) for whole, part in zip(picture.shape, extent, strict=False))
        yield picture[row : row + extent[0], column : column + extent[1]]


def empty(random: np.random.Generator) -> dict[str, Picture]:
    """Return pictures that show nothing: black, of one grey, noise of several kinds."""
    rows = np.linspace(0, 255, 256, dtype=np.uint8)[:, None, None].repeat(256, 1)
    return {
        "black": np.zeros((256, 256, 1), np.uint8),
        "grey": np.full((256, 200, 1), 128, np.uint8),
        "noise": random.integers(0, 256, (256, 256, 1), dtype=np.uint8),
        "faint noise": random.integers(0, 4, (200, 256, 1), dtype=np.uint8),
        "coarse noise": random.integers(0, 256, (8, 8, 1), dtype=np.uint8).repeat(32, 0).repeat(32, 1),
        "noise in colour": random.integers(0, 256, (256, 256, 3), dtype=np.uint8),
        "ramp": rows,
        "ramp in colour": np.concatenate([rows, rows[::-1], rows.swapaxes(0, 1)], 2),
    }


def seen(pictures: Sequence[Picture]) -> Iterator[Picture]:
    """Yield pictures with their mirror images."""
    for picture in pictures:
        yield picture
        yield picture[:, ::-1]
