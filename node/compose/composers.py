"""The table of all kinds of objects, and the function that composes them."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from pydicom.dataset import Dataset

from node.compose.case import Case
from node.compose.derived import compose_derived
from node.compose.gsps import compose_gsps
from node.compose.ko import compose_ko
from node.compose.mgcad import compose_mgcad
from node.compose.pdf import compose_pdf
from node.compose.pm import compose_pm
from node.compose.registration import compose_deformable, compose_reg
from node.compose.rtstruct import compose_rtstruct
from node.compose.sc import compose_sc
from node.compose.seg import compose_fractional, compose_labelmap, compose_seg
from node.compose.sr import compose_sr
from node.images.part10 import FAULTS
from node.profiles import DEFAULT_KINDS

Composer = Callable[[Case, Sequence[Dataset]], Iterator[Dataset]]
"""Yields the objects of one kind, none where the results have nothing for it.

The second argument lists the objects that were composed before. It grows by each object that the composer yields.
"""

KINDS: Mapping[str, Composer] = {
    "SEG": compose_seg,
    "LABELMAP": compose_labelmap,
    "FRACTIONAL": compose_fractional,
    "PM": compose_pm,
    "DERIVED": compose_derived,
    "REG": compose_reg,
    "DEFORMABLE": compose_deformable,
    "KO": compose_ko,
    "GSPS": compose_gsps,
    "SC": compose_sc,
    "PDF": compose_pdf,
    "RTSTRUCT": compose_rtstruct,
    "MGCAD": compose_mgcad,
    "SR": compose_sr,
}
"""Kind of object → its composer, in the order of sending. Reports come last, since they refer to Segmentations."""


HEADER_FAULTS = tuple(fault for fault in FAULTS if not issubclass(OSError, fault))
"""What a value of a header that nobody expected may raise while an object is composed or written."""


def compose(case: Case, kinds: Collection[str] = DEFAULT_KINDS) -> list[Dataset]:
    """Return the objects of a case in the order of sending: each result as its own object, then the reports.

    A report is always among the default kinds, also when nothing was found or the images were not suitable. Equal
    arguments give equal bytes.

    Parameters
    ----------
    kinds
        Keys of `KINDS`; their order does not matter.

    Raises
    ------
    BrokenResult
        What the plugin returned does not fit the images; the message says what and who must act.
    """
    return [made for _, made in compose_by_kind(case, kinds)]


def compose_by_kind(
    case: Case, kinds: Collection[str], failed: Callable[[str, Exception], None] | None = None
) -> list[tuple[str, Dataset]]:
    """Return the objects of `compose`, each with the kind that it was composed for.

    An error of `HEADER_FAULTS` costs the kind alone if there is `failed`, which is called with the kind and the error.
    """
    made: list[Dataset] = []
    made_for: list[str] = []
    uids: set[str] = set()
    for kind in (kind for kind in KINDS if kind in kinds):
        try:
            for composed in KINDS[kind](case, made):
                if composed.SOPInstanceUID not in uids:  # a heat map without a Parametric Map is of kind PM and SC
                    uids.add(composed.SOPInstanceUID)
                    made.append(composed)
                    made_for.append(kind)
        except HEADER_FAULTS as error:
            if failed is None:
                raise
            failed(kind, error)
    return list(zip(made_for, made, strict=True))
