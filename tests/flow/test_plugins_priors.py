"""Plugins that are given a prior, on a real Triton: on phantoms moved as is known, and on real images."""

from datetime import UTC, datetime
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from node import DerivedSeries, Registration, Result, Triton, testing
from node.compose import Case, Identity, compose, write_object
from node.images.part10 import Part10
from node.images.series import Series
from node.images.stacks import group_into_stacks
from node.infer import run
from node.training.phantoms.motion import Motion, moved
from tests.flow.test_plugins import plugins
from tests.peers import DICOM, VALIDATOR, complaints
from tests.studies import register_prior as study

SPATIAL, DEFORMABLE = "1.2.840.10008.5.1.4.1.1.66.1", "1.2.840.10008.5.1.4.1.1.66.3"
MOTION = Motion(turn=0.04, shift=(5.0, -4.0, 3.0), swings=(3.0, 3.0, 3.0))


def read(folder: Path) -> Series:
    (series,) = group_into_stacks(Part10.of_file(file) for file in sorted(folder.glob("*.dcm"))).series
    return series


def judged(triton: Triton, now: Series, before: Series, folder: Path) -> tuple[tuple[Result, ...], list[Dataset]]:
    """Run the plugin, and have its objects judged beside the images of both studies in `folder/images`."""
    plugin = plugins()["register_prior"]
    triton.prepare(plugin.manifest.models, 120)
    inputs = {"image": now, "prior": before}
    results = run(plugin, inputs, triton)
    identity = Identity(
        study_uid=now.study_uid, revision=1, plugin=plugin.name, version=plugin.manifest.version,
        title=plugin.manifest.title, manufacturer=plugin.manifest.manufacturer, models=plugin.manifest.models,
        at=datetime(2026, 11, 21, 9, 30, tzinfo=UTC), first_series_number=3001, device_uid="2.25.42",
    )  # fmt: skip
    made = compose(Case(inputs=inputs, results=results, identity=identity))
    (folder / "made").mkdir()
    for number, dataset in enumerate(made):
        write_object(dataset, folder / "made" / f"{number}.dcm")
    if VALIDATOR.is_file():
        assert not complaints(folder / "images", folder / "made", "DicomSRValidator")
    return results, list(made)


def test_the_prior_of_a_chest_is_brought_into_its_place_and_named(triton: Triton, tmp_path: Path) -> None:
    testing.write(study.images(), tmp_path / "images" / "now")
    testing.write(study.prior(), tmp_path / "images" / "before")
    now, before = read(tmp_path / "images" / "now"), read(tmp_path / "images" / "before")
    results, made = judged(triton, now, before, tmp_path)
    rigid, deformed, series, *_ = results
    assert isinstance(rigid, Registration)
    assert isinstance(deformed, Registration)
    assert isinstance(series, DerivedSeries)
    inner = slice(6, -6), slice(8, -8), slice(8, -8)
    fixed = now.volume().array[inner].astype(np.float64)
    apart = np.abs(series.array[inner] - fixed).mean()
    assert apart < np.abs(before.volume().array[inner] - fixed).mean() / 2
    assert {SPATIAL, DEFORMABLE} <= {dataset.SOPClassUID for dataset in made}
    images = [dataset for dataset in made if dataset.Modality == "CT"]
    assert len(images) == study.SLICES
    for image in images:
        assert (image.StudyInstanceUID, image.AcquisitionDate) == (now.study_uid, "20230102")
        assert "PRIOR" in image.SeriesDescription
        shown = {item.ReferencedSOPInstanceUID for item in image.SourceImageSequence}
        assert shown == {frame.sop_instance_uid for frame in before.frames}
    report = next(dataset for dataset in made if dataset.Modality == "SR")
    assert report.PertinentOtherEvidenceSequence[0].StudyInstanceUID == before.study_uid
    assert report.CurrentRequestedProcedureEvidenceSequence[0].StudyInstanceUID == now.study_uid


def test_a_real_head_is_brought_onto_itself_as_it_was_moved(triton: Triton, tmp_path: Path) -> None:
    real = DICOM / "MR" / "T1_sag_brain_35"
    if not real.is_dir():
        pytest.skip("the real MR is not beside this repository")
    copytree(real, tmp_path / "images" / "now")
    now = read(tmp_path / "images" / "now")
    volume = now.volume()
    array = moved(np.rint(volume.array).astype(np.int16), volume.affine, MOTION)
    (tmp_path / "images" / "before").mkdir()
    files = {image.SOPInstanceUID: image for image in map(dcmread, real.glob("*.dcm"))}
    for number, (frame, plane) in enumerate(zip(now.frames, array, strict=True)):
        image = files[frame.sop_instance_uid]
        image.PixelData = plane.astype(np.uint16).tobytes()
        image.StudyInstanceUID, image.SeriesInstanceUID = testing.uid("before"), testing.uid("before", "series")
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = testing.uid("before", number)
        image.FrameOfReferenceUID = testing.uid("before", "frame of reference")
        image.save_as(tmp_path / "images" / "before" / f"{number}.dcm")
    results, _ = judged(triton, now, read(tmp_path / "images" / "before"), tmp_path)
    rigid, _, series, *_ = results
    assert isinstance(rigid, Registration)
    assert isinstance(series, DerivedSeries)
    inner = slice(4, -4), slice(30, -30), slice(30, -30)
    fixed = volume.array[inner].astype(np.float64)
    assert np.abs(series.array[inner] - fixed).mean() < np.abs(array[inner] - fixed).mean() / 2
    cosine = rigid.matrix[0, 0]
    assert cosine == pytest.approx(np.cos(MOTION.turn), abs=0.01)
