"""Coded concepts by name: SNOMED CT, DICOM, LOINC and UCUM, and codes of the node's own scheme.

`codes.SCT.Lung`, `codes.UCUM.Percent`: names are looked up in the tables of pydicom, so value and meaning agree.
"""

from collections.abc import Mapping
from typing import Any

from pydicom.sr._concepts_dict import concepts as _concepts
from pydicom.sr._snomed_dict import mapping as _snomed
from pydicom.sr.codedict import codes as _known
from pydicom.sr.coding import Code

__all__ = ["DCM", "LN", "OWN_SCHEME", "SCT", "UCUM", "Code", "fault_of", "own"]

SCT = _known.SCT
DCM = _known.DCM
LN = _known.LN
UCUM = _known.UCUM

TABLES = {"SCT": SCT, "DCM": DCM, "LN": LN, "UCUM": UCUM}
"""Coding schemes whose codes have names."""
RETIRED = ("SRT", "SNM3", "99SDM")
"""Coding schemes of SNOMED that DICOM has retired (PS3.16 section 8.1): SCT has taken their place."""
UNITS = {"ml": "CubicCentimeter", "mL": "CubicCentimeter", "cc": "CubicCentimeter", "HU": "HounsfieldUnit"}
"""What authors write for units that UCUM, or the table of DICOM, has under another code."""
OWN_SCHEME = "99ISOCENTER"
"""Coding Scheme Designator of the node's own codes; private designators begin with 99 (PS3.16 section 8.2)."""


def own(value: str, meaning: str) -> Code:
    """Return a code of the node's own scheme, for a concept without a public code."""
    return Code(value, OWN_SCHEME, meaning)


def fault_of(value: object) -> str | None:
    """Return what is wrong with a value that should be a code, and what to write in its place; None if nothing is."""
    if isinstance(value, tuple) and len(value) > 2 and value[1] in RETIRED:
        return f"is of the coding scheme {value[1]}, which DICOM has retired: write {_in_sct(str(value[0]))}"
    if isinstance(value, Code):
        return None
    if isinstance(value, str) and (unit := UNITS.get(value) or _keyword("UCUM", value)):
        return f"is {value!r}, not a code: write codes.UCUM.{unit}"
    return f"is {value!r}, not a code: write codes.SCT.NAME, or codes.Code(value, scheme, meaning)"


def _in_sct(value: str) -> str:
    """Return the code of SNOMED CT for a retired code, as an author writes it."""
    number = _snomed["SRT"].get(value)
    keyword = _keyword("SCT", number) if number else ""
    return f"codes.SCT.{keyword}" if keyword else f"its code of SCT, {number or 'from browser.ihtsdotools.org'}"


def _keyword(scheme: str, value: str) -> str:
    """Return the keyword of a code by its value; empty without one."""
    known: Mapping[str, Any] = _concepts[scheme]
    return next((keyword for keyword, found in known.items() if value in found), "")
