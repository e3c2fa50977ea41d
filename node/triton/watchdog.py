"""Keep one Triton server for the process that started it, and leave nothing behind when either of them ends.

`server.py` runs this file as a script, with the standard library only:
`python -I -S keeper.py OWNER PREFIX FOLDER SECONDS COMMAND…`. The keeper starts COMMAND in a session of its own and
sleeps until COMMAND ends, SIGTERM comes, or the process OWNER is gone (SIGKILL included). Then it asks COMMAND to end,
kills what is left of its process group after SECONDS, and removes the shared-memory regions that begin with PREFIX, and
FOLDER; if OWNER is gone, its arenas too (`node.arena`).

It watches the owner through a pidfd, and not with PR_SET_PDEATHSIG: that signal comes when the *thread* that started
the child ends (prctl(2)), which would take the server away from a process that is alive and well.
"""

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps POSIX shared memory
LIBC = ctypes.CDLL(None)


def keep(owner: int, seconds: float, command: list[str]) -> int:
    """Run `command` until it ends, SIGTERM comes or `owner` is gone; return its exit code once its group is gone."""
    asked, ask = os.pipe()
    signal.signal(signal.SIGTERM, lambda *_: os.write(ask, b"."))
    try:
        owner_ends = os.pidfd_open(owner)
    except ProcessLookupError:
        return 0
    if os.getppid() != owner:  # it ended before we looked, and its number may by now be another's
        return 0
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)  # Triton's stub processes become ours to wait for when it dies before them
    server = subprocess.Popen(command, start_new_session=True, preexec_fn=_end_with_keeper)  # noqa: PLW1509 - one thread
    server_ends = os.pidfd_open(server.pid)
    select.select([owner_ends, asked, server_ends], [], [])
    os.kill(server.pid, signal.SIGTERM)
    select.select([server_ends], [], [], seconds)
    os.killpg(server.pid, signal.SIGKILL)  # before the server is waited for: until then the number is surely its own
    code = server.wait()
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-server.pid, 0)
    return code


def _end_with_keeper() -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def main(owner: str, prefix: str, folder: str, seconds: str, *command: str) -> int:
    """Keep, then clean up."""
    try:
        return keep(int(owner), float(seconds), list(command))
    finally:
        gone = os.getppid() != int(owner)
        for pattern in (f"{prefix}*", *([f"isocenter_{owner}_arena_*"] if gone else [])):
            for region in SHARED_MEMORY.glob(pattern):
                region.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
