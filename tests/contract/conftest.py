"""Every kind of ledger there is: the contract is one."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node.ledger import Ledger
from node.records import Delivery
from tests.ledger_rows import STUDY, Make, Route, Want, claimed
from tests.postgres import Postgres


@pytest.fixture(params=["sqlite", "postgres"])
def ledger_url(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_url")
        return
    server: Postgres = request.getfixturevalue("database_server")
    url = server.create()
    yield url
    server.drop(url)


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where no ledger has ever been."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    server: Postgres = request.getfixturevalue("database_server")
    url = server.create("template0")
    yield url
    server.drop(url)


@pytest.fixture
def finish(ledger: Ledger, routed: Route, wanted: Want, result: Make) -> Callable[..., None]:
    """Bring a study all the way: received, planned, done, delivered."""

    def make(*, uid: str = STUDY, number: int = 1) -> None:
        assert routed(wanted(digest=uid), study=uid, number=number) == 1
        assert ledger.jobs.finish(claimed(ledger), [result(int(uid.rpartition(".")[2]))])
        for sent in ledger.deliveries.claim("PACS", lease_seconds=60):
            ledger.deliveries.mark_delivered(sent)

    return make


@pytest.fixture
def outbox(ledger: Ledger, routed: Route, wanted: Want, result: Make) -> Callable[..., list[Delivery]]:
    """Finish a job with objects, and return what waits for PACS."""

    def make(count: int = 1, *, to: tuple[str, ...] = ("PACS",)) -> list[Delivery]:
        routed(wanted(to=to))
        ledger.jobs.finish(claimed(ledger), [result(number) for number in range(1, count + 1)])
        return ledger.deliveries.claim("PACS", lease_seconds=60)

    return make
