"""A reader of results as IHE AI Results (AIR) describes them: what it finds wrong in the objects of one analysis.

The report is the root: it names the other results, and each of its groups is identified, tracked, placed on an image of
its evidence, and says which algorithm it is of (IHE Radiology, Supplement AI Results, 6.5.3; PS3.16 TID 1500).
"""

import re
from collections.abc import Iterator, Sequence

from pydicom.dataset import Dataset
from pydicom.sr._concepts_dict import concepts
from pydicom.uid import UID, KeyObjectSelectionDocumentStorage

from node.codes import OWN_SCHEME

ROOT_CLASS = "1.2.840.10008.5.1.4.1.1.88.34"
TITLE = ("126000", "DCM")
FLAGS = {"CompletionFlag": "COMPLETE", "VerificationFlag": "UNVERIFIED", "PreliminaryFlag": "PRELIMINARY"}
GROUP, TRACKING_IDENTIFIER, TRACKING_UID = ("125007", "DCM"), ("112039", "DCM"), ("112040", "DCM")
FINDING, ALGORITHM_NAME, ALGORITHM_VERSION = ("121071", "DCM"), ("111001", "DCM"), ("111003", "DCM")
IN_EACH_GROUP = {
    TRACKING_IDENTIFIER: "TextValue",
    TRACKING_UID: "UID",
    FINDING: "ConceptCodeSequence",
    ALGORITHM_NAME: "TextValue",
    ALGORITHM_VERSION: "TextValue",
}
"""Content item of a measurement group → the attribute that holds its value (TID 1501, TID 4019)."""
IN_THE_ROOT = {
    ("121049", "DCM"): "language",
    ("121005", "DCM"): "kind of observer",
    ("121012", "DCM"): "UID of the device",
    ("121058", "DCM"): "procedure reported",
    ("111028", "DCM"): "image library",
    ("126010", "DCM"): "measurements",
}
NOT_NAMED = (KeyObjectSelectionDocumentStorage,)
"""Only some destinations get these, so a report for all does not name them."""
IN_PS3_16 = {"DCM", "UCUM"}
"""Schemes that the tables of PS3.16, as pydicom has them, list in full, or as far as they are used here."""
UNITS = {"g", "ml/m2", "g/m2"}
"""Valid expressions of UCUM that pydicom has no keyword for."""
OTHER_WORDS = {"276214006": "finding category"}
"""Code → another meaning that templates of PS3.16 print beside it."""
QUALIFIER = re.compile(r"\s*\([^)]*\)$")
"""The kind of a concept, after its name in SNOMED CT."""


def faults_of(objects: Sequence[Dataset]) -> list[str]:
    """Return what a reader of AI Results finds wrong, in words; empty if it understands everything."""
    reports = [one for one in objects if one.Modality == "SR"]
    if len(reports) != 1:
        return [f"{len(reports)} reports, and none is the root"]
    (root,) = reports
    return [
        *_root_faults(root),
        *_reference_faults(root, [one for one in objects if one is not root]),
        *(fault for group in _items(root) if _name(group) == GROUP for fault in _group_faults(group, root, objects)),
        *(fault for item in _items(root) for code in _codes(item) for fault in _code_faults(code)),
    ]


def _root_faults(root: Dataset) -> Iterator[str]:
    if root.SOPClassUID != ROOT_CLASS or _name(root) != TITLE:
        yield "the root is no Imaging Measurement Report in Comprehensive 3D SR"
    if root.ContentTemplateSequence[0].TemplateIdentifier != "1500":
        yield "the root does not name TID 1500"
    yield from (f"{flag} is {root.get(flag)}" for flag, value in FLAGS.items() if root.get(flag) != value)
    present = {_name(item) for item in _items(root)}
    yield from (f"the root has no {words}" for name, words in IN_THE_ROOT.items() if name not in present)
    if not any(_name(item) == GROUP for item in _items(root)):
        yield "the root has no measurement group"


def _reference_faults(root: Dataset, others: Sequence[Dataset]) -> Iterator[str]:
    """Yield what is not named in the evidence: results, and images that an item refers to (PS3.3 C.17.2.3)."""
    evidence = _evidence(root)
    for one in others:
        if one.SOPInstanceUID not in evidence and one.SOPClassUID not in NOT_NAMED:
            yield f"{one.Modality} {one.SeriesDescription} is not named by the root"
    for item in _items(root):
        for reference in item.get("ReferencedSOPSequence") or ():
            if reference.ReferencedSOPInstanceUID not in evidence:
                yield f"{_name(item)} refers to an instance that is no evidence"


