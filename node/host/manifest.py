"""Read and check a plugin: plugin.toml, and the function `run` in plugin.py, which is parsed and not executed."""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from node import codes
from node.errors import ConfigError
from node.host.coded import Coded
from node.host.kind import CHOICES, STATEMENTS, Kind
from node.host.plausible_table import EMPTY, FILE, PlausibleTable
from node.images.predicates import When
from node.records import GUARD
from node.toml_files import read_toml

Stack = TypeVar("Stack")
TRITON = "triton"
VALIDATED_ON = 128
"""Largest number of characters that name the data of a validation: they are written on every picture."""
RESULT_TABLES = "segment", "finding", "region", "derived"
"""A plugin without code has tables of exactly one of these kinds."""


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", text):
        raise ValueError(f"{text!r} is no name: use small letters, digits and underscores, 32 at most, a letter first")
    return text


Name = Annotated[str, AfterValidator(_name)]
Served = Annotated[str, Field(pattern=r"^[^:\s]+(:[1-9][0-9]*)?$")]
"""A model on Triton, with ":VERSION" to pin its version."""


class Role(BaseModel):
    """One series that the plugin asks for, with conditions beside those of the route.

    Without `several`, `run` gets one stack. With it, `run` gets all fitting stacks of one series as a tuple, in the
    order of the series, such as the phases of a heart. With `optional`, `run` gets None if no series fits. `prior_of`
    names another role: the series is a similar series of an earlier study of the patient, or None if none is found.
    `guard` names a guard: the model `guard_NAME` is asked about the images before `run` is called.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    when: When
    several: bool = False
    optional: bool = False
    prior_of: Name | None = None
    guard: Name | None = None


class SegmentTable(BaseModel):
    """One segment of a plugin without code. Tables are in the order of the model's labels."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str = Field(min_length=1, max_length=64)
    type: Coded
    category: Coded = codes.SCT.AnatomicalStructure
    laterality: Coded | None = None
    region: Coded | None = None
    color: tuple[int, int, int] | None = None


class OperatingPointTable(BaseModel):
    """Sensitivity and specificity at the threshold of a finding, and the data on which they were measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sensitivity: float = Field(ge=0, le=1)
    specificity: float = Field(ge=0, le=1)
    on: str = Field(min_length=1, max_length=128)


class FindingTable(BaseModel):
    """One finding of a plugin without code. Tables are in the order of the model's outputs.

    It is present from `threshold` on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str = Field(min_length=1, max_length=64)
    name: Coded
    threshold: float = Field(default=0.5, ge=0, le=1)
    operating_point: OperatingPointTable | None = None


class RegionTable(BaseModel):
    """One class of regions of a plugin without code. Tables are in the order of the model's classes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str = Field(min_length=1, max_length=50)
    type: Coded
    category: Coded | None = None
    threshold: float = Field(default=0.5, ge=0, le=1)


class DerivedTable(BaseModel):
    """The derived series of a plugin without code."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str = Field(min_length=1, max_length=64)
    derivation: Coded
    synthetic: bool = False


