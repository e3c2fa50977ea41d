"""The local Triton server starts, serves and stops, and leaves nothing behind however its owner ends."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import node.triton.server
from node.errors import ConfigError, TritonUnavailable
from node.triton.client import GrpcTriton
from node.triton.server import KEEPER, LocalServer, Wheel
from node.triton.server_connection import server_name
from node.triton.watchdog import SHARED_MEMORY

pytest.importorskip("pytriton", reason="nvidia-pytriton is not installed")

ROOT = Path(node.triton.server.__file__).parents[2]
MODEL = """
import time
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        time.sleep({seconds})
        return [self.answer(request) for request in requests]

    def answer(self, request):
        return pb.InferenceResponse([pb.Tensor("x", pb.get_input_tensor_by_name(request, "x").as_numpy())])
"""
CONFIG = """
backend: "python"
input [{name: "x" data_type: TYPE_INT16 dims: [-1]}]
output [{name: "x" data_type: TYPE_INT16 dims: [-1]}]
"""
OWNER = """
import sys, threading, time
from pathlib import Path
import numpy as np
from node.triton.watchdog import SHARED_MEMORY
from node.triton.server import KEEPER, LocalServer
from node.triton.client import GrpcTriton
from node.triton.server_connection import server_name

server = LocalServer(Path(sys.argv[1]), Path(sys.argv[2]))
starter = threading.Thread(target=server.start)     # a thread that ends must not take the server with it
starter.start()
starter.join()
time.sleep(0.5)
triton = GrpcTriton([server.address])
triton.prepare(["echo", "sleeps"], 60)
threading.Thread(target=lambda: triton.infer("sleeps", x=np.zeros(3, np.int16)), daemon=True).start()
time.sleep(0.5)
print(server_name(server.address), flush=True)
time.sleep(600)
"""
X = np.arange(3, dtype=np.int16)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name, seconds in {"echo": 0, "sleeps": 600}.items():
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "config.pbtxt").write_text(CONFIG)
        (folder / name / "1" / "model.py").write_text(MODEL.format(seconds=seconds))
    return folder


def processes(name: str) -> list[str]:
    """The command lines that hold `name`: the keeper, the server and its stubs (a zombie has no command line)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if name in line:
            found.append(line)
    return found


def traces(name: str) -> list[str]:
    """Everything that the server named `name` left behind."""
    return processes(name) + [path.name for path in SHARED_MEMORY.glob(f"{name}*")]


def wait_for(what: Callable[[], bool], seconds: float = 40) -> bool:
    ends = time.monotonic() + seconds
    while not what() and time.monotonic() < ends:
        time.sleep(0.1)
    return what()


def named(server: LocalServer) -> str:
    name = server_name(server.address)
    assert name
    return name


def test_a_server_serves_and_then_leaves_no_process_no_memory_and_no_folder(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "t"))
    (tmp_path / "t").mkdir()
    server = LocalServer(repository, tmp_path / "logs" / "triton.log")
    assert not server.alive
    address = server.start()
    assert address == server.address
    assert address.startswith("unix:")
    assert server.alive
    name = named(server)
    assert GrpcTriton([address]).infer("echo", x=X)["x"].tolist() == X.tolist()
    assert any("triton_python_backend_stub" in line for line in processes(name))
    assert server._keeper
    assert os.getsid(server._keeper.pid) != os.getsid(0)  # Ctrl-C does not reach it
    assert len(traces(name)) > len(processes(name))
    assert list((tmp_path / "t").iterdir())
    server.stop()
    assert not server.alive
    assert traces(name) == []
    assert not list((tmp_path / "t").iterdir())
    assert "echo" in (tmp_path / "logs" / "triton.log").read_text()


def test_a_server_loads_nothing_before_it_is_asked(repository: Path, tmp_path: Path) -> None:
    with LocalServer(repository, tmp_path / "log") as server:
        assert not any(model.ready for model in GrpcTriton([server.address]).models())


def test_two_servers_at_once_do_not_disturb_each_other(repository: Path, tmp_path: Path) -> None:
    with LocalServer(repository, tmp_path / "b.log") as second:
        with LocalServer(repository, tmp_path / "a.log") as first:
            for server in (first, second):
                GrpcTriton([server.address]).prepare(["echo"], 60)
            gone = named(first)
        assert traces(gone) == []
        assert GrpcTriton([second.address]).infer("echo", x=X)["x"].tolist() == X.tolist()


