"""The node's upper layer at its limits: messages of any length, connections that end at any byte, a disk that fails."""

import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from node.images.header_summary import read_summary, summarize_file
from node.receive.c_store import CANNOT_UNDERSTAND, MISMATCH, SUCCESS
from node.receive.connection import Connection
from node.receive.p_data import BUFFER_SIZE
from node.receive.store import CUT
from node.records import Arrival, Refusal
from node.testing import ct_series
from tests.fast_path import (
    ABORT_TYPE,
    BODIES,
    CT,
    HELD,
    INSTANCE,
    MR,
    RELEASE_RP_TYPE,
    REQUEST,
    Message,
    ObservedReceiver,
    encoded,
    status,
    store_message,
)
from tests.peers import wait_until
from tests.wire import ABORT, COMMAND, LAST, RELEASE, Peer, command, echo_rq, p_data, pdv, store_rq, us

pytestmark = pytest.mark.filterwarnings("ignore")

Open = Callable[..., ObservedReceiver]


# Answered otherwise than by pynetdicom, on purpose.


def test_a_message_that_begins_in_the_pdu_in_which_another_ends_is_not_lost(open_receiver: Open) -> None:
    observed = open_receiver()
    peer = Peer(observed.scp.port, REQUEST)
    echo = Message(5, echo_rq(), b"").values()
    peer.send(p_data(*store_message().values(), *store_message().values(), *echo))
    assert sorted(status(peer.pdu()) for _ in range(3)) == [SUCCESS] * 3
    assert len(observed.rows) == 2
    peer.send(RELEASE)
    assert peer.pdu()[0] == RELEASE_RP_TYPE


def test_a_message_within_an_instance_that_is_no_longer_held_is_the_end(open_receiver: Open) -> None:
    observed = open_receiver(held_bytes=0)
    values = store_message(fragments=(400,)).values()
    peer = Peer(observed.scp.port, REQUEST)
    for value in values[:-1]:
        peer.send(p_data(value))
        wait_until(lambda: bool(observed.packs()) or value is values[0] or value is values[1], seconds=5)  # noqa: B023
    peer.send(p_data(*Message(5, echo_rq(), b"").values()))
    assert [pdu[0] for pdu in peer.rest()] == [ABORT_TYPE]
    observed.wait_for_end()
    assert observed.rows == []
    assert observed.packs() == []


