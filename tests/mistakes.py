"""Mistakes that people make in files: each replaces something there."""

from pathlib import Path
from types import EllipsisType


def make_mistake(path: Path, before: "str | EllipsisType", after: str | None) -> None:
    """Replace a text in a file; ... is all of it, and None removes the file."""
    if after is None:
        path.unlink()
    elif isinstance(before, EllipsisType):
        path.write_text(after)
    else:
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after))
