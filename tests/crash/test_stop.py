"""SIGTERM ends a node, soon and with exit status 0, whatever a thread, a child or a library does meanwhile."""

import ctypes
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification

from tests.crash.harness import House, study
from tests.peers import wait_until
from tests.processes import session

New = Callable[..., House]

STUCK = """\
import os, signal, threading
from node.commands.shutdown import shutdown_on_signals
with shutdown_on_signals(exit_seconds=0.5) as shutdown:
    threading.Thread(target=threading.Event().wait, name="stuck").start()
    os.kill(os.getpid(), signal.SIGTERM)
    shutdown.wait(0)
print("stopped", flush=True)
"""

HANGS = """\
import subprocess, time
from pathlib import Path
def run(ct, triton):
    child = subprocess.Popen(["sleep", "100"])
    (Path(__file__).parents[2] / "spool" / "objects" / "running").touch()
    child.wait()
    yield
"""


def test_a_signal_that_the_kernel_gives_to_another_thread_ends_the_node(house: New) -> None:
    node = house()
    node.start()
    process = node.process
    assert process is not None
    wait_until(lambda: "node.started" in node.log, what="the wait for a signal")
    others = [
        int(thread.name) for thread in Path(f"/proc/{process.pid}/task").iterdir() if thread.name != str(process.pid)
    ]
    assert ctypes.CDLL(None).tgkill(process.pid, max(others), signal.SIGTERM) == 0
    assert process.wait(60) == 0
    assert "node.stopped" in node.log


def associate(port: int) -> Association:
    entity = AE("CT1")
    entity.add_requested_context(Verification)
    association = entity.associate("127.0.0.1", port, ae_title="ISOCENTER")
    assert association.is_established
    return association


def test_senders_that_stall_in_the_middle_of_a_pdu_do_not_hold_up_the_stop(house: New) -> None:
    node = house()
    node.start()
    with ExitStack() as connections:
        for sent in (b"", b"\x01\0\0\0", b"\x01\0\0\0\x01\0half of a request"):
            connection = connections.enter_context(socket.create_connection(("127.0.0.1", node.port)))
            connection.sendall(sent)
        stalled, idle = associate(node.port), associate(node.port)
        stalled.dul.socket.send(b"\x04\0\0\0\x01\0half of a P-DATA-TF")
        wait_until(lambda: "node.started" in node.log, what="the wait for a signal")
        node.stop()
        wait_until(lambda: idle.is_aborted, what="the A-ABORT to the peer")
    assert "node.stopped" in node.log
    assert "node.cut" not in node.log
    assert "Traceback" not in node.log


def test_a_sender_that_stalls_in_the_middle_of_a_pdu_is_hung_up_on_like_an_idle_one(house: New) -> None:
    node = house()
    node.start(ISOCENTER_RECEIVE__IDLE_SECONDS="1")
    with socket.create_connection(("127.0.0.1", node.port), timeout=60) as connection:
        connection.sendall(b"\x01\0\0\0\x01\0half of a request")
        assert connection.recv(100) == b""


def test_a_job_whose_node_is_killed_does_not_live_on(house: New, tmp_path: Path) -> None:
    node = house()
    (node.folder / "plugins" / "threshold" / "plugin.py").write_text(HANGS)
    node.start()
    process = node.process
    assert process is not None
    files = study(tmp_path, "orphan")
    assert not node.send(files)
    wait_until(lambda: list(node.folder.rglob("running")), what="a job that runs")
    process.kill()
    process.wait(60)
    wait_until(lambda: not session(process.pid), what="the end of all that the node had started")


def test_a_thread_that_never_ends_holds_up_nobody() -> None:
    done = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert "\nstopped\n" in done.stdout
    assert "threading.py" in done.stderr, "the stacks tell what was stuck"
