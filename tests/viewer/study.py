"""The images and objects in the PACS that the viewer shows, and their values, known without the viewer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

NODULE_SLICE = 50
"""From the feet."""
NODULE = (348.0, 372.0, 230.0, 257.0)
"""Left, right, upper and lower border of a nodule in the left lung: columns and rows, read off the image by eye."""
DIAMETER = 24.26
"""Its height in mm."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """The images along z from the feet, and the objects about them."""

    images: Sequence[Dataset]
    objects: Sequence[Dataset]

    @property
    def uid(self) -> str:
        return str(self.images[0].StudyInstanceUID)

    @property
    def series(self) -> int:
        return len({dataset.SeriesInstanceUID for dataset in (*self.images, *self.objects)})

    @property
    def report(self) -> Dataset:
        """The report of the job; there is one."""
        (report,) = (one for one in self.objects if one.Modality == "SR")
        return report

    def named(self, words: str) -> Dataset:
        """Return the object whose series description begins so: what a reader clicks on."""
        (dataset,) = (dataset for dataset in self.objects if str(dataset.SeriesDescription).startswith(words))
        return dataset


def in_patient(image: Dataset, column: float, row: float) -> tuple[float, float, float]:
    """Return where a pixel of an axial image is, its centre at whole numbers, in mm LPS (PS3.3 C.7.6.2.1.1)."""
    x, y, z = map(float, image.ImagePositionPatient)
    return x + column * float(image.PixelSpacing[1]), y + row * float(image.PixelSpacing[0]), z


def measured(reports: Sequence[Dataset]) -> dict[tuple[str, str], float]:
    """Return the volumes and means in reports by (tracking identifier, name)."""
    return {key: value for report in reports for key, value in _measured(report.ContentSequence, "")}


def _measured(items: Sequence[Dataset], tracked: str) -> Iterator[tuple[tuple[str, str], float]]:
    for item in items:
        below = list(item.get("ContentSequence") or [])
        if _name(item) == "Tracking Identifier":
            tracked = item.TextValue
        if _name(item) in {"Volume", "Mean Attenuation Coefficient"}:
            yield (tracked, _name(item)), float(item.MeasuredValueSequence[0].NumericValue)
        yield from _measured(below, tracked)


def _name(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeMeaning) if item.get("ConceptNameCodeSequence") else ""
