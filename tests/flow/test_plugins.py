"""The plugins that come with isocenter on real images, on a real Triton, their objects judged by every validator."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from shutil import copy

import pytest

from node import Finding, Measurement, NotSuitable, Result, testing
from node.compose import Case, Identity, compose, write_object
from node.host import Plugin, find_plugins
from node.images.series import Series
from node.triton import Triton
from tests.conftest import DATA
from tests.peers import ROOT, VALIDATOR, complaints

pytest.importorskip("pytriton", reason="nvidia-pytriton is not installed")


@cache
def plugins() -> dict[str, Plugin]:
    return find_plugins([ROOT / "plugins"])


def real(name: str, folder: Path, every: int = 1) -> Series:
    """Copy a real image, or every n-th of a folder, to `folder/images`, and return the stack; skip without the data."""
    path = DATA / "dicom" / name
    if not path.exists():
        pytest.skip(f"the real data {name} is not beside this repository")
    (folder / "images").mkdir()
    files = [
        copy(file, folder / "images") for file in (sorted(path.glob("*.dcm"))[::every] if path.is_dir() else [path])
    ]
    (series,) = testing.stacks(map(Path, files))
    return series


def identity(plugin: Plugin, series: Series) -> Identity:
    """Return the identity of a job on a series."""
    return Identity(
        study_uid=series.study_uid, revision=1, plugin=plugin.name, version=plugin.manifest.version,
        title=plugin.manifest.title, manufacturer=plugin.manifest.manufacturer, models=plugin.manifest.models,
        at=datetime(2026, 11, 21, 9, 30, tzinfo=UTC), first_series_number=3001, device_uid="2.25.42",
        kind=plugin.manifest.kind,
    )  # fmt: skip


def answered(triton: Triton, name: str, series: Series, folder: Path, *skip: str) -> tuple[Result, ...]:
    """Run a plugin with one role, and validate its objects together with the images in `folder/images`."""
    return answered_with(triton, name, dict.fromkeys(plugins()[name].roles, series), folder, *skip)


def answered_with(
    triton: Triton, name: str, inputs: Mapping[str, Series], folder: Path, *skip: str
) -> tuple[Result, ...]:
    """Run a plugin on named series, and validate its objects together with the images in `folder/images`.

    Networks of phantoms are tried on real images, too, as on a route that allows demonstrations.
    """
    plugin = plugins()[name]
    (series, *_) = inputs.values()
    results = testing.run_plugin(plugin.folder, inputs, triton, allow_demonstration=True)
    (folder / "made").mkdir()
    for number, made in enumerate(compose(Case(inputs=inputs, results=results, identity=identity(plugin, series)))):
        write_object(made, folder / "made" / f"{number}.dcm")
    if not VALIDATOR.is_file():
        pytest.skip("shared/tools/validate_dicom.py is not beside the repository")
    assert not complaints(folder / "images", folder / "made", "DicomSRValidator", *skip)
    return results


def present(results: tuple[Result, ...]) -> dict[str, bool]:
    return {result.name.meaning: result.present for result in results if isinstance(result, Finding)}


def measured(results: tuple[Result, ...]) -> dict[tuple[str, str], float]:
    """Return values by the label of their subject and by name."""
    found = [result for result in results if isinstance(result, Measurement)]
    return {(result.of.label if result.of else "", result.name.meaning): result.value for result in found}


@pytest.mark.parametrize(
    ("images", "inverted", "marked"),
    [
        ("CR/chest_RG1_j2k", False, None),
        ("CR/chest_rsna/1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm", False, False),
        ("CR/chest_rsna/Fake_MONOHR1.dcm", True, False),
    ],
)
def test_real_chest_radiographs(
    images: str, inverted: bool, marked: bool | None, triton: Triton, tmp_path: Path
) -> None:
    found = present(answered(triton, "cxr_quality", real(images, tmp_path), tmp_path))
    assert found["Frontal view of the chest"]
    assert found["Grey scale inverted"] == inverted
    assert found.get("View and Laterality Marker is incorrect") == marked
    seen = {name for name, there in found.items() if there}
    assert seen <= {"Frontal view of the chest", "Grey scale inverted"}


def test_a_real_chest_from_the_side_is_none_from_the_front(triton: Triton, tmp_path: Path) -> None:
    images = real("DX/dog", tmp_path)  # they refer to an image that is not there
    (result,) = answered(triton, "cxr_quality", images, tmp_path, "dcentvfy")
    assert isinstance(result, NotSuitable)
    assert "not a chest from the front" in result.reason


def test_a_real_ankle_is_no_chest(triton: Triton, tmp_path: Path) -> None:
    (result,) = answered(triton, "cxr_quality", real("CR/ankle_RG3/RG3_J2KR.dcm", tmp_path), tmp_path)
    assert isinstance(result, NotSuitable)
    assert "not a chest from the front" in result.reason
    assert result.reason.endswith("Body Part Examined says EXTREMITY")


def test_bone_muscle_and_fat_of_a_real_chest(triton: Triton, tmp_path: Path) -> None:
    results = answered(triton, "ct_body", real("CT/chest_cmb_crc_100", tmp_path, every=4), tmp_path)
    values = measured(results)
    assert present(results) == {"Contrast medium in the vessels": True}
    assert 500 < values["Bone", "Volume"] < 1000
    assert 20 < values["Muscle of the chest wall", "Mean Attenuation Coefficient"] < 60
    assert values["Fat outside the rib cage", "Mean Attenuation Coefficient"] == pytest.approx(-100, abs=10)
    assert values["Fat inside the rib cage", "Volume"] < values["Fat outside the rib cage", "Volume"]
    assert not [name for name in values if name[1] == "Calcium score"]


def test_a_real_head_has_no_ribs(triton: Triton, tmp_path: Path) -> None:
    images = real("CT/head_missing_and_odd_geometry/slicecount/001", tmp_path)
    (result,) = answered(triton, "ct_body", images, tmp_path, "dcentvfy")  # their headers lack what ours must have
    assert isinstance(result, NotSuitable)
