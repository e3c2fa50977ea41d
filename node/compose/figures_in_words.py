"""Numbers and units as they are printed for a person."""

from node.codes import Code
from node.results.figures import reported

UNITS = {"1": "", "[hnsf'U]": "HU", "cm3": "cm³", "mm3": "mm³", "mm2": "mm²", "cm2": "cm²"}
"""UCUM code → unit as it is printed, for codes that are not printed as they are."""


def number_in_words(value: float) -> str:
    """Return a measured number with four digits, and all before the point."""
    return f"{reported(value):.0f}" if 1e3 <= abs(value) < 1e9 else f"{reported(value):.4g}"


def unit_in_words(unit: Code) -> str:
    """Return a unit without the brackets and annotations of UCUM, and with raised powers."""
    before_remark = unit.value.partition("{")[0]  # g/ml{SUVbw}
    return UNITS.get(unit.value, (before_remark or unit.value).strip("[]{}"))
