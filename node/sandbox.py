"""Confines a child process: what it may read and write, connect to, and signal (Linux, Landlock and namespaces).

Plugins and models are guests. A plugin reads its images and writes its objects; it has no business in packs, ledger,
configuration, or on the network. Landlock lets a process give up rights for good, without privileges, for itself and
all that it starts: landlock(7). A network namespace of its own, where the kernel allows one, has no network at all:
network_namespaces(7). A kernel without Landlock confines nothing: `isocenter check` says so.

This module needs the standard library alone: the keeper of the local Triton loads it by its path.
"""

import ctypes
import os
import resource
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PR_SET_NO_NEW_PRIVS = 38
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""System calls, which have the same number on every machine."""
GIVE_VERSION, PATH_BENEATH, NET_PORT = 1, 1, 2
READ_FILE = 1 << 2
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
NEW_USER, NEW_NETWORK = 0x10000000, 0x40000000
"""Flags of unshare(2)."""
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
    hidden
        Files that it may not read, each beside others that it may.
    ports
        TCP ports that it may connect to; all where it is None. Where it is empty, it has no network of any kind, if the
        kernel allows that.
    signals
        Whether it may signal processes that it has not started.
    memory
        Bytes that it may allocate, beside what it has at the start and shared memory; no limit where it is None. Each
        process that it starts has the same limit.
    """

    writable: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    ports: tuple[int, ...] | None = ()
    signals: bool = False
    memory: int | None = None

    def enter(self, scratch: Path) -> None:
        """Confine this process and all that it will start; `scratch` is its folder for temporary files."""
        if self.memory is not None:
            limit_memory(self.memory)
        if self.ports == ():
            leave_network()
        version = landlock_version()
        if version == 0:
            return
        ruleset = self._ruleset(version)
        try:
            reading = READ_FILE if self.hidden else 0
            for path in readable_beside(self.hidden):
                _allow(ruleset, path, reading)
            for path in (*self.writable, scratch, DEVICES):
                _allow(ruleset, path, _writing(version) | reading, links=True)
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
        files = _writing(version) | (READ_FILE if self.hidden else 0)
        attributes = struct.pack("=QQQ", files, network, scopes)[:size]
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


def _allow(ruleset: int, path: Path, access: int, *, links: bool = False) -> None:
    """Allow access to a file or all below a folder; to what a link leads to only with `links`."""
    with suppress(FileNotFoundError):
        place = os.open(path, os.O_PATH | os.O_CLOEXEC | (0 if links else os.O_NOFOLLOW))
        try:
            _call(ADD_RULE, ruleset, PATH_BENEATH, struct.pack("=Qi", access, place), 0)
        finally:
            os.close(place)


def readable_beside(hidden: Iterable[Path]) -> Iterator[Path]:
    """Yield all files and folders of the machine but the hidden ones, as few as possible; none if nothing is hidden.

    Landlock allows, and cannot forbid: whatever lies beside a hidden file, or beside a folder above it, is allowed by
    itself. What appears there later is not.
    """
    closed = {path.resolve() for path in hidden}
    open_folders = {folder for path in closed for folder in path.parents}
    for folder in sorted(open_folders):
        with suppress(OSError):
            yield from (path for path in folder.iterdir() if path not in closed | open_folders)


def leave_network() -> bool:
    """Go into a network namespace without any interface; return False where the kernel does not allow it.

    Sockets that have a path still work. Without privileges this needs a user namespace, in which the user stays the
    same; some systems forbid these, and a child tries it first, since there is no way back.
    """
    if LIBC.unshare(NEW_NETWORK) == 0:
        return True
    if (child := os.fork()) == 0:
        os._exit(0 if _become_same_user() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0 and _become_same_user()


def _become_same_user() -> bool:
    """Go into a user and a network namespace, with the same user and group as before."""
    user, group = os.geteuid(), os.getegid()
    try:
        if LIBC.unshare(NEW_USER | NEW_NETWORK) != 0:
            return False
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    except OSError:
        return False
    return True


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
