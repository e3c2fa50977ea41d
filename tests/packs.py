"""Packs of the spool for tests: instances by number, a pack that is filled, and what is synced."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from node.records import Arrival, Instance
from node.spool import Spool
from node.spool.recovery import recover

INSTANCE = Instance(
    sop_instance_uid="1.2.1.9.1",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
    study_uid="1.2.1",
    series_uid="1.2.1.1",
    modality="CT",
    transfer_syntax_uid="1.2.840.10008.1.2.1",
    calling="CT1",
    peer="127.0.0.1",
    received_at=1.5,
    checksum=0,
)


def numbered(number: int) -> Instance:
    return replace(INSTANCE, sop_instance_uid=f"1.2.1.9.{number}")


def content(number: int) -> bytes:
    return bytes([number]) * (20 + 7 * number)


def filled(spool: Spool, count: int) -> tuple[Path, list[Arrival]]:
    """A pack of `count` instances whose writer is gone."""
    pack = spool.open_pack()
    arrivals = [pack.append(numbered(number), content(number)) for number in range(1, count + 1)]
    pack.close()
    return pack.path, arrivals


def found(path: Path, mark: int = 0) -> list[Arrival]:
    return list(recover(path, mark))


def record_fsync(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files and folders that are synced from now on."""
    synced: list[Path] = []
    fsync = os.fsync

    def recording(fd: int) -> None:
        synced.append(Path(f"/proc/self/fd/{fd}").readlink())
        fsync(fd)

    monkeypatch.setattr(os, "fsync", recording)
    return synced
