"""Coded concepts: SNOMED CT, DICOM, LOINC and UCUM by name, and the node's own few.

`codes.SCT.Lung`, `codes.UCUM.Percent`: names are looked up in pydicom's tables, so that value and meaning agree.
"""

from pydicom.sr.codedict import codes as _known
from pydicom.sr.coding import Code

__all__ = ["DCM", "LN", "OWN_SCHEME", "SCT", "UCUM", "Code", "own"]

SCT = _known.SCT
DCM = _known.DCM
LN = _known.LN
UCUM = _known.UCUM

OWN_SCHEME = "99ISOCENTER"
"""Designator of the codes the standard lacks; private ones begin with 99 (PS3.16 section 8.2)."""


def own(value: str, meaning: str) -> Code:
    """Return a code of the node's own scheme, for a concept that no public table has."""
    return Code(value, OWN_SCHEME, meaning)
