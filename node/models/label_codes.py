"""Codes for what models call their classes: structures with side, region and colour, and common findings.

A suggestion is made by name and must be looked at; `model add` says so in the card.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from node import codes
from node.toml_files import load_toml

Written = str | list[str]
"""A code as plugin.toml has it: "SCT.Spleen", or [value, scheme, meaning]."""
STRUCTURES, FINDINGS = (Path(__file__).with_name(name) for name in ("structures.toml", "findings.toml"))
UNKNOWN = "SCT.AnatomicalStructure"
ORGAN = "SCT.Organ"
SIDES = {"left": "SCT.Left", "right": "SCT.Right"}
CODE_LENGTH = 16
"""Code Value is SH: 16 characters at most (PS3.5 section 6.2)."""
ALIASES = {
    "ivc": "inferior_vena_cava", "svc": "superior_vena_cava", "bladder": "urinary_bladder", "oesophagus": "esophagus",
    "lv_pool": "heart_ventricle_left", "ventricle_left": "heart_ventricle_left", "ventricle": "heart_ventricle",
    "rv_pool": "heart_ventricle_right", "atrium": "heart_atrium", "myocardium": "heart_myocardium",
    "portal_and_splenic_veins": "portal_vein_and_splenic_vein", "tumour": "tumor", "adrenal": "adrenal_gland",
    "lung_nodules": "lung_nodule", "liver_lesions": "liver_lesion", "white_matter": "cerebral_white_matter",
    "kideny": "kidney",
    "vertebrae": "vertebra",
}  # fmt: skip
"""What models call structures → their name in the table; "kideny" is how a bundle of MONAI's zoo spells it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelCodes:
    """What is suggested for a label; `known` is false where nothing of that name is known."""

    type: Written
    category: Written = ORGAN
    laterality: str = ""
    region: Written = ""
    color: tuple[int, ...] = ()
    known: bool = True

    def lines(self) -> str:
        """Return the lines of a [[segment]] after its label."""
        fields: Mapping[str, Any] = {
            "type": self.type, "category": self.category, "laterality": self.laterality, "region": self.region,
            "color": list(self.color),
        }  # fmt: skip
        return "".join(f"{name} = {json.dumps(value)}\n" for name, value in fields.items() if value)


@cache
def _table(path: Path) -> Mapping[str, Any]:
    return load_toml(path)


def plain(label: str) -> str:
    """Return a label in small letters, its words joined by underscores."""
    return "_".join(re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label).lower()))


def structure_codes(label: str) -> LabelCodes:
    """Return codes for a segment: of the table of structures, else of the same name in SNOMED CT."""
    name = plain(label)
    words = name.split("_")
    side = next((word for word in words if word in SIDES), "")
    base = "_".join(word for word in words if word not in SIDES)
    for key, of_side in ((name, ""), (f"{base}_{side}", ""), (base, side)):
        if (found := _structure(key)) is not None:
            color = found.get(of_side or "color", found.get("color", ()))
            return LabelCodes(
                type=found["type"],
                category=found.get("category", UNKNOWN),
                laterality=SIDES.get(of_side, ""),
                region=found.get("region", ""),
                color=tuple(color),
            )
    for key, of_side in ((name, ""), (base, side)):
        if keyword := by_name(key):
            return LabelCodes(type=keyword, laterality=SIDES.get(of_side, ""))
    return LabelCodes(type=UNKNOWN, laterality=SIDES.get(side, ""), known=False)


def _structure(key: str) -> Mapping[str, Any] | None:
    """Return the row of a structure, by its name, another name for it, or its singular."""
    table = _table(STRUCTURES)
    for name in (key, ALIASES.get(key, ""), key.removesuffix("s"), ALIASES.get(key.removesuffix("s"), "")):
        if name in table:
            row: Mapping[str, Any] = table[name]
            return row
    return None


def by_name(label: str) -> str:
    """Return SNOMED CT's code of the same name as a label, empty without one."""
    keyword = "".join(word.capitalize() for word in plain(label).split("_"))
    return f"SCT.{keyword}" if keyword in codes.SCT.dir() else ""


def finding_code(label: str) -> LabelCodes:
    """Return a code for a finding: of the table of common findings, of SNOMED CT by name, else of the node's own."""
    found = _table(FINDINGS).get(plain(label)) or by_name(label)
    if found:
        return LabelCodes(type=found)
    value = "_".join(label.replace("_", " ").split()).upper()[:CODE_LENGTH]
    return LabelCodes(type=[value, codes.OWN_SCHEME, label], known=False)


def label_codes(label: str, answer: str) -> LabelCodes:
    """Return what is suggested for a label of a chain with this answer."""
    return structure_codes(label) if answer == "labels" else finding_code(label)
