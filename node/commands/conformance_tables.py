"""The tables of the conformance statement, each made of a table that the node works with.

Each function returns lines of Markdown.
"""

import tomllib
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict
from pydicom.datadict import dictionary_description, tag_for_keyword
from pydicom.tag import Tag
from pydicom.uid import UID
from pynetdicom import ALL_TRANSFER_SYNTAXES, DEFAULT_TRANSFER_SYNTAXES
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import from a table
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from node import commitment
from node.compose.source_images import PATIENT_AND_STUDY, TYPE_2
from node.deliver import query_retrieve, storescu
from node.profiles import CHAIN, KIND_NAMES, LESSER_REPORTS, SOP_CLASSES, TRANSFER_SYNTAXES, Kind
from node.receive.access import (
    CALLED_AE_TITLE_NOT_RECOGNIZED,
    CALLING_AE_TITLE_NOT_RECOGNIZED,
    LOCAL_LIMIT_EXCEEDED,
    REJECTED_PERMANENT,
    SERVICE_USER,
)
from node.receive.c_store import CANNOT_UNDERSTAND, MISMATCH, OUT_OF_RESOURCES, SUCCESS
from node.receive.storage_classes import PRIVATE, RETIRED, StorageClasses, storage_contexts

CREATED_OBJECTS = Path(__file__).with_name("templates") / "created_objects.toml"
"""What the objects of each kind hold, read from objects of all kinds; `python -m tests.created_objects` writes it."""

SERVICES = (
    ("Verification", str(Verification), "Yes", "Yes"),
    ("Storage (section 7.2 as SCP, annex A.A as SCU)", "", "Yes", "Yes"),
    ("Storage Commitment Push Model", str(StorageCommitmentPushModel), "Yes", "Yes"),
    ("Study Root Query/Retrieve – FIND", str(StudyRootQueryRetrieveInformationModelFind), "Yes", "No"),
    ("Study Root Query/Retrieve – MOVE", str(StudyRootQueryRetrieveInformationModelMove), "Yes", "No"),
)
"""Service, its SOP Class UID, and whether the node is its SCU and its SCP."""

TEMPLATES = {
    "1410": "Planar ROI Measurements and Qualitative Evaluations",
    "1411": "Volumetric ROI Measurements and Qualitative Evaluations",
    "1500": "Measurement Report",
    "2010": "Key Object Selection",
    "4000": "Mammography CAD Document Root",
}
"""Template Identifier → name (PS3.16)."""
ROOT_TEMPLATES = ("1500", "2010", "4000")

SCHEMES = {
    "99ISOCENTER": "codes of this node, where no public table has one",
    "DCM": "DICOM (PS3.16 annex D)",
    "LN": "LOINC",
    "RFC5646": "languages",
    "SCT": "SNOMED CT",
    "UCUM": "units",
    "UMLS": "Unified Medical Language System",
}
"""Coding Scheme Designator → what it is (PS3.16 section 8)."""

STORE_ANSWERS = (
    (SUCCESS, "Success", "the instance is durable, or was here with the same bytes"),
    (
        OUT_OF_RESOURCES,
        "Out of resources",
        "the disk has no room, or the ledger cannot be written: the sender keeps the instance and sends it again",
    ),
    (MISMATCH, "Data set does not match SOP class", "the SOP classes of the request and of the data set differ"),
    (CANNOT_UNDERSTAND, "Cannot understand", "the data set cannot be read, or lacks an attribute that identifies it"),
)
"""Status of a C-STORE response of the node, its name (PS3.4 table B.2-1), and when it is sent."""

COMMITMENT_ANSWERS = (
    (commitment.SUCCESS, "the request or the report is recorded"),
    (commitment.PROCESSING_FAILURE, "the ledger cannot be written: ask, or report, again"),
    (commitment.NO_SUCH_INSTANCE, "another instance is named than the well-known one"),
    (commitment.NO_SUCH_EVENT_TYPE, "a report with another Event Type ID than 1 or 2"),
    (commitment.INVALID_ARGUMENT, "the request or the report cannot be read, or its transaction is unknown"),
    (commitment.NO_SUCH_ACTION_TYPE, "a request with another Action Type ID than 1"),
)
"""Status of a response of the node to N-ACTION and N-EVENT-REPORT, and when it is sent."""


