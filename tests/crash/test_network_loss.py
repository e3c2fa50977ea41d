"""The network to the PACS is lost: every packet is dropped, and neither end is notified."""

import ctypes
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.crash.harness import House, Pacs, fixed_port, study, study_uid
from tests.peers import wait_until

New = Callable[..., House]
PATIENCE_SECONDS = 4.0
CLONE_NEWNET = 0x40000000  # linux/sched.h


class Line:
    """Carries bytes both ways between the node and its PACS while it is `whole`; cut, it takes them and says nothing.

    A connection that met the cut stays dead, as one does whose state a firewall has forgotten.
    """

    def __init__(self, to: int) -> None:
        self.port = fixed_port()
        self.whole = threading.Event()
        self.whole.set()
        self.dropped = 0
        self._to = to
        self._server = socket.create_server(("127.0.0.1", self.port))
        self._open: list[socket.socket] = [self._server]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                self._open += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        dead = False
        with suppress(OSError):
            while content := source.recv(65536):
                dead = dead or not self.whole.is_set()
                if dead:
                    self.dropped += len(content)
                else:
                    sink.sendall(content)
            if not dead:
                sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def line(pacs: Pacs) -> Iterator[Line]:
    line = Line(pacs.port)
    yield line
    line.close()


def test_a_line_that_drops_everything_delays_results_and_loses_none(
    house: New, pacs: Pacs, line: Line, tmp_path: Path
) -> None:
    node = house(patience=PATIENCE_SECONDS, pacs_port=line.port)
    files, other = study(tmp_path, "cut"), study(tmp_path, "later")

    def cut(event: object) -> int:
        line.whole.clear()  # the object has arrived, and its answer does not
        return 0

    pacs.answer = cut
    node.start()
    assert not node.send(files)
    uid = study_uid(files)
    wait_until(lambda: "object.postponed" in node.explain(uid), what="a delivery that waits")
    pacs.answer = lambda event: 0
    assert not node.send(other), "the mouth is open while the PACS is away"
    wait_until(lambda: node.explain(uid).count("object.postponed") > 1, what="another try in vain")
    assert line.dropped
    line.whole.set()
    node.rest(uid, study_uid(other))
    assert [node.account(files, twice=True), node.account(other)] == [[], []]


@dataclass(frozen=True)
class Elsewhere:
    """A network of its own, a pair of virtual interfaces away."""

    name: str
    host: str

    @classmethod
    @contextmanager
    def made(cls) -> Iterator["Elsewhere"]:
        number = os.getpid()
        name, near, far, network = f"isocenter-{number}", f"ic{number}a", f"ic{number}b", f"10.213.{number % 250}"
        if os.geteuid() or not shutil.which("ip"):
            pytest.skip("a network namespace needs root and iproute2")
        ip("netns", "add", name, skips=True)
        try:
            ip("link", "add", near, "type", "veth", "peer", "name", far, skips=True)
            ip("link", "set", far, "netns", name)
            ip("address", "add", f"{network}.1/30", "dev", near)
            ip("-n", name, "address", "add", f"{network}.2/30", "dev", far)
            ip("link", "set", near, "up")
            ip("-n", name, "link", "set", far, "up")
            yield cls(name, f"{network}.2")
        finally:
            ip("netns", "delete", name)

    def pull(self) -> None:
        """Pull the cable out, at the other end."""
        ip("-n", self.name, "link", "set", f"ic{os.getpid()}b", "down")

    def plug(self) -> None:
        ip("-n", self.name, "link", "set", f"ic{os.getpid()}b", "up")

    def enter(self) -> None:
        """Have the sockets that this thread makes from now on be there (setns(2))."""
        with Path(f"/run/netns/{self.name}").open() as there:
            assert ctypes.CDLL(None).setns(there.fileno(), CLONE_NEWNET) == 0


def ip(*words: str, skips: bool = False) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode and skips:
        pytest.skip(f"no network namespace can be made here: {done.stderr.strip()}")
    assert not done.returncode, done.stderr


def test_a_cable_that_is_pulled_delays_results_and_loses_none(house: New, tmp_path: Path) -> None:
    with Elsewhere.made() as there, ExitStack() as ending, ThreadPoolExecutor(1, initializer=there.enter) as inside:
        pacs = Pacs(host=there.host)
        inside.submit(ending.enter_context, pacs.listening()).result()
        node = house(patience=PATIENCE_SECONDS, pacs=pacs)
        files, other = study(tmp_path, "pulled"), study(tmp_path, "meanwhile")

        def pull(event: object) -> int:
            there.pull()
            return 0

        pacs.answer = pull
        node.start()
        assert not node.send(files)
        uid = study_uid(files)
        wait_until(lambda: "object.postponed" in node.explain(uid), what="a delivery that waits")
        pacs.answer = lambda event: 0
        assert not node.send(other), "the mouth is open while the PACS is away"
        there.plug()
        node.rest(uid, study_uid(other))
        assert [node.account(files, twice=True), node.account(other)] == [[], []]
        node.stop()
