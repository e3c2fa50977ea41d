"""What all commands share: `--quiet`, `--verbose`, exit codes, colours, completion."""

import logging
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from docs.generate import every_command
from node import exit_codes, log
from node.cli import LEVELS, LOG_LEVEL, app
from node.command_options import VERBOSITY, Verbosity, is_quiet, log_for_people
from node.commands import serve
from tests.processes import ISOCENTER

COMMANDS = [words.removeprefix("isocenter ") for words, _ in every_command(get_command(app), "isocenter")]


@pytest.fixture
def node(tmp_path: Path) -> Path:
    assert run("init", tmp_path, "--pacs", "ORTHANC@127.0.0.1:1").exit_code == 0
    return tmp_path / "config" / "isocenter.toml"


@pytest.fixture
def verbosity() -> Iterator[None]:
    """Put back how much is logged: a node that a later test starts would have the level in its environment."""
    before = VERBOSITY.get()
    with patch.dict(os.environ):
        yield
    VERBOSITY.set(before)
    logging.getLogger("pynetdicom").handlers.clear()


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, list(map(str, words)))


def test_every_command_has_its_exit_codes_in_the_help() -> None:
    assert set(COMMANDS) == set(exit_codes.ONES)
    for command, codes in exit_codes.ONES.items():
        said = " ".join(run(*command.split(), "--help").output.split())
        assert all(f"Exit code {code}: " in said for code in codes), command


def test_every_exit_code_that_a_command_ends_with_is_in_the_table() -> None:
    """In the code of the commands, 1 is always called NOTHING; each command that says it has a row for it."""
    for words, command in every_command(get_command(app), "isocenter"):
        function = command.callback.__wrapped__
        code = function.__code__
        names = {
            *code.co_names,
            *(name for each in code.co_consts if hasattr(each, "co_names") for name in each.co_names),
        }
        if names & {"NOTHING", "_one_study", "confirm"} & function.__globals__.keys():
            assert exit_codes.NOTHING in exit_codes.exit_codes(words.removeprefix("isocenter ")), words


def test_what_ends_with_0_at_ctrl_c_has_no_other_code_for_it() -> None:
    ending = {command for command in exit_codes.ONES if exit_codes.INTERRUPTED not in exit_codes.exit_codes(command)}
    assert ending == {"serve", "receive", "work", "deliver", "watch", "web"}


@pytest.mark.usefixtures("verbosity")
def test_quiet_leaves_steps_away_and_keeps_errors(node: Path, tmp_path: Path) -> None:
    run("studies", "--config", node)  # makes the ledger
    told = run("backup", tmp_path / "a.tar.gz", "--config", node)
    assert "written: " in told.output
    for words in (("--quiet", "backup"), ("backup", "-q")):
        done = run(*words, tmp_path / f"{words[0]}.tar.gz", "--config", node)
        assert (done.exit_code, done.output) == (0, "")
    done = run("backup", tmp_path / "a.tar.gz", "--config", node, "--quiet")
    assert (done.exit_code, "exists already" in done.output) == (2, True)
    done = run("check", "--config", node, "--quiet")
    assert done.exit_code == 2
    assert "mend  " in done.output
    assert "ok  " not in done.output
    assert "exclude each other" in run("status", "-q", "-v", "--config", node).output


@pytest.mark.usefixtures("verbosity")
def test_an_option_of_isocenter_behind_two_dashes_is_an_argument(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("init", "--", "--quiet")
    assert "written: --quiet" in done.output
    assert not is_quiet()


@pytest.mark.usefixtures("verbosity")
@pytest.mark.parametrize(
    ("asked", "level"), [(Verbosity.QUIET, "error"), (Verbosity.NORMAL, "warning"), (Verbosity.VERBOSE, "info")]
)
def test_the_log_of_a_command_is_as_detailed_as_asked_for(
    asked: Verbosity, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels: list[str] = []
    monkeypatch.setattr(log, "log_to_stderr", lambda level, _form: levels.append(level))
    VERBOSITY.set(asked)
    log_for_people()
    assert levels == [level]
    logger = logging.getLogger("pynetdicom")
    assert (logger.level == logging.INFO and bool(logger.handlers)) is (asked is Verbosity.VERBOSE)


@pytest.mark.usefixtures("verbosity")
@pytest.mark.parametrize(("option", "level"), [("--quiet", "warning"), ("--verbose", "debug"), (None, None)])
def test_a_node_that_serves_logs_as_asked_for_in_all_its_processes(
    node: Path, option: str | None, level: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str | None] = []
    monkeypatch.delenv(LOG_LEVEL, raising=False)
    monkeypatch.setattr(serve, "serve", lambda *_: found.append(os.environ.get(LOG_LEVEL)))
    assert run("serve", "--config", node, *([option] if option else [])).exit_code == 0
    assert found == [level]
    assert level is None or level in LEVELS.values()


def test_there_are_no_colours_in_a_pipe_and_none_with_no_color(node: Path) -> None:
    command = [ISOCENTER, "init", node.parents[1], "--pacs", "wrong"]
    piped = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "isocenter: " in piped.stderr
    assert "\x1b" not in piped.stdout + piped.stderr
    for no_color in ({}, {"NO_COLOR": "1"}):
        words = ["script", "-qec", " ".join(map(str, command)), "/dev/null"]
        environment = {"PATH": "/usr/bin:/bin", "TERM": "xterm", **no_color}
        if shutil.which("script") is None:
            pytest.skip("script(1), which gives a program a terminal, is not installed")
        shown = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
        assert ("\x1b[31m" in shown.stdout) is not no_color, shown.stdout


@pytest.mark.parametrize(
    ("shell", "asks"),
    [
        ("bash", {"COMP_WORDS": "isocenter que", "COMP_CWORD": "1"}),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "isocenter que"}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "isocenter que", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
    ],
)
def test_a_shell_completes_commands(shell: str, asks: dict[str, str]) -> None:
    environment = {"PATH": "/usr/bin:/bin", "_ISOCENTER_COMPLETE": f"complete_{shell}", **asks}
    done = subprocess.run([ISOCENTER], capture_output=True, text=True, check=False, env=environment)
    assert re.search(r"\bqueue\b", done.stdout), done.stderr
    assert "studies" not in done.stdout
    environment = {"PATH": "/usr/bin:/bin", "_ISOCENTER_COMPLETE": f"source_{shell}"}
    done = subprocess.run([ISOCENTER], capture_output=True, text=True, check=True, env=environment)
    assert f"complete_{shell}" in done.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=done.stdout, text=True, check=True, capture_output=True)
