"""Studies per minute, against Triton alone; and whether the thousandth study costs what the first did.

A mixed load – the real chest CT of ../shared (else a synthetic chest CT), small CT, radiographs, each study under UIDs
of its own – is sent by dcmtk's storescu to a node with 1, 2 and 4 slots, whose results dcmtk's storescp takes. The peer
is a bare client with as many threads, that sends the same volumes from memory to the same server and does nothing with
the answers; the two take turns, and the table has medians. Then THROUGHPUT_STUDIES (5000) studies of one small
radiograph each, whose plugin asks no model: the time that the last tenth took, by what the first tenth took.
`throughput mixed` or `throughput flat` runs one of the two.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import case, func, select
from tritonclient.grpc import InferenceServerClient, InferInput

from node import testing
from node.images.part10 import Part10
from node.images.stacks import group_into_stacks
from node.ledger import Ledger
from node.ledger.schema import delivery, event
from node.records import DeliveryState
from tests.bench.memory import resident, tree
from tests.bench.receive import Scp, storescp
from tests.bench.river import CHEST, chest, renamed
from tests.bench.served import address_of
from tests.crash.modality import Modality
from tests.peers import ROOT, Served, missing, serve, storescu, wait_until

STUDIES = int(os.environ.get("THROUGHPUT_STUDIES", "5000"))
EACH = int(os.environ.get("THROUGHPUT_EACH", "20"))
"""Studies of each kind in the mixed load: so many that filling and emptying the node is a small part of it."""
ROUNDS = int(os.environ.get("THROUGHPUT_ROUNDS", "3"))
SLOTS = (1, 2, 4)
AHEAD, TOGETHER = 60, 20
"""How many studies the sender of the flat load is ahead of the results at most, and how many one association brings."""
QUIET_SECONDS = 10.0
ROUTES = """\
[[route]]
name = "chest"
when.Modality = "CT"
when.instances = { at_least = 50 }
stable = { released = true, quiet_seconds = 0 }
plugins = ["ct_lung"]
to = ["PACS"]
[[route]]
name = "small"
when.Modality = "CT"
when.instances = { at_most = 49 }
stable = { released = true, quiet_seconds = 0 }
plugins = ["template"]
to = ["PACS"]
[[route]]
name = "radiograph"
when.Modality = "CR"
stable = { released = true, quiet_seconds = 0 }
plugins = ["brightness"]
to = ["PACS"]
"""
MANIFEST = """\
name = "brightness"
version = "1"
title = "Brightness"
kind = "A"
[series.image]
when.Modality = "CR"
"""
PLUGIN = """\
from node import Measurement, codes

def run(image, triton):
    yield Measurement(name=codes.SCT.Volume, value=float(image.image().mean()), unit=codes.UCUM.Percent)
"""


@dataclass(frozen=True)
class Work:
    """One study: what is sent to the node, and what its plugin asks of which model, none for some."""

    files: Sequence[Path]
    model: str = ""
    inputs: tuple[tuple[str, str, NDArray[np.generic]], ...] = ()


def main() -> None:
    """Print both tables, or the named table."""
    if reason := missing("storescu", "storescp"):
        sys.exit(reason)
    asked = sys.argv[2:] or ["mixed", "flat"]
    with tempfile.TemporaryDirectory(prefix="isocenter-bench-") as name:
        folder = Path(name)
        (folder / "plugins" / "brightness").mkdir(parents=True)
        (folder / "plugins" / "brightness" / "plugin.toml").write_text(MANIFEST)
        (folder / "plugins" / "brightness" / "plugin.py").write_text(PLUGIN)
        if "mixed" in asked:
            mixed(folder)
        if "flat" in asked:
            flat(folder)


def pacs(folder: Path) -> AbstractContextManager[Scp]:
    """Return a storescp that keeps nothing: what it costs is not what is measured here."""
    return storescp(folder / "pacs", "--ignore")


def serving(folder: Path, to: Scp, name: str, *, slots: int) -> AbstractContextManager[Served]:
    """Return a node with so many slots."""
    return serve(
        folder / name,
        pacs=f"PACS@127.0.0.1:{to.port}",
        quiet=QUIET_SECONDS,
        routes=ROUTES,
        environment={
            "ISOCENTER_PLUGINS": f'["{ROOT / "plugins"}", "{folder / "plugins"}"]',
            "ISOCENTER_ENGINE__SLOTS": str(slots),
        },
        fresh=True,
    )


def mixed(folder: Path) -> None:
    """Print studies per minute of the mixed load."""
    what = "the real chest CT" if CHEST.exists() else "the synthetic chest CT"
    print(f"throughput: {EACH} each of {what}, small CT and radiographs; studies per minute")
    print(f"{'slots':>5}{'Triton alone':>14}{'isocenter':>11}{'ratio':>7}", flush=True)
    for slots in SLOTS:
        rates: list[tuple[float, float]] = []
        with pacs(folder) as to, serving(folder, to, f"node{slots}", slots=slots) as node:
            for turn in range(ROUNDS):
                sent = folder / "sent"
                works = list(load(sent, seed=f"{slots} {turn}"))
                asked = {work.model: work for work in works if work.model}
                address = address_of(node.process.pid, asked)
                for question in asked.values():
                    ask(address, question)
                alone = per_minute(len(works), partial(ask_all, address, works, slots))
                whole = per_minute(len(works), partial(send_all, node, works, (turn + 1) * len(works)))
                rates.append((alone, whole))
                shutil.rmtree(sent)
        ratio = median(whole / alone for alone, whole in rates)
        alone, whole = map(median, zip(*rates, strict=True))
        print(f"{slots:5}{alone:14.1f}{whole:11.1f}{ratio:7.2f}", flush=True)


def load(folder: Path, *, seed: str) -> Iterator[Work]:
    """Write the studies of the mixed load, and give them in turn."""
    images = chest()
    for number in range(EACH):
        _, files = renamed(images, f"{seed} {number}", folder / f"chest{number}")
        volume = next(iter(group_into_stacks(map(Part10.of_file, files)).series)).volume()
        yield Work(files, "ct_lung", (("image", "INT16", volume.array), ("affine", "FP64", volume.affine)))
        small = testing.ct_series(slices=20, rows=128, columns=128, seed=f"small {seed} {number}")
        files = testing.write(small, folder / f"small{number}")
        volume = next(iter(group_into_stacks(map(Part10.of_file, files)).series)).volume()
        yield Work(files, "template", (("image", "INT16", volume.array),))
        picture = testing.radiograph(rows=800, columns=650, seed=f"radiograph {seed} {number}")
        yield Work(testing.write([picture], folder / f"radiograph{number}"))


def ask(address: str, work: Work) -> None:
    """Ask the server as its own client's examples do."""
    if work.model:
        client = InferenceServerClient(address)
        inputs = []
        for name, kind, array in work.inputs:
            inputs.append(InferInput(name, list(array.shape), kind))
            inputs[-1].set_data_from_numpy(np.ascontiguousarray(array))
        client.infer(work.model, inputs)
        client.close()


