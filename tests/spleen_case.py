"""A case of a segmented spleen and a nodule, for the tests of the summary page."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.codes import SCT
from node.compose import Case, Identity
from node.images.part10 import Part10
from node.images.series import Series, Volume
from node.images.stacks import group_into_stacks
from node.results import (
    Region,
    Result,
    Segment,
    Segmentation,
)
from node.testing import write as write_images

GREEN = (1, 254, 3)
ORGAN = Segment(label="Spleen", type=SCT.Spleen, category=SCT.Organ, color=GREEN)
LUNG = Segment(label="Lung", type=SCT.Lung, category=SCT.Organ)
IDENTITY = Identity(
    study_uid="1.2.3",
    revision=1,
    plugin="spleen",
    version="1.2.0",
    title="CT spleen",
    manufacturer="a maker",
    models=("spleen_net 4",),
    at=datetime(2024, 1, 2, 3, 4, tzinfo=UTC),
    first_series_number=3000,
    device_uid="1.2.3.4",
)


def series_of(folder: Path, images: Iterable[Any]) -> Series:
    folder.mkdir(exist_ok=True, parents=True)
    (series,) = group_into_stacks(Part10.of_file(path) for path in write_images(images, folder)).series
    return series


def spleen_segmentation(series: Series, labels: NDArray[np.uint8]) -> Segmentation:
    volume = Volume(array=labels, affine=series.affine(), frame_of_reference_uid=series.frame_of_reference_uid)
    return Segmentation(labels=volume, segments=[ORGAN])


def nodule_region(series: Series, index: int, **changed: Any) -> Region:
    given = {"kind": "point", "points": np.array([(4.0, 4.0)]), "label": "Nodule 1", "type": SCT.Nodule, "color": GREEN}
    return Region(image=series.frames[index], **{**given, **changed})  # type: ignore[arg-type]


def spleen_case(series: Series, results: Sequence[Result], identity: Identity = IDENTITY) -> Case:
    return Case(inputs={"image": series}, results=results, identity=identity)
