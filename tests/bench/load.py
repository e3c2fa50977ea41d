"""From a stable study to a volume: 500 slices of 512 × 512 as a job loads them, against pydicom and highdicom.

Then 100 slices that are compressed, which the job decodes, or which were decoded when they arrived.

The node's side begins with the rows of the ledger and ends with the array in memory that Triton reads; the peers begin
with a list of files. All read from the page cache, but for "cold": from the disk, in a process just made.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import highdicom
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless

from node import testing
from node.arena import HEADROOM, PROCESS_MEMORY, SHARED_MEMORY, Arena, Memory, create_arena
from node.assemble import decode, decode_due
from node.engine import preload_children, run_in_child, start_fork_server
from node.images.stacks import group_into_stacks
from node.ledger import Ledger
from node.roles import preload
from node.spool import Spool
from tests import received

SLICES, COMPRESSED, ROWS = 500, 100, 512
ROOM = 1 << 30
MINUTES = 600.0
RUNS = 5
STUDY = str(testing.uid("bench", "load"))


@dataclass
class Study:
    """One study, as the receiver left it in the spool and the ledger, and as files of its own."""

    folder: Path
    memory: Memory = PROCESS_MEMORY

    @property
    def files(self) -> list[Path]:
        return sorted((self.folder / "files").iterdir())

    @property
    def ledger(self) -> Ledger:
        return Ledger(f"sqlite:///{self.folder}/ledger.db")

    @property
    def spool(self) -> Spool:
        return Spool(self.folder / "spool", synced=False)

    def volume(self, ledger: Ledger, *, noted: bool = True, early: bool = True) -> NDArray[Any]:
        """From rows to volume, as a job does; without notes, as of rows that an older node wrote.

        Without `early`, nothing was decoded on arrival.
        """
        spool, rows = self.spool, ledger.instances.of(STUDY)
        parts = (spool.part10(place, row.note if noted else "") for row, place in rows)
        given = parts if early else (replace(part, decoded=None) for part in parts)
        (series,) = group_into_stacks(given, self.memory).series
        return series.volume().array

    def decode(self, ledger: Ledger) -> None:
        """Have one decoder decode all of it, as it does while a study arrives."""
        child = partial(run_in_child, decode, seconds=MINUTES, beat=lambda: True)
        while (
            decode_due(ledger.instances, self.spool, lambda _: True, lambda parts: child((parts,)), limit=ROOM)
            is not None
        ):
            pass

    def forget(self) -> None:
        """Have the kernel drop what it keeps of the study in memory."""
        for path in (*self.spool.packs.iterdir(), *self.files):
            with path.open("rb") as file:
                os.fdatasync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def plain() -> Iterator[Dataset]:
    """Slices of noise, which no codec and no cache makes smaller."""
    random = np.random.default_rng(1)
    for number in range(SLICES):
        array = random.integers(-1024, 2000, (1, ROWS, ROWS), dtype=np.int16)
        yield from testing.ct_series(array=array, origin=(0, 0, float(number)), spacing=(1.0, 0.8, 0.8))


def compressed() -> list[Dataset]:
    """Slices of a chest in JPEG 2000, without loss."""
    return testing.chest_ct(slices=COMPRESSED, rows=ROWS, transfer_syntax=JPEG2000Lossless)


def receive(folder: Path, images: Iterable[Dataset]) -> Study:
    """Have the receiver store a study, and write it into files too."""
    study = Study(folder)
    (folder / "files").mkdir()

    def filed() -> Iterator[Dataset]:
        for number, image in enumerate(images):
            image.StudyInstanceUID, image.InstanceNumber = STUDY, number + 1
            image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = testing.uid("bench", "load", number)
            image.save_as(folder / "files" / f"{number:04}.dcm", enforce_file_format=True)
            yield image

    ledger = study.ledger
    received.receive(study.spool, ledger, filed())
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
def new_arena() -> Iterator[Arena]:
    """Create an arena for this process."""
    name, fd = create_arena(int(SLICES * ROWS * ROWS * 2 * HEADROOM), owner=os.getpid())
    try:
        yield Arena(name)
    finally:
        (SHARED_MEMORY / name).unlink()
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
    with new_arena() as study.memory:
        return timed(lambda: study.volume(study.ledger))


def in_a_new_process(folder: Path, *, ours: bool) -> float:
    """As `cold`, of a process that has imported what it needs."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(cold, folder, ours=ours).result()


