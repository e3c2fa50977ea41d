"""The tutorial for plugin authors runs as it stands: its files are written, its commands run, its plugin answers."""

import os
import re
import subprocess
import sys
from pathlib import Path

from pydicom import dcmread

from tests.peers import ROOT

PAGE = ROOT / "docs" / "plugin-author.md"
FILE = re.compile(r"# ([\w./]+\.(?:py|toml))\n")
"""The first line of a block that is a file."""


def blocks() -> list[tuple[str, str]]:
    return re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_the_tutorial_leads_from_nothing_to_a_plugin_that_runs(tmp_path: Path) -> None:
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": programs, "PYTHONPATH": str(ROOT)}
    said = ""
    for language, text in blocks():
        if file := FILE.match(text):
            path = tmp_path / file[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.removeprefix(file[0]), encoding="utf-8")
        elif language == "sh":
            done = subprocess.run(
                ["bash", "-euc", text],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=300,
            )
            assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
            said += done.stdout
    assert "3 passed" in said
    assert "ct: CT, 20 images of 64 × 64" in said
    assert sorted(dcmread(path).Modality for path in (tmp_path / "tried").rglob("*.dcm")) == ["SEG", "SR"]
    assert list((tmp_path / "tried").rglob("*.png"))
