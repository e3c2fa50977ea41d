"""What a plugin says about itself: plugin.toml, and the one function in plugin.py, checked without running it."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from node.errors import ConfigError
from node.predicates import When
from node.toml import read_toml

TRITON = "triton"


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", text):
        raise ValueError(f"{text!r} is no name: small letters, digits and underscores, 32 at most, a letter first")
    return text


Name = Annotated[str, AfterValidator(_name)]


class Role(BaseModel):
    """One series that the plugin asks for, with what it must be beside what the route says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    when: When


class Manifest(BaseModel):
    """All of plugin.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    version: str = Field(pattern=r"^[0-9A-Za-z.+-]{1,16}$")
    title: str = Field(min_length=1, max_length=64)
    manufacturer: str = Field(default="", max_length=64)
    family: Literal["artificial intelligence", "morphological operations", "histogram analysis"] = (
        "artificial intelligence"
    )
    models: tuple[str, ...] = ()
    time_limit_seconds: float = Field(default=300, gt=0)
    series: dict[Name, Role] = Field(min_length=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """A plugin that was found and whose form is right."""

    manifest: Manifest
    folder: Path

    @property
    def name(self) -> str:
        """The plugin's name, as routes call it."""
        return self.manifest.name

    @property
    def roles(self) -> tuple[str, ...]:
        """Names of the series that `run` takes."""
        return tuple(self.manifest.series)

    @property
    def code(self) -> Path:
        """The file that holds `run`."""
        return self.folder / "plugin.py"


def read_plugin(folder: Path) -> Plugin:
    """Read one plugin folder.

    Raises
    ------
    ConfigError
        The manifest is wrong, the code cannot be parsed, or `run` does not take exactly the roles and `triton`; the
        message names the file, and the line of `run`.
    """
    plugin = Plugin(manifest=read_toml(folder / "plugin.toml", Manifest), folder=folder)
    if plugin.name != folder.name:
        raise ConfigError(
            f"{folder / 'plugin.toml'}: the name is {plugin.name!r}, but the folder is called {folder.name!r}"
        )
    if TRITON in plugin.roles:
        raise ConfigError(f"{folder / 'plugin.toml'}: no role can be called {TRITON!r}")
    check_run(plugin)
    return plugin


def check_run(plugin: Plugin) -> None:
    """Compare the arguments of `run` with the manifest's roles, by reading the code and not running it."""
    path = plugin.code
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such file; a plugin has one function `run` in it") from error
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"{path} is not Python: {error}") from error
    runs = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "run"]
    if not runs:
        raise ConfigError(f"{path} has no function `run`")
    run = runs[-1]
    if run.args.vararg or run.args.kwarg or run.args.posonlyargs:
        raise ConfigError(f"{path}, line {run.lineno}: run() takes its arguments by name, without * and /")
    asked = {argument.arg for argument in (*run.args.args, *run.args.kwonlyargs)}
    offered = {*plugin.roles, TRITON}
    if asked != offered:
        raise ConfigError(
            f"{path}, line {run.lineno}: run() takes {', '.join(sorted(asked)) or 'nothing'}, "
            f"but plugin.toml offers {', '.join(sorted(offered))}"
        )
