"""Triton's config.pbtxt, held against the schema that Triton documents: its protobuf message ModelConfig."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from node.errors import ConfigError

CONFIG = "config.pbtxt"


def model_folder(repositories: Sequence[Path], name: str) -> Path:
    """Return the folder of a model in the first repository that has it; where none has, its place in the first."""
    folders = [repository / name for repository in repositories]
    return next((folder for folder in folders if (folder / CONFIG).is_file()), folders[0])


def read_config(folder: Path) -> Any:
    """Return the ModelConfig of a model's folder; ConfigError where there is none, or Triton would not take it."""
    path = folder / CONFIG
    try:
        return parsed(path.read_text(encoding="utf-8"), path)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such file; a model's folder on Triton has one") from error


def parsed(text: str, path: Path) -> Any:
    """Return the ModelConfig that a text says; ConfigError names the file, the line and what is wrong there."""
    try:
        return text_format.Parse(text, ModelConfig())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no model configuration of Triton's: {error}") from error


def kind_of(config: Any) -> str:
    """Return what stands behind a model's answers, by its parameter "kind", as in plugin.toml; empty without it."""
    return str(config.parameters["kind"].string_value) if "kind" in config.parameters else ""


def instances(config: Any) -> int:
    """Return how many requests a model works on at once: the instances of all its groups."""
    return sum(group.count or 1 for group in config.instance_group) or 1
