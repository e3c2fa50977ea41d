"""From a stable study to a volume: 500 slices of 512 × 512 as a job loads them, against pydicom and highdicom.

The node's side begins with the rows of the ledger and ends with the array in memory that Triton reads; the peers begin
with a list of files. All read from the page cache, but for "cold": from the disk, in a process just made.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import highdicom
import numpy as np
import pydicom
from numpy.typing import NDArray

from node import arena, testing
from node.assemble import stacks
from node.ledger import Ledger
from node.receive import Arrivals, StoreScp
from node.receive.store import SUCCESS, Received
from node.spool import Spool

SLICES, ROWS = 500, 512
RUNS = 5
STUDY = str(testing.uid("bench", "load"))


class Association:
    """Stands for the association that brought the study."""


@dataclass(frozen=True)
class Study:
    """One study, as the receiver left it in the spool and the ledger, and as files of its own."""

    folder: Path

    @property
    def files(self) -> list[Path]:
        return sorted((self.folder / "files").iterdir())

    @property
    def ledger(self) -> Ledger:
        return Ledger(f"sqlite:///{self.folder}/ledger.db")

    @property
    def spool(self) -> Spool:
        return Spool(self.folder / "spool", synced=False)

    def volume(self, ledger: Ledger, *, noted: bool = True) -> NDArray[Any]:
        """From rows to volume, as a job does; without notes, as of rows that an older node wrote."""
        spool, rows = self.spool, ledger.instances(STUDY)
        (series,) = stacks(spool.part10(place, row.note if noted else "") for row, place in rows).series
        return series.volume().array

    def forget(self) -> None:
        """Have the kernel drop what it keeps of the study in memory."""
        for path in (*self.spool.packs.iterdir(), *self.files):
            with path.open("rb") as file:
                os.fdatasync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def receive(folder: Path) -> Study:
    """Have the receiver store a study, and write it into files too."""
    study, association, random = Study(folder), Association(), np.random.default_rng(1)
    ledger = study.ledger
    arrivals = Arrivals(ledger, study.spool, wake=lambda: None)
    store = StoreScp(study.spool, arrivals)
    (folder / "files").mkdir()
    for number in range(SLICES):
        array = random.integers(-1024, 2000, (1, ROWS, ROWS), dtype=np.int16)
        (image,) = testing.ct_series(array=array, origin=(0, 0, float(number)), spacing=(1.0, 0.8, 0.8))
        image.StudyInstanceUID, image.InstanceNumber = STUDY, number + 1
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = testing.uid("bench", "load", number)
        path = folder / "files" / f"{number:04}.dcm"
        image.save_as(path, enforce_file_format=True)
        content = path.read_bytes()
        received = Received(
            sop_class_uid=str(image.SOPClassUID),
            sop_instance_uid=str(image.SOPInstanceUID),
            transfer_syntax_uid=str(image.file_meta.TransferSyntaxUID),
            parts=(content[144 + int.from_bytes(content[140:144], "little") :],),
            association=association,  # type: ignore[arg-type]
            calling="BENCH",
            peer="127.0.0.1",
        )
        assert store.take(received) == SUCCESS
    store.close(association)  # type: ignore[arg-type]
    arrivals.record()
    ledger.close()
    return study


def by_pydicom(study: Study) -> NDArray[Any]:
    """The plain way: read, decode, sort, rescale, stack."""
    images = sorted(map(pydicom.dcmread, study.files), key=lambda image: image.ImagePositionPatient[2])
    return np.stack([image.pixel_array for image in images])


def by_highdicom(study: Study) -> NDArray[Any]:
    """The careful way."""
    return highdicom.get_volume_from_series(list(map(pydicom.dcmread, study.files))).array


@contextmanager
def made_arena() -> Iterator[None]:
    """Lend this process an arena."""
    name, fd = arena.make(int(SLICES * ROWS * ROWS * 2 * arena.ROOM), owner=os.getpid())
    try:
        arena.use(name)
        yield
    finally:
        arena.use("")
        (arena.SHARED_MEMORY / name).unlink()
        os.close(fd)


def timed(work: Callable[[], object]) -> float:
    """Seconds that some work takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def cold(folder: Path, *, ours: bool) -> float:
    """Seconds in a process just made, with a ledger just opened and an arena just made, as a node makes it at start."""
    study = Study(folder)
    study.forget()
    if not ours:
        return timed(lambda: by_pydicom(study))
    with made_arena():
        return timed(lambda: study.volume(study.ledger))


def in_a_new_process(folder: Path, *, ours: bool) -> float:
    """As `cold`, of a process that has imported what it needs."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(cold, folder, ours=ours).result()


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix="isocenter-bench-") as name, made_arena():
        study = receive(Path(name))
        ledger = study.ledger
        assert np.array_equal(study.volume(ledger), by_pydicom(study).astype(np.int16) - 1024)
        ways: dict[str, Callable[[], float]] = {
            f"pydicom {pydicom.__version__}: dcmread, pixel_array, stack": lambda: timed(lambda: by_pydicom(study)),
            f"highdicom {highdicom.__version__}: get_volume_from_series": lambda: timed(lambda: by_highdicom(study)),
            "isocenter: rows to volume": lambda: timed(lambda: study.volume(ledger)),
            "isocenter: rows without notes to volume": lambda: timed(lambda: study.volume(ledger, noted=False)),
            "pydicom, cold": lambda: in_a_new_process(study.folder, ours=False),
            "isocenter, cold": lambda: in_a_new_process(study.folder, ours=True),
        }
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(RUNS + 1):
            for way, work in ways.items():
                took = work()
                if number:
                    seconds[way].append(took)
                print(f"{way}: {took:.3f} s", file=sys.stderr)
        ledger.close()
    show(seconds)


def show(seconds: dict[str, list[float]]) -> None:
    """Print medians, least and most in seconds, and ratios to the peers."""
    stack, careful = (median(several) for several in list(seconds.values())[:2])
    print(f"load: {SLICES} slices of {ROWS} × {ROWS}, medians of {RUNS} interleaved runs after one to warm up")
    print("| | median, s | least | most | × pydicom | × highdicom |\n|---|---|---|---|---|---|")
    for way, several in seconds.items():
        middle = median(several)
        print(
            f"| {way} | {middle:.3f} | {min(several):.3f} | {max(several):.3f}"
            f" | {middle / stack:.3f} | {middle / careful:.4f} |"
        )
