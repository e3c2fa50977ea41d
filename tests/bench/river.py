"""From the last C-STORE to the results in the PACS, stage by stage, beside what the server itself computes.

dcmtk's storescu sends, `isocenter serve` works, Orthanc stores. Each run is a study of its own: the same images under
new UIDs. Three cases: the 100-slice chest CT (real if ../shared has it, else synthetic) with a
quiet time, the same by a route that waits none, since the association that brought it is over; and a radiograph of
1 MB. `python -m tests.bench river released` runs one of them, `river long` a synthetic chest of 500 slices.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from pydicom import dcmread
from pydicom.dataset import Dataset

from node import testing
from node.ledger import Ledger
from node.records import DeliveryState
from tests.bench.memory import Peak
from tests.bench.served import Computing, address_of
from tests.peers import DICOM, ROOT, Orthanc, missing, orthanc, serve, storescu, wait_until

CHEST = DICOM / "CT" / "chest_cmb_crc_100"
RUNS = 5
LONG_SECONDS = 10.0
"""The quiet time of a study without evidence, where a route's evidence makes it shorter."""
ROUTE = """\
[[route]]
name = "all of them"
when.Modality = "{modality}"
stable = {{ released = true, quiet_seconds = {quiet} }}
plugins = ["{plugin}"]
to = ["PACS"]
"""
MANIFEST = """\
name = "radiograph"
version = "1"
title = "Bright part"
kind = "A"
models = ["template"]
[series.image]
when.Modality = "CR"
"""
PLUGIN = """\
import numpy as np
from node import Measurement, codes

def run(image, triton):
    mask = triton.infer("template", image=image.image()[None].astype(np.int16))["mask"]
    yield Measurement(name=codes.SCT.Volume, value=float(mask.mean()) * 100, unit=codes.UCUM.Percent)
"""
STAGES = (
    ("receive", "first", "last"),
    ("row and quiet time", "last", "study.stable"),
    ("route", "study.stable", "job.planned"),
    ("claim", "job.planned", "job.claimed"),
    ("load, infer, compose", "job.claimed", "job.done"),
    ("deliver", "job.done", "object.delivered"),
    ("first C-STORE to results stored", "first", "object.delivered"),
    ("last C-STORE to results stored", "last", "object.delivered"),
)
LAPS = ("  load", "  infer", "  compose")
COMPUTE, BEYOND = "  of which the server computes", "beyond computing and quiet time"


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is sent, and how long its route waits."""

    images: Callable[[], list[Dataset]]
    modality: str
    plugin: str
    quiet: float


def chest() -> list[Dataset]:
    return [dcmread(path) for path in sorted(CHEST.glob("*.dcm"))] or testing.chest_ct(slices=100)


def long_chest() -> list[Dataset]:
    return testing.chest_ct(slices=500)


def radiograph() -> list[Dataset]:
    return [testing.radiograph(rows=800, columns=650)]


CASES = {
    "quiet": Case(images=chest, modality="CT", plugin="ct_lung", quiet=1.0),
    "released": Case(images=chest, modality="CT", plugin="ct_lung", quiet=0.0),
    "radiograph": Case(images=radiograph, modality="CR", plugin="radiograph", quiet=0.0),
    "long": Case(images=long_chest, modality="CT", plugin="ct_lung", quiet=0.0),
}
USUAL = ("quiet", "released", "radiograph")


def main() -> None:
    """Print a table for each case, or for those that are named."""
    if reason := missing("storescu", "Orthanc"):
        sys.exit(reason)
    for name in [name for name in sys.argv[2:] if name in CASES] or USUAL:
        with tempfile.TemporaryDirectory() as folder, orthanc(Path(folder) / "pacs") as pacs:
            measure(name, CASES[name], Path(folder), pacs)


def measure(name: str, case: Case, folder: Path, pacs: Orthanc) -> None:
    """Send the study of a case again and again, and print where the time goes."""
    plugin = folder / "plugins" / "radiograph"
    plugin.mkdir(parents=True)
    (plugin / "plugin.toml").write_text(MANIFEST)
    (plugin / "plugin.py").write_text(PLUGIN)
    images = case.images()
    with (
        serve(
            folder / "node",
            pacs=pacs.address,
            quiet=case.quiet or LONG_SECONDS,
            routes=ROUTE.format(modality=case.modality, quiet=case.quiet, plugin=case.plugin),
            environment={"ISOCENTER_PLUGINS": f'["{ROOT / "plugins"}", "{plugin.parent}"]'},
            fresh=True,
        ) as node,
        Peak(node.process.pid) as peak,
    ):
        ledger, computing = node.ledger(), Computing(address_of(node.process.pid))
        runs = []
        for number in range(RUNS + 1):
            study_uid, files = renamed(images, number, folder / f"run{number}")
            before = computing.seconds()
            sent = storescu(node.port, files)
            assert sent.returncode == 0, sent.stderr
            wait_until(lambda: ended(ledger, study_uid), seconds=300, what="the results")  # noqa: B023
            runs.append(times(ledger, study_uid) | {COMPUTE: computing.seconds() - before})
        ledger.close()
    show(name, case, runs[1:], peak)


def renamed(images: Sequence[Dataset], number: object, folder: Path) -> tuple[str, list[Path]]:
    """Write the images under UIDs of their own, and return the study's."""
    study_uid = str(testing.uid("bench", "study", number))
    for index, image in enumerate(images):
        image.StudyInstanceUID = study_uid
        image.SeriesInstanceUID = testing.uid("bench", "series", number)
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = testing.uid("bench", number, index)
    return study_uid, testing.write(images, folder)


