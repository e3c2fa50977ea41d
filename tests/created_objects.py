"""What created objects hold: `python -m tests.created_objects` writes it for the conformance statement.

It is read from objects of every kind, composed of every kind of image. tests/flow/test_object_matrix.py holds the
statement to it. Modules and types of attributes are those of highdicom's tables, made from PS3.3.
"""

import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from highdicom._standard_utils import get_iod_module_map, get_module_attribute_map, get_sop_class_iod_map
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset

from node.commands.conformance_tables import CREATED_OBJECTS
from node.compose.source_images import PATIENT_AND_STUDY, TYPE_2
from node.profiles import KIND_NAMES
from tests.matrix import IMAGES, Composed, compose_all

COPIED = {keyword for keywords in PATIENT_AND_STUDY.values() for keyword in keywords}
FIXED = {
    "CompletionFlag",
    "ConversionType",
    "Manufacturer",
    "ManufacturerModelName",
    "PreliminaryFlag",
    "VerificationFlag",
}
"""Attributes that have one value in all objects of a kind, and that a peer may ask for."""
HEAD = (
    "# Written by `python -m tests.created_objects`: what the objects of each kind hold, for `isocenter conformance`.\n"
)


def created_objects(cases: Iterable[Composed]) -> str:
    """Return the file that the statement reads: for each kind its SOP classes, templates and attributes."""
    objects: dict[str, list[Dataset]] = {}
    for composed in cases:
        for kind, made in composed.objects.items():
            objects.setdefault(kind, []).extend(made)
    tables = (_table(kind, objects[kind]) for kind in KIND_NAMES if kind in objects)
    return HEAD + "".join(f"\n{table}" for table in tables)


def _table(kind: str, made: list[Dataset]) -> str:
    sop_classes = sorted({str(dataset.SOPClassUID) for dataset in made})
    templates = sorted({template for dataset in made for template in _templates(dataset)}, key=int)
    names = sorted({name for dataset in made for name in _concept_names(dataset)}) if templates else []
    lines = [
        f"[{kind}]",
        f"sop_classes = {json.dumps(sop_classes)}",
        f"templates = {json.dumps(templates)}",
        f"coding_schemes = {json.dumps(sorted({scheme for dataset in made for scheme in _schemes(dataset)}))}",
        "concept_names = [",
        *(f"    {json.dumps(list(name))}," for name in names),
        "]",
        "attributes = [",
        *(f"    {json.dumps(row)}," for row in _attributes(made)),
        "]",
    ]
    return "\n".join(lines) + "\n"


def _attributes(made: list[Dataset]) -> Iterator[list[str]]:
    """Yield a row for each attribute at the top level of the objects, by tag: the fields of `Attribute`."""
    definitions = [_definition(uid) for uid in sorted({str(dataset.SOPClassUID) for dataset in made})]
    for tag in sorted({element.tag for dataset in made for element in dataset if not element.tag.is_private}):
        keyword = keyword_for_tag(tag)
        known = [definition[keyword] for definition in definitions if keyword in definition]
        module, kind_of_attribute = known[0] if known else ("", "")
        source = "SRC_INST" if keyword in COPIED else "AUTO"
        yield [keyword, module, kind_of_attribute, _presence(keyword, made), source, _value(keyword, made)]


def _definition(sop_class_uid: str) -> Mapping[str, tuple[str, str]]:
    """Return keyword → (module, type) of a SOP class; of several modules, the first that the IOD names."""
    found: dict[str, tuple[str, str]] = {}
    for module in get_iod_module_map()[get_sop_class_iod_map()[sop_class_uid]]:
        for attribute in get_module_attribute_map()[module["key"]]:
            if not attribute["path"]:
                name = module["key"].replace("-", " ").title().replace("Sop", "SOP").replace("Sr ", "SR ")
                found.setdefault(attribute["keyword"], (name, attribute["type"]))
    return found


def _presence(keyword: str, made: list[Dataset]) -> str:
    """Return when the attribute is there, in the words of PS3.2 annex N: ALWAYS, VNAP (may be empty), ANAP."""
    if keyword in TYPE_2:
        return "VNAP"
    if keyword in COPIED or not all(keyword in dataset for dataset in made):
        return "ANAP"
    return "VNAP" if any(dataset[keyword].is_empty for dataset in made) else "ALWAYS"


def _value(keyword: str, made: list[Dataset]) -> str:
    """Return the value that all objects have, of the attributes that have one by intention."""
    return str(made[0][keyword].value) if keyword in FIXED and keyword in made[0] else ""


def _templates(dataset: Dataset) -> Iterator[str]:
    for element in dataset:
        if element.keyword == "TemplateIdentifier":
            yield str(element.value)
        elif element.VR == "SQ":
            for item in element.value:
                yield from _templates(item)


def _concept_names(dataset: Dataset) -> Iterator[tuple[str, str, str]]:
    for item in dataset.get("ConceptNameCodeSequence", []):
        yield item.CodingSchemeDesignator, item.get("CodeValue") or item.LongCodeValue, item.CodeMeaning
    for item in dataset.get("ContentSequence", []):
        yield from _concept_names(item)


def _schemes(dataset: Dataset) -> Iterator[str]:
    for element in dataset:
        if element.keyword == "CodingSchemeDesignator":
            yield str(element.value)
        elif element.VR == "SQ" and element.keyword != "CodingSchemeIdentificationSequence":
            for item in element.value:
                yield from _schemes(item)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        cases = []
        for number, name in enumerate(IMAGES):
            (Path(folder) / str(number)).mkdir()
            cases.append(compose_all(name, Path(folder) / str(number)))
        text = created_objects(cases)
    CREATED_OBJECTS.write_text(text)
    sys.stdout.write(f"{CREATED_OBJECTS}: {len(text.splitlines())} lines\n")
