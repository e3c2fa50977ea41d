"""Forty kills at moments of chance, while fifteen studies flow; then one start in peace, and the count.

`python -m tests.bench soak` kills a node for as long as one likes.
"""

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.crash.harness import House, Pacs, study, study_uid

KILLS, STUDIES = 40, 15
LIFE_SECONDS, LONG_LIFE_SECONDS, LONG_LIVED = (0.05, 0.5), (1.0, 3.0), 0.2  # a receiver process is there in a second
"""How long a node runs, drawn evenly: most are killed while they start and recover, some while they work."""
MOST_SECONDS = 40.0
"""No further kill after this, on a machine that is slow."""


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


def test_forty_kills_at_moments_of_chance_lose_nothing(house: Callable[..., House], pacs: Pacs, tmp_path: Path) -> None:
    seed = int(os.environ.get("CRASH_SEED", time.time_ns() % 2**32))
    chance = random.Random(seed)  # noqa: S311
    node = house(receivers=2)
    studies = [study(tmp_path, f"study {number}", slices=3) for number in range(STUDIES)]
    uids = [study_uid(files) for files in studies]
    until, kills = time.monotonic() + MOST_SECONDS, 0
    done: Counter[int] = Counter()
    with sending(node, studies):
        while kills < KILLS and time.monotonic() < until:
            node.launch()
            time.sleep(chance.uniform(*(LONG_LIFE_SECONDS if chance.random() < LONG_LIVED else LIFE_SECONDS)))
            assert node.process is not None
            assert node.process.poll() is None, node.log[-3000:]
            node.kill()
            kills += 1
            done[kills // 10] = len(pacs.arrived)
        print(f"seed {seed}: {kills} kills; objects in the PACS after each ten: {dict(done)}")  # noqa: T201
        node.start()
    node.rest(*uids, seconds=120)
    for files in studies:
        assert {path.stem for path in files} <= node.modality.acknowledged.keys()
        assert node.account(files, twice=True) == []
