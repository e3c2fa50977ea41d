"""dcmqi, which 3D Slicer reads objects with, reads ours: the same voxels, the same measurements."""

import importlib.util
import json
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import files
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from node.codes import SCT, UCUM
from node.compose import Case, Identity, compose, write_object
from node.images.part10 import Part10
from node.images.series import Volume
from node.images.stacks import group_into_stacks
from node.results import Measurement, Segment, Segmentation
from node.testing import ct_series
from node.testing import write as write_images

pytestmark = pytest.mark.skipif(importlib.util.find_spec("dcmqi") is None, reason="dcmqi is not installed")

LIVER = Segment(label="Liver", type=SCT.Liver, category=SCT.Organ)
CYST = Segment(label="Cyst", type=SCT.Cyst, category=SCT.MorphologicallyAbnormalStructure)


@pytest.fixture
def composed(tmp_path: Path) -> tuple[np.ndarray, list[Dataset]]:
    paths = write_images(ct_series(), tmp_path / "images")
    (series,) = group_into_stacks(Part10.of_file(path) for path in paths).series
    labels = np.zeros((len(series.frames), 32, 32), np.uint8)
    labels[1:7, 4:20, 6:15] = 1
    labels[2:4, 8:12, 8:12] = 2
    volume = Volume(array=labels, affine=series.affine(), frame_of_reference_uid=series.frame_of_reference_uid)
    results = [
        Segmentation(labels=volume, segments=[LIVER, CYST]),
        Measurement(name=SCT.Volume, value=150.2, unit=UCUM.CubicCentimeter, of=LIVER),
    ]
    identity = Identity(
        study_uid=series.study_uid,
        revision=1,
        plugin="liver",
        version="1",
        title="Liver",
        manufacturer="",
        models=(),
        at=datetime(2026, 11, 21, 9, 30, 15, tzinfo=UTC),
        first_series_number=3000,
        device_uid="2.25.42",
    )
    made = compose(Case(inputs={"ct": series}, results=results, identity=identity))
    for number, dataset in enumerate(made):
        write_object(dataset, tmp_path / f"{number}.dcm")
    return labels, made


def test_dcmqi_reads_the_voxels_of_each_segment(tmp_path: Path, composed: tuple[np.ndarray, list[Dataset]]) -> None:
    labels, _ = composed
    _run("segimage2itkimage", "--inputDICOM", tmp_path / "0.dcm", "--outputDirectory", tmp_path, "-t", "nrrd")
    about = json.loads((tmp_path / "meta.json").read_text())
    assert [segment["SegmentLabel"] for group in about["segmentAttributes"] for segment in group] == ["Liver", "Cyst"]
    for number in (1, 2):
        assert _voxels(tmp_path / f"{number}.nrrd") == int((labels == number).sum())


def test_dcmqi_reads_the_measurements_of_the_report(tmp_path: Path, composed: tuple[np.ndarray, list[Dataset]]) -> None:
    _, (seg, *_) = composed
    _run("tid1500reader", "--inputDICOM", tmp_path / "1.dcm", "--outputMetadata", tmp_path / "read.json")
    read = json.loads((tmp_path / "read.json").read_text())
    liver = next(group for group in read["Measurements"] if group["TrackingIdentifier"] == "Liver")
    assert liver["segmentationSOPInstanceUID"] == seg.SOPInstanceUID
    assert liver["ReferencedSegment"] == 1
    (volume,) = liver["measurementItems"]
    assert (float(volume["value"]), volume["units"]["CodeValue"]) == (150.2, "cm3")


def _run(name: str, *words: object) -> None:
    program = next(path.locate() for path in files("dcmqi") or () if path.name == name)
    done = subprocess.run([program, *map(str, words)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def _voxels(path: Path) -> int:
    header, _, content = path.read_bytes().partition(b"\n\n")
    if b"encoding: gzip" in header:
        import gzip

        content = gzip.decompress(content)
    kinds: Sequence[tuple[bytes, type]] = ((b"type: unsigned char", np.uint8), (b"type: short", np.int16))
    kind = next((dtype for name, dtype in kinds if name in header), np.uint16)
    return int(np.count_nonzero(np.frombuffer(content, kind)))
