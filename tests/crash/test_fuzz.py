"""Mutated PDUs and data sets against the receiver of a whole node, for a bounded time."""

import os
import random
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pynetdicom import AE, AllStoragePresentationContexts, build_context, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from node import testing
from tests.bench.memory import resident
from tests.crash.harness import House, body, study, study_uid
from tests.peers import DICOM, wait_until

SECONDS = 10.0
"""How long each of the two kinds of mutations is tried."""
MEMORY = 200 * 2**20
"""Resident memory that the node's main process may have more afterwards than before."""
LARGEST = 300_000
STORED = {str(context.abstract_syntax) for context in AllStoragePresentationContexts}
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"


def recorded(port: int, files: Sequence[Path]) -> list[bytes]:
    """Return the PDUs of a good association."""
    sent: list[bytes] = []
    entity = AE("CT1")
    entity.add_requested_context("1.2.840.10008.5.1.4.1.1.2", EXPLICIT)
    handlers = [(evt.EVT_DATA_SENT, lambda event: sent.append(bytes(event.data)))]
    association = entity.associate("127.0.0.1", port, ae_title="ISOCENTER", evt_handlers=handlers)
    assert [association.send_c_store(file).Status for file in files] == [0] * len(files)
    association.release()
    return sent


def mutated(chance: random.Random, content: bytes) -> bytes:
    """Change a few bytes, a length, an end, or an order."""
    changed = bytearray(content)
    kind = chance.randrange(6)
    if kind == 0:
        del changed[chance.randrange(len(changed)) :]
    elif kind == 1:
        start = chance.randrange(len(changed))
        changed[start : start + 4] = chance.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\0\1"])
    elif kind == 2:
        start = chance.randrange(len(changed))
        changed[start:start] = chance.randbytes(chance.randrange(1, 64))
    elif kind == 3:
        start = chance.randrange(len(changed))
        del changed[start : start + chance.randrange(1, 64)]
    else:
        for _ in range(chance.randrange(1, 12)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def misbehave(chance: random.Random, port: int, pdus: Sequence[bytes]) -> None:
    """Send an association with one PDU mutated, doubled, left out or out of place, and hang up one way or another."""
    sent = list(pdus)
    place = chance.randrange(len(sent))
    match chance.randrange(6):
        case 0:
            sent.insert(place, chance.choice(pdus))
        case 1:
            del sent[place]
        case 2:
            sent.insert(place, chance.randbytes(chance.randrange(1, 400)))
        case _:
            sent[place] = mutated(chance, sent[place])
    with closing(socket.create_connection(("127.0.0.1", port), timeout=30)) as connection:
        connection.settimeout(0.05)
        with suppress(OSError):
            for pdu in sent:
                connection.sendall(pdu)
                if chance.random() < 0.3:
                    connection.recv(4096)
        if chance.random() < 0.5:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def corpus(tmp_path: Path) -> list[tuple[str, str, str, bytes]]:
    """Return SOP class, instance, transfer syntax and bytes of data sets: made here, and real ones where they are."""
    made = [*testing.write(testing.ct_series(seed="fuzz", slices=2), tmp_path / "fuzz")]
    real = [path for path in sorted(DICOM.rglob("*.dcm")) if path.stat().st_size < LARGEST] if DICOM.exists() else []
    found = []
    for path in [*made, *real]:
        content = path.read_bytes()
        if content[128:132] != b"DICM":
            continue
        meta = dcmread(BytesIO(content), stop_before_pixels=True, force=True).file_meta
        if meta.get("TransferSyntaxUID") in (IMPLICIT, EXPLICIT) and meta.get("MediaStorageSOPClassUID") in STORED:
            found.append(
                (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID, body(content))
            )
    return found


def store_bytes(association: Association, sop_class: str, instance: str, syntax: str, content: bytes) -> int | None:
    """Send exactly these bytes; pynetdicom's own SCU would read them first."""
    (context,) = [
        context.context_id
        for context in association.accepted_contexts
        if context.abstract_syntax == sop_class and context.transfer_syntax == [syntax]
    ]
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, instance
    request.DataSet = BytesIO(content)
    association._reactor_checkpoint.clear()
    while not association._is_paused:
        time.sleep(0.001)
    association.dimse.send_msg(request, context)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    return answer.Status if isinstance(answer, C_STORE) else None


def bring(port: int, some: Sequence[tuple[str, str, str, bytes]], chance: random.Random) -> Iterator[int | None]:
    entity = AE("CT1")
    entity.dimse_timeout = 20
    for sop_class, syntax in sorted({(case[0], case[2]) for case in some}):
        entity.add_requested_context(sop_class, syntax)
    contexts = [
        (context.abstract_syntax, syntax) for context in entity.requested_contexts for syntax in context.transfer_syntax
    ]
    entity.requested_contexts = []
    association = entity.associate(
        "127.0.0.1", port, ae_title="ISOCENTER", contexts=[build_context(*context) for context in contexts]
    )
    for case in some:
        content = case[3]
        for _ in range(chance.randrange(1, 4)):
            content = mutated(chance, content) or b"\0"
        yield store_bytes(association, *case[:3], content)
    association.release()


def descriptors(pid: int) -> int:
    """Count what a process has open, but for the ledger: its pool has more connections the more steps ran at once."""
    count = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            count += not descriptor.readlink().name.startswith("ledger.db")
    return count


def test_mutated_pdus_and_data_sets_cost_neither_the_node_nor_the_next_sender_anything(
    house: Callable[..., House], tmp_path: Path
) -> None:
    seed = int(os.environ.get("CRASH_SEED", time.time_ns() % 2**32))
    chance = random.Random(seed)  # noqa: S311
    node = house(receivers=2)
    first, last = study(tmp_path, "first"), study(tmp_path, "last")
    node.start()
    pid = node.process.pid if node.process else 0
    assert not node.send(first)
    node.rest(study_uid(first))
    pdus = recorded(node.port, first[:2])
    before, memory = descriptors(pid), resident(pid)[1]

    tried, answered = 0, []
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        misbehave(chance, node.port, pdus)
        tried += 1
    with closing(socket.create_connection(("127.0.0.1", node.port))) as flood, suppress(OSError):
        flood.sendall(b"\x01\0\xff\xff\xff\xff")  # an A-ASSOCIATE-RQ that promises 4 GiB
        for _ in range(400):
            flood.sendall(bytes(2**20))
    bodies = corpus(tmp_path)
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        answered += list(bring(node.port, chance.choices(bodies, k=20), chance))

    wait_until(lambda: descriptors(pid) <= before + 2, what="the end of every connection")
    grown = resident(pid)[1] - memory
    figures = f"{tried} associations, {len(answered)} data sets, {answered.count(0)} of them taken"
    print(f"seed {seed}: {figures}; descriptors {before} → {descriptors(pid)}, memory +{grown / 2**20:.0f} MiB")  # noqa: T201
    assert grown < MEMORY
    assert None not in answered
    assert not node.send(last)
    node.rest(study_uid(last))
    assert node.account(last) == []
    assert "step.failed" not in node.log
    assert "instance.failed" not in node.log
