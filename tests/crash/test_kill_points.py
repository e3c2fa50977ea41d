"""SIGKILL of the whole process tree at every fault point of the flow, then a restart and a count."""

import ast
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import pytest

from node.faults import POINTS
from tests.crash.harness import House, Pacs, study, study_uid

NODE = Path(__file__).parents[2] / "node"
PASSING = {"pack.append.torn": 3, "pack.append.written": 3, "pack.append.synced": 3, "receive.answer": 3}
"""The passing at which to kill, so that two instances were acknowledged before; else the first after an answer."""
SENT_AGAIN = {"deliver.sent"}
"""Where a destination has stored what no row says: there, and only there, an object is sent twice."""


def called() -> Iterator[str]:
    """The points in the code, once for each time they stand there."""
    for path in NODE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("fault", "torn"):
                yield ast.literal_eval(node.args[0])


def test_every_point_of_the_table_stands_in_the_code_exactly_once() -> None:
    assert Counter(called()) == Counter(POINTS.keys())


@dataclass
class Chain:
    """What was found after a node was killed at each point in turn, with a study for each point."""

    wrong: dict[str, Sequence[str]] = field(default_factory=dict)
    twice: dict[str, int] = field(default_factory=dict)
    acknowledged: dict[str, int] = field(default_factory=dict)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Kill two nodes side by side, each at every other point."""
    chain = Chain()
    halves = [list(POINTS)[start::2] for start in range(2)]
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(follow, half, tmp_path_factory.mktemp("points"), chain) for half in halves]:
            done.result()
    return chain


def follow(points: Sequence[str], folder: Path, chain: Chain, ledger_url: str = "") -> None:
    """Kill one node at several points. The start after a kill is armed for the next point, but not yet counting."""
    with Pacs().listening() as pacs:
        house = House(folder / "node", pacs, ledger_url=ledger_url)
        house.start(**armed(folder, points[0]))
        try:
            for point, following in zip_longest(points, points[1:]):
                files = study(folder, point)
                now = (folder / f"{point}.now").touch
                if point in PASSING:
                    now()
                left = house.send(files, answered=now)
                house.wait_for_death()
                chain.acknowledged[point] = len(files) - len(left)
                house.start(**armed(folder, following) if following else {})
                left = house.send(left) if left else []
                assert not left, f"{point}: {len(left)} instances are not taken after the restart"
                house.rest(study_uid(files))
                chain.wrong[point] = house.account(files, twice=point in SENT_AGAIN)
                chain.twice[point] = sum(len(contents) > 1 for contents in pacs.arrived.values())
                pacs.arrived.clear()
        finally:
            house.stop()


def armed(folder: Path, point: str) -> dict[str, str]:
    return {"FAULT_AT": f"{point}:{PASSING.get(point, 1)}", "FAULT_WHEN": str(folder / f"{point}.now")}


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_loses_nothing_and_makes_nothing_double(chain: Chain, point: str) -> None:
    assert chain.wrong[point] == []
    assert chain.twice[point] == (1 if point in SENT_AGAIN else 0)


def test_senders_had_answers_before_the_kill(chain: Chain) -> None:
    numbers = {point: chain.acknowledged[point] for point in POINTS}
    assert [numbers[point] for point in PASSING] == [2, 2, 2, 2]
    assert all(number for point, number in numbers.items() if point not in PASSING)
