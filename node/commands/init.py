"""Begin a node: a folder with a commented configuration, routes, and places for plugins, models and data."""

import ast
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import distributions, version
from itertools import pairwise
from pathlib import Path

from pydantic import BaseModel

from node import settings
from node.records import Address
from node.settings import Settings
from node.toml_files import model_in

TEMPLATES = Path(__file__).with_name("templates")
CONFIG = Path("config/isocenter.toml")
"""Where every command looks for the configuration, from the folder it is called in."""
FOLDERS = ("plugins", "triton_models", "data")
PRIVATE_FOLDER = 0o700
UNKNOWN_PACS = "PACS@127.0.0.1:4242"
HEAD = """\
# The configuration of a node, written by `isocenter init`. Paths are relative to this file.
# A line that begins with # shows the default of a key. An environment variable overrides a key:
# ISOCENTER_RECEIVE__ADDRESS=AE@0.0.0.0:104. `isocenter check` says what is to be corrected.
"""
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CUDA_WHEELS = ("nvidia-cublas", "nvidia-cuda-runtime")
"""What only a PyTorch for GPUs needs; the names go on with the version of CUDA."""


@dataclass(frozen=True, slots=True)
class Begun:
    """What was written, and what to do next."""

    written: tuple[Path, ...]
    kept: tuple[Path, ...]
    advice: tuple[str, ...]


def init(folder: Path, pacs: str) -> Begun:
    """Write what a node needs into a folder; what is there stays as it is.

    Parameters
    ----------
    pacs
        `AE@host:port` of the PACS: results go there, and it may send. Empty: a place to fill in.

    Raises
    ------
    ConfigError
        `pacs` is no address.
    """
    texts = {
        CONFIG: configuration(pacs),
        **{CONFIG.with_name(file.name): file.read_text(encoding="utf-8") for file in sorted(TEMPLATES.glob("*.toml"))},
    }
    for inner in FOLDERS:
        (folder / inner).mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
    written, kept = [], []
    for name, text in texts.items():
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        try:
            with file.open("x", encoding="utf-8") as opened:
                opened.write(text)
            written.append(file)
        except FileExistsError:
            kept.append(file)
    return Begun(tuple(written), tuple(kept), tuple(_advice(folder, known=bool(pacs))))


def configuration(pacs: str) -> str:
    """Return a configuration with every key: those that a node in a folder of its own needs, the others as comments."""
    address = Address.parse(pacs or UNKNOWN_PACS)
    values: dict[str, object] = {
        "routes": "routes.toml",
        "plugins": ["../plugins"],
        "included_plugins": True,
        "receive.address": "ISOCENTER@0.0.0.0:11112",
        "receive.accept_from": [f"{address.ae_title}@{address.host}"] if pacs else [],
        "spool.path": "../data/spool",
        "ledger.url": "sqlite:///../data/ledger.db",
        "triton.model_repository": "../triton_models",
        "triton.included_models": True,
        "destinations.PACS.address": str(address),
    }
    return HEAD + "\n".join(_lines(Settings, "", values)) + "\n"


def _lines(table: type[BaseModel], path: str, values: Mapping[str, object]) -> Iterator[str]:
    """Yield the keys of a table with what they mean, and then the tables in it."""
    meanings, tables, optional = _meanings(table), [], []
    if path:
        yield from ("", f"[{path}]")
    for name, field in table.model_fields.items():
        key = f"{path}.{name}" if path else name
        inner = model_in(field.annotation)
        if inner is not None and field.default is None:
            optional.append((inner, key))
            continue
        if inner is not None:
            tables.append((inner, f"{key}.PACS" if inner is settings.Destination else key))
            continue
        yield from (f"# {line.strip()}" for line in meanings[name].splitlines())
        value = values.get(key)
        shown = toml_value(field.get_default(call_default_factory=True) if value is None else value)
        yield f"{name} = {shown}" if key in values else f"# {name} = {shown}"
    for inner, key in optional:
        yield from _optional(inner, key)
    for inner, key in tables:
        yield from _lines(inner, key, values)


def _optional(table: type[BaseModel], path: str) -> Iterator[str]:
    """Yield a table that switches something on by being there: all of it as a comment."""
    yield from ("", f"# [{path}]")
    meanings = _meanings(table)
    for name, field in table.model_fields.items():
        yield from (f"#   {line.strip()}" for line in meanings[name].splitlines())
        is_file = field.is_required() or field.default is None
        yield f"#  {name} = {toml_value('FILE' if is_file else field.default)}"


def _meanings(table: type[BaseModel]) -> dict[str, str]:
    """Return what each key of a table means: the string below it in the source."""
    (body,) = (node.body for node in ast.parse(inspect.getsource(table)).body if isinstance(node, ast.ClassDef))
    found: dict[str, str] = {}
    for key, below in pairwise(body):
        if isinstance(key, ast.AnnAssign) and isinstance(key.target, ast.Name) and isinstance(below, ast.Expr):
            found[key.target.id] = str(ast.literal_eval(below.value))
    return found


def toml_value(value: object) -> str:
    """Write a value as a configuration file has it."""
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return f"{value:g}"
        case tuple() | list():
            return f"[{', '.join(map(toml_value, value))}]"
        case None:
            return '"profile"'  # of `objects` and `fallback`
        case _:
            return f'"{value}"'


def _advice(folder: Path, *, known: bool) -> Iterator[str]:
    """Yield the next three commands, each with why."""
    file = folder / CONFIG
    if not known:
        yield f"say where results go: destinations.PACS.address in {file}, and who may send: receive.accept_from"
    for command, why in (
        (f"isocenter check --config {file}", "says what is to be corrected"),
        (f"isocenter serve --config {file}", "runs the node until Ctrl-C"),
        (f"isocenter service install --config {file}", "has systemd run it for years"),
    ):
        yield f"{command}    # {why}"
    if (line := cpu_build(installed())) is not None:
        yield f"this machine has no NVIDIA GPU; PyTorch's CPU build is gigabytes smaller: {line}"


def installed() -> list[str]:
    """Return the names of the installed distributions, in small letters."""
    return [str(found.metadata["Name"]).lower() for found in distributions()]


def cpu_build(names: list[str], gpu: Path = Path("/proc/driver/nvidia")) -> str | None:
    """Return the line that installs PyTorch's CPU build, where its GPU build is installed and there is no GPU."""
    if gpu.exists() or not any(name.startswith(CUDA_WHEELS) for name in names):
        return None
    torch = version("torch").partition("+")[0]
    return f"pip install --force-reinstall --no-deps torch=={torch} --index-url {CPU_INDEX}"