NEWER = {"1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation Storage"}
"""Names of SOP classes that the table of pydicom does not have yet."""
DEFAULT = ", ".join(UID(uid).name for uid in DEFAULT_TRANSFER_SYNTAXES)
"""The transfer syntaxes that pynetdicom proposes and accepts where none are named."""


class Attribute(NamedTuple):
    """An attribute at the top level of the objects of a kind: its presence and source in the words of PS3.2 annex N."""

    keyword: str
    module: str
    type: str
    presence: str
    source: str
    value: str


class CreatedObject(BaseModel):
    """What the objects of one kind hold."""

    model_config = ConfigDict(frozen=True)
    sop_classes: tuple[str, ...]
    templates: tuple[str, ...]
    coding_schemes: tuple[str, ...]
    concept_names: tuple[tuple[str, str, str], ...]
    attributes: tuple[Attribute, ...]


@cache
def created_objects() -> dict[Kind, CreatedObject]:
    """Return what the objects of each kind hold."""
    content = tomllib.loads(CREATED_OBJECTS.read_text(encoding="utf-8"))
    return {kind: CreatedObject.model_validate(content[kind]) for kind in KIND_NAMES if kind in content}


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def services() -> str:
    """Return the services with their roles."""
    return table(("service", "SOP Class UID", "SCU", "SCP"), SERVICES)


def created() -> str:
    """Return the SOP classes of the objects that the node creates."""
    rows = [(class_name(uid), uid, f"`{kind}`") for kind, made in created_objects().items() for uid in made.sop_classes]
    replaced = [
        (UID(uid).name, uid, f"`{kind}`, in place of a refused `SR`")
        for uid, kind in SOP_CLASSES.items()
        if kind in LESSER_REPORTS
    ]
    return table(("SOP class", "UID", "kind of object"), [*rows, *replaced])


def fallbacks() -> str:
    """Return what may replace a refused kind of object."""
    rows = [(f"`{kind}`", ", ".join(f"`{other}`" for other in chain)) for kind, chain in CHAIN.items()]
    return table(("refused", "may be replaced by, where `destinations.NAME.fallback` allows it"), rows)


def query_keys() -> str:
    """Return the keys of C-FIND requests."""
    rows = [
        (level, ", ".join(map(_named, matched)), ", ".join(map(_named, returned)))
        for level, (matched, returned) in query_retrieve.KEYS.items()
    ]
    return table(("level", "matching keys", "return keys"), rows)


def _named(keyword: str) -> str:
    return f"{dictionary_description(keyword)} {Tag(tag_for_keyword(keyword) or 0)}"


def rejections() -> str:
    """Return the results of rejected association requests."""
    rows = [
        (REJECTED_PERMANENT, SERVICE_USER, CALLING_AE_TITLE_NOT_RECOGNIZED, "title or address not in the list"),
        (REJECTED_PERMANENT, SERVICE_USER, CALLED_AE_TITLE_NOT_RECOGNIZED, "called by another AE title"),
        (
            LOCAL_LIMIT_EXCEEDED.result,
            LOCAL_LIMIT_EXCEEDED.source,
            LOCAL_LIMIT_EXCEEDED.diagnostic,
            "`receive.associations` are open already",
        ),
    ]
    return table(("result", "source", "reason", "when"), rows)


def accepted_contexts() -> str:
    """Return the presentation contexts that the node accepts."""
    rows = [
        ("Verification", Verification, DEFAULT, "SCP"),
        ("each Storage SOP class below", "", "all of the next table", "SCP"),
        ("Storage Commitment Push Model", StorageCommitmentPushModel, DEFAULT, "SCP, and SCU by role selection"),
    ]
    return table(("abstract syntax", "UID", "transfer syntaxes", "role of the node"), rows)


def transfer_syntaxes() -> str:
    """Return the transfer syntaxes of Storage that are taken."""
    return table(("transfer syntax", "UID"), [(UID(uid).name, uid) for uid in ALL_TRANSFER_SYNTAXES])


def storage_sop_classes(classes: StorageClasses) -> str:
    """Return the SOP classes of Storage that are taken by a node with a value of `receive.storage_classes`."""
    groups = {**dict.fromkeys(RETIRED, "retired"), **dict.fromkeys(PRIVATE, "private")}
    uids = sorted(str(context.abstract_syntax) for context in storage_contexts(classes))
    rows = [(class_name(uid), uid, groups.get(uid, "standard")) for uid in uids]
    others = "\n\nAlso every private SOP class, and every one that the tables of the standard do not name."
    return table(("SOP class", "UID", "group"), rows) + (others if classes == "any" else "")


