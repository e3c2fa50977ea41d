"""What is killed leaves nothing in /dev/shm for good: neither a job, nor a node, nor a Triton server."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType

import numpy as np
import pytest

from node.arena import SHARED_MEMORY, Arena, ArenaPool, remove_orphans
from node.engine import run_in_child
from node.errors import JobDied
from tests.peers import wait_until

OWNER = """
import sys, time
from pathlib import Path
from types import NoneType
from node.arena import ArenaPool
from node.triton import LocalServer

server = LocalServer(Path(sys.argv[1]), Path(sys.argv[2])) if len(sys.argv) > 1 else None
if server:
    server.start()
with ArenaPool(64 << 20).lend(8 << 20, lambda: True) as name:
    print(name, flush=True)
    time.sleep(60)
"""
MEBIBYTES = 8 << 20


@pytest.fixture
def arenas() -> Iterator[ArenaPool]:
    made = ArenaPool(64 << 20)
    yield made
    made.close()


def owner(*arguments: Path) -> tuple["subprocess.Popen[str]", Path]:
    """Start a process that holds an arena, and perhaps a Triton server; return it, and the arena's file."""
    process = subprocess.Popen([sys.executable, "-c", OWNER, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, SHARED_MEMORY / process.stdout.readline().strip()


def killed(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.wait()


def fill_and_die(name: str) -> None:
    Arena(name).empty((MEBIBYTES,), np.uint8)[...] = 7
    os.kill(os.getpid(), signal.SIGKILL)


def test_arenas_of_a_killed_node_are_removed_and_those_of_a_living_node_are_not(
    arenas: ArenaPool,
) -> None:
    process, file = owner()
    with arenas.lend(MEBIBYTES, lambda: True) as name:
        remove_orphans()
        assert file.exists()
        killed(process)
        assert file.exists()
        remove_orphans()
        assert not file.exists()
        assert (SHARED_MEMORY / name).exists()


def test_the_keeper_removes_what_a_killed_node_leaves(tmp_path: Path) -> None:
    pytest.importorskip("pytriton", reason="nvidia-pytriton is not installed")
    process, file = owner(tmp_path, tmp_path / "triton.log")
    assert file.exists()
    killed(process)
    wait_until(lambda: not list(SHARED_MEMORY.glob(f"isocenter_{process.pid}_*")), seconds=60, what="the keeper")


def test_the_arena_of_a_killed_job_is_never_lent_again(arenas: ArenaPool) -> None:
    names: list[str] = []

    def lose_a_job() -> None:
        with arenas.lend(MEBIBYTES, lambda: True) as name:
            names.append(name)
            run_in_child(fill_and_die, (name,), returns=NoneType, seconds=60, beat=lambda: True)

    for _ in range(2):
        with pytest.raises(JobDied, match="SIGKILL"):
            lose_a_job()
    assert len(set(names)) == 2
    assert not [name for name in names if (SHARED_MEMORY / name).exists()]
