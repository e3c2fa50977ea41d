"""Published rules that put what was measured into a category. Each is a table, and a function that reads it.

A rule answers only where all that it asks for is known; where it has no row, the answer is empty.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydicom.dataset import Dataset

__all__ = ["GradedNodule", "age_years", "fleischner_2017", "is_lung_screening", "lung_rads_2022", "nodule_rule", "rano"]

Texture = Literal["solid", "part-solid", "non-solid"]
History = Literal["baseline", "new", "growing", "stable", "unknown"]
"""Of a nodule: there is no prior; it is not in the prior; it grew; it did not; what it did is not known."""
ENDLESS = float("inf")

SOLID: dict[str, tuple[tuple[float, str], ...]] = {
    "baseline": ((6, "2"), (8, "3"), (15, "4A"), (ENDLESS, "4B")),
    "new": ((4, "2"), (6, "3"), (8, "4A"), (ENDLESS, "4B")),
    "growing": ((8, "4A"), (ENDLESS, "4B")),
}
NON_SOLID: dict[str, tuple[tuple[float, str], ...]] = {
    "baseline": ((30, "2"), (ENDLESS, "3")),
    "new": ((30, "2"), (ENDLESS, "3")),
    "growing": ((30, "2"),),
    "stable": ((ENDLESS, "2"),),
}
PART_SOLID: dict[str, tuple[tuple[float, str], ...]] = {
    "baseline": ((6, "3"), (8, "4A"), (ENDLESS, "4B")),
    "new": ((4, "4A"), (ENDLESS, "4B")),
}
"""Lung-RADS 2022 (American College of Radiology): history → category below each diameter in mm.

That of a part-solid nodule of 6 mm or more follows from the diameter of its solid part. Below 6 mm it is 2, and new 3.
There is no row for a solid nodule that is stable: its category depends on that of the examination before.
"""
SMALL_MM = 6
CATEGORIES = "2", "3", "4A", "4B"
GROWTH_MM, GROWTH_DAYS = 1.5, 366
"""A nodule grows if its mean diameter increases by more, within a year (Lung-RADS 2022)."""

MASS_MM = 30
LEAST_AGE = 35
"""The guidelines of the Fleischner Society are not for younger patients."""
CLASSES = (
    "{} below 6 mm",
    "non-solid, 6 mm or more",
    "solid, 6 to 8 mm",
    "solid, over 8 mm",
    "part-solid, 6 mm or more, its solid part below 6 mm",
    "part-solid, its solid part 6 mm or more",
)
"""Rows of the guidelines of the Fleischner Society 2017 (MacMahon et al., Radiology 2017;284:228), by suspicion."""

SCREENING = re.compile(r"\bLDCT\b|\bLCS\b|(lung|chest|thorax).*screen|screen.*(lung|chest|thorax)", re.IGNORECASE)
PURPOSES = ("StudyDescription", "SeriesDescription", "ProtocolName", "RequestedProcedureDescription")

RANO_MM, RANO_SLICES = 10.0, 2
"""A lesion can be measured from both diameters and this many slices on (Wen et al., J Clin Oncol 2010;28:1963)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GradedNodule:
    """What the rules ask of a nodule: its label, texture, mean diameters in mm, and its history."""

    label: str
    texture: Texture
    diameter: float
    solid_diameter: float = 0.0
    history: History = "baseline"


def lung_rads_2022(nodule: GradedNodule) -> str:
    """Return the category of a nodule by size: 2, 3, 4A or 4B; empty where the table has no row for it."""
    diameter = round(nodule.diameter, 1)  # the table is read with one decimal
    if nodule.texture == "part-solid":
        if diameter < SMALL_MM:
            return {"baseline": "2", "new": "3"}.get(nodule.history, "")
        return _below(PART_SOLID.get(nodule.history, ()), round(nodule.solid_diameter, 1))
    table = SOLID if nodule.texture == "solid" else NON_SOLID
    return _below(table.get(nodule.history, ()), diameter)


def fleischner_2017(nodule: GradedNodule) -> str:
    """Return the row that a nodule belongs to, by type and size."""
    return CLASSES[_fleischner_row(nodule)].format(nodule.texture)


