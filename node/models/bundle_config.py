"""A MONAI bundle's configuration read as data: references and macros resolved, no code run.

Syntax: MONAI's bundle specification, "Config Syntax": `@id` is another part of the configuration, `%id` its text, and
`$` begins Python. Of Python only what is harmless and common is understood; anything else is named in the error.
"""

import ast
import importlib
import importlib.util
import json
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from node.errors import ConfigError

REFERENCE = re.compile(r"@(\w+(?:(?:::|#)\w+)*)")
FUNCTION = re.compile(r"\$\s*lambda\b")
"""How a function begins that a configuration writes into itself."""
CLASS = re.compile(r"monai\.data\.\w+Reader|monai\.utils\.\w+\.\w+")
"""Names of MONAI that stay the words they are: readers of files, and values of its enumerations."""
CONSTANTS = {"np.pi": math.pi, "numpy.pi": math.pi, "math.pi": math.pi, "np.inf": math.inf, "numpy.inf": math.inf}
DEPTH = 32
"""How far references may lead to further ones."""
LONGEST = 10_000
"""Of a sequence that an expression makes."""


def _times(first: Any, other: Any) -> Any:
    """Multiply; ValueError where that repeats a sequence too often."""
    for sequence, times in ((first, other), (other, first)):
        if isinstance(sequence, Sequence) and len(sequence) * int(times) > LONGEST:
            raise ValueError("too long")
    return first * other


BINARY: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: _times, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip
UNARY: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Not: operator.not_,
}  # fmt: skip
CALLS: Mapping[str, Callable[..., Any]] = {
    "len": len, "min": min, "max": max, "sum": sum, "int": int, "float": float, "str": str, "bool": bool,
    "list": list, "tuple": tuple, "range": range, "torch.cuda.is_available": lambda: False,
    "torch.device": lambda *words: str(words[0] if words else "cpu"),
}  # fmt: skip
NAMES = re.compile(r"(torch|np|numpy)\.(float|uint|int|bool)\w*")
"""Types of numbers, which stay the words they are."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a file of configuration says, resolved where it is asked for; nothing else in it is looked at.

    Parameters
    ----------
    path
        The file, for messages, and where macros find other files.
    """

    path: Path
    words: Mapping[str, Any]
    _files: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Configuration":
        """Read a file of JSON or YAML; ConfigError where it is none."""
        return cls(path, _loaded(path))

    def __contains__(self, name: str) -> bool:
        return name in self.words

    def get(self, name: str) -> Any:
        """Return a part, with everything in it resolved; None where there is no such part.

        Raises
        ------
        ConfigError
            It refers to what is not there, to itself, or says something in Python that is not understood.
        """
        return self._resolved(self.words[name], name, 0) if name in self.words else None

    def _resolved(self, value: Any, at: str, depth: int) -> Any:  # noqa: PLR0911 (a form of the syntax each)
        if depth > DEPTH:
            raise ConfigError(f"{self.path}, {at}: the references lead in a circle")
        if isinstance(value, dict):
            return {key: self._resolved(item, f"{at}::{key}", depth) for key, item in value.items()}
        if isinstance(value, list):
            found = [self._resolved(item, f"{at}::{number}", depth) for number, item in enumerate(value)]
            return [item for item in found if not (isinstance(item, dict) and item.get("_disabled_") is True)]
        if not isinstance(value, str):
            return value
        if value.startswith("%"):
            return self._resolved(self._macro(value[1:], at), at, depth + 1)
        if FUNCTION.match(value):
            return value  # its reader compares the text; it is not run
        if value.startswith("$"):
            return self._computed(value, at, depth)
        whole = REFERENCE.fullmatch(value)
        return self._resolved(self._found(whole[1], at), whole[1], depth + 1) if whole else value

    def _found(self, reference: str, at: str, words: Any = None) -> Any:
        """Return what an id names, as it is written."""
        found = self.words if words is None else words
        for part in re.split("::|#", reference):
            try:
                found = found[int(part)] if isinstance(found, list) else found[part]
            except (IndexError, KeyError, TypeError, ValueError) as error:
                raise ConfigError(f"{self.path}, {at}: there is no {reference}") from error
        return found

    def _macro(self, words: str, at: str) -> Any:
        """Return what a macro names: an id of this file, or of a file beside it."""
        file, _, reference = words.rpartition("::") if ".json::" in words or ".yaml::" in words else ("", "", words)
        if not file:
            return self._found(reference, at)
        if Path(file).name != file:
            raise ConfigError(f"{self.path}, {at}: {file} does not lie beside it")
        if file not in self._files:
            self._files[file] = _loaded(self.path.with_name(file))
        return self._found(reference, at, self._files[file])

    def _computed(self, text: str, at: str, depth: int) -> Any:
        """Return the value of an expression, if it is one of the harmless ones."""
        values: dict[str, Any] = {}

        def named(reference: re.Match[str]) -> str:
            name = f"_{len(values)}"
            values[name] = self._resolved(self._found(reference[1], at), reference[1], depth + 1)
            return name

        try:
            tree = ast.parse(REFERENCE.sub(named, text[1:]).strip(), mode="eval").body
            return _value(tree, values)
        except (ArithmeticError, LookupError, SyntaxError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{self.path}, {at}: {text} is code, which is not run; replace it by its value, or say --trust"
            ) from error


def _value(node: ast.expr, values: Mapping[str, Any]) -> Any:  # noqa: PLR0911 (a case of the grammar each)
    """Return what an expression of literals is; ValueError where there is more in it."""
    match node:
        case ast.Constant(value):
            return value
        case ast.Name(name) if name in values:
            return values[name]
        case ast.List(items) | ast.Tuple(items):
            return [_value(item, values) for item in items]
        case ast.UnaryOp(sign, operand) if type(sign) in UNARY:
            return UNARY[type(sign)](_value(operand, values))
        case ast.BinOp(left, sign, right) if type(sign) in BINARY:
            return _short(BINARY[type(sign)](_value(left, values), _value(right, values)))
        case ast.IfExp(test, then, otherwise):
            return _value(then if _value(test, values) else otherwise, values)
        case ast.Subscript(of, ast.expr() as which) if not isinstance(which, ast.Slice):
            return _value(of, values)[_value(which, values)]
        case ast.Call(function, arguments, []) if ast.unparse(function) in CALLS:
            return _short(CALLS[ast.unparse(function)](*[_value(argument, values) for argument in arguments]))
        case ast.Attribute() if NAMES.fullmatch(ast.unparse(node)) or CLASS.fullmatch(ast.unparse(node)):
            return ast.unparse(node)
        case ast.Attribute() if ast.unparse(node) in CONSTANTS:
            return CONSTANTS[ast.unparse(node)]
    raise ValueError(ast.unparse(node))


def _short(value: Any) -> Any:
    """Return a value, a range as a list; ValueError where it is longer than any configuration needs."""
    if isinstance(value, (str, Sequence)) and len(value) > LONGEST:
        raise ValueError("too long")
    return list(value) if isinstance(value, (range, tuple)) else value


def _loaded(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            return json.loads(text)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if importlib.util.find_spec("yaml") is None:
        raise ConfigError(f"{path} is YAML: pip install pyyaml")
    yaml = importlib.import_module("yaml")
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is no YAML: {error}") from error