def test_a_server_ends_when_its_owner_is_killed_in_the_middle_of_a_request(repository: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(repository), str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as owner:
        assert owner.stdout
        name = owner.stdout.readline().strip()
        assert name.startswith("isocenter_")
        assert len(processes(name)) >= 4  # keeper, server, two stubs
        owner.kill()
    assert wait_for(lambda: not traces(name)), traces(name)


def test_stop_does_not_wait_for_a_model_that_hangs(repository: Path, tmp_path: Path) -> None:
    server = LocalServer(repository, tmp_path / "log")
    with server:
        name = named(server)
        with pytest.raises(TritonUnavailable):
            GrpcTriton([server.address], deadline_seconds=4).infer("sleeps", x=X)
    assert traces(name) == []


def test_a_server_that_does_not_end_when_asked_is_killed_with_its_children(tmp_path: Path) -> None:
    name = f"stubborn_{os.getpid()}_"
    script = f"trap '' TERM; sh -c 'sleep 600; :' {name}child & echo up; sleep 600"
    command = [KEEPER, str(os.getpid()), name, str(tmp_path / "folder"), "0.2", "sh", "-c", script, name]
    with subprocess.Popen([sys.executable, "-I", "-S", *command], stdout=subprocess.PIPE, text=True) as keeper:
        assert keeper.stdout
        assert keeper.stdout.readline() == "up\n"
        keeper.terminate()
        assert keeper.wait(30) != 0
    assert processes(name) == []


def test_a_server_that_was_killed_is_not_alive_and_can_be_started_again(repository: Path, tmp_path: Path) -> None:
    with LocalServer(repository, tmp_path / "log") as server:
        name = named(server)
        GrpcTriton([server.address]).prepare(["echo"], 60)
        pid = next(p for p in Path("/proc").glob("[0-9]*") if _is_server(p, name))
        os.kill(int(pid.name), signal.SIGKILL)
        assert wait_for(lambda: not server.alive)
        assert traces(name) == []
        server.start()
        assert named(server) != name
        assert GrpcTriton([server.address]).infer("echo", x=X)["x"].tolist() == X.tolist()


def _is_server(process: Path, name: str) -> bool:
    try:
        arguments = (process / "cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return arguments[0].endswith(b"/tritonserver") and f"--id={name}".encode() in arguments


def test_only_the_user_of_the_node_reaches_the_server(repository: Path, tmp_path: Path) -> None:
    """A user who reaches it could make it load a model, which is code, or read the images in its shared memory."""
    with LocalServer(repository, tmp_path / "log") as server:
        GrpcTriton([server.address]).infer("echo", x=X)
        socket = Path(server.address.removeprefix("unix:"))
        assert socket.is_socket()
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
        assert not listening_ports(named(server))
        regions = [*SHARED_MEMORY.glob(f"{named(server)}*")]
        assert regions
        assert {stat.S_IMODE(region.stat().st_mode) for region in regions} == {0o600}
    assert not socket.parent.exists()


def listening_ports(name: str) -> list[str]:
    """Return what the processes of a server listen on: local addresses of TCP sockets in state LISTEN (proc(5))."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        if _is_server(process, name):
            own = {str(fd.readlink()) for fd in (process / "fd").iterdir() if fd.is_symlink()}
            for table in ("tcp", "tcp6"):
                rows = [line.split() for line in (process / "net" / table).read_text().splitlines()[1:]]
                found += [row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in own]
    return found


def test_a_folder_whose_path_is_too_long_for_a_socket_is_reported(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="too long for a socket"):
        LocalServer(repository, tmp_path / "log", folder=tmp_path / ("x" * 100)).start()


def test_a_missing_repository_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no_models: no such folder"):
        LocalServer(tmp_path / "no_models", tmp_path / "log").start()


def test_a_missing_wheel_is_reported_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match='install "nvidia-pytriton"'):
        LocalServer(tmp_path, tmp_path / "log").start()


@pytest.mark.parametrize(("said", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_its_threads_wait_asleep_unless_the_administrator_says_otherwise(
    said: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if said:
        monkeypatch.setenv("OMP_WAIT_POLICY", said)
    assert Wheel.find().environment()["OMP_WAIT_POLICY"] == expected


def test_an_unsupported_python_gets_an_error_that_names_the_supported_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.triton.server.sys", SimpleNamespace(version_info=SimpleNamespace(major=3, minor=99)))
    with pytest.raises(ConfigError, match=r"3\.11, 3\.12.*, not 3\.99"):
        LocalServer(tmp_path, tmp_path / "log").start()


def test_a_numpy_that_would_corrupt_voxels_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "__version__", "2.4.6")
    with pytest.raises(ConfigError, match=r'wrong voxels .* NumPy 2\.4\.6: install "numpy<2"'):
        LocalServer(tmp_path, tmp_path / "log").start()


def test_a_python_without_its_shared_library_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "stub: error while loading shared libraries: libpython3.11.so.1.0: cannot open shared object file"
    wheel = replace(Wheel.find(), stub=program(tmp_path / "stub", f"echo '{said}' >&2; exit 127"))
    monkeypatch.setattr(Wheel, "find", lambda: wheel)
    with pytest.raises(ConfigError, match=r"libpython3\.11.*install Python's shared library"):
        LocalServer(tmp_path, tmp_path / "log").start()


def test_a_server_that_ends_at_once_is_reported_with_its_last_output_and_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "echo 'E1121 08:20:50.655657 7912 main.cc:12] the cable is out'; echo bye; exit 1"
    wheel = replace(Wheel.find(), binary=program(tmp_path / "server", script))
    monkeypatch.setattr(Wheel, "find", lambda: wheel)
    log = tmp_path / "triton.log"
    log.write_text("E1121 an error of yesterday\n")
    with pytest.raises(TritonUnavailable, match=r": the cable is out; see .*triton\.log"):
        LocalServer(tmp_path, log).start()
    assert log.read_text().startswith("E1121 an error of yesterday\n")


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path
