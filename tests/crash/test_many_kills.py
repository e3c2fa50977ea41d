"""A hundred kills at moments of chance, while thirty studies flow; then one start in peace, and the count."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.crash.around import House, Pacs, alive, session, study, study_uid
from tests.peers import wait_until

KILLS, STUDIES = 100, 30
LIFE_SECONDS, LONG_LIFE_SECONDS, LONG_LIVED = (0.05, 0.7), (1.5, 5.0), 0.2  # a receiver process is there in a second
"""How long a node lives, drawn evenly: most die while they start and are told again what they had, some at work."""
MOST_SECONDS = 90.0
"""No further kill after this, on a machine that is slow."""


class Forked:
    """Nodes forked from one process that has imported all they need."""

    def __init__(self, house: House) -> None:
        self.house = house
        command = [sys.executable, "-m", "tests.crash.forks"]
        self.parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start(self) -> int:
        assert self.parent.stdin is not None
        assert self.parent.stdout is not None
        self.house.lapse()
        self.parent.stdin.write(f"{self.house.config} {self.house.folder / 'serve.log'}\n")
        self.parent.stdin.flush()
        return int(self.parent.stdout.readline())

    def kill(self, pid: int) -> None:
        for one in session(pid):
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        wait_until(lambda: not session(pid), what="the end of all processes")


@contextmanager
def sending(house: House, studies: list[list[Path]]) -> Iterator[threading.Event]:
    """Send every study, and again what had no Success, as modalities do; until all is acknowledged or the end."""
    ended = threading.Event()

    def send(mine: list[list[Path]]) -> None:
        left = mine
        while left and not ended.wait(0.1):
            left = [rest for files in left if (rest := house.send(files))]
            ended.wait(0.3)

    threads = [threading.Thread(target=send, args=(studies[start::3],)) for start in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield ended
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads), "a sender has not had its Success"
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def test_a_hundred_kills_at_moments_of_chance_lose_nothing(
    house: Callable[..., House], pacs: Pacs, tmp_path: Path
) -> None:
    seed = int(os.environ.get("CRASH_SEED", time.time_ns() % 2**32))
    chance = random.Random(seed)  # noqa: S311
    node = house()
    studies = [study(tmp_path, f"study {number}", slices=3) for number in range(STUDIES)]
    uids = [study_uid(files) for files in studies]
    forked = Forked(node)
    until, kills = time.monotonic() + MOST_SECONDS, 0
    done: Counter[int] = Counter()
    pid = 0
    try:
        with sending(node, studies):
            while kills < KILLS and time.monotonic() < until:
                pid = forked.start()
                time.sleep(chance.uniform(*(LONG_LIFE_SECONDS if chance.random() < LONG_LIVED else LIFE_SECONDS)))
                assert alive(pid), node.log[-3000:]
                forked.kill(pid)
                kills += 1
                done[kills // 20] = len(pacs.arrived)
            print(f"seed {seed}: {kills} kills; objects in the PACS after each twenty: {dict(done)}")  # noqa: T201
            pid = forked.start()
            node.wait_until_it_listens(pid)
        node.rest(*uids, seconds=120)
        for files in studies:
            assert {one.stem for one in files} <= node.modality.acknowledged.keys()
            assert node.account(files, twice=True) == []
    finally:
        forked.kill(pid)
        forked.parent.kill()
        forked.parent.wait()
