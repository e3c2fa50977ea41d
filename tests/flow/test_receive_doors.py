"""Connections without an association: callers that are not allowed, silent or slow peers, unusual requests."""

import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from node.receive.c_store import SUCCESS
from node.receive.refusal_log import RefusalLog
from node.testing import ct_series
from tests.reception import OpenReception, Reception, wait_for
from tests.wire import ABORT, Peer, associate, p_data, pdv

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom", "ignore::UserWarning:pynetdicom")

CT, LITTLE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
REQUEST = associate({1: (CT, LITTLE)})
ACCEPTED, REJECTED = 2, 3


@pytest.fixture
def silent() -> Iterator[list[socket.socket]]:
    """Connections that are closed at the end."""
    opened: list[socket.socket] = []
    yield opened
    for connection in opened:
        connection.close()


def connected(reception: Reception) -> socket.socket:
    return socket.create_connection(("127.0.0.1", reception.receiver.port), timeout=20)


def is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(100) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_a_caller_that_is_not_allowed_is_rejected_and_takes_no_place(open_reception: OpenReception) -> None:
    reception = open_reception(accept_from=("CT1@10.0.0.11",), associations=1)
    before = threading.active_count()
    connection = connected(reception)
    connection.sendall(REQUEST)
    assert connection.recv(100) == bytes([REJECTED, 0, 0, 0, 0, 4, 0, 1, 1, 3])
    assert connection.recv(100) == b""
    assert threading.active_count() == before
    connection.close()


def test_connections_of_callers_that_are_not_allowed_are_closed(
    open_reception: OpenReception, silent: list[socket.socket]
) -> None:
    reception = open_reception(accept_from=("CT1@10.0.0.11",), most_waiting=4)
    silent += [connected(reception) for _ in range(20)]
    wait_for(lambda: all(map(is_closed, silent)), "the end of every connection")


def test_silent_connections_take_no_place_of_an_association(
    open_reception: OpenReception, silent: list[socket.socket]
) -> None:
    reception = open_reception(associations=1, most_waiting=4)
    silent += [connected(reception) for _ in range(20)]
    for connection in silent[:5]:
        connection.sendall(REQUEST[:40])
    assert reception.send(*ct_series(slices=1)) == [SUCCESS]
    wait_for(lambda: sum(is_closed(connection) for connection in silent) >= 16, "the end of the oldest")


def test_an_incomplete_request_is_closed_after_a_time_limit(
    open_reception: OpenReception, silent: list[socket.socket]
) -> None:
    reception = open_reception(request_seconds=0.3)
    silent.append(connected(reception))
    for byte in REQUEST:
        try:
            silent[0].sendall(bytes([byte]))
        except OSError:
            break
        time.sleep(0.02)
    wait_for(lambda: is_closed(silent[0]), "the end of the connection")
    assert reception.send(*ct_series(slices=1)) == [SUCCESS]


def test_a_sender_of_a_byte_now_and_then_counts_as_idle(open_reception: OpenReception) -> None:
    reception = open_reception(idle_seconds=0.5)
    peer = Peer(reception.receiver.port, REQUEST)
    assert peer.accepted[0] == ACCEPTED
    drops = p_data(pdv(1, 1, b"\0"))
    until = time.monotonic() + 20
    try:
        while time.monotonic() < until:
            peer.send(drops)
            time.sleep(0.05)
    except OSError:
        pass
    assert time.monotonic() < until, "the association was kept"
    peer.close()


def test_an_odd_request_is_accepted(reception: Reception) -> None:
    odd = bytearray(REQUEST)
    odd[26:42] = b"WIRE" + b"\0" * 12
    body = bytes(odd[6:]) + struct.pack(">BxH", 0x60, 3) + b"new"
    peer = Peer(reception.receiver.port, struct.pack(">BxI", 1, len(body)) + body)
    assert peer.accepted[0] == ACCEPTED
    peer.close()


def test_a_blank_calling_title_is_rejected(reception: Reception) -> None:
    blank = bytearray(REQUEST)
    blank[26:42] = b" " * 16
    peer = Peer(reception.receiver.port, bytes(blank))
    assert peer.accepted[0] == REJECTED
    peer.close()


def test_a_request_that_cannot_be_read_is_logged(reception: Reception) -> None:
    body = REQUEST[6:-1]
    with capture_logs() as log:
        peer = Peer(reception.receiver.port, struct.pack(">BxI", 1, len(body)) + body)
        assert peer.accepted[0] == ABORT[0]
        peer.close()
        wait_for(lambda: any(one["event"] == "association.aborted" for one in log), "the line in the log")
    aborted = [entry for entry in log if entry["event"] == "association.aborted"]
    assert [(entry["address"], entry["calling"]) for entry in aborted] == [("127.0.0.1", "WIRE")]


def test_a_refusal_that_repeats_is_logged_once_a_minute_with_its_number() -> None:
    now = [0.0]
    refusals = RefusalLog(clock=lambda: now[0])
    with capture_logs() as log:
        for second in range(61):
            now[0] = float(second)
            refusals.report("rejected", address="10.0.0.1", reason="unknown")
        refusals.report("rejected", address="10.0.0.2", reason="unknown")
    assert [(entry["address"], entry.get("repeated")) for entry in log] == [
        ("10.0.0.1", None),
        ("10.0.0.1", 59),
        ("10.0.0.2", None),
    ]
