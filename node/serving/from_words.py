"""Make frozen dataclasses from what people wrote in JSON: unknown keys are refused, and lists become tuples."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

Made = TypeVar("Made")


def made_from(kind: type[Made], words: Mapping[str, Any], place: str) -> Made:
    """Return a dataclass with these values; ValueError if a key is unknown; `place` names it there."""
    unknown = words.keys() - {parameter.name for parameter in fields(kind)}  # type: ignore[arg-type]
    if unknown:
        raise ValueError(f"there is no {', '.join(sorted(unknown))} in {place}")
    return kind(**words)


def lists_to_tuples(record: Any) -> None:
    """Replace the lists in a frozen dataclass by tuples, as its `__post_init__` does first."""
    for parameter in fields(record):
        if isinstance(value := getattr(record, parameter.name), list):
            object.__setattr__(record, parameter.name, tuple(value))
