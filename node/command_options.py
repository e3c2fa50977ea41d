"""What the commands share: the option for the configuration file, errors as one sentence, and listings."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from node.errors import NodeError

if TYPE_CHECKING:
    from node.ledger import Ledger
    from node.settings import Settings

ConfigFile = Annotated[Path, typer.Option("--config", help="The configuration file; paths in it are relative to it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
DEFAULT = Path("config/isocenter.toml")
PRIVATE = 0o077
"""The umask of commands that write images or rows: they are for the node's user alone."""
NOTHING, MEND = 1, 2
"""Exit codes: nothing fitted what was asked for; something must be mended."""


@contextmanager
def reported_errors() -> Iterator[None]:
    """Print an error of the node as one sentence on stderr, and exit with 2; so too an error of the file system."""
    try:
        yield
    except NodeError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def progress(length: int, label: str) -> Any:
    """Return a bar on stderr, as a context with `update(n)`; nothing is shown where stderr is no terminal."""
    import sys

    return typer.progressbar(length=length, label=label if sys.stderr.isatty() else None, file=sys.stderr)


def fail(sentence: str, code: int = MEND) -> NoReturn:
    """Print a sentence on stderr, and exit."""
    typer.echo(f"{typer.style('isocenter:', fg='red')} {sentence}", err=True)
    raise typer.Exit(code)


def opened(config: Path) -> "tuple[Settings, Ledger]":
    """Return the settings, and the ledger that they name."""
    from node.settings import Settings
    from node.storage import open_ledger

    settings = Settings.read(config)
    return settings, open_ledger(settings)


def print_json(value: object) -> None:
    """Print a value as JSON."""
    typer.echo(json.dumps(value, ensure_ascii=False, default=str, indent=2))


def print_table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print rows under the names of their columns, each as wide as its longest value."""
    cells = [list(columns), *([str(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    for line in cells:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
