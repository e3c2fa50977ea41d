"""Profiles of destinations: the objects that a destination is sent, and what may replace an object it refuses.

    LABELMAP ─▶ SEG ──────────────┐
    SR ─▶ COMPREHENSIVE ─▶ ENHANCED ┴─▶ GSPS ─▶ SC ─▶ PDF

The objects are chosen before anything is sent; refused SOP classes are only known afterwards.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "SEG",
    "LABELMAP",
    "FRACTIONAL",
    "PM",
    "DERIVED",
    "REG",
    "DEFORMABLE",
    "KO",
    "GSPS",
    "SC",
    "PDF",
    "RTSTRUCT",
    "MGCAD",
    "SR",
    "COMPREHENSIVE",
    "ENHANCED",
]
"""A kind of object that a destination can be sent."""

KIND_NAMES: Mapping[Kind, str] = {
    "SEG": "Segmentation, BINARY",
    "LABELMAP": "Label Map Segmentation",
    "FRACTIONAL": "Segmentation, FRACTIONAL (probabilities)",
    "SR": "Comprehensive 3D SR, template TID 1500",
    "COMPREHENSIVE": "Comprehensive SR",
    "ENHANCED": "Enhanced SR",
    "PM": "Parametric Map",
    "DERIVED": "Derived images, of the kind of their source",
    "REG": "Spatial Registration",
    "DEFORMABLE": "Deformable Spatial Registration",
    "KO": "Key Object Selection",
    "GSPS": "Grayscale Softcopy Presentation State, for images in colour the Color one",
    "SC": "Secondary Capture",
    "PDF": "Encapsulated PDF",
    "RTSTRUCT": "RT Structure Set",
    "MGCAD": "Mammography CAD SR, template TID 4000",
}
"""Kind of object in words."""

TransferSyntax = Literal["explicit", "implicit", "deflated"]
TRANSFER_SYNTAXES: Mapping[TransferSyntax, str] = {
    "explicit": "1.2.840.10008.1.2.1",
    "implicit": "1.2.840.10008.1.2",
    "deflated": "1.2.840.10008.1.2.1.99",
}

SOP_CLASSES: Mapping[str, Kind] = {
    "1.2.840.10008.5.1.4.1.1.66.4": "SEG",
    "1.2.840.10008.5.1.4.1.1.66.7": "LABELMAP",
    "1.2.840.10008.5.1.4.1.1.88.34": "SR",
    "1.2.840.10008.5.1.4.1.1.88.33": "COMPREHENSIVE",
    "1.2.840.10008.5.1.4.1.1.88.22": "ENHANCED",
    "1.2.840.10008.5.1.4.1.1.11.1": "GSPS",
    "1.2.840.10008.5.1.4.1.1.7": "SC",
    "1.2.840.10008.5.1.4.1.1.104.1": "PDF",
}
"""SOP Class UID → kind (PS3.4 table B.5-1), for the kinds that have a fallback or are one."""

PICTURES: tuple[Kind, ...] = ("GSPS", "SC", "PDF")
CHAIN: Mapping[Kind, tuple[Kind, ...]] = {
    "LABELMAP": ("SEG", *PICTURES),
    "SEG": PICTURES,
    "SR": ("COMPREHENSIVE", "ENHANCED", *PICTURES),
    "COMPREHENSIVE": ("ENHANCED", *PICTURES),
    "ENHANCED": PICTURES,
    "GSPS": ("SC", "PDF"),
    "SC": ("PDF",),
}
"""Kind → kinds that can replace it at a destination that does not take it, the best first."""
STAND_INS = frozenset(kind for chain in CHAIN.values() for kind in chain)
LESSER_REPORTS: tuple[Kind, ...] = ("COMPREHENSIVE", "ENHANCED")
"""Kinds that are only made from a refused report, never composed at once."""

NAMED: tuple[Kind, ...] = ("PM", "DERIVED", "REG", "DEFORMABLE")
"""Kinds that a report lists as evidence for themselves.

Segmentations are listed where a segment refers to them. Another archive may have the report without the pictures.
"""

FIRST_SERIES_NUMBER = 3000
DEFAULT_KINDS: tuple[Kind, ...] = ("SEG", "PM", "DERIVED", "REG", "DEFORMABLE", "KO", "SR")
"""Kinds that are composed where no destination asks for others: at most three series for a job of each plugin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The objects that a destination is sent, and how.

    Parameters
    ----------
    objects
        Kinds that are composed for it at once, where there are results for them.
    fallback
        Kinds out of `CHAIN` that may replace a kind whose SOP class it refuses.
    transfer_syntax
        Encoding of data sets when they are sent, if the destination accepts it.
    most_frames
        A Segmentation with more frames is divided into several objects. None: no limit.
    first_series_number, series_description
        First Series Number, and format of Series Description; empty for the default of `Identity.series_description`.
    """

    objects: tuple[Kind, ...] = DEFAULT_KINDS
    fallback: tuple[Kind, ...] = ("SEG", "COMPREHENSIVE", "ENHANCED", "GSPS", "SC", "PDF")
    transfer_syntax: TransferSyntax = "explicit"
    most_frames: int | None = None
    first_series_number: int = FIRST_SERIES_NUMBER
    series_description: str = ""

    def after(self, kind: Kind) -> tuple[Kind, ...]:
        """Return the kinds that may replace a kind at this destination, the best first."""
        return tuple(replacement for replacement in CHAIN.get(kind, ()) if replacement in self.fallback)

    @property
    def variant(self) -> str:
        """What distinguishes its objects from those of other profiles: part of their UIDs; empty for the default."""
        default = Profile()
        forms = "+".join(kind for kind in ("SEG", "LABELMAP", "FRACTIONAL") if kind in self.objects)
        unnamed = "none" if "SR" in self.objects else ""  # a report names the objects that go with it
        named = [kind for kind in NAMED if kind in self.objects]
        differences = {
            "forms": "" if forms == "SEG" else forms or unnamed,
            "named": "" if not unnamed or len(named) == len(NAMED) else "+".join(named) or "none",
            "frames": self.most_frames or "",
            "numbers": "" if self.first_series_number == default.first_series_number else self.first_series_number,
            "names": self.series_description,
        }
        return "|".join(f"{name} {value}" for name, value in differences.items() if value != "")


PROFILES: Mapping[str, Profile] = {
    "orthanc": Profile(),
    "dcm4chee": Profile(),
    "ohif": Profile(objects=("SEG", "PM", "DERIVED", "REG", "DEFORMABLE", "SR")),
    "weasis": Profile(objects=("SEG", "PM", "DERIVED", "REG", "DEFORMABLE", "KO", "GSPS", "SR")),
    "plain-pacs": Profile(objects=("DERIVED", "SC", "PDF"), fallback=("PDF",)),
}
"""Profiles by name. `ohif` and `weasis` are for an archive whose images are read with that viewer.

OHIF shows neither presentation states nor key objects. Weasis draws presentation states, and shows reports as text.
"""
