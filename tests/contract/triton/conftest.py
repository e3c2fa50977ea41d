"""Every Triton there is: the fake, and a real server with and without shared memory."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from node.arena import Arena, ArenaPool
from node.triton.client import GrpcTriton, Triton
from node.triton.fake import FakeTriton
from node.triton.server import LocalServer
from tests.triton_repository import Array, double, raises, words, write_repository


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_repository(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def address(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with LocalServer(repository, tmp_path_factory.mktemp("log") / "triton.log") as server:
        yield server.address


@pytest.fixture
def real(address: str) -> Iterator[GrpcTriton]:
    triton = GrpcTriton([address], deadline_seconds=30)
    yield triton
    triton.close()


@pytest.fixture
def shared() -> Iterator[Arena]:
    """An arena."""
    pool = ArenaPool(64 << 20)
    with pool.lend(8 << 20, lambda: True) as name:
        yield Arena(name)
    pool.close()


@pytest.fixture
def sharing(address: str, shared: Arena) -> Iterator[GrpcTriton]:
    triton = GrpcTriton([address], deadline_seconds=30, arena=shared, shared_from=1)
    yield triton
    triton.close()


@pytest.fixture(params=["fake", "real", "real with shared memory"])
def triton(request: pytest.FixtureRequest) -> Triton:
    if request.param == "fake":
        return FakeTriton({"double": double, "raises": raises, "words": words})
    real: Triton = request.getfixturevalue("sharing" if request.param == "real with shared memory" else "real")
    return real


@pytest.fixture
def image() -> Array:
    return np.arange(-12, 12, dtype=np.int16).reshape(4, 2, 3)
