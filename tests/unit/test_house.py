"""House rules that a machine can check."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

NODE = Path(__file__).parents[2] / "node"
FILES = sorted(NODE.rglob("*.py"))
BROAD = {"Exception", "BaseException"}
VAGUE_MODULES = {"utils", "util", "helpers", "helper", "common", "manager", "service", "base", "misc"}
VAGUE_ENDINGS = ("Manager", "Helper", "Service", "Base", "Handler", "Util", "Utils")
CATCH_ALL = {
    ("node/receive/store.py", "finish"),  # the C-STORE handler
    ("node/engine/child_process.py", "_child"),  # the job slot
    ("node/engine/steps.py", "_once"),  # the step loop
    ("node/commands/try_plugin.py", "_attempt"),  # the author sees what the plugin raised
}


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def is_broad(caught: ast.expr | None) -> bool:
    if caught is None:
        return True
    names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any((name.id if isinstance(name, ast.Name) else getattr(name, "attr", "")) in BROAD for name in names)


def broad_excepts(node: ast.AST, function: str = "") -> Iterator[str]:
    """The names of the functions in which everything is caught, once for each time."""
    for child in ast.iter_child_nodes(node):
        inside = child.name if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)) else function
        if isinstance(child, ast.ExceptHandler) and is_broad(child.type):
            yield inside
        suppressing = isinstance(child, ast.Call) and getattr(child.func, "id", getattr(child.func, "attr", ""))
        if suppressing == "suppress" and any(is_broad(argument) for argument in child.args):
            yield inside
        yield from broad_excepts(child, inside)


def test_everything_is_caught_in_exactly_four_places() -> None:
    found = [(str(path.relative_to(NODE.parent)), function) for path in FILES for function in broad_excepts(tree(path))]
    assert len(found) == len(CATCH_ALL)
    assert set(found) == CATCH_ALL


@pytest.mark.parametrize(
    "text",
    [
        "try: ...\nexcept: ...",
        "try: ...\nexcept Exception: ...",
        "try: ...\nexcept (ValueError, BaseException) as e: ...",
        "try: ...\nexcept builtins.Exception: ...",
        "with suppress(Exception): ...",
        "with contextlib.suppress(OSError, BaseException): ...",
    ],
)
def test_that_count_sees_every_way_to_catch_everything(text: str) -> None:
    assert len(list(broad_excepts(ast.parse(text)))) == 1


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert not [path for path in FILES if {part.lower() for part in (path.stem, path.parent.name)} & VAGUE_MODULES]


def test_no_class_has_a_name_that_says_nothing() -> None:
    classes = [node.name for path in FILES for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef)]
    assert classes
    assert not [name for name in classes if name.endswith(VAGUE_ENDINGS)]


FLOW = NODE / "flow.py"
LONGEST_FLOW, LONGEST_FUNCTION = 150, 20


def test_the_flow_is_read_on_two_screens() -> None:
    assert len(FLOW.read_text().splitlines()) <= LONGEST_FLOW


def test_each_function_of_the_flow_is_short() -> None:
    functions = [node for node in ast.walk(tree(FLOW)) if isinstance(node, ast.FunctionDef)]
    assert functions
    lengths = {
        node.name: len({part.lineno for part in ast.walk(node) if isinstance(part, ast.stmt)}) for node in functions
    }
    assert not {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION}


def test_each_line_of_the_flow_holds_one_plain_statement() -> None:
    """No two statements share a line, no assignment fills several names from a list of values."""
    statements = [node for node in ast.walk(tree(FLOW)) if isinstance(node, ast.stmt)]
    lines = [node.lineno for node in statements]
    assert len(lines) == len(set(lines))
    assert not [
        node.lineno for node in statements if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple)
    ]
    assert not [node.lineno for node in ast.walk(tree(FLOW)) if isinstance(node, (ast.NamedExpr, ast.Lambda))]


def test_the_flow_names_its_steps_in_their_order() -> None:
    steps = ["receive", "assemble", "route", "infer", "perform", "deliver"]
    names = [node.name for node in ast.walk(tree(FLOW)) if isinstance(node, ast.FunctionDef)]
    assert [name for name in names if name in steps] == steps


def test_every_error_of_the_node_says_who_acts_next() -> None:
    from node import errors

    everyone = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    families = (errors.Refused, errors.Transient, errors.Permanent)
    assert all(issubclass(kind, families) for kind in everyone if kind is not errors.NodeError)


ROOT = NODE.parent
LONGEST_FILE = 400
VAGUE_NAMES = {"one", "thing"}
VAGUE_WORDS = {"told", "untold", "telling"}
VAGUE_IN = {"commands", "compose"}
"""Folders of node/ that still have such names. Take a folder out once it has none; add none."""


def test_no_file_is_longer_than_400_lines() -> None:
    files = [path for folder in ("node", "plugins", "triton_models", "tests") for path in (ROOT / folder).rglob("*.py")]
    assert FILES[0] in files
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert not {name: length for name, length in lengths.items() if length > LONGEST_FILE}


def bound_names(node: ast.AST) -> Iterator[str]:
    """The names of variables, attributes, parameters, functions and classes that a tree binds."""
    for part in ast.walk(node):
        if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield part.name
        elif isinstance(part, ast.arg):
            yield part.arg
        elif isinstance(part, ast.ExceptHandler) and part.name:
            yield part.name
        elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            yield part.id
        elif isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store):
            yield part.attr


def is_vague(name: str) -> bool:
    return name in VAGUE_NAMES or bool(VAGUE_WORDS & set(name.lower().split("_")))


def test_every_locked_package_has_a_hash() -> None:
    packages = tomllib.loads((NODE.parent / "uv.lock").read_text(encoding="utf-8"))["package"]
    files = [file for package in packages for file in (*package.get("wheels", ()), package.get("sdist"))]
    assert len(packages) > 100
    assert all(file["hash"].startswith("sha256:") for file in files if file)


def test_a_name_says_what_it_names() -> None:
    """A reader searches for `row`, `study` or `message`, and finds nothing under `one` or `told`."""
    checked = [path for path in FILES if path.relative_to(NODE).parts[0] not in VAGUE_IN]
    assert {FLOW, NODE / "ledger" / "jobs.py"} <= set(checked)
    found = [(str(path.relative_to(ROOT)), name) for path in checked for name in bound_names(tree(path))]
    assert not [(path, name) for path, name in found if is_vague(name)]


@pytest.mark.parametrize(
    "text",
    [
        "for one in rows: ...",
        "names = [one.name for one in rows]",
        "def send(one): ...",
        "def told_by(row): ...",
        "key = lambda one: one.name",
        "self.told = []",
        "UNTOLD_SECONDS: float = 1",
        "try: ...\nexcept OSError as one: ...",
        "with open(path) as thing: ...",
    ],
)
def test_that_check_sees_every_way_to_bind_a_name(text: str) -> None:
    assert [is_vague(name) for name in bound_names(ast.parse(text))].count(True) == 1


def test_no_test_patches_a_constant() -> None:
    """What a test changes is a parameter; a constant that is patched may have been read before."""
    patched = re.compile(r"""setattr\(\s*(?:[\w.]+,\s*"|"[\w.]+\.)[A-Z][A-Z_]+\"""")
    assert patched.search('monkeypatch.setattr(database, "BUSY_SECONDS", 1)')
    assert patched.search('patch.setattr("node.ledger.database.BUSY_SECONDS", 1)')
    tests = (path for path in (NODE.parent / "tests").rglob("*.py") if path != Path(__file__))
    assert not [str(path) for path in tests if patched.search(path.read_text(encoding="utf-8"))]
