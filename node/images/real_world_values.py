"""Real World Value Mappings (PS3.3 C.7.6.16.2.11): what they say of stored values, beside a rescale or in its place.

A mapping that alone says what stored values mean is applied. One that contradicts the rescale makes the image
unsuitable: nobody knows which of them is right. A mapping to another quantity, as SUV beside Bq/ml, is named and not
applied.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from node.images.frame import Frame, Values
from node.images.part10 import FAULTS
from node.images.real_values import UNSCALED

SEQUENCE = "RealWorldValueMappingSequence"
UCUM = {"HU": "[hnsf'U]", "BQML": "Bq/ml", "GML": "g/ml{SUVbw}", "GY": "Gy"}
"""Rescale Type, Units (PS3.3 C.8.9.1) or Dose Units → the UCUM code of the same quantity in a mapping."""
UNITS_OF = {"PT": "Units", "RTDOSE": "DoseUnits"}
"""Modality → the attribute that names the unit of rescaled values; of others, Rescale Type."""
SAME = 1e-5
"""Relative difference of numbers that are the same: Rescale Slope is text of 16 characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """One linear mapping: real value = slope · stored value + intercept, from the first to the last stored value."""

    slope: float
    intercept: float
    first: float
    last: float
    unit: str


def with_real_world_values(frame: Frame, items: Sequence[Any]) -> Frame:
    """Return a frame with its Real World Value Mappings taken into account; `items` are those of `mapping_items`."""
    if not items:
        return frame
    found = [read_mapping(item) for item in items]
    if frame.lut is None and frame.unscaled == UNSCALED:
        return _with_the_only_mapping(frame, found)
    unit = _unit(frame)
    same = [mapping for mapping in found if mapping is not None and unit in ("", mapping.unit)]
    agreeing = [mapping for mapping in same if _agrees(frame, mapping)]
    if unit and len(agreeing) < len(same):
        mapping = next(mapping for mapping in same if mapping not in agreeing)
        fault = (
            f"its Real World Value Mapping (slope {mapping.slope:g}, intercept {mapping.intercept:g}) contradicts "
            f"its rescale (slope {frame.slope:g}, intercept {frame.intercept:g})"
        )
        return replace(frame, mapping_fault=fault)
    others = [mapping.unit if mapping else "a table" for mapping in found if mapping not in agreeing]
    if not others:
        return frame
    return replace(frame, ignored=(*frame.ignored, f"Real World Value Mapping to {', '.join(others)} is not applied"))


def mapping_items(values: Values, number: int) -> list[Any]:
    """Return the mappings of one frame: of its own functional group, else the shared group, else of the header."""
    groups: list[Any] = []
    try:
        if per_frame := values.get("PerFrameFunctionalGroupsSequence"):
            groups += [per_frame[number - 1], *(values.get("SharedFunctionalGroupsSequence") or ())[:1]]
        for group in (*groups, values):
            if items := group.get(SEQUENCE):
                return list(items)
    except (IndexError, *FAULTS):
        return []
    return []


def read_mapping(item: Any) -> Mapping | None:
    """Return a linear mapping; None of a table, or of one whose numbers cannot be used."""
    try:
        slope, intercept = float(item.RealWorldValueSlope), float(item.RealWorldValueIntercept)
        ends = [
            item.get(f"DoubleFloatRealWorldValue{end}ValueMapped", item.get(f"RealWorldValue{end}ValueMapped"))
            for end in ("First", "Last")
        ]
        first, last = float(ends[0]), float(ends[1])
        units = item.get("MeasurementUnitsCodeSequence")
        unit = str(units[0].CodeValue) if units else ""
    except (IndexError, *FAULTS):
        return None
    return (
        Mapping(slope=slope, intercept=intercept, first=first, last=last, unit=unit)
        if _usable(slope, intercept)
        else None
    )


def _usable(slope: float, intercept: float) -> bool:
    return math.isfinite(slope) and math.isfinite(intercept) and slope != 0


def _with_the_only_mapping(frame: Frame, found: Sequence[Mapping | None]) -> Frame:
    """Return a frame whose values are those of its mapping; unsuitable where that is not one linear mapping of all."""
    mapping = found[0]
    if len(found) != 1 or mapping is None:
        what = f"{len(found)} mappings" if len(found) > 1 else "a table, or numbers that cannot be used"
        return replace(frame, mapping_fault=f"it has no rescale, and its Real World Value Mapping is {what}")
    lowest, highest = _stored_range(frame.image.values)
    if mapping.first > lowest or mapping.last < highest:
        fault = (
            f"it has no rescale, and its Real World Value Mapping is of stored values from {mapping.first:g} to "
            f"{mapping.last:g} only"
        )
        return replace(frame, mapping_fault=fault)
    unit = next((name for name, code in UCUM.items() if code == mapping.unit), mapping.unit)
    return replace(frame, slope=mapping.slope, intercept=mapping.intercept, unit=unit, unscaled="")


def _stored_range(values: Values) -> tuple[int, int]:
    bits = int(values.get("BitsStored") or 0)
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if values.get("PixelRepresentation") else (0, 2**bits - 1)


def _unit(frame: Frame) -> str:
    """Return the UCUM code of the rescaled values of a frame; empty where the header does not name their unit."""
    values = frame.image.values
    modality = str(values.get("Modality") or "")
    unit = str(values.get(UNITS_OF[modality]) or "") if modality in UNITS_OF else frame.unit
    if modality == "CT" and unit in ("", "US"):
        unit = "HU"
    return UCUM.get(unit.strip(), "")


def _agrees(frame: Frame, mapping: Mapping) -> bool:
    if frame.lut is not None:
        return False
    near = [
        math.isclose(mine, other, rel_tol=SAME, abs_tol=SAME * abs(frame.slope))
        for mine, other in ((frame.slope, mapping.slope), (frame.intercept, mapping.intercept))
    ]
    return all(near)