def class_name(uid: str) -> str:
    """Return the name of a SOP class, empty without one."""
    name = UID(uid).name
    return {**PRIVATE, **NEWER}.get(uid, "") if name == uid else name


def initiated() -> str:
    """Return the presentation contexts that the node proposes."""
    syntaxes = ", ".join(UID(uid).name for uid in TRANSFER_SYNTAXES.values())
    rows = [
        ("delivery", "SOP classes of annex A.A", f"the one of the destination, of {syntaxes}; Implicit VR", "SCU"),
        ("`isocenter check`", Verification, DEFAULT, "SCU"),
        ("commitment", StorageCommitmentPushModel, DEFAULT, "SCU"),
        ("report of commitment", StorageCommitmentPushModel, DEFAULT, "SCP, by role selection"),
        ("search of priors", StudyRootQueryRetrieveInformationModelFind, DEFAULT, "SCU"),
        ("retrieval of priors", StudyRootQueryRetrieveInformationModelMove, DEFAULT, "SCU"),
        ("`isocenter send`", "those of the files", "those of the files", "SCU"),
    ]
    return table(("activity", "abstract syntax", "transfer syntaxes", "role"), rows)


def store_scp_statuses() -> str:
    """Return the statuses that the node answers C-STORE with."""
    return table(("status", "name", "when"), [(f"0x{code:04X}", name, when) for code, name, when in STORE_ANSWERS])


def store_scu_statuses() -> str:
    """Return what follows from each status that a destination answers C-STORE with."""
    ranges = [(f"0x{code:X}" + "xx" * (code > 0xF) + "xxx" * (code <= 0xF), *what) for code, what in _ranges()]
    codes = [(f"0x{code:04X}", *what) for code, what in storescu.STATUS.items()]
    rows = [("0x0000", "stored", "success"), ("warnings", "stored", "the warning is in the story"), *codes, *ranges]
    return table(("status", "then the object is", "meaning"), [*rows, ("any other", "refused", "failure")])


def _ranges() -> list[tuple[int, tuple[str, str]]]:
    return [(code, (str(outcome), meaning)) for code, (outcome, meaning) in storescu.STATUS_RANGE.items()]


def commitment_statuses() -> str:
    """Return the statuses that the node answers requests and reports of commitment with."""
    return table(("status", "when"), [(f"0x{code:04X}", when) for code, when in COMMITMENT_ANSWERS])


def failure_reasons() -> str:
    """Return the meanings of Failure Reason."""
    return table(("reason", "meaning"), [(f"0x{code:04X}", text) for code, text in commitment.FAILURE_REASONS.items()])


def object_definitions() -> str:
    """Return the attributes of each kind of object."""
    return "\n\n".join(_definition(kind, made) for kind, made in created_objects().items())


def _definition(kind: Kind, made: CreatedObject) -> str:
    rows = [(_named(row.keyword), row.module, row.type, row.presence, row.source, row.value) for row in made.attributes]
    names = ", ".join(map(class_name, made.sop_classes))
    head = ("attribute", "module", "type", "presence", "source", "value")
    return f"### {kind}: {names}\n\n{table(head, rows)}"


def root_templates() -> str:
    """Return the root templates of reports."""
    return table(("TID", "name"), [(number, TEMPLATES[number]) for number in ROOT_TEMPLATES])


def templates() -> str:
    """Return the templates of each kind of report."""
    rows = [
        (f"`{kind}`", number, TEMPLATES[number])
        for kind, made in created_objects().items()
        for number in made.templates
    ]
    return table(("kind", "TID", "name"), rows)


def copied() -> str:
    """Return the attributes that objects copy from their images."""
    rows = [
        (_named(keyword), module, "2" if keyword in TYPE_2 else "")
        for module, keywords in PATIENT_AND_STUDY.items()
        for keyword in keywords
    ]
    return table(("attribute", "module (PS3.3)", "type 2"), rows)


def coding_schemes() -> str:
    """Return the coding schemes of all objects."""
    used = {scheme for made in created_objects().values() for scheme in made.coding_schemes}
    return table(("designator", "coding scheme"), [(scheme, SCHEMES[scheme]) for scheme in sorted(used)])


def concept_names() -> str:
    """Return the concept names of reports."""
    found = {name for made in created_objects().values() for name in made.concept_names}
    return table(("scheme", "code", "meaning"), sorted(found))
