"""Every engine there is, each with its ledger."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from node.engine.procrastinate import schema
from node.ledger import JobQueue, Ledger
from tests.engines import PROCRASTINATE, Engines
from tests.postgres import Postgres


@pytest.fixture(params=["local on SQLite", "local on PostgreSQL", PROCRASTINATE])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def ledger_url(kind: str, request: pytest.FixtureRequest, tmp_path: object) -> Iterator[str]:
    if kind == "local on SQLite":
        yield f"sqlite:///{tmp_path}/ledger.db"
        return
    server: Postgres = request.getfixturevalue("database_server")
    url = server.create()
    yield url
    server.drop(url)


@pytest.fixture
def clock() -> Callable[[], float]:
    """Real time: PostgreSQL's own clock says when a message is due."""
    return time.time


@pytest.fixture
def ledger(kind: str, ledger_url: str) -> Iterator[Ledger]:
    with closing(Ledger(ledger_url, queue=JobQueue(schema()) if kind == PROCRASTINATE else None)) as opened:
        yield opened


@pytest.fixture
def start(kind: str, ledger_url: str, ledger: Ledger) -> Iterator[Engines]:
    """Start engines whose steps sleep until they are woken."""
    engines = Engines(kind, ledger_url)
    yield engines
    for engine in engines.started:
        engine.stop()
    assert not [thread for engine in engines.started for thread in engine._threads if thread.is_alive()]
