"""An instance that is gone must be sent again; a spool that is away for a while must only come back."""

from pathlib import Path

import pytest

from node.errors import BytesLost, ConfigError, Refused, SpoolAway, Transient
from node.images.part10 import Part10
from node.spool import Spool


def test_a_file_that_is_gone_is_lost_and_a_folder_that_is_gone_is_away(tmp_path: Path) -> None:
    with pytest.raises(BytesLost, match="sent again"):
        Part10(path=tmp_path / "a.pack", length=1).read()
    with pytest.raises(SpoolAway, match="bring it back"):
        Part10(path=tmp_path / "packs" / "a.pack", length=1).read()
    with pytest.raises(SpoolAway, match="cannot be opened"):
        Part10(path=tmp_path, length=1).open()


def test_a_missing_file_is_refused_and_a_missing_folder_is_transient() -> None:
    assert issubclass(BytesLost, Refused)
    assert issubclass(SpoolAway, Transient)


def test_a_spool_that_must_exist_is_not_created(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    with pytest.raises(ConfigError, match="not writable"):
        Spool(path, made=True)
    assert not path.exists()
    Spool(path)
    assert Spool(path, made=True).open_pack().path.exists()
