"""Each plugin that comes with isocenter on one study: from images on disk to objects, its models loaded.

The study is a real one of ../shared where `REAL` names it, else the synthetic one of `tests.studies`; a plugin that has
neither is left out. `python -m tests.bench plugins ct_lung` measures that one alone.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from shutil import copy
from statistics import median

from node import testing
from node.flow import perform
from node.host import Plugin, find_plugins
from node.infer import GrpcTriton, LocalServer
from node.spool import Spool
from node.try_plugin import Fitting, order_of, what_fits
from tests import studies
from tests.conftest import DATA
from tests.peers import ROOT

TIMES = 3
PREPARE_SECONDS = 300
DEVICE_UID = "2.25.42"
REAL = {
    "ct_lung": "CT/chest_cmb_crc_100",
    "ct_body": "CT/chest_cmb_crc_100",
    "ct_lung_nodule": "CT/chest_cmb_crc_100",
    "cxr_quality": "CR/chest_rsna/1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm",
}
PARTS = "load", "infer", "compose"


def main() -> None:
    """Print seconds per study: the medians of three runs after one that is not counted."""
    plugins = find_plugins([ROOT / "plugins"])
    asked = sys.argv[2:] or sorted(plugins)
    print(
        f"plugins: seconds per study on {len(os.sched_getaffinity(0))} cores; medians of {TIMES} after one to warm up"
    )
    print(f"| | images | {' | '.join(PARTS)} | **study** |\n{'|---' * (3 + len(PARTS))}|", flush=True)
    with tempfile.TemporaryDirectory(prefix="isocenter-bench-") as name:
        folder = Path(name)
        with LocalServer(ROOT / "triton_models", folder / "triton.log") as server:
            triton = GrpcTriton([server.address], deadline_seconds=600)
            for plugin in (plugins[name] for name in asked):
                if images := study(plugin.name, folder / plugin.name):
                    print(row(plugin, images, triton, Spool(folder / "spool")), flush=True)
            triton.close()


def study(name: str, folder: Path) -> list[Path]:
    """Put the images of a plugin's study into a folder; none where it has no study."""
    real = DATA / "dicom" / REAL.get(name, name)
    if real.exists():
        folder.mkdir()
        return [Path(copy(file, folder)) for file in (real.glob("*.dcm") if real.is_dir() else [real])]
    if (Path(studies.__path__[0]) / f"{name}.py").is_file():
        return testing.write(import_module(f"tests.studies.{name}").images(), folder)
    return []


def row(plugin: Plugin, images: list[Path], triton: GrpcTriton, spool: Spool) -> str:
    """Return a plugin's row of the table."""
    triton.prepare(plugin.manifest.models, PREPARE_SECONDS)
    runs = [once(plugin, images[0].parent, triton, spool) for _ in range(TIMES + 1)][1:]
    seconds = [median(run[part] for run in runs) for part in (*PARTS, "study")]
    return f"| {plugin.name} | {len(images)} | {' | '.join(f'{one:.2f}' for one in seconds[:-1])} | {seconds[-1]:.1f} |"


def once(plugin: Plugin, folder: Path, triton: GrpcTriton, spool: Spool) -> Mapping[str, float]:
    """Do the plugin's job as the node does, from files to objects; return the seconds of its parts, and of all."""
    began = time.perf_counter()
    performed = perform(order_of(plugin, fitting(plugin, folder), DEVICE_UID), spool, triton, {})
    assert performed.objects
    return {**performed.timing, "study": time.perf_counter() - began}


def fitting(plugin: Plugin, folder: Path) -> Fitting:
    """Return what in a folder fits a plugin, whatever else is in it."""
    found: list[Fitting] = []

    def told() -> Iterator[str]:
        found.append((yield from what_fits(plugin, folder)))

    list(told())
    return found[0]
