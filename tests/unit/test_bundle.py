"""The offline bundle: what pip downloads, models, and digests that `sha256sum --check` reads."""

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from node.cli import app
from node.commands import bundle


def run(*arguments: str | Path, code: int = 0) -> Result:
    done = CliRunner().invoke(app, ["bundle", *map(str, arguments)])
    assert done.exit_code == code, done.output
    return done


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    file = tmp_path / "isocenter-9-py3-none-any.whl"
    file.write_bytes(b"a wheel")
    return file


def test_a_bundle_has_wheels_models_and_digests_that_are_right(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        Path(command[command.index("--dest") + 1], "torch.whl").write_bytes(b"torch")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(bundle.subprocess, "run", pip)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.pbtxt").write_text("")
    file = tmp_path / "b.tar"
    run(file, "--wheel", wheel, "--cpu", "--extra", "procrastinate", "--model", tmp_path / "mine")
    monkeypatch.undo()
    assert asked[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert asked[0][-3].endswith("url")
    assert asked[0][-1] == f"isocenter[procrastinate] @ {wheel.as_uri()}"
    with tarfile.open(file) as tar:
        tar.extractall(tmp_path / "out", filter="data")
    (folder,) = (tmp_path / "out").iterdir()
    assert "isocenter[procrastinate]" in (folder / "README.txt").read_text()
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    done = subprocess.run(check, cwd=folder, capture_output=True, text=True, check=True)
    assert {"wheels/torch.whl: OK", "models/mine/config.pbtxt: OK"} <= set(done.stdout.splitlines())


def test_what_pip_cannot_find_is_said_and_nothing_is_left(wheel: Path, tmp_path: Path) -> None:
    done = run(tmp_path / "b.tar", "--wheel", wheel, code=2)
    assert "pip cannot download isocenter" in done.output
    assert "there is no" in run(tmp_path / "b.tar", "--wheel", tmp_path / "none.whl", code=2).output
    assert [path.name for path in tmp_path.iterdir()] == [wheel.name]
