"""TOML files that people write, read into pydantic models; a fault is one sentence."""

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from node.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)
HEADER = re.compile(r"\s*(\[\[?)\s*([\w.-]+)\s*\]")
KEY = re.compile(r"\s*([\w.-]+)\s*=")
"""A line that begins a table or is a key, as people write them: without quotes."""


class Table(BaseModel):
    """One table of a file."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


def read_toml(path: Path, kind: type[Model]) -> Model:
    """Read and check a file; ConfigError names the file, the line, the key and what is wrong with it."""
    try:
        return kind.model_validate(load_toml(path))
    except ValidationError as error:
        raise ConfigError(f"{path}: {first_fault(error, kind, path)}") from error


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


def first_fault(error: ValidationError, kind: type[BaseModel], path: Path) -> str:
    """Return the first fault of several as `key: what is wrong`, with its line where the file has the key.

    An unknown key comes first: a key that is missing is often the one that was meant.
    """
    faults = error.errors()
    fault = next((unknown for unknown in faults if unknown["type"] == "extra_forbidden"), faults[0])
    loc = [part for part in fault["loc"] if part != "[key]"]
    key = ".".join(str(part) for part in loc)
    number = line_of(path, loc, whole=fault["type"] == "extra_forbidden")
    line = f" (line {number})" if number else ""
    if fault["type"] == "extra_forbidden":
        return f"unknown key {key}{meant(str(loc[-1]), _keys(kind, loc[:-1]))}{line}"
    said = fault["msg"].removeprefix("Value error, ")
    return f"{key}: {said}{line}" if key else said


def meant(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean …?" where a known word is like one that is not known; else nothing."""
    near = get_close_matches(word, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


def line_of(path: Path, loc: Sequence[object], *, whole: bool) -> int | None:
    """Return the line of a file that has a key, by its path of tables, keys and numbers of tables; None without one.

    Unless the `whole` path is asked for, it may be the line of what holds the key.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    wanted, table, counts = [str(part) for part in loc], list[str](), Counter[str]()
    best: tuple[int, int | None] = (0, None)
    for number, line in enumerate(lines, 1):
        if found := HEADER.match(line):
            table = found[2].split(".")
            if found[1] == "[[":
                table.append(str(counts[found[2]]))
                counts[found[2]] += 1
            here = table
        elif found := KEY.match(line):
            here = [*table, *found[1].split(".")]
        else:
            continue
        if here == wanted[: len(here)] and len(here) > best[0] and (not whole or here == wanted):
            best = len(here), number
    return best[1]


def _keys(kind: type[BaseModel], loc: Sequence[object]) -> list[str]:
    """Return the keys that a table may have, by its path; names that people choose lead to the same model."""
    for part in loc:
        if part in kind.model_fields:
            inner = model_in(kind.model_fields[str(part)].annotation)
            if inner is None:
                return []
            kind = inner
    return list(kind.model_fields)


def model_in(annotation: object) -> type[BaseModel] | None:
    """Return the model in an annotation such as `dict[str, Model]` or `tuple[Model, ...] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := model_in(part))), None)