def test_received_bytes_are_acknowledged_before_more_arrive(
    open_receiver: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sender that has one short segment on its way at most (Nagle, RFC 896) would wait for it each time."""
    acknowledge, acknowledged = Connection.acknowledge, threading.Event()

    def noting(connection: Connection) -> None:
        acknowledge(connection)
        acknowledged.set()

    observed = open_receiver()
    peer = Peer(observed.scp.port, REQUEST)
    monkeypatch.setattr(Connection, "acknowledge", noting)
    request, data = store_message().pdus()
    for short in (request[:40], request[40:], data[:100]):
        acknowledged.clear()
        peer.send(short)
        assert acknowledged.wait(5), f"{len(short)} bytes are not acknowledged"
    peer.send(data[100:])
    assert status(peer.pdu()) == SUCCESS
    peer.close()


def test_another_message_is_not_taken_without_end(open_receiver: Open) -> None:
    observed = open_receiver(message_bytes=5000)
    peer = Peer(observed.scp.port, REQUEST)
    elements = {**store_rq(CT, INSTANCE), 0x1031: us(1)}
    peer.send(p_data(pdv(1, COMMAND | LAST, command(elements))), *[p_data(pdv(1, 0, bytes(1000)))] * 6)
    assert [pdu[0] for pdu in peer.rest()] == [ABORT_TYPE]


# When it ends badly.


def stream() -> bytes:
    return b"".join([*store_message(fragments=(600,)).pdus(), *store_message(7, fragments=(600,)).pdus()])


@pytest.mark.parametrize("end", ["close", "reset", "abort", "release"])
@pytest.mark.parametrize("held", [0, HELD])
def test_a_connection_that_ends_at_any_byte_leaves_only_complete_instances(
    open_receiver: Open, end: str, held: int
) -> None:
    observed, content = open_receiver(held_bytes=held), stream()
    first = len(b"".join(store_message(fragments=(600,)).pdus()))
    before = threading.active_count()
    cuts = range(0, len(content), 41 if end != "abort" else 11)  # each head of a PDU with its value has 12 bytes
    for cut in cuts:
        peer = Peer(observed.scp.port, REQUEST)
        peer.send(content[:cut])
        if cut >= first:
            assert status(peer.pdu()) == SUCCESS
        peer.send(*{"abort": [ABORT], "release": [RELEASE]}.get(end, []))
        peer.close(reset=end == "reset")
    observed.wait_for_end()
    wait_until(lambda: threading.active_count() <= before, what="the end of every association")
    more = len(ABORT) if end in ("abort", "release") else 0  # it is data where that is not yet whole
    complete = [row for row in observed.rows if isinstance(row, Arrival)]
    assert len(complete) == sum(cut + more >= whole for cut in cuts for whole in (first, len(content)))
    assert {row.reason for row in observed.rows if isinstance(row, Refusal)} == {CUT}
    recovered = [arrival.instance.sop_instance_uid for arrival in observed.spool.unwritten({})]
    assert len(recovered) == len(complete)
    assert observed.spool.unread({}) == {}


def test_a_peer_that_stops_at_any_byte_is_met_by_the_idle_time_out(open_receiver: Open) -> None:
    observed, content = open_receiver(idle_seconds=1.0), stream()
    whole = REQUEST + content
    before = threading.active_count()
    peers = []
    for cut in range(0, len(whole) - 1, 101):
        connection = Peer(observed.scp.port, REQUEST)
        connection.send(content[:cut])
        peers.append(connection)
    for connection in peers:
        assert connection.rest()[-1][0] == ABORT_TYPE
        connection.close()
    observed.wait_for_end()
    wait_until(lambda: threading.active_count() <= before, what="the end of every association")


def test_an_instance_refused_during_its_transfer_leaves_no_pack(open_receiver: Open) -> None:
    observed = open_receiver(held_bytes=0)
    bad = Message(1, store_rq(CT, INSTANCE), b"\xff" * 5000, fragments=(100,), writes=(50,))
    other = Message(3, store_rq(MR, INSTANCE), BODIES[1], fragments=(100,), writes=(50,))
    responses = observed.exchange(bad.sent(), other.sent())
    assert [status(response) for response in responses[:2]] == [CANNOT_UNDERSTAND, MISMATCH]
    assert observed.packs() == []
    observed.spool.free_mark = 2**60
    assert status(observed.exchange(store_message(fragments=(100,), writes=(50,)).sent())[0]) == 0xA700
    assert observed.packs() == []


def test_a_disk_failure_during_a_large_instance_is_reported(
    open_receiver: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    from node.spool import pack as pack_module

    observed = open_receiver()
    (image,) = ct_series(slices=1, rows=1024, columns=1024)
    instance, body = str(image.SOPInstanceUID), encoded(image)
    real, calls = pack_module.write_all, []

    def fails_once(fd: int, parts: Any) -> None:
        calls.append(fd)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        real(fd, parts)

    monkeypatch.setattr(pack_module, "write_all", fails_once)
    large = Message(1, store_rq(CT, instance), body, fragments=(65000,)).sent()
    responses = observed.exchange(large, large)
    assert [status(response) for response in responses[:2]] == [0xA700, SUCCESS]
    (refusal, arrival) = observed.rows
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "the spool cannot be written: Input/output error"
    assert isinstance(arrival, Arrival)
    assert observed.spool.part10(arrival.place).read().endswith(body)


def test_a_large_instance_has_its_header_summary(open_receiver: Open) -> None:
    """The summary is of the instance, not of what lies in the receive buffer later."""
    observed = open_receiver()
    (image,) = ct_series(slices=1, rows=1024, columns=1024)
    body = encoded(image)
    observed.exchange(Message(1, store_rq(CT, str(image.SOPInstanceUID)), body, fragments=(65000,)).sent())
    (arrival,) = observed.rows
    assert arrival.place.length > BUFFER_SIZE
    summary = read_summary(arrival.instance.note)
    assert summary == summarize_file(observed.spool.part10(arrival.place).read())
    assert summary is not None


def test_a_large_instance_is_never_held(open_receiver: Open) -> None:
    observed = open_receiver(idle_seconds=300)  # tracemalloc slows everything down
    (image,) = ct_series(slices=1, rows=512, columns=512)
    image.NumberOfFrames, image.PixelData = 64, image.PixelData * 64
    instance, body = str(image.SOPInstanceUID), encoded(image)
    peer = Peer(observed.scp.port, REQUEST)
    pdus = Message(1, store_rq(CT, instance), body, fragments=(100_000,)).pdus()
    tracemalloc.start()
    try:
        peer.send(*pdus)
        assert status(peer.pdu()) == SUCCESS
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    (arrival,) = observed.rows
    assert isinstance(arrival, Arrival)
    assert observed.spool.part10(arrival.place).read().endswith(body)
    assert peak < 6 * 2**20, "beside what the test holds itself"
