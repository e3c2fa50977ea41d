"""The loop of an author, with a fake Triton: run again at each save, a mistake is a line, a prior by the rules."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from node import testing
from node.commands import try_plugin
from node.commands.new_plugin import new_plugin
from node.commands.run_plugin_test import run_test
from node.errors import ConfigError, PluginFailed
from node.settings import Settings
from node.triton.fake import FakeTriton

DENSE = np.full((6, 16, 16), -1000, np.int16)
DENSE[1:5, 4:12, 4:12] = 400


def fake_model(image: Any) -> dict[str, Any]:
    return {"mask": (image > 200).astype(np.uint8)}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(try_plugin, "GrpcTriton", lambda *_, **__: FakeTriton({"mine": fake_model}))
    (tmp_path / "isocenter.toml").write_text(
        'plugins = ["plugins"]\n[triton]\nurls = ["x:1"]\nmodel_repository = "m"\n'
    )
    testing.write(testing.ct_series(array=DENSE, spacing=(1.0, 1.0, 1.0)), tmp_path / "images")
    return Settings.read(tmp_path / "isocenter.toml")


def tried(settings: Settings, folder: Path, **options: Any) -> Iterator[str]:
    return try_plugin.try_plugin(settings, "mine", folder / "images", folder / "tried", **options)


def test_a_plugin_is_run_again_when_it_was_saved_and_its_mistake_is_a_line(settings: Settings, tmp_path: Path) -> None:
    folder, _ = new_plugin("mine", tmp_path / "plugins", tmp_path / "m")
    right = (folder / "plugin.py").read_text()
    texts = iter([right.replace("voxel_ml", "voxelml"), right])

    def saved(_: Path) -> bool:
        text = next(texts, None)
        if text is not None:
            (folder / "plugin.py").write_text(text)
        return text is not None

    lines = list(tried(settings, tmp_path, again=saved))
    assert len([line for line in lines if line.startswith("SEG: ")]) == 2
    assert [line for line in lines if "voxelml" in line] == [
        f"  {folder / 'plugin.py'}, line 15: millilitres = float(mask.sum()) * volume.voxelml",
        "mend: AttributeError: 'Volume' object has no attribute 'voxelml'; did you mean voxel_ml? (plugin.py, line 15)",
    ]


def test_without_watch_a_mistake_ends_the_command(settings: Settings, tmp_path: Path) -> None:
    folder, _ = new_plugin("mine", tmp_path / "plugins", tmp_path / "m")
    code = (folder / "plugin.py").read_text()
    (folder / "plugin.py").write_text(code.replace("voxel_ml", "voxel_ml / 0"))
    with pytest.raises(PluginFailed, match=r"ZeroDivisionError: .* \(plugin\.py, line 15\)"):
        list(tried(settings, tmp_path))


def test_a_prior_is_taken_by_the_rules_of_the_node(settings: Settings, tmp_path: Path) -> None:
    new_plugin("mine", tmp_path / "plugins", tmp_path / "m", "prior-comparison")
    before = testing.ct_series(array=DENSE, spacing=(1.0, 1.0, 1.0), seed="before")
    for image in before:
        image.StudyDate = image.AcquisitionDate = "20230102"
    testing.write(before, tmp_path / "before")
    assert any(line.startswith("prior is series ") for line in tried(settings, tmp_path, prior=tmp_path / "before"))
    refused = list(tried(settings, tmp_path, prior=tmp_path / "images"))
    assert any(line.startswith("there is no prior: ") for line in refused)


def test_a_save_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plugin.py").write_text("")
    monkeypatch.setattr(try_plugin.time, "sleep", lambda _: (tmp_path / "plugin.py").write_text("# saved"))
    assert try_plugin.until_saved(tmp_path)


def test_the_test_of_a_plugin_is_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no test; write .*test_plugin\.py"):
        run_test(tmp_path)
    (tmp_path / "test_plugin.py").write_text("def test_a(): assert False\n")
    assert not run_test(tmp_path)
    (tmp_path / "test_plugin.py").write_text("def test_a(): assert True\n")
    assert run_test(tmp_path)
