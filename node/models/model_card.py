"""The model card beside a plugin that was made: where it comes from, what it outlines, and what is to be looked at."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from node.models.import_source import Brought

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
UNKNOWN = "SCT.AnatomicalStructure"
LOOK = "no code of that name is known: choose one in `plugin.toml`"
SUGGESTED = "suggested by its name, to be looked at"


def card(
    name: str,
    brought: Brought,
    suggestions: Sequence[tuple[str, str | Sequence[str]]],
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
        f"| {number} | {label} | {code if isinstance(code, str) else code[0]} | {_advice(code)} |"
        for number, (label, code) in enumerate(suggestions, 1)
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


def _advice(code: str | Sequence[str]) -> str:
    return SUGGESTED if isinstance(code, str) and code != UNKNOWN else LOOK


def compared(text: str, framework: str, lines: Sequence[str]) -> str:
    """Return a card's text with the result of a comparison, which replaces an earlier result with that framework."""
    title = f"## Compared with {framework}\n"
    kept = re.sub(rf"\n{re.escape(title)}.*?(?=\n## |\Z)", "", text, flags=re.DOTALL)
    return kept.rstrip("\n") + "\n\n" + title + "\n" + "\n".join(lines) + "\n"
