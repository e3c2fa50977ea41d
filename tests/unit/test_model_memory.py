"""How much memory a model of a repository takes, read from its files and its configuration."""

from pathlib import Path

import pytest

from node.errors import ConfigError
from node.triton.model_config import read_config
from node.triton.model_memory import PROCESS_BYTES, footprint


def test_what_a_model_takes_is_its_files_and_its_processes(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.plan").write_bytes(bytes(1000))
    text = 'backend: "tensorrt"'
    (tmp_path / "config.pbtxt").write_text(text)
    assert footprint(tmp_path) == 1000 + len(text)
    (tmp_path / "config.pbtxt").write_text('backend: "python" instance_group [{count: 2}, {count: 1}]')
    assert footprint(tmp_path) > 1000 + 3 * PROCESS_BYTES
    assert footprint(tmp_path / "elsewhere") == 0


def test_a_configuration_that_triton_refuses_is_reported_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "config.pbtxt").write_text('backend: "python"\nmax_batch: 4')
    with pytest.raises(ConfigError, match=r"config\.pbtxt.*2:1.*max_batch"):
        read_config(tmp_path)
