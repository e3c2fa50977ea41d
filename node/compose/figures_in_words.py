"""Numbers and units as they are printed for a person."""

from node.codes import Code
from node.results import Measurement
from node.results.figures import reported

UNITS = {"1": "", "[hnsf'U]": "HU", "cm3": "cm³", "mm3": "mm³", "mm2": "mm²", "cm2": "cm²"}
"""UCUM code → unit as it is printed, for codes that are not printed as they are."""
ENDINGS = {1.0: "st", 2.0: "nd", 3.0: "rd"}
"""Last digit of a number → the end of its ordinal; all others have "th"."""


def number_in_words(value: float) -> str:
    """Return a measured number with four digits, and all before the point."""
    return f"{reported(value):.0f}" if 1e3 <= abs(value) < 1e9 else f"{reported(value):.4g}"


def derivation_in_words(measurement: Measurement) -> str:
    """Return what a value is of many: "Mean of ", "15th percentile of "; empty where the name itself says it."""
    if measurement.percentile is None:
        return f"{measurement.derivation.meaning} of " if measurement.derivation else ""
    percentile = f"{_ordinal(measurement.percentile)} percentile"
    return "" if percentile in measurement.name.meaning else f"{percentile} of "


def _ordinal(number: float) -> str:
    """Return 1st, 2nd, 15th, 97.5th."""
    last = 0.0 if number in (11, 12, 13) else number % 10
    return f"{number:g}{ENDINGS.get(last, 'th')}"


def unit_in_words(unit: Code) -> str:
    """Return a unit without the brackets and annotations of UCUM, and with raised powers."""
    before_remark = unit.value.partition("{")[0]  # g/ml{SUVbw}
    return UNITS.get(unit.value, (before_remark or unit.value).strip("[]{}"))
