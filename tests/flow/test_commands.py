"""What people type: every mistake is one sentence and exit code 2, from `check` and at start, without a traceback."""

import re
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from node import testing
from node.commands.new_plugin import new_plugin
from node.commands.try_plugin import _described
from node.errors import ConfigError
from node.images.part10 import Part10
from node.images.stacks import group_into_stacks
from node.receive import stand_in_pacs
from tests.peers import ROOT, free_port, isocenter, write_config


def check_error(done: subprocess.CompletedProcess[str], *words: str) -> None:
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert "Traceback" not in said
    line = next((line for line in said.splitlines() if all(word in line for word in words)), None)
    assert line, f"no line has {words} in:\n{said}"


@pytest.fixture
def config(tmp_path: Path):
    pacs = stand_in_pacs("PACS", tmp_path / "pacs")
    pacs.start()
    yield write_config(tmp_path / "node", port=free_port(), pacs=f"PACS@127.0.0.1:{pacs.port}")
    pacs.stop()


def edited(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def both(config: Path, *words: str) -> None:
    for command in ("check", "serve"):
        check_error(isocenter(command, "--config", str(config)), *words)


def test_check_of_a_right_configuration_says_so_and_exits_with_0(config: Path) -> None:
    done = isocenter("check", "--config", str(config))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mend" not in done.stdout
    assert "destination PACS" in done.stdout


def test_an_unknown_key_is_named_with_its_file(config: Path) -> None:
    edited(config, "[assemble]", "[assemble]\nquite_seconds = 3")
    both(config, "isocenter.toml", "assemble.quite_seconds")


def test_a_model_that_the_server_lacks_is_named(config: Path) -> None:
    (config.parent / "models").mkdir()
    edited(config, f'model_repository = "{ROOT}/triton_models"', 'model_repository = "models"')
    both(config, "ct_lung")


def test_a_port_in_use_is_reported(config: Path) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        text = config.read_text()
        config.write_text(text.replace(text.split("ISOCENTER@127.0.0.1:")[1].split('"')[0], str(port), 1))
        both(config, str(port), "in use")


def test_plugin_list_shows_what_routes_can_name(config: Path) -> None:
    done = isocenter("plugin", "list", "--config", str(config))
    assert re.search(r"^ct_lung \d+\.\d+\.\d+ ", done.stdout, re.MULTILINE)
    assert "template" in done.stdout


def test_plugin_new_makes_a_plugin_that_passes_its_test_and_plugin_try_leaves_objects_and_a_picture(
    config: Path, tmp_path: Path
) -> None:
    for key in ("plugins", "triton_models"):
        (tmp_path / key).mkdir()
        edited(config, f'"{ROOT}/{key}"', f'"{tmp_path}/{key}"')
    done = isocenter("plugin", "new", "bone", "--config", str(config))
    assert done.returncode == 0, done.stdout + done.stderr
    code = (tmp_path / "plugins" / "bone" / "plugin.py").read_text().splitlines()
    assert len([line for line in code if line.strip()]) <= 15
    test = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path / "plugins" / "bone")]
    passed = subprocess.run(test, capture_output=True, text=True, check=False, cwd=ROOT)
    assert passed.returncode == 0, passed.stdout
    testing.write(testing.ct_series(slices=5, rows=64, columns=64), tmp_path / "images")
    words = ("plugin", "try", "bone", str(tmp_path / "images"), "--out", str(tmp_path / "tried"))
    done = isocenter(*words, "--config", str(config))
    assert done.returncode == 0, done.stdout + done.stderr
    assert list((tmp_path / "tried").rglob("*.dcm"))
    assert list((tmp_path / "tried").rglob("*.png"))
    assert "ct: CT, 5 images of 64 × 64" in done.stdout
    assert "ct: axial, 2.5 mm apart, pixels of 0.8 × 0.8 mm" in done.stdout
    assert "warning" not in done.stdout


@pytest.mark.parametrize(("name", "message"), [("ct_lung", "exists already"), ("Bone", "is not a valid name")])
def test_plugin_new_refuses_names_that_are_taken_or_not_valid(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        new_plugin(name, ROOT / "plugins", ROOT / "triton_models")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (testing.without(testing.ct_series(), 3), "ct has no volume: .* spaced"),
        (testing.duplicated(testing.ct_series(), 3), "ct has no volume"),
        (testing.tilted(testing.ct_series(), 15), "ct has no volume: .*tilt"),
        (testing.ct_series(orientation=(1, 0, 0, 0, 0.7071, -0.7071)), "ct is oblique"),
        (testing.ct_series(spacing=(6.0, 0.5, 0.5)), "ct is 12 times as coarse"),
    ],
    ids=["gap", "duplicate", "tilt", "oblique", "coarse"],
)
def test_plugin_try_warns_about_unusual_geometry(images: list[Dataset], message: str, tmp_path: Path) -> None:
    (series,) = group_into_stacks(map(Part10.of_file, testing.write(images, tmp_path))).series
    assert [line for line in _described("ct", series) if re.match(f"warning: {message}", line)]


def test_send_prints_how_many_were_stored_and_which_files_are_not_dicom(tmp_path: Path) -> None:
    testing.write(testing.ct_series(slices=3, rows=32, columns=32), tmp_path / "images")
    (tmp_path / "images" / "notes.txt").write_text("not DICOM")
    pacs = stand_in_pacs("PACS", tmp_path / "pacs")
    pacs.start()
    done = isocenter("send", str(tmp_path / "images"), f"PACS@127.0.0.1:{pacs.port}")
    pacs.stop()
    assert "3 of 3 instances stored" in done.stdout
    assert "notes.txt is not a DICOM file" in done.stdout
    assert len(list((tmp_path / "pacs").rglob("*.dcm"))) == 3
