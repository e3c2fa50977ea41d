"""Numbers as people read them: no more digits than are known."""

import math


def significant(value: float, digits: int) -> float:
    """Return a number rounded to so many significant digits; digits before the point are kept: 17161.7, 3 → 17162."""
    if value == 0 or not math.isfinite(value):
        return value
    return round(value, max(0, digits - 1 - math.floor(math.log10(abs(value)))))


def in_words(value: float, digits: int = 3) -> str:
    """Return a number with so many significant digits, without a power of ten: 0.0123, 1.23, 17162."""
    rounded = significant(value, digits)
    return f"{rounded:.0f}" if abs(rounded) >= 10 ** (digits - 1) else f"{rounded:.{digits}g}"


def reported(value: float) -> float:
    """Return a measured number with as many digits as images allow: four, and all before the point.

    Outlines and voxels make sizes and volumes uncertain by a percent or more; a fifth digit would be invented.
    """
    return significant(value, 4)
