"""Each plugin that comes with isocenter on one study: from images on disk to objects, its models loaded.

The study is real, from ../shared, if `REAL` names it; else synthetic, from `tests.studies`, with its prior if it has a
prior. A plugin without a study is left out. `python -m tests.bench plugins ct_lung` measures that plugin alone.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from shutil import copy
from statistics import median
from types import ModuleType

from node import testing
from node.commands.try_plugin import Fitting, order_of, what_fits
from node.flow import perform
from node.host import Plugin, find_plugins
from node.images.part10 import Part10
from node.images.stacks import group_into_stacks
from node.infer import Order
from node.spool import Spool
from node.triton import GrpcTriton, LocalServer
from tests import studies
from tests.conftest import DATA
from tests.peers import ROOT

TIMES = 3
PREPARE_SECONDS = 300
CHEST, HEAD = "CT/chest_cmb_crc_100", "MR/T1_sag_brain_35"
RADIOGRAPH = "CR/chest_rsna/1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm"
REAL = {
    "ct_body": CHEST,
    "ct_denoise": CHEST,
    "ct_lung": CHEST,
    "ct_lung_nodule": CHEST,
    "cxr_findings": RADIOGRAPH,
    "cxr_quality": RADIOGRAPH,
    "mr_superres": HEAD,
}
PARTS = "load", "infer", "compose"


def main() -> None:
    """Print seconds per study: the medians of three runs, after a first run that is not counted."""
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
                    order = ordered(plugin, images[0].parent, earlier(plugin.name, folder / "earlier"))
                    print(row(order, len(images), triton, Spool(folder / "spool")), flush=True)
            triton.close()


def study(name: str, folder: Path) -> list[Path]:
    """Put the images of a plugin's study into a folder; none where it has no study."""
    real = DATA / "dicom" / REAL.get(name, name)
    if real.exists():
        folder.mkdir()
        return [Path(copy(file, folder)) for file in (real.glob("*.dcm") if real.is_dir() else [real])]
    made = synthetic(name)
    return testing.write(made.images(), folder) if made else []


def synthetic(name: str) -> ModuleType | None:
    """Return the module that makes a plugin's study, or None."""
    there = (Path(studies.__path__[0]) / f"{name}.py").is_file()
    return import_module(f"tests.studies.{name}") if there else None


def earlier(name: str, folder: Path) -> list[Path]:
    """Write the prior of a plugin's synthetic study, if it has a prior."""
    made = None if name in REAL else synthetic(name)
    return testing.write(made.prior(), folder) if made and hasattr(made, "prior") else []


def ordered(plugin: Plugin, folder: Path, prior: list[Path]) -> Order:
    """Return the order of a job on what is in a folder, and a prior."""
    order = order_of(plugin, fitting(plugin, folder))
    if not prior:
        return order
    parts = tuple(Part10.of_file(path) for path in prior)
    (role,) = (role for role, asked in plugin.manifest.series.items() if asked.prior_of)
    key = group_into_stacks(parts).series[0].key
    job = replace(order.job, inputs=tuple({**inputs, role: key} for inputs in order.job.inputs))
    return replace(order, job=job, parts=order.parts + parts)


def row(order: Order, count: int, triton: GrpcTriton, spool: Spool) -> str:
    """Return a plugin's row of the table."""
    triton.prepare(order.plugin.manifest.models, PREPARE_SECONDS)
    runs = [once(order, triton, spool) for _ in range(TIMES + 1)][1:]
    seconds = [median(run[part] for run in runs) for part in (*PARTS, "study")]
    parts = " | ".join(f"{second:.2f}" for second in seconds[:-1])
    return f"| {order.plugin.name} | {count} | {parts} | {seconds[-1]:.1f} |"


def once(order: Order, triton: GrpcTriton, spool: Spool) -> Mapping[str, float]:
    """Do a job as the node does, from files to objects; return the seconds of its parts, and of all."""
    began = time.perf_counter()
    performed = perform(order, spool, triton, {})
    assert performed.objects
    return {**performed.timing, "study": time.perf_counter() - began}


def fitting(plugin: Plugin, folder: Path) -> Fitting:
    """Return what in a folder fits a plugin, whatever else is in it."""
    found: list[Fitting] = []

    def events() -> Iterator[str]:
        found.append((yield from what_fits(plugin, folder)))

    list(events())
    return found[0]
