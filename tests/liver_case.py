"""A case of a segmented liver with a cyst, for the tests of what replaces objects."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.codes import SCT, UCUM
from node.compose import Case, Identity, write_object
from node.images.part10 import Part10
from node.images.series import Series, Volume
from node.images.stacks import group_into_stacks
from node.results import Measurement, Result, Segment, Segmentation
from node.testing import ct_series
from node.testing import write as write_images

STUDY = "1.2.1"
LIVER = Segment(label="Liver", type=SCT.Liver, category=SCT.Organ)
CYST = Segment(label="Cyst", type=SCT.Cyst, category=SCT.MorphologicallyAbnormalStructure)


def liver_images(tmp_path: Path) -> Series:
    paths = write_images(ct_series(study_uid=STUDY), tmp_path / "images")
    (series,) = group_into_stacks(Part10.of_file(path) for path in paths).series
    return series


def liver_results(series: Series) -> list[Result]:
    labels = np.zeros((len(series.frames), 32, 32), np.uint8)
    labels[1:7, 4:20, 6:15] = 1
    labels[2:4, 8:12, 8:12] = 2
    volume = Volume(array=labels, affine=series.affine(), frame_of_reference_uid=series.frame_of_reference_uid)
    return [
        Segmentation(labels=volume, segments=[LIVER, CYST]),
        Measurement(name=SCT.Volume, value=150.25, unit=UCUM.CubicCentimeter, of=LIVER),
    ]


def liver_case(series: Series, results: Sequence[Result], **more: Any) -> Case:
    return Case(**{"inputs": {"ct": series}, "results": results, "identity": liver_identity(), **more})


def liver_identity() -> Identity:
    return Identity(
        study_uid=STUDY,
        revision=1,
        plugin="spleen",
        version="1",
        title="Spleen",
        manufacturer="",
        models=(),
        at=datetime(2026, 11, 21, 9, 30, 15, tzinfo=UTC),
        first_series_number=3000,
        device_uid="2.25.42",
    )


def groups_of(report: Dataset) -> Sequence[Dataset]:
    return list(report.ContentSequence[-1].ContentSequence)


def text_of(report: Dataset) -> str:
    """Return the groups of a report in words, but for the UIDs, in which runs differ."""
    return "\n".join(without_uids(group) for group in groups_of(report))


def without_uids(of: object) -> str:
    return re.sub(r"2\.25\.\d+", "uid", str(of))


def read_back(folder: Path, made: Dataset) -> Dataset:
    write_object(made, folder / "read.dcm")
    return dcmread(folder / "read.dcm")
