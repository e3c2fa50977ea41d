"""Attributes that must be equal in all images that one answer rests on: the first image must not speak for others.

`MUST_AGREE` is the table: what, where, by which clause, and what happens if it differs. `check_study` is called before
jobs are planned, and both checks before a plugin is called.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from weakref import WeakKeyDictionary

from pydicom.datadict import dictionary_description, tag_for_keyword

from node.errors import MixedStudy, NotUnderstood, UnsuitableSeries
from node.images.elements import PIXELS
from node.images.frame import Image
from node.images.frame_reading import value_of
from node.images.header_summary import walk_file
from node.images.series import Series
from node.images.stored_instance import FIRST_BYTES, StoredInstance

RADIOPHARMACEUTICAL = "RadiopharmaceuticalInformationSequence"
ADMINISTRATOR = "a PACS administrator must correct the study and send it again"


class Scope(StrEnum):
    """In which images a value is the same."""

    STUDY = "study"
    STACK = "stack"


class Remedy(StrEnum):
    """What happens to images in which a value differs."""

    PARK = "park"
    """The study is parked: nobody knows whose it is, and nothing leaves the node."""
    UNSUITABLE = "not suitable"
    """The stack is not suitable, and the report says why."""
    SPLIT = "split"
    """The images are in different stacks (`node.images.stacks`)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One attribute that must agree.

    Parameters
    ----------
    clause
        Section of PS3.3 that says so.
    plural
        Several values of the attribute, in a sentence that parks a study.
    sequence
        The sequence whose first item has the attribute; empty for the top of the header.
    absent_differs
        Whether an image without the value differs from an image with it. If False, such an image is not compared.
    """

    keyword: str
    scope: Scope
    clause: str
    remedy: Remedy
    plural: str = ""
    sequence: str = ""
    absent_differs: bool = False

    def __str__(self) -> str:
        """Name the attribute as PS3.6 does."""
        return dictionary_description(self.keyword)


MUST_AGREE = (
    Rule("PatientID", Scope.STUDY, "A.1.2", Remedy.PARK, "Patient IDs", absent_differs=True),
    Rule("IssuerOfPatientID", Scope.STUDY, "A.1.2", Remedy.PARK, "Issuers of Patient ID"),
    Rule("PatientName", Scope.STACK, "C.7.1.1", Remedy.PARK, "Patient's Names"),
    Rule("PatientBirthDate", Scope.STACK, "C.7.1.1", Remedy.PARK, "Patient's Birth Dates"),
    Rule("PatientSex", Scope.STACK, "C.7.1.1", Remedy.PARK, "values of Patient's Sex"),
    Rule("StudyDate", Scope.STACK, "C.7.2.1", Remedy.PARK, "Study Dates"),
    Rule("AccessionNumber", Scope.STACK, "C.7.2.1", Remedy.PARK, "Accession Numbers"),
    Rule("PatientWeight", Scope.STACK, "C.7.2.2", Remedy.UNSUITABLE),
    Rule("PatientSize", Scope.STACK, "C.7.2.2", Remedy.UNSUITABLE),
    Rule("Modality", Scope.STACK, "C.7.3.1", Remedy.UNSUITABLE, absent_differs=True),
    Rule("Laterality", Scope.STACK, "C.7.3.1", Remedy.UNSUITABLE),
    Rule("PatientPosition", Scope.STACK, "C.7.3.1", Remedy.UNSUITABLE),
    Rule("Units", Scope.STACK, "C.8.9.1", Remedy.UNSUITABLE, absent_differs=True),
    Rule("SUVType", Scope.STACK, "C.8.9.1", Remedy.UNSUITABLE),
    Rule("DecayCorrection", Scope.STACK, "C.8.9.1", Remedy.UNSUITABLE),
    Rule("RadionuclideTotalDose", Scope.STACK, "C.8.9.2", Remedy.UNSUITABLE, sequence=RADIOPHARMACEUTICAL),
    Rule("RadionuclideHalfLife", Scope.STACK, "C.8.9.2", Remedy.UNSUITABLE, sequence=RADIOPHARMACEUTICAL),
    Rule("RadiopharmaceuticalStartTime", Scope.STACK, "C.8.9.2", Remedy.UNSUITABLE, sequence=RADIOPHARMACEUTICAL),
    Rule("RadiopharmaceuticalStartDateTime", Scope.STACK, "C.8.9.2", Remedy.UNSUITABLE, sequence=RADIOPHARMACEUTICAL),
    Rule("RescaleType", Scope.STACK, "C.11.1", Remedy.UNSUITABLE),
    Rule("SOPClassUID", Scope.STACK, "C.12.1", Remedy.SPLIT, absent_differs=True),
    Rule("FrameOfReferenceUID", Scope.STACK, "C.7.4.1", Remedy.SPLIT, absent_differs=True),
    Rule("Rows", Scope.STACK, "C.7.6.3", Remedy.SPLIT, absent_differs=True),
    Rule("Columns", Scope.STACK, "C.7.6.3", Remedy.SPLIT, absent_differs=True),
    Rule("SamplesPerPixel", Scope.STACK, "C.7.6.3", Remedy.SPLIT, absent_differs=True),
    Rule("PhotometricInterpretation", Scope.STACK, "C.7.6.3", Remedy.SPLIT, absent_differs=True),
)
"""Bits Stored, Rescale Slope and Rescale Intercept may differ: each image is read by its own. Pixel Spacing and
orientation split a series too, if they differ by more than rounding."""

CHECKED = tuple(rule for rule in MUST_AGREE if rule.remedy is not Remedy.SPLIT)
TAGS = {tag_for_keyword(rule.sequence or rule.keyword) or 0: rule.sequence or rule.keyword for rule in CHECKED}
LAST_TAG = max(TAGS)

Encoded = Mapping[str, bytes | str]
"""Values of one image, by keyword, in any form in which equal values are usually equal."""
_known: WeakKeyDictionary[StoredInstance, Encoded] = WeakKeyDictionary()


def check_study(stacks: Iterable[Series]) -> None:
    """Check that each study of some stacks is of one patient, and each stack of one patient, date and order.

    Raises
    ------
    MixedStudy
        It is not; the sentence says who must act.
    """
    by_study: dict[str, list[Series]] = defaultdict(list)
    for series in stacks:
        by_study[series.study_uid].append(series)
    for together in by_study.values():
        encoded = [_encoded(series) for series in together]
        _park([pair for pairs in encoded for pair in pairs], Scope.STUDY, "the study")
        for series, pairs in zip(together, encoded, strict=True):
            _park(pairs, Scope.STACK, f"series {series.key}")


def check_stack(series: Series) -> None:
    """Check that one stack is of one kind.

    Raises
    ------
    UnsuitableSeries
        An attribute differs; the sentence names it, its clause and two instances.
    """
    encoded = _encoded(series)
    for rule in CHECKED:
        if rule.remedy is Remedy.UNSUITABLE and (differing := _differing(rule, encoded)):
            pair = ", ".join(f"instance {image.values.get('SOPInstanceUID')}" for image in differing[:2])
            raise UnsuitableSeries(f"{rule} is not the same in all of its images (PS3.3 {rule.clause}): {pair}")


def _park(encoded: Sequence[tuple[Image, Encoded]], scope: Scope, where: str) -> None:
    for rule in CHECKED:
        if rule.remedy is Remedy.PARK and rule.scope is scope and (differing := _differing(rule, encoded)):
            count = "two" if len(differing) == 2 else str(len(differing))
            raise MixedStudy(
                f"{where} has images of {count} {rule.plural}, and must have one (PS3.3 {rule.clause}): {ADMINISTRATOR}"
            )


def _differing(rule: Rule, encoded: Sequence[tuple[Image, Encoded]]) -> Sequence[Image]:
    """Return one image for each different value of an attribute, in their order; empty if there is one value only."""
    name = rule.sequence or rule.keyword
    examples: dict[bytes | str, Image] = {}
    for image, values in encoded:
        examples.setdefault(values.get(name, b""), image)
    if len(examples) == 1:
        return ()
    found: dict[float | str, Image] = {}
    for image in examples.values():
        value = _value(rule, image)
        if value != "" or rule.absent_differs:
            found.setdefault(value, image)
    return tuple(found.values()) if len(found) > 1 else ()


def _value(rule: Rule, image: Image) -> float | str:
    """Return a value as it is compared: numbers by value, text without padding; empty if absent or unreadable."""
    try:
        item: Any = image.header
        if rule.sequence:
            items = value_of(item, rule.sequence)
            item = items[0] if items else {}
        value = value_of(item, rule.keyword)
    except NotUnderstood:
        return ""
    if value is None:
        return ""
    return float(value) if isinstance(value, int | float) else str(value).strip(" \0").rstrip("^")


def _encoded(series: Series) -> list[tuple[Image, Encoded]]:
    images = {id(frame.image): frame.image for frame in series.frames}
    return [(image, _encoded_image(image)) for image in images.values()]


def _encoded_image(image: Image) -> Encoded:
    """Return the values of an image: by a walk over its first bytes, which takes a tenth of pydicom's time."""
    if not isinstance(image, StoredInstance):
        return _header_values(image)
    if image not in _known:
        _known[image] = (None if image.is_parsed else _walked_values(image)) or _header_values(image)
    return _known[image]


def _walked_values(image: StoredInstance) -> Encoded | None:
    with image.part.open() as file:
        for size in FIRST_BYTES:
            start = os.pread(file.fileno(), min(size, image.part.length), image.part.offset)
            walk, _ = walk_file(start, TAGS) or (None, "")
            if walk is not None and (walk.tag in PIXELS or walk.last >= LAST_TAG):
                return {TAGS[tag]: value.strip(b" \0") for tag, (_, value) in walk.found.items()}
    return None


def _header_values(image: Image) -> Encoded:
    return {name: str(image.header.get(name, "")).strip() for name in TAGS.values()}
