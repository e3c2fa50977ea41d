"""A bundle's configuration is data: what refers is resolved, what is harmless computed, what is code named."""

import json
from pathlib import Path
from typing import Any

import pytest

from node.errors import ConfigError
from node.models.bundle_config import Configuration


def read(folder: Path, **words: Any) -> Configuration:
    (folder / "inference.json").write_text(json.dumps(words))
    return Configuration.read(folder / "inference.json")


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("@size", [96, 96, 48]),
        ("@deep::size#1", 3),
        ("$@size", [96, 96, 48]),
        ("$@size[0] // 2", 48),
        ("$[@half] * 2 + [-1]", [48, 48, -1]),
        ("$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')", "cpu"),
        ("$@root + '/models'", "/bundle/models"),
        ("$torch.float32", "torch.float32"),
        ("$list(range(3))", [0, 1, 2]),
        ("%deep::size", [2, 3]),
        ("%other.json::tile", [8, 8]),
        ("an @ in words", "an @ in words"),
        (["@root", {"a": "@half", "b": 1}], ["/bundle", {"a": 48, "b": 1}]),
        ([{"_disabled_": True, "a": 1}, {"_disabled_": False}], [{"_disabled_": False}]),
    ],
)
def test_what_refers_to_something_is_what_it_refers_to(tmp_path: Path, written: Any, value: Any) -> None:
    (tmp_path / "other.json").write_text('{"tile": [8, 8]}')
    deep = {"size": [2, 3]}
    config = read(tmp_path, root="/bundle", size=[96, 96, 48], half="$@size[0] // 2", deep=deep, asked=written)
    assert config.get("asked") == value


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("$__import__('os').system('touch ran')", "is code, which is not run"),
        ("$open('ran', 'w')", "is code"),
        ("$().__class__.__bases__", "is code"),
        ("$[x for x in @size]", "is code"),
        ("$scripts.network.build()", "is code"),
        ("$'a' * 1000000000", "is code"),
        ("$1 +", "is code"),
        ("@nowhere", "there is no nowhere"),
        ("@circle", "in a circle"),
        ("%../../etc/secrets.json::a", "does not lie beside it"),
        ("%missing.json::a", "cannot be read"),
    ],
)
def test_what_is_code_or_leads_nowhere_is_named_and_nothing_runs(tmp_path: Path, written: str, message: str) -> None:
    config = read(tmp_path, size=[1], circle="@circle", asked={"deep": written})
    with pytest.raises(ConfigError, match=message):
        config.get("asked")
    assert not Path("ran").exists()


def test_a_file_of_yaml_says_the_same(tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="PyYAML is not installed")
    (tmp_path / "inference.yaml").write_text("size: [4, 5]\nasked:\n  - '@size'\n")
    assert Configuration.read(tmp_path / "inference.yaml").get("asked") == [[4, 5]]