def _group_faults(group: Dataset, root: Dataset, objects: Sequence[Dataset]) -> Iterator[str]:
    """Yield what a measurement group lacks: identification, a primitive, a place; and a segment tracked otherwise."""
    items = {_name(item): item for item in group.ContentSequence}
    for name, keyword in IN_EACH_GROUP.items():
        if name not in items or not items[name].get(keyword):
            yield f"a group has no {name}"
    uid = str(items[TRACKING_UID].UID) if TRACKING_UID in items else ""
    if not UID(uid).is_valid:
        yield f"{uid!r} is no Tracking UID"
    same = [one for one in _items(root) if _name(one) == GROUP and _tracking(one) == uid]
    if not any(item.ValueType in {"SCOORD", "SCOORD3D"} for one in same for item in _items(one)):
        yield f"{items[TRACKING_IDENTIFIER].TextValue} has no place on an image"
    for item in group.ContentSequence:
        for reference in item.get("ReferencedSOPSequence") or ():
            for number in _numbers(reference):
                tracked = _segment(objects, reference.ReferencedSOPInstanceUID, number)
                if tracked != uid:
                    yield f"segment {number} is tracked by {tracked}, and its group by {uid}"


def _code_faults(code: Dataset) -> Iterator[str]:
    """Yield what is wrong with a code: one that its scheme does not have, or another meaning."""
    value, scheme = _value(code), str(code.CodingSchemeDesignator)
    if not code.CodeMeaning or (scheme.startswith("99") and scheme != OWN_SCHEME):
        yield f"code {value} of {scheme} cannot be read"
    known = {_plain(entry[value][0]) for entry in concepts.get(scheme, {}).values() if value in entry}
    known |= {OTHER_WORDS[value]} if value in OTHER_WORDS else set()
    if scheme in IN_PS3_16 and not known and value not in UNITS:
        yield f"{scheme} has no code {value}"
    if known and _plain(str(code.CodeMeaning)) not in known:
        yield f"code {value} of {scheme} means {sorted(known)}, and not {code.CodeMeaning}"


def _plain(meaning: str) -> str:
    """Return a meaning without its kind in SNOMED CT, and without capitals."""
    return QUALIFIER.sub("", meaning).casefold()


def _items(item: Dataset) -> Iterator[Dataset]:
    for below in item.get("ContentSequence") or ():
        yield below
        yield from _items(below)


def _codes(item: Dataset) -> Iterator[Dataset]:
    yield from item.get("ConceptNameCodeSequence") or ()
    yield from item.get("ConceptCodeSequence") or ()
    for measured in item.get("MeasuredValueSequence") or ():
        yield from measured.MeasurementUnitsCodeSequence


def _name(item: Dataset) -> tuple[str, str]:
    (code,) = item.get("ConceptNameCodeSequence") or [Dataset()]
    return (_value(code), str(code.CodingSchemeDesignator)) if code else ("", "")


def _value(code: Dataset) -> str:
    return str(code.get("CodeValue") or code.LongCodeValue)


def _tracking(group: Dataset) -> str:
    return next((str(item.UID) for item in group.ContentSequence if _name(item) == TRACKING_UID), "")


def _evidence(root: Dataset) -> set[str]:
    studies = [
        *root.CurrentRequestedProcedureEvidenceSequence,
        *(root.get("PertinentOtherEvidenceSequence") or ()),
    ]
    return {
        str(reference.ReferencedSOPInstanceUID)
        for study in studies
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    }


def _numbers(reference: Dataset) -> list[int]:
    given = reference.get("ReferencedSegmentNumber")
    return [] if given is None else [int(number) for number in (given if isinstance(given, list) else [given])]


def _segment(objects: Sequence[Dataset], uid: str, number: int) -> str:
    """Return the Tracking UID of a segment; empty if it is in none of the objects."""
    segments = [item for one in objects if one.SOPInstanceUID == uid for item in one.SegmentSequence]
    return next((str(item.TrackingUID) for item in segments if item.SegmentNumber == number), "")