class ModelTable(BaseModel):
    """The volume model of a plugin without code.

    `network` is the model that runs its network, if a native back end of Triton runs it; without it the volume
    model runs the network itself.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    network: Name | None = None


class Manifest(BaseModel):
    """The content of plugin.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    version: str = Field(pattern=r"^[0-9A-Za-z.+-]{1,16}$")
    title: str = Field(min_length=1, max_length=64)
    kind: Kind
    validated_on: str = Field(default="", max_length=VALIDATED_ON)
    manufacturer: str = Field(default="", max_length=64)
    family: Literal["artificial intelligence", "morphological operations", "histogram analysis"] = (
        "artificial intelligence"
    )
    models: tuple[Served, ...] = ()
    time_limit_seconds: float = Field(default=300, gt=0)
    network: bool = False
    series: dict[Name, Role] = Field(min_length=1)
    model: ModelTable | None = None
    segment: tuple[SegmentTable, ...] = ()
    finding: tuple[FindingTable, ...] = ()
    region: tuple[RegionTable, ...] = ()
    derived: DerivedTable | None = None

    @model_validator(mode="before")
    @classmethod
    def _default_models(cls, values: object) -> object:
        """Add the volume model of a plugin without code, and the model of its network if it has one."""
        if isinstance(values, dict) and isinstance(model := values.get("model"), dict) and "models" not in values:
            return {**values, "models": [model[key] for key in ("network", "name") if key in model]}
        return values

    @model_validator(mode="before")
    @classmethod
    def _require_kind(cls, values: object) -> object:
        """Refuse a plugin without a kind: no default is safe, since a demonstration must not pass for more."""
        if isinstance(values, dict) and "kind" not in values:
            raise ValueError(f"kind is missing; choose the kind of its networks: {CHOICES}")
        return values

    @model_validator(mode="after")
    def _check_validation(self) -> Self:
        if (self.kind is Kind.VALIDATED) != bool(self.validated_on.strip()):
            raise ValueError('validated_on: name the data of the validation for kind "V", and for no other kind')
        return self

    @property
    def statement(self) -> str:
        """The sentence about the plugin's kind in reports."""
        return STATEMENTS[self.kind].format(validated_on=self.validated_on)

    @model_validator(mode="after")
    def _models_of_guards(self) -> Self:
        """Add the models of the guards: a job needs them, too."""
        needed = dict.fromkeys([*self.models, *(f"{GUARD}{name}" for name in self.guards.values())])
        object.__setattr__(self, "models", tuple(needed))
        return self

    @model_validator(mode="after")
    def _check_several(self) -> Self:
        if any(role.several for role in self.series.values()) and (len(self.series) > 1 or self.model is not None):
            raise ValueError("several is for the only role of a plugin with code")
        return self

    @property
    def guards(self) -> dict[str, str]:
        """Each role that has a guard, and the guard's name."""
        return {name: role.guard for name, role in self.series.items() if role.guard is not None}

    @property
    def present(self) -> dict[str, Role]:
        """The roles whose series belong to the study itself."""
        return {name: role for name, role in self.series.items() if role.prior_of is None}

    @property
    def priors(self) -> dict[str, str]:
        """Each role whose series is a prior, and the role that it is a prior of."""
        return {name: role.prior_of for name, role in self.series.items() if role.prior_of is not None}

    @model_validator(mode="after")
    def _check_roles(self) -> "Manifest":
        """Check that the study has a required role, that priors name a role, and that a model without code gets all."""
        if all(role.optional for role in self.present.values()):
            raise ValueError("series: every role is optional or a prior; one role must need a series of the study")
        for name, of in self.priors.items():
            if of not in self.present:
                raise ValueError(f"series.{name}.prior_of: {of!r} must be a role of the study itself")
        if self.model is not None and any(role.optional or role.prior_of for role in self.series.values()):
            raise ValueError("series: a plugin without code needs a series for each role; none is optional or a prior")
        return self

    @property
    def model_names(self) -> tuple[str, ...]:
        """The models without their pinned versions."""
        return tuple(model.partition(":")[0] for model in self.models)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """A plugin that was found and checked."""

    manifest: Manifest
    folder: Path
    plausible: PlausibleTable = EMPTY
    """Limits of its answers in a patient, from plausible.toml beside the manifest."""

    @property
    def name(self) -> str:
        """The plugin's name, as routes name it."""
        return self.manifest.name

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that `run` takes, by name."""
        return tuple(self.manifest.series)

    @property
    def code(self) -> Path:
        """The file that holds `run`."""
        return self.folder / "plugin.py"

    def named(self, stacks: Sequence[Stack]) -> dict[str, Stack]:
        """Return the inputs of a run of a plugin with one role, by name: ROLE; ROLE#1, ROLE#2 … for several stacks."""
        ((name, role),) = self.manifest.present.items()
        if role.several:
            return {f"{name}#{number}": stack for number, stack in enumerate(stacks, 1)}
        (stack,) = stacks
        return {name: stack}

    def arguments(self, inputs: Mapping[str, Stack]) -> dict[str, Stack | tuple[Stack, ...] | None]:
        """Return the arguments of `run` for its roles, from the inputs of `named`; None for a role without input."""
        several = [name for name, role in self.manifest.series.items() if role.several]
        if several:
            return {name: tuple(inputs.values()) for name in several}
        return {**dict.fromkeys(self.roles), **inputs}


