"""Faults of the machine: all processes suspended for longer than a lease; no room in shared memory."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.crash.harness import House, study, study_uid
from tests.processes import session, start_text

New = Callable[..., House]
LEASE_SECONDS = 3.0
FULL = """\
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(0x20000) == 0  # a mount namespace: the machine keeps its own /dev/shm
assert libc.mount(b"none", b"/", None, 0x44000, None) == 0  # MS_PRIVATE | MS_REC
assert libc.mount(b"none", b"/dev/shm", b"tmpfs", 0, b"size=64k") == 0
open("/dev/shm/filler", "wb").write(bytes(60000))
from node.cli import app
app(["serve", "--config", {config!r}])
"""


def test_a_node_that_was_suspended_beyond_its_leases_does_each_job_once(house: New, tmp_path: Path) -> None:
    node = house()
    files = study(tmp_path, "suspended")
    node.start_with(LEASE_SECONDS)
    assert not node.send(files)
    assert node.process is not None
    pids = session(node.process.pid)
    for pid in pids:
        with suppress(ProcessLookupError):  # a job's child may end meanwhile
            os.kill(pid, signal.SIGSTOP)
    time.sleep(2 * LEASE_SECONDS)  # what is suspended gives no sign: there is nothing to wait for
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    node.rest(study_uid(files))
    assert node.account(files, twice=True) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_shared_memory_that_is_full_loses_nothing(house: New, tmp_path: Path) -> None:
    node = house()
    files = study(tmp_path, "full")
    node.process = start_text(FULL.format(config=str(node.config)), node.folder / "serve.log")
    node.wait_until_it_listens()
    assert not node.send(files)
    node.rest(study_uid(files))
    assert node.account(files) == []


def test_a_ledger_that_lost_its_newest_rows_sends_nothing_a_second_time_unasked(house: New, tmp_path: Path) -> None:
    node = house()
    before, after = study(tmp_path, "before"), study(tmp_path, "after")
    node.start()
    assert not node.send(before)
    node.rest(study_uid(before))
    node.kill()
    for end in ("-wal", "-shm"):
        (node.folder / f"ledger.db{end}").unlink()
    node.start()
    assert "study.parked the ledger has lost what it knew of this study" in node.explain(study_uid(before))
    assert not node.send(after)
    node.rest(study_uid(after))
    assert node.account(after) == []
    assert [len(sent) for sent in node.pacs.arrived.values()] == [1] * 4, "two objects of each study, once"
