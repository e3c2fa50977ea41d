"""Typed conditions on DICOM attributes, as written in routes and manifests. Each gives the reason if it does not hold.

    Modality = "CT"                             equal
    BodyPartExamined = ["CHEST", "THORAX"]      one of
    SliceThickness = { at_most = 3.0 }          also at_least, both together a range
    SeriesDescription = { matches = "(?i)lung" }    a regular expression, found anywhere
    ImageType = { contains = "ORIGINAL" }       one of the values of a multi-valued attribute
    ReconstructionDiameter = { present = true } has a value
    ContrastBolusAgent = { present = false }    absent or empty
    orientation = "axial"                       of the images: axial, coronal, sagittal, or oblique
    instances = { at_least = 30 }               number of images of the stack

An absent or empty attribute fulfils no condition except present = false.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from node.images.frame import Frame
from node.images.series import Series

Plain = str | int | float | bool

OBLIQUE_COSINE = 0.9
"""A plane is axial, coronal or sagittal if its normal lies within 26 degrees of that axis (arccos 0.9)."""
NAMES = frozenset(entry[4] for entry in DicomDictionary.values() if entry[0] == "PN") | {"PatientID"}
"""Attributes whose values are never written into messages: ledger and log contain UIDs, and no names of people."""
PLANES = ("sagittal", "coronal", "axial")


class Condition(BaseModel):
    """The conditions on one value; all of them must hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    equal: Plain | None = None
    any_of: Annotated[tuple[Plain, ...], Field(min_length=1)] | None = None
    at_least: float | None = None
    at_most: float | None = None
    matches: str | None = None
    contains: str | None = None
    present: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: object) -> object:
        if isinstance(value, list):
            return {"any_of": tuple(value)}
        return value if isinstance(value, (dict, Condition)) else {"equal": value}

    @model_validator(mode="after")
    def _means_something(self) -> "Condition":
        if not self.model_fields_set:
            raise ValueError("asks for nothing; give a value, a list, at_least, at_most, matches, contains or present")
        if self.present is False and len(self.model_fields_set) > 1:
            raise ValueError("present = false asks for no value, another condition for a value; remove one of them")
        if self.matches is not None:
            try:
                re.compile(self.matches)
            except re.error as error:
                raise ValueError(f"{self.matches!r} is no regular expression: {error}") from error
        return self

    def failing(self, value: object) -> str | None:
        """Return the first condition that a value does not fulfil, in words; None if it fulfils all."""
        for name in sorted(self.model_fields_set):
            wanted = getattr(self, name)
            if wanted is not None and not TESTS[name].holds(value, wanted):
                return TESTS[name].wanted.format(shown(wanted))
        return None


@dataclass(frozen=True, slots=True)
class ValueTest:
    """How a condition is tested, and its words in a message."""

    wanted: str
    holds: Callable[[object, Any], bool]


def _number(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return float("nan")


def _equal(value: object, wanted: Plain) -> bool:
    if isinstance(wanted, (int, float)) and not isinstance(wanted, bool):
        return _number(value) == wanted
    return shown(value) == str(wanted)


def _values(value: object) -> list[object]:
    return list(value) if isinstance(value, (MultiValue, list, tuple)) else [value]


TESTS: Mapping[str, ValueTest] = {
    "equal": ValueTest("{}", _equal),
    "any_of": ValueTest("one of {}", lambda value, wanted: any(_equal(value, option) for option in wanted)),
    "at_least": ValueTest("at least {}", lambda value, wanted: _number(value) >= wanted),
    "at_most": ValueTest("at most {}", lambda value, wanted: _number(value) <= wanted),
    "matches": ValueTest("a match of {}", lambda value, wanted: re.search(wanted, shown(value)) is not None),
    "contains": ValueTest("{} among its values", lambda value, wanted: wanted in map(str, _values(value))),
    "present": ValueTest("none", lambda value, wanted: wanted or _absent(value)),
}


def known_keyword(name: str) -> str:
    """Return the name if it is a DICOM keyword or a property of a stack; else raise ValueError."""
    if name not in DERIVED and tag_for_keyword(name) is None:
        raise ValueError(f"{name} is neither a DICOM keyword nor one of {', '.join(DERIVED)}")
    return name


def orientation(frame: Frame) -> str | None:
    """Return axial, coronal, sagittal or oblique; None for an image without orientation."""
    if frame.orientation is None:
        return None
    along = np.abs(frame.normal)
    return PLANES[int(along.argmax())] if along.max() >= OBLIQUE_COSINE else "oblique"


DERIVED: Mapping[str, Callable[[Series], object]] = {
    "orientation": lambda series: orientation(series.frames[0]),
    "instances": lambda series: len(series.frames),
}
"""Properties of a stack that conditions may use like DICOM attributes."""

When = Annotated[dict[Annotated[str, BeforeValidator(known_keyword)], Condition], Field(default_factory=dict)]
"""Conditions by keyword, all of which must hold."""


def mismatch(when: Mapping[str, Condition], series: Series) -> str | None:
    """Return the first reason why a stack does not fulfil the conditions, or None if it fulfils them."""
    for keyword, condition in when.items():
        derived = DERIVED.get(keyword)
        value = derived(series) if derived else found(series.header, keyword)
        wanted = condition.failing(value)
        if _absent(value) and condition.present is not False:
            return f"{keyword} is absent, wanted {wanted or 'any value'}"
        if wanted is not None:
            return f"{keyword} is {'another' if keyword in NAMES else shown(value)}, wanted {wanted}"
    return None


def found(header: Dataset, keyword: str) -> object:
    """Return the value of an attribute, from the header or its shared functional groups; None if it is absent."""
    if keyword in header:
        return _value(header, keyword)
    for shared in header.get("SharedFunctionalGroupsSequence", [])[:1]:
        for group in shared:
            if group.VR == "SQ" and group.value and keyword in group.value[0]:
                return _value(group.value[0], keyword)
    return None


def _value(dataset: Dataset, keyword: str) -> object:
    value: object = dataset[keyword].value
    return value


def _absent(value: object) -> bool:
    return value is None or value == "" or (isinstance(value, (MultiValue, list)) and len(value) == 0)


def shown(value: object) -> str:
    """Return a value as messages and conditions have it: several values with a backslash between them."""
    if isinstance(value, (MultiValue, list, tuple)):
        return "\\".join(map(str, value)) if isinstance(value, MultiValue) else ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
