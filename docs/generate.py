"""Writes the parts of the reference that are made from the code: `python docs/generate.py`.

Such a part stands between two comments in its page. tests/unit/test_documents.py checks that it is up to date.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from pydantic import BaseModel
from pydicom.uid import UID
from sphinx.pycode import ModuleAnalyzer
from typer.main import get_command

from node import errors, exit_codes, records
from node.cli import app
from node.commands.init import toml_value
from node.host import Plugin, find_plugins
from node.host.plausible_table import PHRASES
from node.infer.agreement_of_results import DICE_SOURCE, LEAST_DICE, RULES, SAME_ORGANS
from node.profiles import CHAIN, KIND_NAMES, PROFILES, SOP_CLASSES
from node.settings import Destination, Settings

DOCS = Path(__file__).resolve().parent
PART = "<!-- {name}: written by docs/generate.py -->\n\n{text}\n\n<!-- end of {name} -->"


def settings() -> str:
    """Return the table of all configuration keys, with their defaults and what they mean."""
    return "\n".join(["| key | default | means |", "|---|---|---|", *_keys(Settings, "")])


def _keys(model: type[BaseModel], prefix: str) -> Iterator[str]:
    meanings = ModuleAnalyzer.for_module(model.__module__).find_attr_docs()
    for name, field in model.model_fields.items():
        kinds = [kind for kind in (field.annotation, *get_args(field.annotation)) if kind is not NoneType]
        tables = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        for table in tables:
            yield from _keys(table, f"{prefix}{name}." + ("NAME." if table is Destination else ""))
        if not tables:
            nothing = field.is_required() or (field.default is None and Path in kinds)
            default = "–" if nothing else f"`{toml_value(field.get_default(call_default_factory=True))}`"
            meaning = _linked(" ".join(meanings[model.__name__, name]).strip())
            yield f"| `{prefix}{name}` | {default} | {meaning} |"


def _linked(text: str) -> str:
    """Turn `docs/promises.md` into a link from a page of the reference."""
    pages = {path: re.search("^# (.*)", path.read_text(encoding="utf-8"), re.M) for path in DOCS.rglob("*.md")}
    for path, title in pages.items():
        name = path.relative_to(DOCS).as_posix()
        target = name.removeprefix("reference/") if name.startswith("reference/") else f"../{name}"
        text = text.replace(f"docs/{name}", f"[{title[1] if title else name}]({target})")
    return text


def commands() -> str:
    """Return a section for each command, with its arguments and options."""
    return "\n\n".join(_section(command, words) for words, command in every_command(get_command(app), "isocenter"))


def every_command(command: Any, words: str) -> Iterator[tuple[str, Any]]:
    """Yield each command with the words it is called by: `isocenter model add`."""
    for name, below in getattr(command, "commands", {}).items():
        yield from every_command(below, f"{words} {name}")
    if not hasattr(command, "commands"):
        yield words, command


def _section(command: Any, words: str) -> str:
    usage = " ".join(
        [words, *(f"{_name(parameter)}" for parameter in command.params if parameter.param_type_name == "argument")]
    )
    lines = [f"## {words}", "", command.help.strip(), "", "```sh", usage, "```"]
    rows = [
        _row(parameter)
        for parameter in command.params
        if parameter.name != "help" and not getattr(parameter, "hidden", False)
    ]
    if rows:
        lines += ["", "| | | default |", "|---|---|---|", *rows]
    lines += ["", _codes(words.removeprefix("isocenter "))]
    return "\n".join(lines)


def options() -> str:
    """Return the options of `isocenter` itself."""
    rows = [_row(parameter) for parameter in get_command(app).params if parameter.name != "help"]
    return "\n".join(["| of every command | | |", "|---|---|---|", *rows])


def codes() -> str:
    """Return the table of what exit codes mean for every command."""
    rows = [f"| {code} | {meaning} |" for code, meaning in exit_codes.EVERYWHERE.items()]
    return "\n".join(["| exit code | means |", "|---|---|", *rows])


def _codes(command: str) -> str:
    """Return the exit codes of a command: those of every command without their meaning."""
    own = exit_codes.ONES[command]
    told = [f"{code} ({own[code]})" if code in own else f"{code}" for code in exit_codes.exit_codes(command)]
    return f"Exit codes: {', '.join(told)}."


def _name(parameter: Any) -> str:
    is_argument = parameter.param_type_name == "argument"
    return str(parameter.metavar or parameter.name.upper()) if is_argument else ", ".join(parameter.opts)


def _row(parameter: Any) -> str:
    plain = parameter.default in {None, False, ""} or callable(parameter.default)
    default = "" if plain else f"`{parameter.default}`"
    return f"| `{_name(parameter)}` | {getattr(parameter, 'help', None) or ''} | {default} |"


def kinds() -> str:
    """Return the table of kinds of object."""
    sop_classes = {kind: uid for uid, kind in SOP_CLASSES.items()}
    lines = ["| kind | object | SOP Class UID | may be replaced by |", "|---|---|---|---|"]
    for kind, name in KIND_NAMES.items():
        uid = sop_classes.get(kind, "")
        chain = ", ".join(f"`{other}`" for other in CHAIN.get(kind, ()))
        lines.append(f"| `{kind}` | {name} | {UID(uid) if uid else ''} | {chain} |")
    return "\n".join(lines)


def profiles() -> str:
    """Return the table of profiles of destinations."""
    lines = ["| profile | objects | fallback |", "|---|---|---|"]
    for name, profile in PROFILES.items():
        cells = (", ".join(f"`{kind}`" for kind in some) for some in (profile.objects, profile.fallback))
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def error_tree() -> str:
    """Return the tree of errors, with who acts next."""
    return "\n".join(_errors(errors.NodeError, ""))


def _errors(error: type[Exception], indent: str) -> Iterator[str]:
    yield f"{indent}- `{error.__name__}`: {(error.__doc__ or '').strip()}"
    for below in error.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from _errors(below, f"{indent}  ")


def job_moves() -> str:
    """Return the table of moves that a job can make."""
    return _moves(records.JOB_MOVES)


def delivery_moves() -> str:
    """Return the table of moves that a delivery can make."""
    return _moves(records.DELIVERY_MOVES)


def _moves(moves: Mapping[Any, Any]) -> str:
    rows = [f"| `{before}` | {move} | `{after}` |" for (before, move), after in moves.items()]
    return "\n".join(["| from | move | to |", "|---|---|---|", *rows])


def plausible(plugin: Plugin) -> str:
    """Return the table of what the answer of a plugin can be, for its model card."""
    lines = [
        "Its answer in a patient, by `plausible.toml`. What lies outside is not reported: the images are not suitable.",
        "",
        "| of | what | plausible | source |",
        "|---|---|---|---|",
    ]
    for row in plugin.plausible.row:
        of = f"`{'`, `'.join(row.of)}`" if row.of else "all images"
        lines.append(f"| {of} | {row.what} | {row.limits} | {row.source} |")
    return "\n".join(lines)


COUNTS: Mapping[str, Any] = json.loads((DOCS / "trust.json").read_text(encoding="utf-8"))
"""By plugin, what `python -m tests.bench trust` found last."""


def trust_of(name: str) -> str:
    """Return the row of one plugin in the matrix of right and wrong images, for its model card."""
    if name not in COUNTS:
        return "Its row in the matrix of right and wrong images (docs/trust.md) has not been run with its guards."
    counts = COUNTS[name]
    (answered, rights), (refused, wrongs) = counts["right"], counts["wrong"]
    withheld = counts["withheld"]
    told = (
        f"On real images of `docs/trust.md` ({counts['day']}): of {rights} right ones {answered} answered, {withheld} "
        f"answers withheld as implausible and {rights - answered - withheld} images refused; of {wrongs} wrong ones "
        f"{refused} refused and {wrongs - refused} answered."
    )
    exceptions = [f"- {exception}" for exception in counts["exceptions"]]
    return "\n".join([told, "", *exceptions] if exceptions else [told])


def trust() -> str:
    """Return the matrix of all plugins, and every exception."""
    lines = [
        "| plugin | day | kind | right images answered | their answer withheld | wrong images refused |",
        "|---|---|---|---|---|---|",
    ]
    for name, counts in sorted(COUNTS.items()):
        right, wrong = (f"{done} of {all_of_them}" for done, all_of_them in (counts["right"], counts["wrong"]))
        kind = PLUGINS[name].manifest.kind
        lines.append(f"| `{name}` | {counts['day']} | {kind} | {right} | {counts['withheld']} | {wrong} |")
    sums = [sum(counts[side][n] for counts in COUNTS.values()) for side in ("right", "wrong") for n in (0, 1)]
    lines.append(f"| all | | | {sums[0]} of {sums[1]} | | {sums[2]} of {sums[3]} |")
    missing = ", ".join(f"`{name}`" for name in PLUGINS if name not in COUNTS and name != "template")
    exceptions = [f"- `{name}` {line}" for name, counts in sorted(COUNTS.items()) for line in counts["exceptions"]]
    return "\n".join([*lines, "", f"Not run: {missing or 'none'}.", "", "Every exception:", "", *exceptions])


def quantities() -> str:
    """Return the table of quantities that plausible.toml may have."""
    lines = ["| quantity | in a sentence | unit |", "|---|---|---|"]
    for name, (phrase, unit) in PHRASES.items():
        sentence = phrase.format(of="Liver", value=f"7 {unit}".rstrip(), per="Spleen")
        lines.append(f"| `{name}` | {sentence} | {unit} |")
    return "\n".join(lines)


def agreement() -> str:
    """Return the table of what two plugins of one study must agree in."""
    lines = ["| of what one plugin outlines | lies in what the other outlines | since |", "|---|---|---|"]
    for rule in RULES:
        limit = f"at most {rule.most:.0%} in" if rule.most < 1 else f"at least {rule.least:.0%} in"
        lines.append(f"| {rule.first.meaning} | {limit} {rule.second.meaning} | {rule.source} |")
    same = ", ".join(sorted(code.meaning for code in SAME_ORGANS))
    lines.append(f"| {same}, by side | Dice with the same organ at least {LEAST_DICE} | {DICE_SOURCE} |")
    return "\n".join(lines)


PLUGINS = find_plugins([DOCS.parent / "plugins"])
PARTS: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "reference/configuration.md": {"settings": settings},
    "reference/commands.md": {"options": options, "exit codes": codes, "commands": commands},
    "reference/objects.md": {"kinds": kinds, "profiles": profiles},
    "reference/errors.md": {"errors": error_tree},
    "reference/states.md": {"jobs": job_moves, "deliveries": delivery_moves},
    "plugin-author.md": {"quantities": quantities, "agreement": agreement},
    "trust.md": {"trust": trust},
    **{
        f"../plugins/{name}/README.md": {"plausible": partial(plausible, plugin), "trust": partial(trust_of, name)}
        for name, plugin in PLUGINS.items()
    },
}
"""Page → name of a part → what makes it."""


def written(page: str) -> str:
    """Return a page with its generated parts as the code is now."""
    text = (DOCS / page).read_text(encoding="utf-8")
    for name, make in PARTS[page].items():
        before, after = PART.format(name=name, text="\0").split("\0")
        pattern = re.compile(f"{re.escape(before.rstrip())}.*{re.escape(after.lstrip())}", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"docs/{page} has no part {name!r}: put {before.strip()} and {after.strip()} into it")
        text = pattern.sub(lambda _, make=make, name=name: PART.format(name=name, text=make()), text)
    return text


if __name__ == "__main__":
    for page in PARTS:
        (DOCS / page).write_text(written(page), encoding="utf-8")
