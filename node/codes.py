"""Coded concepts by name: SNOMED CT, DICOM, LOINC and UCUM, and codes of the node's own scheme.

`codes.SCT.Lung`, `codes.UCUM.Percent`: names are looked up in the tables of pydicom, so value and meaning agree.
"""

from pydicom.sr.codedict import codes as _known
from pydicom.sr.coding import Code

__all__ = ["DCM", "LN", "OWN_SCHEME", "SCT", "UCUM", "Code", "own"]

SCT = _known.SCT
DCM = _known.DCM
LN = _known.LN
UCUM = _known.UCUM

OWN_SCHEME = "99ISOCENTER"
"""Coding Scheme Designator of the node's own codes; private designators begin with 99 (PS3.16 section 8.2)."""


def own(value: str, meaning: str) -> Code:
    """Return a code of the node's own scheme, for a concept without a public code."""
    return Code(value, OWN_SCHEME, meaning)
