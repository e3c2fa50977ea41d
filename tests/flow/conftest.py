"""A PACS and a node for the flow tests, each started once and stopped at the end."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import Orthanc, missing, orthanc


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[Orthanc]:
    if reason := missing("Orthanc", "storescu"):
        pytest.skip(reason)
    with orthanc(tmp_path / "orthanc") as peer:
        yield peer
