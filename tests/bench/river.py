"""From the first and the last C-STORE to SEG and SR in the PACS: the 100-slice CT, stage by stage.

dcmtk's storescu sends, `isocenter serve` works, Orthanc stores. Each run is a study of its own: the same images under
new UIDs. The real chest CT of ../shared where it is, else the synthetic one.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from pydicom import dcmread
from pydicom.dataset import Dataset

from node import testing
from node.ledger import Ledger
from tests.bench.memory import Peak
from tests.peers import DICOM, missing, orthanc, serve, storescu, wait_until

CHEST = DICOM / "CT" / "chest_cmb_crc_100"
RUNS = 5
QUIET_SECONDS = 1.0
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


def main() -> None:
    """Print the table."""
    if reason := missing("storescu", "Orthanc"):
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as name, orthanc(Path(name) / "pacs") as pacs:
        folder = Path(name)
        images = [dcmread(path) for path in sorted(CHEST.glob("*.dcm"))] or testing.chest_ct(slices=100)
        with serve(folder / "node", pacs=pacs.address, quiet=QUIET_SECONDS) as node, Peak(node.process.pid) as peak:
            ledger = node.ledger()
            runs = []
            for number in range(RUNS + 1):
                study_uid, files = renamed(images, number, folder / f"run{number}")
                sent = storescu(node.port, files)
                assert sent.returncode == 0, sent.stderr
                wait_until(lambda: times(ledger, study_uid) is not None, seconds=300, what="the results")  # noqa: B023
                runs.append(times(ledger, study_uid) or {})
        show("the real chest CT" if CHEST.exists() else "the synthetic chest CT", runs[1:], peak)


def renamed(images: Sequence[Dataset], number: int, folder: Path) -> tuple[str, list[Path]]:
    """Write the images under UIDs of their own, and return the study's."""
    study_uid = str(testing.uid("bench", "study", number))
    for index, image in enumerate(images):
        image.StudyInstanceUID = study_uid
        image.SeriesInstanceUID = testing.uid("bench", "series", number)
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = testing.uid("bench", number, index)
    return study_uid, testing.write(images, folder)


def times(ledger: Ledger, study_uid: str) -> dict[str, float] | None:
    """Return when each thing happened to a study, None until its results are stored."""
    events = [event for _, event in ledger.events(study_uid)]
    if sum(event.name == "object.delivered" for event in events) < 3:
        return None
    received = [instance.received_at for instance, _ in ledger.instances(study_uid)]
    return (
        {"first": min(received), "last": max(received)}
        | {event.name: event.at for event in events}
        | laps(next(event.detail for event in events if event.name == "job.done"))
    )


def laps(detail: str) -> dict[str, float]:
    """Return the seconds a job tells of its parts: "…; load 0.06 s, infer 1.20 s, compose 0.92 s"."""
    parts = [part.split() for part in detail.rsplit(";", 1)[1].split(",")]
    return {f"  {name}": float(seconds) for name, seconds, _ in parts}


def show(what: str, runs: Sequence[dict[str, float]], peak: Peak) -> None:
    """Print medians, least and most in seconds, and peak memory in MiB."""
    print(f"river: {what}, {RUNS} runs after one to warm up, quiet time {QUIET_SECONDS} s")
    print(f"{'seconds':34}{'median':>9}{'least':>9}{'most':>9}")
    for name, begin, end in STAGES:
        row(name, [run[end] - run[begin] for run in runs])
        if name.startswith("load"):
            for part in ("  load", "  infer", "  compose"):
                row(part, [run[part] for run in runs])
    print("peak memory, MiB: " + ", ".join(f"{kind} {size:.0f}" for kind, size in sorted(peak.by_kind.items())))


def row(name: str, values: Sequence[float]) -> None:
    """Print one line of the table."""
    print(f"{name:34}{median(values):9.2f}{min(values):9.2f}{max(values):9.2f}")
