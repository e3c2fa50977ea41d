"""A PACS and a Triton server, each started once by a worker of pytest, and receivers that are watched."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from node.ledger import Ledger
from node.receive import Arrivals, KnownPeers, Receiver, StoreScp
from node.receive.acceptor import MOST_WAITING, REQUEST_SECONDS
from node.receive.arrivals import GROUP_SIZE
from node.receive.p_data import ReceiveLimits
from node.receive.storage_classes import StorageClasses
from node.records import Address
from node.spool import PACK_LIMIT, Spool
from node.triton import GrpcTriton, LocalServer, Triton
from tests.fast_path import ObservedReceiver
from tests.matrix import IMAGES, Matrix, compose_all
from tests.peers import ROOT, Orthanc, missing, orthanc
from tests.reception import WAIT_SECONDS, OpenReception, Reception


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two empty folders: for models and for plugins."""
    (tmp_path / "models").mkdir()
    (tmp_path / "plugins").mkdir()
    return tmp_path / "models", tmp_path / "plugins"


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """Orthanc, with the objects that the test before left in it."""
    if reason := missing("Orthanc", "storescu"):
        pytest.skip(reason)
    with orthanc(tmp_path_factory.mktemp("orthanc")) as peer:
        yield peer


@pytest.fixture
def pacs(archive: Orthanc) -> Orthanc:
    """Orthanc, empty."""
    archive.empty()
    return archive


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """A client of a real server with the project's models, of which it loads those that are asked for."""
    with LocalServer(ROOT / "triton_models", tmp_path_factory.mktemp("triton") / "triton.log") as server:
        client = GrpcTriton([server.address], deadline_seconds=300)
        yield client
        client.close()


@pytest.fixture(scope="session")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    """Every kind of object of every kind of image, composed once for all modules that look at them."""
    folder = tmp_path_factory.mktemp("matrix")
    places = {name: folder / str(number) for number, name in enumerate(IMAGES)}
    return {name: (compose_all(name, place), place) for name, place in places.items()}


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


@pytest.fixture
def open_reception(spool: Spool, ledger: Ledger, clock: Callable[[], float]) -> Iterator[OpenReception]:
    receptions: list[Reception] = []

    def opened_reception(
        *,
        accept_from: Sequence[str] = (),
        free_mark: int = 0,
        associations: int = 10,
        idle_seconds: float = WAIT_SECONDS,
        pack_limit: int = PACK_LIMIT,
        group_seconds: float = 0.0,
        group_size: int = GROUP_SIZE,
        most_waiting: int = MOST_WAITING,
        request_seconds: float = REQUEST_SECONDS,
        storage_classes: StorageClasses = "known",
    ) -> Reception:
        spool.free_mark = free_mark
        waiting = Arrivals(
            ledger.studies,
            ledger.instances,
            spool,
            wake=lambda: None,
            clock=clock,
            steady=clock,
            group_seconds=group_seconds,
            group_size=group_size,
        )
        closed: list[bool] = []
        receiver = Receiver(
            address=Address("ISOCENTER", "127.0.0.1", 0),
            peers=KnownPeers.parse("ISOCENTER", accept_from),
            store=StoreScp(spool, waiting, closed=lambda: closed.append(True), clock=clock, pack_limit=pack_limit),
            associations=associations,
            idle_seconds=idle_seconds,
            poll_seconds=0.02,
            most_waiting=most_waiting,
            request_seconds=request_seconds,
            storage_classes=storage_classes,
        )
        receiver.start()
        receptions.append(Reception(spool, ledger, waiting, receiver, closed))
        return receptions[-1]

    yield opened_reception
    for reception in receptions:
        reception.receiver.stop()


@pytest.fixture
def reception(open_reception: OpenReception) -> Reception:
    return open_reception()
