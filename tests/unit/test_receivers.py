"""Receiver processes, seen from the node: what they import, and that those that die are followed by others."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import node
from node.errors import ConfigError
from node.receive import Receivers
from node.receive.processes import RESTART_SECONDS, WATCH_SECONDS
from node.records import Address
from node.spool import Spool, writer
from tests.peers import wait_until

HEAVY = {"torch", "highdicom", "tritonclient", "grpc", "SimpleITK", "nvidia"}
PROGRAM = """\
import sys
from pathlib import Path
Path("{folder}", sys.stdin.readline().strip()).with_suffix("." + str(__import__("os").getpid())).touch()
print("assemble", flush=True)
sys.stdin.read()
"""


def test_a_receiver_process_imports_nothing_that_computes() -> None:
    said = subprocess.run(
        [sys.executable, "-c", "import node.roles.receiver_process, sys; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = set(said.stdout.split())
    assert "pynetdicom" in loaded
    assert not HEAVY & loaded


@pytest.mark.parametrize("name", node.__all__)
def test_every_name_for_plugin_authors_can_be_imported(name: str) -> None:
    assert getattr(node, name) is not None
    with pytest.raises(ImportError):
        exec("from node import Spleen")  # noqa: S102


@pytest.fixture
def recovered() -> list[tuple[str | None, float]]:
    return []


@pytest.fixture
def woken() -> list[str]:
    return []


@pytest.fixture
def build(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recovered: list[tuple[str | None, float]],
    woken: list[str],
) -> Iterator[Callable[..., Receivers]]:
    """Receivers whose processes note their number, wake `assemble`, and wait for the end."""
    (tmp_path / "tried.py").write_text(PROGRAM.format(folder=tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    built: list[Receivers] = []

    def recover(of: str | None = None, *, quiet_seconds: float = 0) -> int:
        recovered.append((of, quiet_seconds))
        return 0

    def make(count: int, *, port: int = 0, restart_seconds: float = RESTART_SECONDS) -> Receivers:
        receivers = Receivers(
            address=Address("ISOCENTER", "127.0.0.1", port),
            program="tried",
            order="born",
            processes=count,
            wake=woken.append,
            recover=recover,
            restart_seconds=restart_seconds,
        )
        built.append(receivers)
        return receivers

    yield make
    for receivers in built:
        receivers.close()
        receivers.wait(30)


def born(folder: Path) -> set[int]:
    return {int(path.suffix[1:]) for path in folder.glob("born.*")}


def test_receivers_get_commands_and_send_reports(
    build: Callable[..., Receivers], woken: list[str], tmp_path: Path
) -> None:
    receivers = build(3)
    receivers.start()
    wait_until(lambda: woken.count("assemble") == 3, what="three processes")
    assert born(tmp_path) == set(receivers.pids)
    assert receivers.port > 0
    receivers.close()
    receivers.wait(30)
    wait_until(lambda: woken.count("receive") == 3, what="the end of each")
    receivers.watch()
    assert born(tmp_path) == set(receivers.pids), "after the close no process is replaced"


def test_a_receiver_that_dies_is_replaced_and_its_packs_are_recovered(
    build: Callable[..., Receivers],
    woken: list[str],
    recovered: list[tuple[str | None, float]],
    tmp_path: Path,
) -> None:
    receivers = build(2, restart_seconds=0.0)
    receivers.start()
    wait_until(lambda: woken.count("assemble") == 2, what="two processes")
    assert receivers.watch() == WATCH_SECONDS
    dead, living = receivers.pids
    end(receivers, dead)
    wait_until(lambda: "receive" in woken, what="its end")
    receivers.watch()
    assert (writer(dead), 0) in recovered
    assert (writer(living), 0) not in recovered
    wait_until(lambda: len(born(tmp_path)) == 3, what="another process")
    assert dead not in receivers.pids
    assert living in receivers.pids


def test_processes_with_another_order_take_over(
    build: Callable[..., Receivers], woken: list[str], tmp_path: Path
) -> None:
    receivers = build(2)
    receivers.start()
    wait_until(lambda: woken.count("assemble") == 2, what="two processes")
    former = set(receivers.pids)
    receivers.renew("born")
    assert set(receivers.pids) == former, "the same order is no reason"
    receivers.renew("anew")
    assert former.isdisjoint(receivers.pids)
    wait_until(lambda: woken.count("assemble") == 4, what="two more processes")
    wait_until(lambda: woken.count("receive") == 2, what="the end of the former")
    assert {int(path.suffix[1:]) for path in tmp_path.glob("anew.*")} == set(receivers.pids)


def test_a_receiver_that_dies_at_its_start_is_not_replaced_at_once(build: Callable[..., Receivers]) -> None:
    receivers = build(1)
    receivers.start()
    (first,) = receivers.pids
    end(receivers, first)
    assert 0 < receivers.watch() <= RESTART_SECONDS
    assert receivers.pids == [first]


def end(receivers: Receivers, pid: int) -> None:
    """Kill a process, and wait until it is dead."""
    (process,) = (child.process for child in receivers._children if child.process.pid == pid)
    process.kill()
    process.wait()


def test_a_second_node_on_the_port_is_an_error(build: Callable[..., Receivers]) -> None:
    first = build(1)
    first.start()
    second = build(1, port=first.port)
    with pytest.raises(ConfigError, match="the port is in use"):
        second.start()
    first.close()
    first.wait(30)
    second.start()


def test_packs_of_a_dead_writer_are_distinguished_from_packs_of_others(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, instance: Callable[[int], object]
) -> None:
    """A number of a process may be that of another machine's, too."""
    names = {}
    for host, pid in (("one", 7), ("other", 7), ("one", 77)):
        monkeypatch.setattr("socket.gethostname", lambda host=host: host)
        monkeypatch.setattr("os.getpid", lambda pid=pid: pid)
        pack = spool.open_pack()
        pack.append(instance(len(names)), b"bytes")  # type: ignore[arg-type]
        pack.close()
        names[host, pid] = pack.name
    monkeypatch.setattr("socket.gethostname", lambda: "one")
    assert [arrival.place.pack for arrival in spool.unwritten({}, of=writer(7))] == [names["one", 7]]
    assert {arrival.place.pack for arrival in spool.unwritten({})} == set(names.values())
    assert list(spool.unwritten({}, quiet_seconds=60)) == []
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    assert len(list(spool.unwritten({}, quiet_seconds=60))) == 3


def test_a_torn_end_is_not_read_again_until_there_is_more(
    spool: Spool, instance: Callable[[int], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = spool.open_pack()
    pack.append(instance(1), b"bytes")  # type: ignore[arg-type]
    first = pack.append(instance(2), b"others")  # type: ignore[arg-type]
    assert list(spool.unwritten({})) == [], "while it is written"
    pack.close()
    marks = {pack.name: first.place.offset - 32}
    assert [arrival.instance.sop_instance_uid for arrival in spool.unwritten(marks)] == [
        first.instance.sop_instance_uid
    ]
    assert len(list(spool.unwritten(marks))) == 1, "as long as it has no row"
    with pack.path.open("r+b") as file:
        file.truncate(first.end - 1)
    assert list(spool.unwritten(marks)) == []
    monkeypatch.setattr("node.spool.spool.recover", lambda *_: pytest.fail("it was read before"))
    assert list(spool.unwritten(marks)) == []


@pytest.fixture
def instance(arrival: Callable[..., object]) -> Callable[[int], object]:
    return lambda number: arrival(number).instance  # type: ignore[attr-defined]
