"""A case of segmented lungs, for the tests of composed objects."""

from collections.abc import Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.codes import SCT
from node.compose import Case, Identity, compose, write_object
from node.images.part10 import Part10
from node.images.series import Series, Volume
from node.images.stacks import group_into_stacks
from node.results import Result, Segment, Segmentation
from node.testing import write as write_images

RIGHT = Segment(label="Right lung", type=SCT.Lung, category=SCT.Organ, laterality=SCT.Right, color=(10, 200, 30))
LEFT = Segment(label="Left lung", type=SCT.Lung, category=SCT.Organ, laterality=SCT.Left)
NODULE = Segment(
    label="Nodule 1",
    type=SCT.Nodule,
    category=SCT.MorphologicallyAbnormalStructure,
    region=SCT.Lung,
    laterality=SCT.Left,
)


def series_of(folder: Path, images: Any) -> Series:
    """Return images as the node gets them: written, received as bytes, and stacked."""
    folder.mkdir(exist_ok=True, parents=True)
    paths = write_images(images, folder / "images")
    (series,) = group_into_stacks(Part10.of_file(path) for path in paths).series
    return series


def lung_case(series: Series, results: Sequence[Result], **more: Any) -> Case:
    return Case(**{"inputs": {"ct": series}, "results": results, "identity": lung_identity(series), **more})


def lung_identity(series: Series) -> Identity:
    return Identity(
        study_uid=series.study_uid,
        revision=1,
        plugin="ct_lung",
        version="1.0.0",
        title="CT lung",
        manufacturer="Lung makers",
        models=("ct_lung 1", "ct_lung_net 3"),
        at=datetime(2026, 11, 21, 9, 30, 15, tzinfo=UTC),
        first_series_number=3001,
        device_uid="2.25.42",
    )


def shape_of(series: Series) -> tuple[int, int, int]:
    return len(series.frames), int(series.header.Rows), int(series.header.Columns)


def on_grid_of(series: Series, labels: NDArray[Any]) -> Volume:
    return Volume(array=labels, affine=series.affine(), frame_of_reference_uid=series.frame_of_reference_uid)


def lung_labels(series: Series) -> NDArray[np.uint8]:
    """Return labels 1 to 3, alike in no two directions and on no two slices."""
    labels = np.zeros(shape_of(series), np.uint8)
    for index in range(len(labels)):
        labels[index, 2 : 4 + index, 1:7] = 1
        labels[index, 9:12, 3 : 5 + index] = 2
        labels[index, 15, 5 + index] = 3
    labels[0, labels[0] == 2] = 0
    return labels


def lung_segmentation(series: Series, labels: NDArray[Any]) -> Segmentation:
    return Segmentation(labels=on_grid_of(series, labels), segments=[RIGHT, LEFT, NODULE])


def lungs_on(series: Series) -> Segmentation:
    return lung_segmentation(series, lung_labels(series))


def bytes_of(made: Dataset) -> bytes:
    content = BytesIO()
    write_object(made, content)
    return content.getvalue()


def composed(series: Series, results: Sequence[Result]) -> list[Dataset]:
    """Return the objects as a receiver reads them."""
    return [dcmread(BytesIO(bytes_of(made))) for made in compose(lung_case(series, results))]


def raw_value(dataset: Dataset, keyword: str) -> bytes:
    """Return the bytes of a value as they stand in the file."""
    content = BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    element = dcmread(BytesIO(content.getvalue())).get_item(keyword)
    assert element is not None
    return element.value or b""


def without(images: list[Dataset], keyword: str) -> list[Dataset]:
    for image in images:
        del image[keyword]
    return images
