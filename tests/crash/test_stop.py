"""SIGTERM ends a node, soon and with exit status 0, whatever a thread, a child or a library does meanwhile."""

import ctypes
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.crash.around import House
from tests.peers import wait_until

New = Callable[..., House]

STUCK = """\
import os, signal, threading
from node import ending
ending.LEAVE_SECONDS = 0.5
with ending.ending() as end:
    threading.Thread(target=threading.Event().wait, name="stuck").start()
    os.kill(os.getpid(), signal.SIGTERM)
    end.wait()
print("stopped", flush=True)
"""


def test_a_signal_that_the_kernel_gives_to_another_thread_ends_the_node(house: New) -> None:
    node = house()
    node.start()
    process = node.process
    assert process is not None
    wait_until(lambda: "node.started" in node.log, what="the wait for a signal")
    others = [int(one.name) for one in Path(f"/proc/{process.pid}/task").iterdir() if one.name != str(process.pid)]
    assert ctypes.CDLL(None).tgkill(process.pid, max(others), signal.SIGTERM) == 0
    assert process.wait(60) == 0
    assert "node.stopped" in node.log


def test_a_thread_that_never_ends_holds_up_nobody() -> None:
    done = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith("stopped\n")
    assert "threading.py" in done.stderr, "the stacks tell what was stuck"