def _fleischner_row(nodule: GradedNodule) -> int:
    """Return the index of the row; diameters are rounded to whole millimetres (Bankier et al., Radiology 2017)."""
    diameter, inner = _whole_mm(nodule.diameter), _whole_mm(nodule.solid_diameter)
    if diameter < SMALL_MM:
        return 0
    if nodule.texture == "non-solid":
        return 1
    if nodule.texture == "part-solid":
        return 4 if inner < SMALL_MM else 5
    return 2 if diameter <= 8 else 3


def nodule_rule(nodules: Sequence[GradedNodule], header: Dataset) -> str:
    """Return what the rule for these images says of the nodules, in a sentence; or why there is no category.

    Lung-RADS is for screening, and the guidelines of the Fleischner Society for what is found by chance.
    """
    if is_lung_screening(header):
        return _lung_rads_in_words(nodules)
    age = age_years(header)
    if age is None or age < LEAST_AGE:
        why = "the header has no age" if age is None else f"they are for patients of {LEAST_AGE} years and more"
        return (
            "No Lung-RADS category: the header does not say that this is a screening for lung cancer. No class of the "
            f"Fleischner Society: {why}."
        )
    worst = max(nodules, key=_fleischner_row)
    if masses := [nodule.label for nodule in nodules if nodule.diameter > MASS_MM]:
        return f"No class of the Fleischner Society: {', '.join(masses)} is larger than {MASS_MM} mm, a mass."
    number = "one nodule" if len(nodules) == 1 else f"{len(nodules)} nodules"
    return (
        f"Fleischner Society 2017 by rule, from type and size alone: {number}, the most suspicious {worst.label}, "
        f"{fleischner_2017(worst)}. It is not for patients with known cancer or immunosuppression; the risk of the "
        "patient is not known here. No Lung-RADS category: the header names no screening for lung cancer."
    )


def _lung_rads_in_words(nodules: Sequence[GradedNodule]) -> str:
    graded = [(lung_rads_2022(nodule), nodule) for nodule in nodules]
    if unknown := [nodule.label for category, nodule in graded if not category]:
        return (
            f"No Lung-RADS category: that of {', '.join(unknown)} depends on the category of the examination before, "
            "or on growth that was not measured."
        )
    category, worst = max(graded, key=lambda pair: CATEGORIES.index(pair[0]))
    first = " No prior is here: this is taken for the first examination." if worst.history == "baseline" else ""
    return (
        f"Lung-RADS 2022 by rule, from type, size and growth alone: category {category} of what was found, by "
        f"{worst.label}. Benign features, 4X and S are not judged.{first}"
    )


def is_lung_screening(header: Dataset) -> bool:
    """Return whether a header says that the images were made to screen for lung cancer."""
    return any(SCREENING.search(str(header.get(keyword) or "")) for keyword in PURPOSES)


def age_years(header: Dataset) -> int | None:
    """Return the age in whole years by Patient's Age, such as 062Y; None without one."""
    age = re.fullmatch(r"(\d{3})([DWMY])", str(header.get("PatientAge") or "").strip())
    if age is None:
        return None
    return int(age[1]) if age[2] == "Y" else int(age[1]) // {"D": 365, "W": 52, "M": 12}[age[2]]


def rano(long: float, short: float, slices: int, apart: float) -> str:
    """Return why a lesion cannot be measured by RANO; empty if it can: two diameters of 10 mm, on two slices.

    Parameters
    ----------
    long, short
        Longest diameter in one image, and the longest across it, mm.
    slices, apart
        On how many slices it is seen, and their distance in mm. With more than 5 mm both diameters must be two slices.
    """
    least = max(RANO_MM, 2 * apart) if apart > 5 else RANO_MM
    if min(long, short) < least:
        return f"a diameter is below {least:.0f} mm"
    return "" if slices >= RANO_SLICES else "it is seen on one slice"


def _below(table: Sequence[tuple[float, str]], diameter: float) -> str:
    return next((category for limit, category in table if diameter < limit), "")


def _whole_mm(diameter: float) -> int:
    return int(diameter + 0.5)
