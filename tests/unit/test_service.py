"""The node as a service of systemd: the unit, and what systemd is told of the node."""

import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from node.cli import app
from node.commands import install_service, serve, systemd
from node.commands.shutdown import EXIT_SECONDS
from node.engine import Engine, Step
from node.errors import ConfigError
from node.settings import Settings


@pytest.fixture
def config(tmp_path: Path) -> Path:
    assert CliRunner().invoke(app, ["init", str(tmp_path)]).exit_code == 0
    return tmp_path / "config" / "isocenter.toml"


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket of a systemd that listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(10)
        monkeypatch.setenv(systemd.SOCKET, str(tmp_path / "notify"))
        yield listening


def key(unit: str, name: str) -> str:
    return re.findall(rf"^{name}=(.*)$", unit, re.MULTILINE)[-1]


def test_the_unit_fits_the_settings(config: Path) -> None:
    text = config.read_text()
    assert "# stop_seconds = 20" in text
    config.write_text(text.replace("# stop_seconds = 20", "stop_seconds = 100").replace(":11112", ":104"))
    done = CliRunner().invoke(app, ["service", "install", "--print", "--config", str(config)])
    assert done.exit_code == 0, done.output
    assert int(key(done.output, "TimeoutStopSec")) > 100 + EXIT_SECONDS
    assert (key(done.output, "Type"), key(done.output, "User"), key(done.output, "UMask")) == (
        "notify", "isocenter", "0077",
    )  # fmt: skip
    assert int(key(done.output, "WatchdogSec"))
    assert key(done.output, "ReadWritePaths") == str(config.parents[1] / "data")
    assert key(done.output, "AmbientCapabilities") == "CAP_NET_BIND_SERVICE"
    assert key(done.output, "ExecReload").endswith(f"isocenter reload --config {config}")


@pytest.mark.parametrize("gpu", [False, True])
def test_systemd_takes_the_unit_and_calls_it_well_confined(config: Path, tmp_path: Path, gpu: bool) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    file = tmp_path / "isocenter.service"
    file.write_text(install_service.unit(config, Settings.read(config), gpu=gpu))
    done = subprocess.run(["systemd-analyze", "verify", file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", file], capture_output=True, text=True, check=False
    )
    (exposure,) = re.findall(r"exposure level for .*: ([\d.]+)", judged.stdout)
    assert float(exposure) < 2


def test_only_root_may_install(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ConfigError, match="only root"):
        list(install_service.install(config, Settings.read(config)))


def test_systemd_is_told_when_the_node_is_ready_and_when_it_stops(
    config: Path, told: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    class Stopped:
        def __init__(self) -> None:
            self.roles, self.settings, self.alive = ("deliver",), Settings.read(config), True
            self.routes = type("Routes", (), {"models": []})

        def __getattr__(self, name: str) -> object:
            return lambda *_, **__: said.append(name)

    class Shutdown:
        requested = True

        def wait(self, seconds: float, on_hangup: object) -> None:
            said.append(told.recv(1000).decode())

    monkeypatch.setattr(serve, "check_known_destinations", lambda *_: None)
    serve._serve(Stopped(), Shutdown())  # type: ignore[arg-type]
    assert said == ["start", "READY=1\nSTATUS=serves as deliver", "stop"]
    assert told.recv(1000) == b"STOPPING=1"


def test_the_watchdog_hears_of_the_node_while_it_is_alive(told: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    alive = threading.Event()
    alive.set()
    monkeypatch.setenv(systemd.WATCHDOG, "2000")
    systemd.start_watchdog(alive.is_set)
    assert [told.recv(1000) for _ in range(3)] == [b"WATCHDOG=1"] * 3
    (beating,) = (thread for thread in threading.enumerate() if thread.name == "watchdog")
    alive.clear()
    beating.join(10)
    assert not beating.is_alive()


def test_without_systemd_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (systemd.SOCKET, systemd.WATCHDOG):
        monkeypatch.delenv(name, raising=False)
    systemd.notify("READY=1")
    systemd.start_watchdog(lambda: True)
    monkeypatch.setenv(systemd.WATCHDOG, "2000")
    monkeypatch.setenv(systemd.WATCHDOG_PID, "1")
    assert systemd.watchdog_seconds() == 0


def test_an_engine_that_has_lost_a_thread_is_not_alive() -> None:
    begun = threading.Event()

    def falls() -> None:
        begun.wait()
        raise SystemExit

    engine = Engine([Step(name="falls", work=falls), Step(name="works", work=lambda: None)])
    engine.start()
    assert engine.alive
    begun.set()
    (fallen,) = (thread for thread in engine._threads if thread.name == "falls-1")
    fallen.join(10)
    assert not engine.alive
    engine.stop()


def test_a_program_that_the_user_of_the_node_cannot_run_is_said(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(install_service, "_as_user", refused)
    with pytest.raises(ConfigError, match=r"the user isocenter cannot run .*isocenter: Permission denied; install"):
        install_service._try_as_user(config)
