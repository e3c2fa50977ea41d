"""The conformance statement says what the code does: each of its tables is held to the part that acts."""

import ast
import re
from pathlib import Path
from types import ModuleType

import pytest
from pydicom.uid import UID

from node import commitment
from node.commands import conformance_tables as tables
from node.commands.conformance import PARAMETERS, statement
from node.deliver import query_retrieve
from node.profiles import LESSER_REPORTS
from node.receive import KnownPeers, c_store
from node.receive.scp import Receiver
from node.records import Address
from node.settings import Settings
from tests.processes import ROOT, isocenter

SECTIONS = (
    "1 Overview",
    "2 Table of contents",
    "3 Introduction",
    "4 Implementation model",
    "5 Service and interoperability description",
    "6 Configuration",
    "7 Network and media communication details",
    "8 Security",
    "Annex A.A Information Object Definitions",
    "Annex A.B Structured Report content encoding",
    "Annex A.C Security details",
    "Annex A.D Mapping of attributes",
    "Annex A.E Code set usage",
)
"""The sections of PS3.2 annex N, in its order."""
HERE = Address("ISOCENTER", "127.0.0.1", 0)


def uids(text: str) -> set[str]:
    return set(re.findall(r"(?<![\d.])[12]\.\d+\.[\d.]+\d", text))


@pytest.fixture(scope="module")
def text() -> str:
    return statement(Settings())


def test_it_has_the_sections_of_the_standard_in_their_order(text: str) -> None:
    assert tuple(re.findall("^## (.*)$", text, re.M)) == SECTIONS
    assert "$" not in text


@pytest.mark.parametrize("classes", ["standard", "known", "any"])
def test_it_names_the_presentation_contexts_that_the_node_accepts(classes: tables.StorageClasses) -> None:
    class Nothing:
        on_action = on_report = None

    receiver = Receiver(
        HERE, KnownPeers("ISOCENTER", ()), store=None, associations=1, idle_seconds=1, storage_classes=classes,
        commitment=Nothing(),
    )  # type: ignore[arg-type]  # fmt: skip
    contexts = receiver._entity().supported_contexts
    stated = uids(tables.storage_sop_classes(classes)) | uids(tables.accepted_contexts())
    assert {str(context.abstract_syntax) for context in contexts} == stated
    syntaxes = {str(syntax) for context in contexts for syntax in context.transfer_syntax}
    assert syntaxes == uids(tables.transfer_syntaxes())


def test_it_names_every_service_that_a_module_of_the_node_uses() -> None:
    used = set()
    for path in (ROOT / "node").rglob("*.py"):
        for found in ast.walk(ast.parse(path.read_text())):
            if isinstance(found, ast.ImportFrom) and found.module == "pynetdicom.sop_class":
                used |= {name.name for name in found.names}
    import pynetdicom.sop_class as known

    assert {str(getattr(known, name)) for name in used} == uids(tables.services())


def numbers(module: ModuleType) -> set[int]:
    return {value for name, value in vars(module).items() if name.isupper() and type(value) is int}


def test_it_names_every_status_that_the_node_answers_with() -> None:
    answers = {code for code, _, _ in tables.STORE_ANSWERS}
    assert answers == numbers(c_store) - {c_store.COMMAND, c_store.LAST}
    named = {code for code, _ in tables.COMMITMENT_ANSWERS} | {*commitment.FAILURE_REASONS}
    assert numbers(commitment) - {commitment.REQUEST_COMMITMENT, commitment.FAILURES_EXIST} <= named


def test_it_names_the_keys_of_queries_with_their_tags(text: str) -> None:
    for keys in query_retrieve.KEYS.values():
        assert keys
    assert "Patient ID (0010,0020)" in text
    assert "Modalities in Study (0008,0061)" in text


def test_it_names_every_kind_of_object_with_its_attributes(text: str) -> None:
    made = tables.created_objects()
    assert {*made, *LESSER_REPORTS} == set(tables.KIND_NAMES)
    for kind, created in made.items():
        assert f"\n### {kind}: " in text
        assert {"SOPClassUID", "SOPInstanceUID", "PatientID", "StudyInstanceUID"} <= {
            row.keyword for row in created.attributes
        }
        assert all(row.type for row in created.attributes if row.keyword in ("Modality", "Manufacturer"))
    assert all(uid in text and not UID(uid).is_private for created in made.values() for uid in created.sop_classes)


def test_it_states_the_values_of_one_node_and_no_secret(tmp_path: Path) -> None:
    config = tmp_path / "isocenter.toml"
    config.write_text(
        '[receive]\naddress = "AI@0.0.0.0:104"\naccept_from = ["CT1@10.0.0.11"]\nidle_seconds = 33\n'
        '[ledger]\nurl = "postgresql://user:geheim@host/name"\n'
        '[destinations.PACS]\naddress = "PACS@10.0.0.5:104"\nprofile = "plain-pacs"\ncommitment = true\n'
    )
    said = isocenter("conformance", "--config", str(config)).stdout
    assert "`CT1@10.0.0.11`" in said
    assert "| `receive.idle_seconds` | 33.0 |" in said
    assert "| PACS | PACS@10.0.0.5:104 | AI | DERIVED, SC, PDF | explicit | asked for | 30 |" in said
    assert "geheim" not in said
    assert all(f"`{key}`" in said for key in PARAMETERS)


def test_a_configuration_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    run = isocenter("conformance", "--config", str(tmp_path / "none.toml"))
    assert run.returncode == 2
    assert run.stderr.startswith("isocenter: ")
    assert "none.toml" in run.stderr
