"""What `isocenter plugin new --from` copies: each starting point is a plugin that passes its own test."""

import importlib.util
from pathlib import Path

import pytest

from node.commands.new_plugin import TEMPLATE, new_plugin, starting_points
from node.errors import ConfigError
from node.host import read_plugin
from node.infer import check_models_of


def test_there_are_three_beside_the_template() -> None:
    assert set(starting_points()) == {TEMPLATE, "nodule-detector", "radiograph-classifier", "prior-comparison"}


@pytest.mark.parametrize("start", starting_points())
def test_a_starting_point_passes_its_own_test_under_another_name(tmp_path: Path, start: str) -> None:
    folder, _ = new_plugin("mine", tmp_path / "plugins", tmp_path / "models", start)
    check_models_of(read_plugin(folder), [tmp_path / "models"])
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and TEMPLATE in path.read_text()]
    spec = importlib.util.spec_from_file_location(f"test_of_{start}", folder / "test_plugin.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tests = [getattr(module, name) for name in dir(module) if name.startswith("test_")]
    assert tests
    for test in tests:
        test()


def test_a_misspelt_start_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no 'nodule-detektor' to begin with; .*; did you mean nodule-detector\?"):
        new_plugin("mine", tmp_path, tmp_path, "nodule-detektor")
