"""Lines of the plugin.toml that `isocenter model add` writes: the kind of the weights, and the guard of a role."""

import json
from pathlib import Path

from node.host import Kind
from node.records import GUARD


def guards(models: Path) -> list[str]:
    """Return the names of the guards of a model repository."""
    return [folder.name.removeprefix(GUARD) for folder in sorted(models.glob(f"{GUARD}*"))] or ["none"]


def guard_line(guard: str) -> str:
    """Return the line of a role that names its guard; empty without one."""
    return f"guard = {json.dumps(guard)}\n" if guard else ""


def kind_of(validated_on: str) -> Kind:
    """Return the kind of weights that were brought."""
    return Kind.VALIDATED if validated_on else Kind.UNVALIDATED


def kind_lines(validated_on: str) -> str:
    """Return what plugin.toml says of the kind: validated weights, or weights of which nothing is known."""
    if not validated_on:
        return 'kind = "U"                            # validation unknown; "V" with validated_on, when it is known\n'
    return f'kind = "V"\nvalidated_on = {json.dumps(validated_on, ensure_ascii=False)}\n'
