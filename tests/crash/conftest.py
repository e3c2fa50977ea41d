"""A node with a PACS that counts, each on free ports of this machine."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.crash.harness import House, Pacs


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    with Pacs().listening() as listening:
        yield listening


@pytest.fixture
def house(tmp_path: Path, pacs: Pacs) -> Iterator[Callable[..., House]]:
    """Build nodes; all are stopped at the end."""
    built: list[House] = []

    def build(**wanted: object) -> House:
        built.append(House(tmp_path / f"node-{len(built)}", **{"pacs": pacs, **wanted}))
        return built[-1]

    yield build
    for node in built:
        node.stop()
        print(node.log[-5000:])  # noqa: T201 (shown where the test has failed)
