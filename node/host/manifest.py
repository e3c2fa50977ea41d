"""What a plugin says about itself: plugin.toml, and the one function in plugin.py, checked without running it."""

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, model_validator

from node import codes
from node.errors import ConfigError
from node.images.predicates import When
from node.toml_files import read_toml

Stack = TypeVar("Stack")
TRITON = "triton"
ANSWERS = "segment", "finding", "region", "derived"
"""Tables of which a plugin without code has one kind."""


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", text):
        raise ValueError(f"{text!r} is no name: small letters, digits and underscores, 32 at most, a letter first")
    return text


Name = Annotated[str, AfterValidator(_name)]
Served = Annotated[str, Field(pattern=r"^[^:\s]+(:[1-9][0-9]*)?$")]
"""A model on Triton, with ":VERSION" where that version alone is to answer."""


class Role(BaseModel):
    """One series that the plugin asks for, with what it must be beside what the route says.

    With `several`, `run` gets all stacks of one series that fit, a tuple of them in the order of the series, such as
    the phases of a heart; else one stack. `optional`: `run` gets None where there is none. `prior_of` names another
    role: the series is of an earlier study of the same patient, like what that role has; None where none is found.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    when: When
    several: bool = False
    optional: bool = False
    prior_of: Name | None = None


def _coded(words: object) -> object:
    """Read "SCT.Spleen", or [value, scheme, meaning], as a code."""
    if isinstance(words, str):
        scheme, _, keyword = words.partition(".")
        table = {"SCT": codes.SCT, "DCM": codes.DCM}.get(scheme)
        if table is None or keyword not in table.dir():
            raise ValueError(f"{words!r} is no code: write SCT.Spleen, or [value, scheme, meaning]")
        return getattr(table, keyword)
    if isinstance(words, list) and len(words) == 3 and all(isinstance(word, str) and word for word in words):
        return codes.Code(*words)
    raise ValueError(f"{words!r} is no code: write SCT.Spleen, or [value, scheme, meaning]")


Coded = Annotated[InstanceOf[codes.Code], BeforeValidator(_coded)]


class SegmentTable(BaseModel):
    """One segment of a plugin without code, in the order of the model's labels."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str = Field(min_length=1, max_length=64)
    type: Coded
    category: Coded = codes.SCT.AnatomicalStructure
    laterality: Coded | None = None
    color: tuple[int, int, int] | None = None


class FindingTable(BaseModel):
    """One finding of a plugin without code, in the order of the network's numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str = Field(min_length=1, max_length=64)
    name: Coded


class RegionTable(BaseModel):
    """One kind of thing that a plugin without code finds, in the order of the network's classes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str = Field(min_length=1, max_length=50)
    type: Coded
    category: Coded | None = None


class DerivedTable(BaseModel):
    """The images that a plugin without code makes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str = Field(min_length=1, max_length=64)
    derivation: Coded
    synthetic: bool = False


class ModelTable(BaseModel):
    """The volume model that is a whole plugin without code; the network it asks is called NAME_net."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name


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
    models: tuple[Served, ...] = ()
    time_limit_seconds: float = Field(default=300, gt=0)
    series: dict[Name, Role] = Field(min_length=1)
    model: ModelTable | None = None
    segment: tuple[SegmentTable, ...] = ()
    finding: tuple[FindingTable, ...] = ()
    region: tuple[RegionTable, ...] = ()
    derived: DerivedTable | None = None

    @model_validator(mode="before")
    @classmethod
    def _ask_the_pair(cls, words: object) -> object:
        """A plugin without code asks for its volume model, which asks for its network."""
        if isinstance(words, dict) and isinstance(model := words.get("model"), dict) and "models" not in words:
            return {**words, "models": [f"{model.get('name')}_net", model.get("name")]}
        return words

    @model_validator(mode="after")
    def _several_alone(self) -> Self:
        if any(role.several for role in self.series.values()) and (len(self.series) > 1 or self.model is not None):
            raise ValueError("several is for the only role of a plugin with code")
        return self

    @property
    def present(self) -> dict[str, Role]:
        """The roles whose series are of the study itself."""
        return {name: role for name, role in self.series.items() if role.prior_of is None}

    @property
    def priors(self) -> dict[str, str]:
        """Each role whose series is a prior, with the role that it is the prior of."""
        return {name: role.prior_of for name, role in self.series.items() if role.prior_of is not None}

    @model_validator(mode="after")
    def _roles_make_sense(self) -> "Manifest":
        """A plugin needs a series of the study, priors are of one, and a model without code is given all it takes."""
        if all(role.optional for role in self.present.values()):
            raise ValueError("series: every role is optional or a prior; a plugin needs one series of the study itself")
        for name, of in self.priors.items():
            if of not in self.present:
                raise ValueError(f"series.{name}.prior_of: {of!r} is no role whose series is of the study itself")
        if self.model is not None and any(role.optional or role.prior_of for role in self.series.values()):
            raise ValueError("series: a plugin without code needs a series for each role; none is optional or a prior")
        return self

    @property
    def model_names(self) -> tuple[str, ...]:
        """The models without the versions they are pinned to."""
        return tuple(model.partition(":")[0] for model in self.models)


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

    def named(self, stacks: Sequence[Stack]) -> dict[str, Stack]:
        """Return what one run of a plugin with one role is given, by name: ROLE, or ROLE#1, ROLE#2 … where several."""
        ((role, asked),) = self.manifest.present.items()
        if asked.several:
            return {f"{role}#{number}": stack for number, stack in enumerate(stacks, 1)}
        (stack,) = stacks
        return {role: stack}

    def arguments(self, inputs: Mapping[str, Stack]) -> dict[str, Stack | tuple[Stack, ...] | None]:
        """Return what `run` is called with for its roles, of what `named` gave; None for a role that has nothing."""
        several = [role for role, asked in self.manifest.series.items() if asked.several]
        if several:
            return {role: tuple(inputs.values()) for role in several}
        return {**dict.fromkeys(self.roles), **inputs}


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
    if plugin.manifest.model is None:
        check_run(plugin)
    else:
        check_declared(plugin)
    return plugin


def check_declared(plugin: Plugin) -> None:
    """Check a plugin that is a manifest alone: tables of one kind that say what it gives, no code beside it."""
    path = plugin.folder / "plugin.toml"
    if plugin.code.exists():
        raise ConfigError(f"{path} has a [model], and {plugin.code.name} lies beside it: keep one of them")
    told = [name for name in ANSWERS if getattr(plugin.manifest, name)]
    if len(told) != 1:
        raise ConfigError(
            f"{path}: name what the model gives, by tables of one kind: one [[segment]] for each label, one "
            "[[finding]] for each probability, one [[region]] for each class of boxes, or [derived]"
        )


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
