"""Every association that is rejected or aborted is a row: who called, from where, and why."""

import socket
import struct
from collections.abc import Callable

import pytest

from node.receive.c_store import SUCCESS
from node.records import FailedAssociation
from node.testing import ct_series
from tests.reception import OpenReception, Reception, encoded, wait_for
from tests.wire import ABORT, COMMAND, LAST, Peer, associate, command, p_data, pdv, store_rq

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom", "ignore::UserWarning:pynetdicom")

CT, LITTLE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
REQUEST = associate({1: (CT, LITTLE)})


def broken(peer: Peer, sent: bytes) -> None:
    """Send what breaks the rules, and close once the node has aborted."""
    peer.send(sent)
    assert peer.pdu()[0] == ABORT[0]
    peer.close()


UNKNOWN_PDU = bytes.fromhex("99000000000400000000")


def failures(reception: Reception) -> list[FailedAssociation]:
    """Wait for the rows of what failed, and return them."""
    refusals = reception.receiver.refusals
    refusals.write = reception.ledger.failed_associations.record
    wait_for(lambda: bool(refusals._rows), "a failure")
    refusals.record_now()
    return reception.ledger.failed_associations.read()


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda peer: peer.send(ABORT), "aborted by the sender (A-ABORT)"),
        (lambda peer: peer.close(), "the connection was closed without a release"),
        (lambda peer: peer.close(reset=True), "the connection was closed without a release"),
        (lambda peer: broken(peer, UNKNOWN_PDU), "does not follow the rules"),
        (lambda peer: broken(peer, REQUEST), "does not follow the rules"),
    ],
    ids=["A-ABORT", "closed", "reset", "unknown PDU", "second request"],
)
def test_an_abort_is_a_row_with_who_called_and_why(
    reception: Reception, end: Callable[[Peer], None], reason: str
) -> None:
    peer = Peer(reception.receiver.port, REQUEST)
    end(peer)
    (failed,) = failures(reception)
    assert (failed.outcome, failed.calling, failed.called) == ("aborted", "WIRE", "ISOCENTER")
    assert failed.address == "127.0.0.1"
    assert reason in failed.reason
    peer.close()


def test_a_sender_that_stays_silent_is_a_row(open_reception: OpenReception) -> None:
    reception = open_reception(idle_seconds=0.3)
    peer = Peer(reception.receiver.port, REQUEST)
    (failed,) = failures(reception)
    assert (failed.outcome, failed.reason) == ("aborted", "nothing came for 0.3 s")
    peer.close()


def test_associations_that_the_stop_ends_are_a_row(reception: Reception) -> None:
    peer = Peer(reception.receiver.port, REQUEST)
    reception.receiver.stop()
    (failed,) = failures(reception)
    assert (failed.outcome, failed.reason) == ("aborted", "the node stops")
    peer.close()


def test_a_request_that_cannot_be_read_is_a_row(reception: Reception) -> None:
    body = REQUEST[6:-1]
    Peer(reception.receiver.port, struct.pack(">BxI", 1, len(body)) + body).close()
    (failed,) = failures(reception)
    assert (failed.outcome, failed.calling) == ("aborted", "WIRE")
    assert "a PDU of type 1 is invalid" in failed.reason


def test_a_rejection_is_a_row(open_reception: OpenReception) -> None:
    reception = open_reception(accept_from=("CT2@127.0.0.1",))
    for _ in range(2):
        Peer(reception.receiver.port, REQUEST).close()
    wait_for(lambda: [one.times for one in reception.receiver.refusals._rows.values()] == [2], "both")
    (failed,) = failures(reception)
    assert (failed.outcome, failed.calling, failed.called, failed.times) == ("rejected", "WIRE", "ISOCENTER", 2)


@pytest.mark.parametrize("request_bytes", [REQUEST, b"\x01"], ids=["whole", "cut"])
def test_a_stranger_is_a_row_with_its_titles_where_it_has_told_them(
    open_reception: OpenReception, request_bytes: bytes
) -> None:
    reception = open_reception(accept_from=("CT1@10.0.0.11",))
    Peer(reception.receiver.port, request_bytes).close()
    (failed,) = failures(reception)
    assert failed.outcome == "rejected"
    assert failed.calling == ("WIRE" if request_bytes == REQUEST else "")
    assert "address 127.0.0.1 is not in receive.accept_from" in failed.reason


def test_a_release_and_a_connection_without_a_request_are_none(reception: Reception) -> None:
    assert reception.send(*ct_series(slices=1)) == [SUCCESS]
    socket.create_connection(("127.0.0.1", reception.receiver.port)).close()
    assert not reception.receiver.refusals._rows


@pytest.mark.parametrize("sent", [0.5, 0.99])
def test_an_association_that_is_cut_within_its_first_instance_is_evidence_against_its_study(
    reception: Reception, sent: float
) -> None:
    first, second = ct_series(slices=2)
    assert reception.send(first) == [SUCCESS]
    body = encoded(second)
    peer = Peer(reception.receiver.port, REQUEST)
    begun = command(store_rq(CT, second.SOPInstanceUID))
    peer.send(p_data(pdv(1, COMMAND | LAST, begun)), p_data(pdv(1, 0, body[: int(len(body) * sent)])))
    peer.close()
    wait_for(lambda: reception.arrivals.unrecorded == 1, "the end of the association")
    reception.arrivals.record()
    (refusal,) = reception.ledger.queries.refusals(first.StudyInstanceUID)
    assert refusal.sop_instance_uid == second.SOPInstanceUID
    assert refusal.reason == "the association ended before all of it had come"
    caveat = "1 instance was refused and has not come again"
    assert reception.ledger.instances.evidence(first.StudyInstanceUID).caveat == caveat
    assert reception.send(second) == [SUCCESS]
    assert reception.ledger.instances.evidence(first.StudyInstanceUID).caveat == ""
