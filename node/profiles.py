"""What a destination takes, and what it is given in place of what it does not: profiles by name, for the settings.

    LABELMAP ─▶ SEG ──────────────┐
    SR ─▶ COMPREHENSIVE ─▶ ENHANCED ┴─▶ GSPS ─▶ SC ─▶ PDF

Which objects there are is known before anything is sent; which SOP classes a destination refuses, only then.
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
"""A kind of object that a destination can be sent; `KIND_NAMES` has them in words."""

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
"""SOP Class UID → kind (PS3.4 table B.5-1), of those that have or are a fallback."""

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
"""What can stand for a kind that a destination does not take, the best first."""
STAND_INS = frozenset(kind for chain in CHAIN.values() for kind in chain)
LESSER_REPORTS: tuple[Kind, ...] = ("COMPREHENSIVE", "ENHANCED")
"""Made of a report that was refused, never at once."""

FIRST_SERIES_NUMBER = 3000
WHATEVER: tuple[Kind, ...] = ("SEG", "PM", "DERIVED", "REG", "DEFORMABLE", "KO", "SR")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What one destination is sent.

    Parameters
    ----------
    objects
        Kinds that are composed for it at once, as far as there are results for them.
    fallback
        Kinds it may be given in place of one that it refuses by SOP class, out of `CHAIN`.
    transfer_syntax
        How data sets are encoded on their way, where the destination takes that.
    most_frames
        A Segmentation with more frames becomes several; no limit without it.
    first_series_number, series_description
        How its series are numbered and named, the node's own way without a name: see `Identity.series_description`.
    """

    objects: tuple[Kind, ...] = WHATEVER
    fallback: tuple[Kind, ...] = ("SEG", "COMPREHENSIVE", "ENHANCED", "GSPS", "SC", "PDF")
    transfer_syntax: TransferSyntax = "explicit"
    most_frames: int | None = None
    first_series_number: int = FIRST_SERIES_NUMBER
    series_description: str = ""

    def after(self, kind: Kind) -> tuple[Kind, ...]:
        """Return what may stand for a kind at this destination, the best first."""
        return tuple(one for one in CHAIN.get(kind, ()) if one in self.fallback)

    @property
    def shape(self) -> str:
        """What tells objects that are made for it from those made for others; empty for the node's own way."""
        own = Profile()
        forms = "+".join(kind for kind in ("SEG", "LABELMAP", "FRACTIONAL") if kind in self.objects)
        unnamed = "none" if "SR" in self.objects else ""  # a report names the Segmentations that go with it
        wanted = {
            "forms": "" if forms == "SEG" else forms or unnamed,
            "frames": self.most_frames or "",
            "numbers": "" if self.first_series_number == own.first_series_number else self.first_series_number,
            "names": self.series_description,
        }
        return "|".join(f"{name} {value}" for name, value in wanted.items() if value != "")


PROFILES: Mapping[str, Profile] = {
    "orthanc": Profile(),
    "dcm4chee": Profile(),
    "ohif": Profile(objects=("SEG", "PM", "DERIVED", "REG", "DEFORMABLE", "SR")),
    "weasis": Profile(objects=("SEG", "PM", "DERIVED", "REG", "DEFORMABLE", "KO", "GSPS", "SR")),
    "plain-pacs": Profile(objects=("DERIVED", "SC", "PDF"), fallback=("PDF",)),
}
"""Archives store what their viewers show; `ohif` and `weasis` are for an archive that one of these looks into.

OHIF shows neither presentation states nor key objects. Weasis shows a report as text only, and draws presentation
states.
"""
