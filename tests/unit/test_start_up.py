"""What `isocenter` imports before it does anything: a command that is typed in passing starts at once."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

HEAVY = {
    "torch",
    "highdicom",
    "pydicom",
    "pynetdicom",
    "numpy",
    "tritonclient",
    "grpc",
    "SimpleITK",
    "PIL",
    "structlog",
}
COMMAND_LINE = {
    "node",
    "node.author_commands",
    "node.catalogue_commands",
    "node.cli",
    "node.command_options",
    "node.errors",
    "node.exit_codes",
    "node.installation",
    "node.model_commands",
    "node.operations",
    "node.progress",
}
DATABASE = {"sqlalchemy", "alembic", "psycopg"}
UNUSED_BY_EXPLAIN = HEAVY | {"alembic", "psycopg", "rich"}
PROGRAM = """\
import sys
from node.cli import app
try:
    app({arguments!r})
except SystemExit as end:
    print(*sys.modules, file=sys.stderr)
    sys.exit(end.code)
"""


def imported(*arguments: str) -> set[str]:
    """Return the names of all modules that a command has imported when it ends."""
    program = PROGRAM.format(arguments=list(arguments))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return set(done.stderr.split())


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_nothing_but_the_command_line(option: str) -> None:
    modules = imported(option)
    assert not modules & (HEAVY | DATABASE | {"pydantic"})
    assert {name for name in modules if name.startswith("node")} == COMMAND_LINE


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "isocenter.toml"
    path.write_text(f'[ledger]\nurl = "sqlite:///{tmp_path}/ledger.db"\n', encoding="utf-8")
    return path


def test_explain_imports_the_ledger_and_no_stage(config: Path) -> None:
    imported("explain", "--config", str(config))  # the first time makes the ledger
    modules = imported("explain", "--config", str(config))
    assert "sqlalchemy" in modules
    assert not modules & UNUSED_BY_EXPLAIN
    assert not [name for name in modules if name.startswith(("node.images", "node.engine", "node.receive", "node.app"))]


def test_version_prints_the_installed_version() -> None:
    isocenter = Path(sys.executable).with_name("isocenter")
    done = subprocess.run([isocenter, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"isocenter {version('isocenter')}\n"


ELSEWHERE = """\
import os
from node.cli import isolate_children
from node.engine import run_in_child
if __name__ == "__main__":
    isolate_children()
    print(run_in_child(os.getcwd, (), returns=str, seconds=60, beat=lambda: True))
"""
HANGS_UP = """\
import os, signal
from node.commands.shutdown import shutdown_on_signals
with shutdown_on_signals() as shutdown:
    os.kill(os.getpid(), signal.SIGHUP)
    assert not shutdown.requested
    shutdown.wait(0, on_hangup=lambda: (print("hangup"), os.kill(os.getpid(), signal.SIGTERM)))
os._exit(0)
"""
ASKED = """\
import os, signal, socket, threading
from node.commands.shutdown import shutdown_on_signals
with shutdown_on_signals() as shutdown:
    assert not shutdown.requested
    os.kill(os.getpid(), signal.SIGTERM)
    asking = threading.Thread(target=lambda: print("requested", shutdown.requested, shutdown.requested))
    asking.start()
    asking.join()
    assert shutdown._reader.recv(64, socket.MSG_PEEK | socket.MSG_DONTWAIT) == bytes([signal.SIGTERM])
    shutdown.wait(0)
    assert shutdown.requested
os._exit(0)
"""


def test_a_thread_that_asks_whether_to_stop_leaves_the_signal_to_the_main_thread() -> None:
    """It was taken away from `wait` in some moments: the node then did no more work, and did not end."""
    done = subprocess.run([sys.executable, "-uc", ASKED], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout.splitlines()[:1]) == (0, ["requested True True"]), done.stderr


@pytest.mark.parametrize("how", ["-s", "-E"])  # pipx has programs run with -E
def test_a_folder_called_node_in_the_current_directory_breaks_nothing(tmp_path: Path, how: str) -> None:
    for name in ("node", "plugins", "logging"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text('raise SystemExit("not ours")\n')
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "program").write_text(ELSEWHERE)
    command = [sys.executable, how, tmp_path / "bin" / "program"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.stdout.strip(), done.returncode) == (str(tmp_path), 0), done.stderr


def test_a_hangup_stops_nothing_and_the_log_says_what_does() -> None:
    done = subprocess.run([sys.executable, "-uc", HANGS_UP], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("hangup\n")
    assert "node.stopping" in done.stdout + done.stderr
    assert "SIGTERM" in done.stdout + done.stderr