def read_plugin(folder: Path) -> Plugin:
    """Read one plugin folder.

    Raises
    ------
    ConfigError
        The manifest or plausible.toml is wrong, the code cannot be parsed, or the arguments of `run` are not the roles
        and `triton`. The message names the file and the line.
    """
    table = read_toml(folder / FILE, PlausibleTable) if (folder / FILE).exists() else EMPTY
    plugin = Plugin(manifest=read_toml(folder / "plugin.toml", Manifest), folder=folder, plausible=table)
    if plugin.name != folder.name:
        raise ConfigError(
            f"{folder / 'plugin.toml'}: the name is {plugin.name!r}, but the folder is called {folder.name!r}"
        )
    if TRITON in plugin.roles:
        raise ConfigError(f"{folder / 'plugin.toml'}: no role can be called {TRITON!r}; rename it")
    if plugin.manifest.model is None:
        check_run(plugin)
    else:
        check_declared(plugin)
    return plugin


def check_declared(plugin: Plugin) -> None:
    """Check a plugin that is a manifest alone: it has tables of one kind of result, and no code beside it."""
    path = plugin.folder / "plugin.toml"
    if plugin.code.exists():
        raise ConfigError(f"{path} has a [model], and {plugin.code.name} lies beside it: keep one of them")
    kinds = [name for name in RESULT_TABLES if getattr(plugin.manifest, name)]
    if len(kinds) != 1:
        raise ConfigError(
            f"{path}: name what the model gives, by tables of one kind: one [[segment]] for each label, one "
            "[[finding]] for each probability, one [[region]] for each class of boxes, or [derived]"
        )


def check_run(plugin: Plugin) -> None:
    """Compare the arguments of `run` with the manifest's roles. The code is parsed and not executed."""
    path = plugin.code
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such file; write it, with a function `run`") from error
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"{path} is not Python: {error}") from error
    runs = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "run"]
    if not runs:
        raise ConfigError(f"{path} has no function `run`")
    run = runs[-1]
    if run.args.vararg or run.args.kwarg or run.args.posonlyargs:
        raise ConfigError(f"{path}, line {run.lineno}: run() takes its arguments by name, without * and /")
    _check_returns(path, run)
    taken = {argument.arg for argument in (*run.args.args, *run.args.kwonlyargs)}
    offered = {*plugin.roles, TRITON}
    if taken != offered:
        raise ConfigError(
            f"{path}, line {run.lineno}: run() takes {', '.join(sorted(taken)) or 'nothing'}, "
            f"but plugin.toml offers {', '.join(sorted(offered))}"
        )


def _check_returns(path: Path, run: ast.FunctionDef) -> None:
    """Raise ConfigError for a `return` with a value in a `run` that yields: Python would lose the value."""
    own = list(_own_nodes(run))
    if not any(isinstance(node, ast.Yield | ast.YieldFrom) for node in own):
        return
    for node in own:
        if isinstance(node, ast.Return) and ast.unparse(node) not in ("return", "return None"):
            raise ConfigError(
                f"{path}, line {node.lineno}: run() yields, and what it returns here is lost; write yield in place of "
                "return, and return alone to end"
            )


def _own_nodes(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """Yield the nodes of a function without those of functions in it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop(0)
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            waiting.extend(ast.iter_child_nodes(node))
