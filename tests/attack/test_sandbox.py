"""A plugin is a guest: what its process can reach of the node and of the network."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import NoneType

import pytest

from node.engine import Sandbox, run_in_child, tcp_ports
from node.errors import PluginFailed
from node.sandbox import landlock_version, leave_network

PATIENCE = 60
NOBODY, PR_SET_DUMPABLE = 65534, 4
FROM_FILES, FROM_NETWORK, FROM_SIGNALS = 1, 4, 6
"""Versions of Landlock."""


def needs(version: int) -> None:
    if landlock_version() < version:
        pytest.skip(f"this kernel has no Landlock of version {version}")


def confined(work: Callable[..., None], *arguments: object, sandbox: Sandbox) -> None:
    run_in_child(work, arguments, returns=NoneType, seconds=PATIENCE, beat=lambda: True, sandbox=sandbox)


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A folder with what a node keeps."""
    for name in ("packs", "objects"):
        (tmp_path / name).mkdir()
    (tmp_path / "packs" / "a.pack").write_text("received")
    (tmp_path / "ledger.db").write_text("rows")
    return tmp_path


def write(path: str) -> None:
    Path(path).write_text("changed")


def remove(path: str) -> None:
    Path(path).unlink()


def move(path: str) -> None:
    Path(path).rename(f"{path}.gone")


def cut(path: str) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize("harm", [write, remove, move, cut])
@pytest.mark.parametrize("name", ["packs/a.pack", "ledger.db"])
def test_packs_and_ledger_cannot_be_changed(node: Path, harm: Callable[[str], None], name: str) -> None:
    needs(FROM_FILES)
    before = (node / name).read_text()
    with pytest.raises(PluginFailed, match=r"Permission denied|Invalid cross-device link"):
        confined(harm, str(node / name), sandbox=Sandbox(writable=(node / "objects",)))
    assert (node / name).read_text() == before


def test_packs_can_be_read_and_objects_written(node: Path) -> None:
    confined(_copy, str(node), sandbox=Sandbox(writable=(node / "objects",)))
    assert (node / "objects" / "sub" / "b").read_text() == "received"


def _copy(node: str) -> None:
    folder = Path(node) / "objects" / "sub"
    folder.mkdir()
    (folder / "a").write_text((Path(node) / "packs" / "a.pack").read_text())
    (folder / "a").rename(folder / "b")


def test_temporary_files_have_a_folder_of_their_own_which_is_gone_afterwards(node: Path) -> None:
    confined(_leave_temporary_file, str(node / "objects" / "where"), sandbox=Sandbox(writable=(node / "objects",)))
    where = Path((node / "objects" / "where").read_text())
    assert where.name.startswith("isocenter-job-")
    assert not where.exists()


def _leave_temporary_file(where: str) -> None:
    with tempfile.NamedTemporaryFile(delete=False) as file:
        file.write(b"left behind")
    Path(where).write_text(str(Path(file.name).parent))


def test_the_network_is_closed_but_for_the_models(node: Path) -> None:
    needs(FROM_NETWORK)
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as models,
        closing(socket.create_server(("127.0.0.1", 0))) as other,
    ):
        port, closed = models.getsockname()[1], other.getsockname()[1]
        allowed = Sandbox(writable=(node,), ports=tcp_ports([f"127.0.0.1:{port}", "unix:/run/triton.sock"]))
        confined(_connect, port, sandbox=allowed)
        with pytest.raises(PluginFailed, match="Permission denied"):
            confined(_connect, closed, sandbox=allowed)
        with pytest.raises(PluginFailed, match="Permission denied"):
            confined(_listen, sandbox=allowed)
        confined(_connect, closed, sandbox=Sandbox(writable=(node,), ports=None))


def _connect(port: int) -> None:
    socket.create_connection(("127.0.0.1", port), timeout=10).close()


def _listen() -> None:
    socket.create_server(("127.0.0.1", 0)).close()


def test_the_node_cannot_be_signalled() -> None:
    needs(FROM_SIGNALS)
    with pytest.raises(PluginFailed, match="Operation not permitted"):
        confined(_signal, os.getpid(), sandbox=Sandbox())


