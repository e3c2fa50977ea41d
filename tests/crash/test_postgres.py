"""The river with its rows on PostgreSQL: it flows, a kill loses nothing, and a server that goes comes back."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.crash.harness import House, study, study_uid
from tests.crash.test_kill_points import SENT_AGAIN, Chain, follow
from tests.peers import wait_until
from tests.postgres import Postgres, lacking, postgres

New = Callable[..., House]
OUT_OF_RESOURCES = 0xA700
POINTS = ("receive.rows.due", "assemble.settled", "infer.running", "deliver.sent", "ledger.commit")
"""Where a transaction is open, or due; the others have nothing to do with the database."""


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A server of our own: these tests stop it."""
    if reason := lacking():
        pytest.skip(reason)
    with postgres() as own:
        yield own


@pytest.fixture
def node(house: New, server: Postgres) -> House:
    return house(ledger_url=server.create())


def test_the_river_flows_on_postgresql_and_a_kill_at_a_point_loses_nothing(server: Postgres, tmp_path: Path) -> None:
    chain = Chain()
    follow(POINTS, tmp_path, chain, server.create())
    assert chain.wrong == {point: [] for point in POINTS}
    assert chain.twice == {point: int(point in SENT_AGAIN) for point in POINTS}


def test_a_server_that_is_stopped_and_started_under_the_flowing_river_loses_nothing(
    node: House, server: Postgres, tmp_path: Path
) -> None:
    before, during, refused = (study(tmp_path, name) for name in ("before", "during", "refused"))
    node.start()
    assert not node.send(before)
    server.stop("immediate")
    try:
        assert not node.send(during), "rows can wait for a while: the packs tell them"
        left: list[Path] = []

        def closed() -> bool:
            left[:] = node.send(refused)
            return bool(left)

        wait_until(closed, what="a refusal")
        assert set(node.modality.statuses) == {0, OUT_OF_RESOURCES}
    finally:
        server.start()
    wait_until(lambda: not node.send(left), what="Success again")
    node.rest(*map(study_uid, (before, during, refused)))
    assert [node.account(files) for files in (before, during, refused)] == [[]] * 3
