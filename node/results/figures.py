"""Numbers as people read them: no more digits than are known."""

import math

import numpy as np


def significant(value: float, digits: int) -> float:
    """Return a number rounded to so many significant digits; digits before the point are kept: 17161.7, 3 → 17162."""
    if value == 0 or not math.isfinite(value):
        return value
    return round(value, max(0, digits - 1 - math.floor(math.log10(abs(value)))))


def rounded_with_limits(value: float, *limits: float, digits: int) -> tuple[float, ...]:
    """Return a number and its limits in so many significant digits, or in more where it would seem to reach a limit.

    0.4996 beside the limit 0.5 stays 0.4996: it would be read as 0.5, and no longer as less.
    """
    for more in range(digits, 18):
        rounded, *others = (significant(number, more) for number in (value, *limits))
        if all((rounded >= other) == (value >= limit) for other, limit in zip(others, limits, strict=True)):
            break
    return rounded, *others


def without_exponent(value: float) -> str:
    """Return a number with all its digits and no power of ten: 0.00001."""
    return np.format_float_positional(value, trim="-")


def counted(number: int, what: str) -> str:
    """Return how many there are of something that takes an s in the plural: "1 nodule", "3 nodules", "0 nodules"."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def in_words(value: float, digits: int = 3) -> str:
    """Return a number with so many significant digits, without a power of ten: 0.0123, 1.23, 17162."""
    rounded = significant(value, digits)
    return f"{rounded:.0f}" if abs(rounded) >= 10 ** (digits - 1) else f"{rounded:.{digits}g}"


def reported(value: float) -> float:
    """Return a measured number with as many digits as images allow: four, and all before the point.

    Outlines and voxels make sizes and volumes uncertain by a percent or more; a fifth digit would be invented.
    """
    return significant(value, 4)
