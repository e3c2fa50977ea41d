"""What a destination takes, and what it is given in place of what it does not: profiles by name, for the settings.

    labelmap ─▶ seg ─────────┐
    sr3d ─▶ sr ─▶ sr-enhanced ┴─▶ gsps ─▶ sc ─▶ pdf

Which objects there are is known before anything is sent; which of them a destination refuses by their SOP class is not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["seg", "labelmap", "fractional", "sr3d", "sr", "sr-enhanced", "gsps", "sc", "pdf"]
"""Kinds of object: BINARY, LABELMAP and FRACTIONAL Segmentation; Comprehensive 3D, Comprehensive and Enhanced SR;
Grayscale Softcopy Presentation State; Secondary Capture; Encapsulated PDF."""

TransferSyntax = Literal["explicit", "implicit", "deflated"]

SR_SOP_CLASSES: Mapping[str, Kind] = {
    "1.2.840.10008.5.1.4.1.1.88.34": "sr3d",
    "1.2.840.10008.5.1.4.1.1.88.33": "sr",
    "1.2.840.10008.5.1.4.1.1.88.22": "sr-enhanced",
}
SOP_CLASSES: Mapping[str, Kind] = {
    "1.2.840.10008.5.1.4.1.1.66.4": "seg",
    "1.2.840.10008.5.1.4.1.1.66.7": "labelmap",
    **SR_SOP_CLASSES,
    "1.2.840.10008.5.1.4.1.1.11.1": "gsps",
    "1.2.840.10008.5.1.4.1.1.7": "sc",
    "1.2.840.10008.5.1.4.1.1.104.1": "pdf",
}
"""SOP Class UID → kind (PS3.4 table B.5-1)."""

PICTURES: tuple[Kind, ...] = ("gsps", "sc", "pdf")
CHAIN: Mapping[Kind, tuple[Kind, ...]] = {
    "labelmap": ("seg", *PICTURES),
    "seg": PICTURES,
    "sr3d": ("sr", "sr-enhanced", *PICTURES),
    "sr": ("sr-enhanced", *PICTURES),
    "sr-enhanced": PICTURES,
    "gsps": ("sc", "pdf"),
    "sc": ("pdf",),
}
"""What can stand for a kind that a destination does not take, the best first."""

FIRST_SERIES_NUMBER = 3000
SERIES_DESCRIPTION = "AI {kind} {plugin} {version} (research)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What one destination is sent.

    Parameters
    ----------
    objects
        Kinds that are composed for it at once.
    fallback
        Kinds it may be given in place of one that it refuses by SOP class, out of `CHAIN`.
    transfer_syntax
        How data sets are encoded on their way.
    most_frames
        A Segmentation with more frames becomes several; no limit without it.
    first_series_number, series_description
        How its series are numbered and named.
    """

    objects: tuple[Kind, ...] = ("seg", "fractional", "sr3d")
    fallback: tuple[Kind, ...] = ("seg", "sr", "sr-enhanced", "gsps", "sc", "pdf")
    transfer_syntax: TransferSyntax = "explicit"
    most_frames: int | None = None
    first_series_number: int = FIRST_SERIES_NUMBER
    series_description: str = SERIES_DESCRIPTION

    def after(self, kind: Kind) -> tuple[Kind, ...]:
        """Return what may stand for a kind at this destination, the best first."""
        return tuple(one for one in CHAIN.get(kind, ()) if one in self.fallback)


PROFILES: Mapping[str, Profile] = {
    "orthanc": Profile(),
    "dcm4chee": Profile(),
    "ohif": Profile(objects=("seg", "sr3d")),
    "weasis": Profile(objects=("seg", "sr3d", "gsps"), most_frames=2000),
    "plain-pacs": Profile(objects=("sc", "pdf"), fallback=("pdf",)),
}
"""Archives store what their viewers show: `ohif` and `weasis` are for an archive that one of these looks into.

OHIF shows no FRACTIONAL segmentation, and a spinner for ever in its place. Weasis shows a report as text only, and
draws presentation states.
"""