def ask_all(address: str, works: Sequence[Work], threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(partial(ask, address), works))


def send_all(node: Served, works: Sequence[Work], in_all: int) -> None:
    """Send every study over an association of its own, and wait for the results of all that were ever sent."""
    for work in works:
        sent = storescu(node.port, work.files)
        assert sent.returncode == 0, sent.stderr
    ledger = node.ledger()
    wait_until(lambda: finished(ledger) == in_all, seconds=600, what="the results of all studies")
    ledger.close()


def per_minute(count: int, work: Callable[[], None]) -> float:
    begun = time.monotonic()
    work()
    return 60 * count / (time.monotonic() - begun)


def finished(ledger: Ledger) -> int:
    """Return how many studies have all their results stored."""
    waiting = func.sum(case((delivery.c.state == DeliveryState.DELIVERED, 0), else_=1))
    query = select(delivery.c.study_uid).group_by(delivery.c.study_uid).having(waiting == 0)
    with ledger.db.reading() as connection:
        return len(connection.execute(query).all())


def flat(folder: Path) -> None:
    """Print what the studies of the last tenth took, by what those of the first did, and the node's memory then."""
    tenth = STUDIES // 10
    with pacs(folder) as to, serving(folder, to, "flat", slots=2) as node:
        ledger, memory = node.ledger(), []
        for sent in range(0, STUDIES, TOGETHER):
            wait_until(lambda: sent - delivered(ledger) < AHEAD, seconds=300, what="the results")  # noqa: B023
            Modality().send(
                node.port, [radiograph(folder, number) for number in range(sent, min(sent + TOGETHER, STUDIES))]
            )
            memory.append(sum(resident(pid)[1] for pid in tree(node.process.pid)) / 2**20)
        wait_until(lambda: delivered(ledger) == STUDIES, seconds=300, what="the results")
        with ledger.db.reading() as connection:
            query = select(event.c.at).where(event.c.name == "object.delivered").order_by(event.c.at)
            at = list(connection.execute(query).scalars())
        ledger.close()
    first, last = at[tenth] - at[0], at[-1] - at[-1 - tenth]
    early, late = memory[len(memory) // 10], memory[-1]
    print(f"throughput: {STUDIES} studies of one radiograph, 2 slots: {60 * STUDIES / (at[-1] - at[0]):.0f} a minute;")
    print(f"the first {tenth} took {first:.1f} s, the last {tenth} {last:.1f} s: {last / first:.2f} ×;")
    print(f"memory after a tenth {early:.0f} MiB, at the end {late:.0f} MiB: {late / early:.2f} ×", flush=True)


def radiograph(folder: Path, number: int) -> Path:
    """Write a small radiograph that is a study of its own."""
    image = testing.radiograph(seed=f"flat {number}")
    return testing.write([image], folder / "radiographs")[0]


def delivered(ledger: Ledger) -> int:
    with ledger.db.reading() as connection:
        query = select(func.count()).select_from(delivery).where(delivery.c.state == DeliveryState.DELIVERED)
        return int(connection.execute(query).scalar_one())
