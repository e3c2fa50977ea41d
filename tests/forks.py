"""Starts programs for the tests, and kills those that are left when the tests end, however they end.

`isocenter` is run in a fork of this process, which has imported all that it needs: hundreds of nodes are started, and
the import is not what is tested. `python` with the text of a program is run in a fork, too. Each request is a JSON
object on a line of stdin, and is answered with a process id. The process leads a session of its own. Its return code is
written to a file of that name in the folder of returns. The receiver processes of such a node are forks, too.
"""

import faulthandler
import importlib
import json
import multiprocessing.connection
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from multiprocessing import forkserver, process
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.processes import kill_session

running: set[int] = set()


def main(returns: Path) -> None:
    """Start what is asked for until stdin ends; then kill what still runs."""
    signal.signal(signal.SIGCHLD, lambda *_: reap(returns))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the tests, and with them stdin
    for line in sys.stdin:
        request = json.loads(line)
        if request["forked"]:
            import_node()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        pid = os.fork()
        if pid == 0:
            begin(request)
            return
        (returns / str(pid)).unlink(missing_ok=True)  # of a process that had this id before
        running.add(pid)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    for pid in running:
        kill_session(pid)
    shutil.rmtree(returns, ignore_errors=True)


def reap(returns: Path) -> None:
    """Write the return codes of all that have ended."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            pid, status = ended
            running.discard(pid)
            draft = returns / f"{pid}.draft"
            draft.write_text(str(os.waitstatus_to_exitcode(status)))
            draft.rename(returns / str(pid))


@cache
def import_node() -> None:
    """Import what a node, its jobs and the usual commands need, once, have it read its tables, and start no thread."""
    import node.cli
    import node.commands.check
    import node.commands.explain
    import node.commands.serve  # noqa: F401
    from node.roles.preload import preload

    preload()  # as the fork server of a node does; the fork of this process that stands in for it has it from here


def begin(request: Mapping[str, Any]) -> None:
    """Be the program that is asked for."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    running.clear()
    os.setsid()
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for number, (path, flags) in enumerate(
        [(os.devnull, os.O_RDONLY), *((path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) for path in request["outputs"])]
    ):
        opened = os.open(path, flags, 0o644)
        os.dup2(opened, number)
        os.close(opened)
    if not request["forked"]:
        os.execvpe(request["command"][0], request["command"], os.environ)  # noqa: S606
    faulthandler.register(signal.SIGUSR2)  # `print_stacks` asks for them
    importlib.reload(importlib.import_module("node.faults"))  # it reads the environment when it is imported
    fork_server()
    fork_receivers()
    program, *words = sys.argv = request["command"]
    if program == "python":  # a program that changes the node before it runs
        exec(words[0], {"__name__": "__main__"})  # noqa: S102
        return
    from node.cli import app

    app(words)


def fork_server() -> None:
    """Have the server that jobs are forked from be a fork of this process, which has imported what it needs."""
    server = forkserver._forkserver
    listener = socket.socket(socket.AF_UNIX)
    server._forkserver_address = multiprocessing.connection.arbitrary_address("AF_UNIX")
    listener.bind(server._forkserver_address)
    listener.listen()
    alive, server._forkserver_alive_fd = os.pipe()
    server._forkserver_pid = os.fork()
    if server._forkserver_pid == 0:
        os.close(server._forkserver_alive_fd)
        try:
            forkserver.main(listener.fileno(), alive, [])
        finally:
            os._exit(0)
    listener.close()
    os.close(alive)


def fork_receivers() -> None:
    """Have the receiver processes be forks of the server that jobs are forked from."""
    from node.receive import processes

    processes.subprocess = SimpleNamespace(  # type: ignore[attr-defined]
        Popen=ForkedReceiver, PIPE=subprocess.PIPE, TimeoutExpired=subprocess.TimeoutExpired
    )


class ForkedReceiver:
    """A receiver process, to be used as the `subprocess.Popen` that `node.receive.processes` asks for."""

    def __init__(self, command: Sequence[str], **_how: object) -> None:
        context = multiprocessing.get_context("forkserver")
        stdin, order = context.Pipe(duplex=False)
        steps, stdout = context.Pipe(duplex=False)
        with socket.socket(fileno=os.dup(int(command[-1]))) as listening:
            self._process = context.Process(target=receive, args=(stdin, stdout, listening))
            self._process.start()
        process._children.discard(self._process)  # type: ignore[attr-defined]  # whoever ends does not wait for it
        stdin.close()
        stdout.close()
        self.pid = self._process.pid
        self.stdin, self.stdout = os.fdopen(os.dup(order.fileno()), "w"), os.fdopen(os.dup(steps.fileno()))
        order.close()
        steps.close()
        self.kill = self._process.kill
        self._asking = threading.Lock()

    @property
    def returncode(self) -> int | None:
        with self._asking:  # of two threads that ask at once, only one would be told
            return self._process.exitcode

    def poll(self) -> int | None:
        """Return its return code, or None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended, and return its return code."""
        multiprocessing.connection.wait([self._process.sentinel], timeout)
        if (code := self.returncode) is None:
            raise subprocess.TimeoutExpired("receiver", timeout or 0)
        return code


def receive(stdin: Connection, stdout: Connection, listening: socket.socket) -> None:
    """Be a receiver process."""
    from node.roles import receiver_process

    for number, connection in enumerate((stdin, stdout)):
        os.dup2(connection.fileno(), number)
        connection.close()
    sys.stdin = os.fdopen(0, closefd=False)
    receiver_process.main(listening.detach())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
