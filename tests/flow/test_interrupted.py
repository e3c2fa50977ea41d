"""Ctrl-C in a terminal ends every command that takes long: exit code 130, no traceback, and nothing is left running."""

import os
import signal
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from node import testing
from node.cli import app
from tests.peers import wait_until
from tests.processes import ISOCENTER, Started, session, start, start_isocenter

SLOW = """\
import time
import torch


class Slow(torch.nn.Module):
    def __init__(self):
        super().__init__()
        time.sleep(600)
"""
SLOW_TEST = "import time\n\n\ndef test_slow():\n    open({begun!r}, 'w').close()\n    time.sleep(600)\n"
METADATA = "Metadata-Version: 2.1\nName: isocenter\nVersion: 9\nRequires-Dist: needed\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    assert CliRunner().invoke(app, ["init", str(tmp_path / "node")]).exit_code == 0
    return tmp_path / "node/config/isocenter.toml"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "log").touch()
    return tmp_path / "log"


@pytest.fixture
def silent() -> Iterator[tuple[int, threading.Event]]:
    """A port that takes connections and never answers, and what is set when one has come."""
    taken = threading.Event()
    kept = []

    def take() -> None:
        while True:
            try:
                kept.append(listening.accept())
            except OSError:
                return
            taken.set()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        taking = threading.Thread(target=take)
        taking.start()
        yield listening.getsockname()[1], taken
        listening.shutdown(socket.SHUT_RDWR)
        taking.join()
    for connection, _ in kept:
        connection.close()


def check_end(process: Started, log: Path, ready: Callable[[], bool]) -> None:
    """Press Ctrl-C when the command is busy: the whole group of the terminal gets SIGINT."""
    wait_until(lambda: ready() or process.poll() is not None, what="the command's work")
    assert process.poll() is None, log.read_text()
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 130, log.read_text()
    assert "Traceback" not in log.read_text(), log.read_text()
    wait_until(lambda: not session(process.pid), what="the end of all processes")


def test_the_demo(tmp_path: Path, log: Path) -> None:
    testing.write(testing.ct_series(slices=3), tmp_path / "images")
    command = ["demo", "--dicom", tmp_path / "images", "--out", tmp_path / "demo"]
    process = start([str(ISOCENTER), *map(str, command)], log)
    check_end(process, log, lambda: "starting Triton" in log.read_text() and len(session(process.pid)) > 2)
    assert "stopping the node and Triton" in log.read_text()


def test_adding_a_model(tmp_path: Path, log: Path, config: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    torch.save({}, tmp_path / "w.pt")
    words = ["model", "add", tmp_path / "w.pt", "--name", "slow", "--labels", "a", "--trust", "--config", config]
    process = start([str(ISOCENTER), *map(str, words), "--network", f"{tmp_path}/slow.py:Slow()"], log)
    check_end(process, log, lambda: len(session(process.pid)) > 2)
    assert not list((tmp_path / "node/triton_models").iterdir())


def test_trying_a_plugin(tmp_path: Path, log: Path, config: Path) -> None:
    testing.write(testing.ct_series(slices=3), tmp_path / "images")
    words = ["plugin", "try", "ct_lung", tmp_path / "images", "--out", tmp_path / "tried", "--config", config]
    check_end(start_isocenter([*map(str, words)], log), log, (tmp_path / "tried/triton.log").exists)


def test_sending_to_a_peer_that_does_not_answer(tmp_path: Path, log: Path, silent: tuple[int, threading.Event]) -> None:
    testing.write(testing.ct_series(slices=3), tmp_path / "images")
    port, taken = silent
    check_end(start_isocenter(["send", str(tmp_path / "images"), f"PACS@127.0.0.1:{port}"], log), log, taken.is_set)


def test_bundling(tmp_path: Path, log: Path, silent: tuple[int, threading.Event]) -> None:
    wheel, (port, taken) = tmp_path / "isocenter-9-py3-none-any.whl", silent
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in {"METADATA": METADATA, "WHEEL": WHEEL, "RECORD": ""}.items():
            archive.writestr(f"isocenter-9.dist-info/{name}", text)
    command = [str(ISOCENTER), "bundle", str(tmp_path / "out/b.tar"), "--wheel", str(wheel)]
    process = start(command, log, PIP_INDEX_URL=f"http://127.0.0.1:{port}/simple", PIP_CONFIG_FILE=os.devnull)
    check_end(process, log, taken.is_set)
    assert not list((tmp_path / "out").iterdir())


def test_testing_a_plugin(tmp_path: Path, log: Path) -> None:
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow/test_plugin.py").write_text(SLOW_TEST.format(begun=str(tmp_path / "begun")))
    process = start([str(ISOCENTER), "plugin", "test", str(tmp_path / "slow")], log)
    check_end(process, log, (tmp_path / "begun").exists)
