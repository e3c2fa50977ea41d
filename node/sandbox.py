"""Confines a child process: where it may write, what it may connect to, and whom it may signal (Linux, Landlock).

A plugin is a guest. It reads its images and writes its objects; it has no business in packs, ledger, configuration, or
on the network. Landlock lets a process give up rights for good, without privileges, for itself and all that it starts.
See landlock(7). A kernel without it confines nothing: `isocenter check` says so.
"""

import ctypes
import os
import resource
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PR_SET_NO_NEW_PRIVS = 38
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""System calls, which have the same number on every machine."""
GIVE_VERSION, PATH_BENEATH, NET_PORT = 1, 1, 2
WRITE = (
    *(1 << bit for bit in (1, 4, 5, 6, 7, 8, 9, 10, 11, 12)),  # write, remove and make files and folders
    1 << 13,  # move between folders; from version 2
    1 << 14,  # truncate; from version 3
)
ALWAYS_WRITE = sum(WRITE[:-2])
BIND_TCP, CONNECT_TCP = 1, 2
"""From version 4."""
ABSTRACT_SOCKETS, SIGNALS = 1, 2
"""Scopes: what is outside of the sandbox cannot be reached so. From version 6."""
DEVICES = Path("/dev")
"""Null, shared memory, and graphics processors."""
LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """What a child process may do.

    Parameters
    ----------
    writable
        Folders that it may write in, beside `/dev` and a folder of its own for temporary files.
    ports
        TCP ports that it may connect to; all where it is None.
    signals
        Whether it may signal processes that it has not started.
    memory
        Bytes that it may allocate, beside what it has at the start and shared memory; no limit where it is None. Each
        process that it starts has the same limit.
    """

    writable: tuple[Path, ...] = ()
    ports: tuple[int, ...] | None = ()
    signals: bool = False
    memory: int | None = None

    def enter(self, scratch: Path) -> None:
        """Confine this process and all that it will start; `scratch` is its folder for temporary files."""
        if self.memory is not None:
            limit_memory(self.memory)
        version = landlock_version()
        if version == 0:
            return
        ruleset = self._ruleset(version)
        try:
            for path in (*self.writable, scratch, DEVICES):
                _allow_writing(ruleset, path, _writing(version))
            for port in self.ports or () if version >= 4 else ():
                _call(ADD_RULE, ruleset, NET_PORT, struct.pack("=QQ", CONNECT_TCP, port), 0)
            LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            _call(RESTRICT_SELF, ruleset, 0)
        finally:
            os.close(ruleset)

    def _ruleset(self, version: int) -> int:
        """Return a new ruleset: struct landlock_ruleset_attr, as long as the kernel's version knows it."""
        network = 0 if self.ports is None else BIND_TCP | CONNECT_TCP
        scopes = ABSTRACT_SOCKETS | (0 if self.signals else SIGNALS)
        size = 8 if version < 4 else 16 if version < 6 else 24
        attributes = struct.pack("=QQQ", _writing(version), network, scopes)[:size]
        return _call(CREATE_RULESET, attributes, len(attributes), 0)


def limit_memory(more: int) -> None:
    """Let this process allocate so many bytes more than it has; a further request fails (setrlimit(2), RLIMIT_DATA)."""
    status = Path("/proc/self/status").read_text()
    has = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmData:"))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = has + more if hard == resource.RLIM_INFINITY else min(has + more, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def landlock_version() -> int:
    """Return the version of Landlock's interface in this kernel, 0 where there is none or it is switched off."""
    version: int = LIBC.syscall(CREATE_RULESET, None, 0, GIVE_VERSION)
    return max(version, 0)


def _writing(version: int) -> int:
    return ALWAYS_WRITE | (WRITE[-2] if version >= 2 else 0) | (WRITE[-1] if version >= 3 else 0)


def _allow_writing(ruleset: int, path: Path, access: int) -> None:
    with suppress(FileNotFoundError):
        folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            _call(ADD_RULE, ruleset, PATH_BENEATH, struct.pack("=Qi", access, folder), 0)
        finally:
            os.close(folder)


def _call(number: int, *arguments: int | bytes) -> int:
    """Make a system call; OSError where it fails."""
    result: int = LIBC.syscall(number, *arguments)
    if result < 0:
        failure = ctypes.get_errno()
        raise OSError(failure, os.strerror(failure))
    return result


def tcp_ports(urls: Iterable[str]) -> tuple[int, ...]:
    """Return the TCP ports of Triton servers: of `host:port`; `unix:path` has none."""
    ports = (url.rpartition(":")[2] for url in urls)
    return tuple(sorted({int(port) for port in ports if port.isdigit()}))
