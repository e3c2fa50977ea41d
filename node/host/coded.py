"""Codes as people write them in TOML files."""

from typing import Annotated

from pydantic import BeforeValidator, InstanceOf

from node import codes
from node.toml_files import meant

TABLES = {"SCT": codes.SCT, "DCM": codes.DCM, "LN": codes.LN}


def _code(value: object) -> object:
    """Return the code of "SCT.Spleen", or of [value, scheme, meaning]."""
    if isinstance(value, list) and len(value) == 3 and value[1] in codes.RETIRED:
        raise ValueError(f"{value!r} {codes.fault_of(tuple(value))}")
    if isinstance(value, str):
        scheme, _, keyword = value.partition(".")
        table = TABLES.get(scheme)
        if table is None or keyword not in table.dir():
            near = meant(keyword, table.dir()) if table else ""
            raise ValueError(f"{value!r} is no code: write SCT.Spleen, or [value, scheme, meaning]{near}")
        return getattr(table, keyword)
    if isinstance(value, list) and len(value) == 3 and all(isinstance(part, str) and part for part in value):
        return codes.Code(*value)
    raise ValueError(f"{value!r} is no code: write SCT.Spleen, or [value, scheme, meaning]")


Coded = Annotated[InstanceOf[codes.Code], BeforeValidator(_code)]