def _signal(pid: int) -> None:
    os.kill(pid, signal.SIGCONT)


def test_the_memory_of_the_node_cannot_be_read() -> None:
    needs(FROM_FILES)
    with pytest.raises(PluginFailed, match="Permission denied"):
        confined(_read, f"/proc/{os.getpid()}/mem", sandbox=Sandbox())


def _read(path: str) -> None:
    with Path(path).open("rb") as file:
        file.read(1)


def test_the_node_erases_the_settings_in_its_environment() -> None:
    program = (
        "import os; from pathlib import Path; from node.settings import forget_overrides; forget_overrides(); "
        "print(dict(os.environ), Path('/proc/self/environ').read_text())"
    )
    environment = {**os.environ, "ISOCENTER_LEDGER__URL": "postgresql://node:secret@db/ledger"}
    process = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert "PATH=" in process.stdout
    assert "secret" not in process.stdout


def test_no_setting_is_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOCENTER_LEDGER__URL", "postgresql://node:secret@db/ledger")
    confined(_has_no_settings, sandbox=Sandbox())


def _has_no_settings() -> None:
    assert not [name for name in os.environ if name.startswith("ISOCENTER_")]


def test_what_a_plugin_starts_is_confined_too(node: Path) -> None:
    needs(FROM_FILES)
    confined(_start_program, f"rm -f {node / 'ledger.db'}", sandbox=Sandbox(writable=(node / "objects",)))
    assert (node / "ledger.db").exists()


def _start_program(command: str) -> None:
    subprocess.run(command.split(), check=False)


def test_a_file_beside_others_can_be_hidden(node: Path) -> None:
    needs(FROM_FILES)
    (node / "isocenter.toml").write_text("url = 'postgresql://node:secret@db/ledger'")
    hidden = Sandbox(writable=(node / "objects",), hidden=(node / "isocenter.toml", node / "ledger.db-wal"))
    for way in (_read, _link_and_read):
        with pytest.raises(PluginFailed, match=r"Permission denied|Invalid cross-device link"):
            confined(way, str(node / "isocenter.toml"), sandbox=hidden)
    confined(_copy, str(node), sandbox=hidden)
    confined(_begin, str(node / "objects" / "begun"), sandbox=hidden)


def _link_and_read(path: str) -> None:
    link = Path(tempfile.gettempdir()) / "link"
    os.link(path, link)
    link.read_text()


def _begin(file: str) -> None:
    subprocess.run([sys.executable, "-c", f"import socket, json; open({file!r}, 'w').write('yes')"], check=True)


def test_a_child_without_network_sends_no_datagram_either() -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as other:
        other.bind(("127.0.0.1", 0))
        confined(_send_datagram, other.getsockname()[1], sandbox=Sandbox(ports=None))
        assert other.recv(10) == b"name"
        if not in_a_child(leave_network):
            pytest.skip("this system allows no network namespace")
        with pytest.raises(PluginFailed, match="Network is unreachable"):
            confined(_send_datagram, other.getsockname()[1], sandbox=Sandbox())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_a_node_without_privileges_takes_the_network_from_its_children_too() -> None:
    if (child := os.fork()) == 0:
        os._exit(_leave_as_nobody())
    left, interfaces = divmod(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 100)
    if not left:
        pytest.skip("this system allows no user namespace")
    assert interfaces == 1, "the loopback interface alone"


def _leave_as_nobody() -> int:
    """Return the number of network interfaces, and 100 more if it has left the network and is still the same user."""
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # what a process of this user is from its start
    left = leave_network() and os.getuid() == NOBODY
    return 100 * left + Path("/proc/self/net/dev").read_text().count(":")


def in_a_child(work: Callable[[], bool]) -> bool:
    return run_in_child(work, (), returns=bool, seconds=PATIENCE, beat=lambda: True)


def _send_datagram(port: int) -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as own:
        own.sendto(b"name", ("127.0.0.1", port))