def main() -> None:
    """Print the tables; `compressed` prints that of compressed slices alone."""
    if "compressed" not in sys.argv[2:]:
        load_plain()
    load_compressed()


def load_plain() -> None:
    """Print the table of slices that are not compressed."""
    with tempfile.TemporaryDirectory(prefix="isocenter-bench-") as name, new_arena() as arena:
        study = receive(Path(name), plain())
        study.memory = arena
        ledger = study.ledger
        assert np.array_equal(study.volume(ledger), by_pydicom(study).astype(np.int16) - 1024)
        seconds = in_turn(
            {
                **peers(study),
                "isocenter: rows to volume": lambda: timed(lambda: study.volume(ledger)),
                "isocenter: rows without notes to volume": lambda: timed(lambda: study.volume(ledger, noted=False)),
                "pydicom, cold": lambda: in_a_new_process(study.folder, ours=False),
                "isocenter, cold": lambda: in_a_new_process(study.folder, ours=True),
            }
        )
        ledger.close()
    show(f"{SLICES} slices of {ROWS} × {ROWS}", seconds)


def load_compressed() -> None:
    """Print the table of compressed slices, decoded when the job asks for them or before."""
    with tempfile.TemporaryDirectory(prefix="isocenter-bench-") as name, new_arena() as arena:
        study = receive(Path(name), compressed())
        study.memory = arena
        ledger = study.ledger
        preload_children(preload)
        start_fork_server()
        took = timed(lambda: study.decode(ledger))
        expected = by_pydicom(study).astype(np.int16) - 1024
        for early in (False, True):
            assert np.array_equal(study.volume(ledger, early=early), expected)
        seconds = in_turn(
            {
                **peers(study),
                "isocenter: decoded by the job": lambda: timed(lambda: study.volume(ledger, early=False)),
                "isocenter: decoded on arrival": lambda: timed(lambda: study.volume(ledger)),
            }
        )
        ledger.close()
    show(f"{COMPRESSED} slices of {ROWS} × {ROWS} in JPEG 2000", seconds)
    print(f"one decoder decodes {COMPRESSED / took:.0f} slices a second")


def peers(study: Study) -> dict[str, Callable[[], float]]:
    """Return what else makes a volume of the study."""
    return {
        f"pydicom {pydicom.__version__}: dcmread, pixel_array, stack": lambda: timed(lambda: by_pydicom(study)),
        f"highdicom {highdicom.__version__}: get_volume_from_series": lambda: timed(lambda: by_highdicom(study)),
    }


def in_turn(ways: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Return the seconds of every run of every way, after one to warm up."""
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(RUNS + 1):
        for way, work in ways.items():
            took = work()
            if number:
                seconds[way].append(took)
            print(f"{way}: {took:.3f} s", file=sys.stderr)
    return seconds


def show(what: str, seconds: Mapping[str, list[float]]) -> None:
    """Print medians, least and most in seconds, and ratios to the peers."""
    stack, careful = (median(several) for several in list(seconds.values())[:2])
    print(f"load: {what}, medians of {RUNS} interleaved runs after one to warm up")
    print("| | median, s | least | most | × pydicom | × highdicom |\n|---|---|---|---|---|---|")
    for way, several in seconds.items():
        middle = median(several)
        print(
            f"| {way} | {middle:.3f} | {min(several):.3f} | {max(several):.3f}"
            f" | {middle / stack:.3f} | {middle / careful:.4f} |"
        )