def ended(ledger: Ledger, study_uid: str) -> bool:
    """Return whether all results of a study are stored."""
    deliveries = ledger.deliveries.of(study_uid)
    return bool(deliveries) and all(delivery.state == DeliveryState.DELIVERED for delivery in deliveries)


def times(ledger: Ledger, study_uid: str) -> dict[str, float]:
    """Return when each thing happened to a study."""
    events = [event for _, event in ledger.events.read(study_uid)]
    received = [instance.received_at for instance, _ in ledger.instances.of(study_uid)]
    return (
        {"first": min(received), "last": max(received)}
        | {event.name: event.at for event in events}
        | laps(next(event.detail for event in events if event.name == "job.done"))
    )


def laps(detail: str) -> dict[str, float]:
    """Return the seconds a job tells of its parts: "…; load 0.06 s, infer 1.20 s, compose 0.92 s"."""
    parts = [part.split() for part in detail.rsplit(";", 1)[1].split(",")]
    return {f"  {name}": float(seconds) for name, seconds, _ in parts}


def show(name: str, case: Case, runs: Sequence[dict[str, float]], peak: Peak) -> None:
    """Print medians, least and most in seconds, and peak memory in MiB."""
    what = f"{case.modality} for {case.plugin}"
    print(f"river, {name}: {what}, {RUNS} runs after one to warm up, quiet time {case.quiet:g} s")
    print(f"{'seconds':34}{'median':>9}{'least':>9}{'most':>9}")
    for stage, begin, end in STAGES:
        row(stage, [run[end] - run[begin] for run in runs])
        if stage.startswith("load"):
            for part in (*LAPS, COMPUTE):
                row(part, [run[part] for run in runs])
    row(BEYOND, [beyond(run, case) for run in runs])
    ratios = [(run["object.delivered"] - run["last"] - case.quiet - 1) / run[COMPUTE] for run in runs]
    if case.modality == "CT":
        print(
            f"last C-STORE to results stored, less 1 s and quiet time: {median(ratios):.2f} × what the server computes"
        )
    memory = ", ".join(f"{kind} {size:.0f}" for kind, size in sorted(peak.by_kind.items()))
    print(f"peak memory, MiB: {memory}", flush=True)


def beyond(run: dict[str, float], case: Case) -> float:
    """Return what is neither the server's computing nor the quiet time."""
    return run["object.delivered"] - run["last"] - case.quiet - run[COMPUTE]


def row(name: str, values: Sequence[float]) -> None:
    """Print one line of the table."""
    print(f"{name:34}{median(values):9.2f}{min(values):9.2f}{max(values):9.2f}")
