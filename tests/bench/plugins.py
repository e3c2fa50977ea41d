"""Each plugin that comes with isocenter on one study: from images on disk to objects, its model loaded."""

import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from node import testing
from node.assemble import stacks
from node.compose import Identity, compose, write
from node.host import Plugin, find_plugins
from node.infer import GrpcTriton, LocalServer, Triton, run
from node.part10 import Part10
from tests.conftest import DATA
from tests.peers import ROOT

TIMES = 3
REAL = {
    "ct_lung": "CT/chest_cmb_crc_100",
    "ct_body": "CT/chest_cmb_crc_100",
    "cxr_quality": "CR/chest_rsna/1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm",
}
"""What is not here is done on a phantom."""


def main() -> None:
    """Print seconds per study, the median of three runs after one that is not counted."""
    plugins = find_plugins([ROOT / "plugins"])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        files = {name: _real(name) for name in REAL} | {"pt_lesion": _pet(folder / "pet")}
        with LocalServer(ROOT / "triton_models", folder / "triton.log") as server:
            triton = GrpcTriton([server.address], deadline_seconds=300)
            for name, images in files.items():
                triton.prepare(plugins[name].manifest.models, 120)
                seconds = [_once(plugins[name], images, triton, folder) for _ in range(TIMES + 1)][1:]
                print(f"{name}: {len(images)} images, {statistics.median(seconds):.1f} s")
            triton.close()


def _real(name: str) -> list[Path]:
    path = DATA / "dicom" / REAL[name]
    return sorted(path.glob("*.dcm")) if path.is_dir() else [path]


def _pet(folder: Path) -> list[Path]:
    """Write a whole body of 250 slices with three hot places."""
    array = np.full((250, 168, 168), 3000, np.int16)
    for at in ((60, 80, 60), (120, 90, 100), (200, 60, 90)):
        array[tuple(slice(i - 3, i + 4) for i in at)] = 30000
    images = testing.pet_series(array=array, spacing=(3.0, 4.0, 4.0))
    for image in images:
        image.PatientWeight, image.PatientSize, image.PatientSex = 80, 1.8, "M"
    return testing.write(images, folder)


def _once(plugin: Plugin, images: list[Path], triton: Triton, folder: Path) -> float:
    began = time.perf_counter()
    (series,) = stacks(Part10.of_file(file) for file in images).series
    inputs = dict.fromkeys(plugin.roles, series)
    results = run(plugin, inputs, triton)
    identity = Identity(
        study_uid=series.study_uid, revision=1, plugin=plugin.name, version=plugin.manifest.version,
        title=plugin.manifest.title, manufacturer=plugin.manifest.manufacturer, models=plugin.manifest.models,
        at=datetime.now(UTC), first_series_number=3001, device_uid="2.25.42",
    )  # fmt: skip
    for number, made in enumerate(compose(inputs, results, identity)):
        write(made, folder / f"{plugin.name}{number}.dcm")
    return time.perf_counter() - began
