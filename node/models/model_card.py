"""The model card beside a plugin that was made: where it comes from, what it outlines, and what is to be looked at."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from node.models.catalogue import Entry
from node.models.import_source import Brought
from node.models.label_codes import LabelCodes

CARD = "README.md"
SOURCE = "source.json"
"""Beside the volume model: the kind of the source, and where it lay."""
TEXT = """\
# Model card: {name}

Made by `isocenter model add`; whoever answers for the model completes it: what it was trained on, how good it is, and
for whom it is not meant.

| | |
|---|---|
| Kind | {behind} |
| Source | {kind}, `{source}` |
| Input | {inputs} |
| Answer | {answer}, {count} of them |
| Model | `{name}` on Triton, which {runs} |

| number | label | code | |
|---|---|---|---|
{segments}

{remarks}AnyChain the network (`{file}`):

```json
{chain}
```

Research use, unverified.
"""
LOOK = "no code of that name is known: choose one in `plugin.toml`"
SUGGESTED = "suggested by its name, to be looked at"


def card(
    name: str,
    brought: Brought,
    suggestions: Sequence[tuple[str, LabelCodes]],
    modality: str,
    source: Path,
    chain: Path,
    network: str,
    validated_on: str,
) -> str:
    """Return the card's text.

    Parameters
    ----------
    suggestions
        The codes of the labels.
    chain
        The file that was written.
    network
        The model that runs the network; empty where the volume model does.
    validated_on
        The data that the weights were validated on; empty where that is not known.
    """
    segments = (
        f"| {number} | {label} | {_coded(found)} | {SUGGESTED if found.known else LOOK} |"
        for number, (label, found) in enumerate(suggestions, 1)
    )
    return TEXT.format(
        name=name,
        behind=f"V: validated on {validated_on}" if validated_on else "U: weights brought, validation unknown",
        kind=brought.network.kind,
        source=source.name,
        inputs=", ".join(f"{modality} series `{role}`" for role in brought.chain.roles),
        answer=brought.chain.answer,
        count=len(suggestions),
        runs=f"asks `{network}`" if network else "runs the network itself",
        segments="\n".join(segments),
        remarks="".join(f"{remark}\n\n" for remark in brought.remarks),
        file=chain.name,
        chain=json.dumps(json.loads(chain.read_text(encoding="utf-8"))),
    )


def _coded(found: LabelCodes) -> str:
    """Return a code, and the side, as a cell of the table."""
    code = found.type if isinstance(found.type, str) else f"{found.type[0]} {found.type[2]}"
    return f"{code}, {found.laterality}" if found.laterality else code


def compared(text: str, framework: str, lines: Sequence[str]) -> str:
    """Return a card's text with the result of a comparison, which replaces an earlier result with that framework."""
    title = f"## Compared with {framework}\n"
    kept = re.sub(rf"\n{re.escape(title)}.*?(?=\n## |\Z)", "", text, flags=re.DOTALL)
    return kept.rstrip("\n") + "\n\n" + title + "\n" + "\n".join(lines) + "\n"


def of_catalogue(text: str, entry: Entry) -> str:
    """Return a card's text with what the catalogue says of the model, each fact with the page that states it."""
    licence = entry.licence
    rows = [
        ("Published as", f"{entry.name} {entry.version}", entry.download[0].source),
        ("For", entry.use.text, entry.use.source),
        ("Licence", f"{licence.name}; commercial use: {licence.commercial}", licence.source),
        *((figure.text, f"on {figure.on}", figure.source) for figure in entry.figure),
    ]
    if entry.validated:
        rows.append(("Validated on", entry.validated.on, entry.validated.source))
    tried = f"With its real weights: {entry.tried}." if entry.tried else "It was not tried here with its real weights."
    table = "\n".join(f"| {what} | {says} | <{source}> |" for what, says, source in rows)
    lines = ["## From the catalogue", "", "| | | stated at |", "|---|---|---|", table, "", tried]
    for remark in entry.remarks:
        lines += ["", remark]
    if entry.paper:
        lines += ["", f"Paper: <{entry.paper}>"]
    return text.rstrip("\n") + "\n\n" + "\n".join(lines) + "\n"
