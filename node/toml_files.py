"""TOML files that people write, read into pydantic models; a fault is one sentence."""

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from node.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)


def read_toml(path: Path, kind: type[Model]) -> Model:
    """Read and check a file; ConfigError names the file, the key and what is wrong with it."""
    return checked(path, kind, load_toml(path))


def load_toml(path: Path) -> dict[str, object]:
    """Read a file without checking its keys; ConfigError if it is missing or not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such file") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def checked(path: Path, kind: type[Model], content: dict[str, object]) -> Model:
    """Check the content of a file against a model."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{path}: {first_fault(error)}") from error


def first_fault(error: ValidationError) -> str:
    """Return the first fault of several as `key: what is wrong`."""
    fault = error.errors()[0]
    key = ".".join(str(part) for part in fault["loc"] if part != "[key]")
    if fault["type"] == "extra_forbidden":
        return f"unknown key {key}"
    return f"{key}: {fault['msg'].removeprefix('Value error, ')}" if key else fault["msg"].removeprefix("Value error, ")
