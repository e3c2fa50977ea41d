"""plausible.toml beside plugin.toml: limits of the answers of a plugin in a patient, row by row, with sources."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from node.host.coded import Coded

FILE = "plausible.toml"

Quantity = Literal[
    "volume",
    "extent",
    "largest_piece",
    "share",
    "mean",
    "spread",
    "air",
    "bone",
    "left_of",
    "below",
    "below_lungs",
    "number",
    "present",
    "unexplained",
    "likeness",
    "turn",
    "shift",
    "bend",
]

PHRASES: Mapping[Quantity, tuple[str, str]] = {
    "volume": ("{of} has a volume of {value}", "ml"),
    "extent": ("the longest edge of the box around {of} is {value}", "mm"),
    "largest_piece": ("the largest piece of {of} is {value} of it", "%"),
    "share": ("{of} covers {value} of the image", "%"),
    "mean": ("{of} has a mean of {value}", ""),
    "spread": ("{of} has a spread of {value}", ""),
    "air": ("{value} of {of} is air", "%"),
    "bone": ("{value} of the body in {of} is bone", "%"),
    "left_of": ("{of} lies {value} to the left of {per}", "mm"),
    "below": ("{of} lies {value} below {per}", "mm"),
    "below_lungs": ("{of} lies {value} below the middle of the lungs", "mm"),
    "number": ("there are {value} of {of}", ""),
    "present": ("{value} of {of} are present", ""),
    "unexplained": ("{value} of {of} are present, and {per} is not", ""),
    "likeness": ("{of} and its images have a correlation of {value}", ""),
    "turn": ("the prior is turned by {value}", "°"),
    "shift": ("the middle of the images is shifted by {value}", "mm"),
    "bend": ("the prior is bent by {value}", "mm"),
}
"""A sentence and a unit for each quantity. If the unit is empty, it is that of the images, or the value is a number."""

PLACES = {"left_of", "below", "unexplained"}
"""Quantities that compare `of` with `per`."""
REGISTERED = {"turn", "shift", "bend"}
"""Quantities of a registration, which has no label."""
IMAGES = "images"
"""`per = "images"`: the source images of a derived series."""


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Labels = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_several)]
"""Labels of segments and regions, names of findings, or descriptions of derived series; `*` stands for any text."""


class PlausibleRow(BaseModel):
    """One row: a quantity or a measurement, what it is of, its lowest and highest plausible value, and the source.

    Without `of` a measurement is of the images as a whole. With `per` the value is divided by that of `per`, except for
    the quantities in `PLACES`; `PHRASES` says what those mean. With `total` the values of all labels in `of` are added.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    quantity: Quantity | None = None
    measurement: Coded | None = None
    unit: str = ""
    derivation: Coded | None = None
    percentile: float | None = None
    of: Labels = ()
    per: Labels = ()
    total: bool = False
    at_least: float | None = None
    at_most: float | None = None
    source: str = Field(min_length=10)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if (self.quantity is None) == (self.measurement is None):
            raise ValueError("a row has either a quantity or a measurement")
        if (self.measurement is None) == bool(self.unit):
            raise ValueError("a measurement has the unit (UCUM) that its limits are in; a quantity has its own")
        if self.at_least is None and self.at_most is None:
            raise ValueError("say at_least, at_most or both")
        if self.quantity is not None and bool(self.of) == (self.quantity in REGISTERED):
            raise ValueError(f"{self.quantity} {'has no label: remove' if self.of else 'needs a label: write'} `of`")
        if self.quantity in PLACES and not self.per:
            raise ValueError(f"{self.quantity} compares two structures: name the second in `per`")
        return self

    @property
    def limits(self) -> str:
        """The plausible values in words, such as "at most 60"."""
        if self.at_least is None:
            return f"at most {self.at_most:g}"
        if self.at_most is None:
            return f"at least {self.at_least:g}"
        return f"{self.at_least:g}" + (f" to {self.at_most:g}" if self.at_least != self.at_most else "")

    @property
    def what(self) -> str:
        """What the row is about, in words: "Mean of Volume (cm3)", "left of Liver (mm)"."""
        if self.quantity is None:
            derivation = f"{self.derivation.meaning} of " if self.derivation else ""
            name, unit = f"{derivation}{getattr(self.measurement, 'meaning', '')}", self.unit
        else:
            name, unit = self.quantity.replace("_", " "), PHRASES[self.quantity][1]
        total = "total " if self.total else ""
        of = "" if self.quantity in PLACES else "÷ "
        per = f" {of}`{'`, `'.join(self.per)}`" if self.per else ""
        return f"{total}{name}{per}" + (f" ({unit})" if unit and (not self.per or not of) else "")

    def holds(self, value: float) -> bool:
        """Return whether a value is plausible; NaN is not."""
        low = -float("inf") if self.at_least is None else self.at_least
        high = float("inf") if self.at_most is None else self.at_most
        return low <= value <= high


class PlausibleTable(BaseModel):
    """The content of plausible.toml. A plugin without the file has an empty table, and its answers are not checked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    row: tuple[PlausibleRow, ...] = ()


EMPTY = PlausibleTable()
