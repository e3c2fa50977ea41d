"""An hour's worth of a busy department in a few minutes, with a kill -9 every so often: what it costs, and the count.

300 studies of CT, MR and CR come from three modalities, evenly over SOAK_MINUTES (5). Every SOAK_KILL_SECONDS (30) the
node is killed with all its processes and started again; the leases of its jobs run out by themselves. At the end every
acknowledged instance and every result is counted. It ends with an error if any is lost or comes twice.
"""

import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import func, select

from node import testing
from node.ledger import Ledger
from node.ledger.schema import delivery, instance, job, study
from node.records import DeliveryState, JobState, StudyState
from tests.bench.memory import resident
from tests.crash.harness import House, Pacs, study_uid
from tests.peers import wait_until
from tests.processes import session

STUDIES = int(os.environ.get("SOAK_STUDIES", "300"))
MINUTES = float(os.environ.get("SOAK_MINUTES", "5"))
KILL_SECONDS = float(os.environ.get("SOAK_KILL_SECONDS", "30"))
SENDERS = 3
LEASE_SECONDS = 20.0
SAMPLE_SECONDS = 10.0
MOST_MINUTES = 15.0
"""When it gives up, on a machine that is slow."""
KINDS = ("CT", "CT", "MR", "CT", "CR", "MR")
"""The mix; the CR have no route: they are received, and kept until they are purged."""
HEAD = ("s", "sent", "acked", "kills", "studies open", "jobs open", "deliveries open", "in the PACS", "MiB")


@dataclass
class Soak:
    """What is sent, what has been, and the samples."""

    house: House
    studies: Sequence[tuple[str, list[Path]]]
    begun: float = field(default_factory=time.monotonic)
    sent: int = 0
    kills: int = 0
    rows: list[tuple[float, ...]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun

    def send(self) -> None:
        """Send the next study when it is due, and again what had no Success, until none is left."""
        while not self.over.is_set():
            with self._lock:
                number, self.sent = self.sent, self.sent + 1
            if number >= len(self.studies):
                return
            self.over.wait(max(number * MINUTES * 60 / len(self.studies) - self.seconds, 0))
            left = self.studies[number][1]
            while left and not self.over.wait(0.2):
                left = self.house.send(left)

    def kill(self) -> None:
        """Kill the node at moments of chance, as long as studies come."""
        chance = random.Random(1)  # noqa: S311
        while not self.over.wait(KILL_SECONDS * chance.uniform(0.5, 1.5)) and self.seconds < MINUTES * 60:
            self.house.kill()
            self.house.start_with(LEASE_SECONDS)
            self.kills += 1

    def sample(self) -> None:
        """Note and print where things stand."""
        with self.house.ledger() as ledger:
            while not self.over.wait(SAMPLE_SECONDS):
                process = self.house.process
                memory = sum(resident(pid)[1] for pid in session(process.pid)) if process else 0
                acknowledged = len(self.house.modality.acknowledged)
                sent = min(self.sent, len(self.studies))
                arrived = len(self.house.pacs.arrived)
                row = (self.seconds, sent, acknowledged, self.kills, *backlog(ledger), arrived, memory / 2**20)
                self.rows.append(row)
                print(line(f"{value:.0f}" for value in row), flush=True)


def backlog(ledger: Ledger) -> Iterator[int]:
    """Yield how many studies, jobs and deliveries have not come to their end."""
    with ledger.db.reading() as connection:
        for table, ended in (
            (study, (StudyState.ROUTED,)),
            (job, (JobState.DONE, JobState.SUPERSEDED)),
            (delivery, (DeliveryState.DELIVERED,)),
        ):
            count = select(func.count()).select_from(table).where(table.c.state.not_in(ended))
            yield int(connection.execute(count).scalar_one())


def line(cells: Iterator[str] | Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def made(folder: Path) -> list[tuple[str, list[Path]]]:
    """Write the studies."""
    found = []
    for number in range(STUDIES):
        kind, seed = KINDS[number % len(KINDS)], f"soak {number}"
        if kind == "CT":
            images = testing.ct_series(seed=seed, slices=12, rows=128, columns=128)
        elif kind == "MR":
            images = testing.mr_series(seed=seed, slices=8, rows=128, columns=128)
        else:
            images = [testing.radiograph(seed=seed)]
        found.append((kind, testing.write(images, folder / seed)))
    return found


@contextmanager
def running(*works: object) -> Iterator[list[threading.Thread]]:
    threads = [threading.Thread(target=work) for work in works]  # type: ignore[arg-type]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        for thread in threads:
            thread.join()


def main() -> None:
    """Print the table, and what it came to."""
    with tempfile.TemporaryDirectory(prefix="isocenter-soak-") as name, Pacs().listening() as pacs:
        house = House(Path(name) / "node", pacs, receivers=2)
        for file in (house.folder / "routes.toml", house.folder / "plugins" / "threshold" / "plugin.toml"):
            file.write_text(file.read_text().replace('when.Modality = "CT"', 'when.Modality = ["CT", "MR"]'))
        soak = Soak(house, made(Path(name) / "sent"))
        house.start_with(LEASE_SECONDS)
        soak.begun = time.monotonic()
        print(f"soak: {STUDIES} studies in {MINUTES:g} minutes, a kill every {KILL_SECONDS:g} s or so")
        print(line(HEAD), line("---" for _ in HEAD), sep="\n", flush=True)
        try:
            with running(soak.sample):
                try:
                    with running(soak.kill, *[soak.send] * SENDERS) as threads:
                        wait_until(
                            lambda: not any(thread.is_alive() for thread in threads),
                            seconds=MOST_MINUTES * 60,
                            what="the last Success",
                        )
                    with house.ledger() as ledger:
                        wait_until(
                            lambda: not any(backlog(ledger)),
                            seconds=max(MOST_MINUTES * 60 - soak.seconds, 60),
                            what="the end of every study",
                        )
                finally:
                    soak.over.set()
            seconds = soak.seconds
        finally:
            house.stop()
        wrong = [sentence for kind, files in soak.studies for sentence in account(house, kind, files)]
        with house.ledger() as ledger, ledger.db.reading() as connection:
            held = int(connection.execute(select(func.count()).select_from(instance)).scalar_one())
        print(
            f"{STUDIES} studies, {held} instances, {len(pacs.arrived)} results in {seconds:.0f} s "
            f"({STUDIES / seconds * 3600:.0f} studies an hour), {soak.kills} kills; "
            f"lost or double: {len(wrong)}; memory at most {max(row[-1] for row in soak.rows):.0f} MiB, "
            f"at the end {soak.rows[-1][-1]:.0f} MiB"
        )
        if wrong:
            sys.exit("\n".join(wrong))


def account(house: House, kind: str, files: Sequence[Path]) -> list[str]:
    """Return what is wrong with a study: something lost, or double with other bytes."""
    if unsent := {file.stem for file in files} - house.modality.acknowledged.keys():
        return [f"{len(unsent)} instances were never taken"]
    if kind != "CR":
        return house.account(files, twice=True)
    with house.ledger() as ledger:
        return list(
            house._unkept(files, {row.sop_instance_uid: at for row, at in ledger.instances.of(study_uid(files))})
        )
