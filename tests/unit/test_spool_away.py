"""An instance that is gone must be sent again; a spool that is away for a while must only come back."""

from pathlib import Path

import pytest

from node.errors import BytesLost, Refused, SpoolAway, Transient
from node.part10 import Part10


def test_a_file_that_is_gone_is_lost_and_a_folder_that_is_gone_is_away(tmp_path: Path) -> None:
    with pytest.raises(BytesLost, match="sent again"):
        Part10(path=tmp_path / "a.pack", length=1).read()
    with pytest.raises(SpoolAway, match="bring it back"):
        Part10(path=tmp_path / "packs" / "a.pack", length=1).read()
    with pytest.raises(SpoolAway, match="cannot be opened"):
        Part10(path=tmp_path, length=1).open()


def test_the_sender_acts_for_the_one_and_the_clock_for_the_other() -> None:
    assert issubclass(BytesLost, Refused)
    assert issubclass(SpoolAway, Transient)
