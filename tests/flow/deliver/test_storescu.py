"""The Storage SCU: transfer syntaxes, status codes, C-ECHO, and folders that are sent."""

import socket
import socketserver
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import build_context
from pynetdicom.sop_class import Verification
from pynetdicom.status import GENERAL_STATUS, STORAGE_SERVICE_CLASS_STATUS

from node.deliver import StoreOutcome, echo, readable, send
from node.deliver.association import OpenAssociation, QuickAckSocket, ReactorCheckpoint
from node.deliver.storescu import result_of
from node.errors import ConfigError, DestinationUnavailable
from node.ledger import Ledger
from node.records import Address
from node.testing import ct_series, write
from tests.delivering import (
    DELIVERED,
    UNSUPPORTED,
    MakeOutbox,
    QueueObjects,
    StartPeer,
    rows,
    states,
)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom", "ignore::UserWarning:pynetdicom")


STORED, LATER, UNSUPPORTED_CLASS, REFUSED = (
    StoreOutcome.STORED,
    StoreOutcome.LATER,
    StoreOutcome.UNSUPPORTED,
    StoreOutcome.REFUSED,
)


@pytest.mark.parametrize(
    ("codes", "outcome"),
    [
        ((0x0000,), STORED),
        # warnings: Attribute List Error, Attribute Value Out of Range; coercion, wrong SOP class, elements discarded
        ((0x0001, 0x0107, 0x0116, 0xB000, 0xB006, 0xB007), STORED),
        ((0x0111,), STORED),  # Duplicate SOP Instance
        ((0x0110, 0x0210, 0x0213), LATER),  # Processing Failure, Duplicate Invocation, Resource Limitation
        (range(0xA700, 0xA800), LATER),  # Out of Resources
        ((0x0118, 0x0122), UNSUPPORTED_CLASS),  # No Such SOP Class, SOP Class Not Supported
        ((0x0105, 0x0106, 0x0112, 0x0113, 0x0114, 0x0115, 0x0117, 0x0119), REFUSED),
        ((0x0120, 0x0121, 0x0123, 0x0124, 0x0211, 0x0212), REFUSED),
        (range(0xA900, 0xAA00), REFUSED),  # Data Set Does Not Match SOP Class
        (range(0xC000, 0xD000), REFUSED),  # Cannot Understand
        ((0xA800, 0xD000, 0xFE00, 0xFF00, 0xFFFF), REFUSED),  # no status of C-STORE
    ],
)
def test_each_status_of_a_c_store_response_has_its_outcome(codes: Iterable[int], outcome: StoreOutcome) -> None:
    """PS3.4 table B.2-1 and PS3.7 annex C."""
    for status in codes:
        result = result_of(status)
        assert result.outcome is outcome, hex(status)
        assert (f"0x{status:04X}" in result.reason) is (status != 0)


def test_every_status_code_that_pynetdicom_knows_of_storage_is_in_the_table() -> None:
    for status in {**GENERAL_STATUS, **STORAGE_SERVICE_CLASS_STATUS}:
        assert status == 0xFE00 or not result_of(status).reason.startswith("failure"), hex(status)


@pytest.mark.parametrize(
    ("taken", "asked", "sent"),
    [
        ((ExplicitVRLittleEndian, ImplicitVRLittleEndian), ExplicitVRLittleEndian, ExplicitVRLittleEndian),
        ((ExplicitVRLittleEndian, ImplicitVRLittleEndian), ImplicitVRLittleEndian, ImplicitVRLittleEndian),
        ((ImplicitVRLittleEndian,), ExplicitVRLittleEndian, ImplicitVRLittleEndian),
        ((DeflatedExplicitVRLittleEndian,), DeflatedExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian),
        ((ExplicitVRLittleEndian,), DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian),
    ],
)
def test_objects_go_in_the_transfer_syntax_that_is_wanted_and_taken(
    ledger: Ledger,
    start_peer: StartPeer,
    queue_objects: QueueObjects,
    outbox: MakeOutbox,
    taken: tuple[UID, ...],
    asked: UID,
    sent: UID,
) -> None:
    (uid,) = queue_objects()
    peer = start_peer(syntaxes=taken)
    replace(outbox(peer.address), transfer_syntax=asked).deliver()
    assert states(ledger) == [DELIVERED], rows(ledger)[uid].reason
    (dataset,) = peer.datasets
    assert (dataset.SOPInstanceUID, dataset.file_meta.TransferSyntaxUID) == (uid, sent)
    assert dataset.PixelData == ct_series(slices=1, rows=8, columns=8)[0].PixelData


def test_bytes_stay_as_they_are_where_nothing_else_is_asked_for(
    ledger: Ledger, start_peer: StartPeer, queue_objects: QueueObjects, outbox: MakeOutbox
) -> None:
    queue_objects()
    outbox(start_peer(syntaxes=(ImplicitVRLittleEndian,)).address).deliver()
    assert states(ledger) == [UNSUPPORTED]


def test_an_echo_that_is_answered_says_nothing(start_peer: StartPeer) -> None:
    echo(start_peer().address, "ISOCENTER", seconds=5)


