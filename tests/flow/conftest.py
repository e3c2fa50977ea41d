"""A PACS for the flow tests, and receivers that are watched."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from node.receive import KnownPeers, Receiver, StoreScp
from node.receive.p_data import ReceiveLimits
from node.records import Address
from node.spool import Spool
from tests.fast_path import ObservedReceiver
from tests.peers import Orthanc, missing, orthanc


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[Orthanc]:
    if reason := missing("Orthanc", "storescu"):
        pytest.skip(reason)
    with orthanc(tmp_path / "orthanc") as peer:
        yield peer


@pytest.fixture(scope="module")
def open_receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., ObservedReceiver]]:
    """Opens receivers whose rows are kept in memory; `limits` are those of ReceiveLimits."""
    opened: list[Receiver] = []

    def opened_receiver(
        *, kind: type[Receiver] = Receiver, idle_seconds: float = 20.0, **limits: int
    ) -> ObservedReceiver:
        spool = Spool(tmp_path_factory.mktemp("spool"), synced=False)
        rows: list[Any] = []
        observed = ObservedReceiver(spool, None, rows)  # type: ignore[arg-type]
        observed.scp = kind(
            address=Address("ISOCENTER", "127.0.0.1", 0),
            peers=KnownPeers.parse("ISOCENTER", ()),
            store=StoreScp(spool, observed),  # type: ignore[arg-type]
            associations=100,
            idle_seconds=idle_seconds,
            limits=ReceiveLimits(**limits),
            poll_seconds=0.02,
        )
        observed.scp.start()
        opened.append(observed.scp)
        return observed

    yield opened_receiver
    for receiver in opened:
        receiver.stop()
