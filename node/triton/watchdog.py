"""Keep one Triton server for the process that started it, and leave nothing behind when either of them ends.

`server.py` runs this file as a script, with the standard library only:
`python -I -S watchdog.py OWNER PREFIX FOLDER SECONDS COMMAND…`. It starts COMMAND in a session of its own and
sleeps until COMMAND ends, SIGTERM comes, or the process OWNER is gone (SIGKILL included). Then it asks COMMAND to end,
kills what is left of its process group after SECONDS, and removes the shared-memory regions that begin with PREFIX, and
FOLDER; if OWNER is gone, its arenas too (`node.arena`).

Triton's Python backend makes its shared-memory regions readable for all users: Boost calls fchmod(2) with 0644 after
shm_open(3), whatever the umask is. Images are in these regions. COMMAND and its children therefore run with a seccomp
filter that lets fchmod do nothing, and with a umask that leaves a new file to its owner.

It watches the owner through a pidfd, and not with PR_SET_PDEATHSIG: that signal comes when the *thread* that started
the child ends (prctl(2)), which would take the server away from a process that is alive and well.
"""

import contextlib
import ctypes
import os
import platform
import select
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
PRIVATE = 0o077
FCHMOD = {"x86_64": (0xC000003E, 91), "aarch64": (0xC00000B7, 52)}
"""AUDIT_ARCH of linux/audit.h, and the number of fchmod(2), for each machine."""
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, SUCCEED = 0x7FFF0000, 0x00050000
"""BPF instructions of linux/bpf_common.h; SECCOMP_RET_ALLOW, and SECCOMP_RET_ERRNO with errno 0 (seccomp(2))."""
NUMBER_OFFSET, ARCHITECTURE_OFFSET = 0, 4
"""Of the fields in struct seccomp_data."""
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
    server = subprocess.Popen(command, start_new_session=True, preexec_fn=_prepare)  # noqa: PLW1509 - one thread
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


def _prepare() -> None:
    """Have this process end with the keeper, and make no file or region that other users can read."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    os.umask(PRIVATE)
    if platform.machine() in FCHMOD:
        _ignore_fchmod(*FCHMOD[platform.machine()])


def _ignore_fchmod(architecture: int, number: int) -> None:
    """Have fchmod(2) succeed and do nothing, here and in children. Without seccomp in the kernel it changes nothing."""
    instructions = [
        (LOAD, 0, 0, ARCHITECTURE_OFFSET),
        (JUMP_IF_EQUAL, 0, 3, architecture),
        (LOAD, 0, 0, NUMBER_OFFSET),
        (JUMP_IF_EQUAL, 0, 1, number),
        (RETURN, 0, 0, SUCCEED),
        (RETURN, 0, 0, ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in instructions))
    program = ctypes.create_string_buffer(struct.pack("HP", len(instructions), ctypes.addressof(code)))
    LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program)


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
