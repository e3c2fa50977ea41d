"""Every real file there is, sent to a node: stored or refused with a sentence, and each study has its story."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ImplicitVRLittleEndian, generate_uid

from node.commands.demo import through
from node.deliver import OutgoingObject, StoreOutcome, StoreResult, send
from node.deliver.send import outgoing_file
from node.errors import NotUnderstood
from node.images.part10 import file_header
from node.records import Address
from tests.peers import DICOM, Orthanc, serve, storescu, wait_until

ANSWER = re.compile(r"Received Store Response \((.*)\)")
UNREADABLE = (AttributeError, EOFError, OSError, ValueError, NotImplementedError, TypeError)


def files() -> list[Path]:
    return sorted(path for path in DICOM.rglob("*") if path.is_file() and path.suffix not in (".txt", ".md"))


def header(path: Path) -> Dataset:
    try:
        return dcmread(path, stop_before_pixels=True, force=True)
    except UNREADABLE:
        return Dataset()


def wrapped(path: Path, folder: Path) -> OutgoingObject:
    """Give bytes that no SCU would send a File Meta Information and UIDs, so that they are sent as they are."""
    found = header(path)
    target = folder / f"{path.stem}.wrapped"
    uids = {
        "sop_class_uid": str(found.get("SOPClassUID") or CTImageStorage),
        "sop_instance_uid": str(found.get("SOPInstanceUID") or generate_uid()),
        "transfer_syntax_uid": str(ImplicitVRLittleEndian),
    }
    head = file_header(**uids)
    content = path.read_bytes()
    target.write_bytes(head + (content[132:] if content[128:132] == b"DICM" else content))
    return OutgoingObject(path=target, **uids)


def as_they_are(paths: list[Path], port: int, folder: Path) -> Iterator[StoreResult]:
    """Send files byte for byte, each over an association of its own."""
    folder.mkdir()
    for path in paths:
        try:
            file = outgoing_file(path)
        except NotUnderstood:
            file = wrapped(path, folder)
        for _, answer in send([file], Address("ISOCENTER", "127.0.0.1", port), "MODALITY"):
            yield answer


@pytest.mark.skipif(not DICOM.exists(), reason="the real data of ../shared is not here")
def test_every_real_file_is_stored_or_refused_with_a_sentence_and_the_node_stays_up(
    tmp_path: Path, pacs: Orthanc
) -> None:
    paths = files()
    assert len(paths) == 524
    with serve(tmp_path / "node", pacs=pacs.address, quiet=1.0) as node:
        stored, refused, left = 0, 0, []
        for folder in sorted({path.parent for path in paths}):
            group = [path for path in paths if path.parent == folder]
            done = storescu(node.port, group, "--no-halt")
            answers = ANSWER.findall(done.stdout + done.stderr)
            assert set(answers) <= {"Success"}
            if len(answers) == len(group):
                stored += len(group)
            else:
                left += group  # storescu converts what it does not propose, and gives some up: they go as they are
        answers = list(as_they_are(left, node.port, tmp_path / "wrapped"))
        assert len(answers) == len(left)
        stored += sum(answer.outcome is StoreOutcome.STORED for answer in answers)
        refused += sum(answer.outcome in (StoreOutcome.REFUSED, StoreOutcome.UNSUPPORTED) for answer in answers)
        assert stored + refused == len(paths)
        assert stored >= 500, [answer for answer in answers if answer.reason]
        assert node.process.poll() is None

        ledger = node.ledger()
        wait_until(lambda: through(ledger), seconds=400, what="the end of all studies")
        refusals = ledger.queries.refusals()
        assert all(refusal.reason for refusal in refusals)
        assert not [item for item in ledger.queries.parked() if "refused" not in item[2]]
        for uid in sorted(
            {str(found.StudyInstanceUID) for path in paths if (found := header(path)).get("StudyInstanceUID")}
        ):
            story = node.explain(uid)
            assert story.startswith((f"study {uid}", "  refused", "nothing of study"))
        assert storescu(node.port, [DICOM / "CT/chest_cmb_crc_100/1-001.dcm"]).returncode == 0
