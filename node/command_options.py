"""What the commands share: the option for the configuration file, errors as one sentence, progress, and listings."""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer
from typer.core import TyperGroup

from node.errors import NodeError
from node.exit_codes import INTERRUPTED, MEND
from node.progress import Progress, awaited

if TYPE_CHECKING:
    from node.ledger import Ledger
    from node.settings import Settings

ConfigFile = Annotated[Path, typer.Option("--config", help="The configuration file; paths in it are relative to it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
DEFAULT = Path("config/isocenter.toml")
PRIVATE = 0o077
"""The umask of commands that write images or rows: they are for the node's user alone."""
T = TypeVar("T")


class Verbosity(StrEnum):
    """How much a command says."""

    QUIET = "quiet"
    NORMAL = "normal"
    VERBOSE = "verbose"


VERBOSITY = ContextVar("VERBOSITY", default=Verbosity.NORMAL)
"""What `--quiet` or `--verbose` asked for."""
OF_ISOCENTER = {"-q", "--quiet", "-v", "--verbose"}
"""Options of `isocenter` itself, which may also stand behind the name of a command."""


class Isocenter(TyperGroup):
    """The command `isocenter`, whose own options may stand anywhere: `isocenter send FOLDER PACS --quiet`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse what was typed, with our own options first."""
        end = args.index("--") if "--" in args else len(args)
        own = [word for word in args[:end] if word in OF_ISOCENTER]
        return super().parse_args(ctx, [*own, *(word for word in args[:end] if word not in OF_ISOCENTER), *args[end:]])


def is_quiet() -> bool:
    """Return whether only results and errors are wanted."""
    return VERBOSITY.get() is Verbosity.QUIET


def log_for_people() -> None:
    """Log to stderr what a person at a terminal needs: warnings, with `--verbose` more, with `--quiet` errors only."""
    from node.log import Level, log_associations, log_to_stderr

    levels: dict[Verbosity, Level] = {Verbosity.QUIET: "error", Verbosity.VERBOSE: "info"}
    log_to_stderr(levels.get(VERBOSITY.get(), "warning"), "text")
    if VERBOSITY.get() is Verbosity.VERBOSE:
        log_associations()


@contextmanager
def reported_errors() -> Iterator[None]:
    """Print an error of the node as one sentence on stderr, and exit with 2; so too an error of the file system.

    At Ctrl-C, what the command opened has been closed on the way here. It then ends at once: threads of pynetdicom
    would be waited for, and wait themselves for a peer that may never answer.
    """
    try:
        yield
    except KeyboardInterrupt:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)
    except NodeError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def progress(doing: str, length: int = 0) -> Progress:
    """Return a bar for what may take longer than two seconds; nothing is shown where stderr is no terminal."""
    return Progress(doing, length, shown=sys.stderr.isatty() and not is_quiet())


def while_awaited(items: Iterable[T], doing: str) -> Iterator[T]:
    """Yield items, with a bar while the next one is awaited."""
    return awaited(items, progress(doing))


def print_steps(lines: Iterable[str], doing: str) -> None:
    """Print what a command does while it does it, unless `--quiet`; an error or the exit code tells the rest."""
    for line in while_awaited(lines, doing):
        if not is_quiet():
            typer.echo(line)


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
