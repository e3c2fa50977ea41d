"""A heart in cine images along its short axis: one series of many phases and slices."""

import numpy as np
from pydicom.dataset import Dataset

from node import testing
from node.testing.data_set import Orientation
from node.training.phantoms.heart import Cine, Heart, cine

HEART = Heart(radius=25, wall=9, length=80, shortening=0.3, lift=0.12, systole=0.35)
PHASES, BEAT_MS = np.arange(10) / 10, 900.0
HEIGHTS, APART_MM = -10 + 10 * np.arange(11.0), 10.0
"""Of the slices, in mm from the base to the apex."""
ROWS, PIXEL_MM = 96, 2.2
ALONG = np.array([0.55, -0.55, -0.63])
"""From base to apex: to the left, to the front and down."""


def orientation() -> Orientation:
    """Return Image Orientation (Patient) of images across the heart's axis."""
    row = np.array([1, 1, 0]) / np.sqrt(2)
    column = np.cross(ALONG / np.linalg.norm(ALONG), row)
    return tuple(float(part) for part in (*row, *column))  # type: ignore[return-value]  # six of them


def drawn() -> Cine:
    """Return the images with their truth."""
    return cine(HEART, np.random.default_rng(4), phases=PHASES, heights=HEIGHTS, rows=ROWS, pixel=PIXEL_MM)


def images() -> list[Dataset]:
    """Return one series, slice after slice in every phase."""
    made: list[Dataset] = []
    for phase, signal in zip(PHASES, drawn().signal, strict=True):
        for image in testing.mr_series(
            array=signal,
            spacing=(APART_MM, PIXEL_MM, PIXEL_MM),
            orientation=orientation(),
            series="cine",
            description="Cine short axis",
            seed="heart",
        ):
            image.InstanceNumber = len(made) + 1
            image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = testing.uid("heart", len(made))
            testing.marked(image)
            image.TriggerTime, image.NominalInterval = float(phase * BEAT_MS), BEAT_MS
            image.BodyPartExamined = "HEART"
            made.append(image)
    return made