@contextmanager
def listener(*, hangs_up: bool) -> Iterator[int]:
    """Run something on a port that is no DICOM peer: it hangs up, or never answers."""

    class Ended(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1)
            if not hangs_up:
                done.wait(20)

    done = threading.Event()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Ended) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        yield int(server.server_address[1])
        done.set()
        server.shutdown()
        serving.join()


def test_an_echo_that_is_not_answered_says_why(start_peer: StartPeer, free_port: int) -> None:
    with pytest.raises(DestinationUnavailable, match="nothing listens there"):
        echo(Address("PEER", "127.0.0.1", free_port), "ISOCENTER", seconds=2)
    for hangs_up, why in ((True, "aborted the association or hung up"), (False, "did not answer .* in 0.5 s")):
        with listener(hangs_up=hangs_up) as port, pytest.raises(DestinationUnavailable, match=why):
            echo(Address("PEER", "127.0.0.1", port), "ISOCENTER", seconds=2 if hangs_up else 0.5)
    with pytest.raises(DestinationUnavailable, match="the association was rejected"):
        echo(start_peer(rejects=True).address, "ISOCENTER", seconds=5)
    with pytest.raises(DestinationUnavailable):
        echo(start_peer(classes=(CTImageStorage,)).address, "ISOCENTER", seconds=5)


def test_no_request_goes_out_before_the_association_pauses() -> None:
    """A thread that has passed the checkpoint still looks for messages: it would take the answer."""
    checkpoint, passed, late = ReactorCheckpoint(pause_seconds=20), threading.Event(), threading.Event()
    done: list[str] = []

    def reactor() -> None:
        checkpoint.wait()
        passed.set()
        late.wait(20)
        done.append("looked")
        checkpoint.wait()

    def request() -> None:
        checkpoint.clear()
        done.append("sent")

    threads = [threading.Thread(target=work) for work in (reactor, request)]
    threads[0].start()
    assert passed.wait(20)
    threads[1].start()
    threads[1].join(0.1)
    late.set()
    threads[1].join(20)
    checkpoint.set()
    threads[0].join(20)
    assert done == ["looked", "sent"]


def test_neither_side_waits_for_an_acknowledgement(start_peer: StartPeer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []
    plainly = QuickAckSocket.setsockopt
    monkeypatch.setattr(
        QuickAckSocket, "setsockopt", lambda self, *option: (asked.append(option), plainly(self, *option))
    )
    peer = Address("PEER", "127.0.0.1", start_peer().port)
    with OpenAssociation(peer, "ISOCENTER", [build_context(Verification)], 10) as association:
        assert association.dul.socket is not None
        assert isinstance(association.dul.socket.socket, QuickAckSocket)
        assert type(association._reactor_checkpoint) is ReactorCheckpoint
        assert association.dul.socket.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        asked.clear()
        assert association.send_c_echo().Status == 0
        assert len(asked) >= 2, "before each read: of a head, and of the rest"
        assert set(asked) == {(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)}


def test_a_folder_is_sent_in_its_order_with_an_answer_for_each(start_peer: StartPeer, tmp_path: Any) -> None:
    paths = sorted(write(ct_series(slices=4, rows=8, columns=8), tmp_path))
    objects = readable(tmp_path).objects
    assert readable(tmp_path).missing == readable(tmp_path).passed_over == ()
    peer = start_peer(answers={objects[1].sop_instance_uid: 0xC000})
    results = list(send(objects, peer.address, "CT1", seconds=5))
    assert [outgoing.path for outgoing, _ in results] == paths
    assert [result.outcome for _, result in results] == [
        StoreOutcome.STORED,
        StoreOutcome.REFUSED,
        StoreOutcome.STORED,
        StoreOutcome.STORED,
    ]
    assert list(send([], peer.address, "CT1")) == []


@pytest.mark.parametrize(
    ("content", "is_dicom"),
    [(b"", False), (b"text", False), (b"\0" * 128 + b"DICM", True), (b"\0" * 128 + b"DICM\2\0\0\0UL\4", True)],
)
def test_files_that_are_not_dicom_are_passed_over_and_damaged_ones_are_missing(
    tmp_path: Any, content: bytes, is_dicom: bool
) -> None:
    write(ct_series(slices=1), tmp_path / "images")
    (tmp_path / "notes.txt").write_bytes(content)
    found = readable(tmp_path)
    assert len(found.objects) == 1
    assert (len(found.missing), len(found.passed_over)) == ((1, 0) if is_dicom else (0, 1))
    (sentence,) = (*found.missing, *found.passed_over)
    assert sentence.startswith(f"{tmp_path / 'notes.txt'} ")


def test_a_folder_without_dicom_files_is_an_error(tmp_path: Any) -> None:
    (tmp_path / "notes.txt").write_bytes(b"text")
    with pytest.raises(ConfigError, match="holds no DICOM files"):
        readable(tmp_path)


def test_the_peer_of_these_tests_is_gone_afterwards() -> None:
    """Its threads do not outlive the test that asked for it."""
    until = time.monotonic() + 20
    while any(thread.name.startswith("AcceptorThread") for thread in threading.enumerate()):
        assert time.monotonic() < until
        time.sleep(0.05)
