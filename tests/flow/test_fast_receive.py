"""The fast path beside pynetdicom's own: the same answers, the same bytes kept, however a message is cut or damaged."""

import errno
import threading
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
)
from pynetdicom import evt
from pynetdicom.association import Association

from node.images.header_summary import read_summary, summarize_file
from node.images.part10 import file_header, parse
from node.receive import KnownPeers, Receiver, StoreScp
from node.receive.c_store import CANNOT_UNDERSTAND, MISMATCH, SUCCESS
from node.receive.connection import Connection
from node.receive.header_fields import inflated, pick, walked
from node.receive.p_data import BUFFER_SIZE, ReceiveLimits
from node.receive.pdu import LONGEST_PDU
from node.receive.upper_layer import UpperLayer
from node.records import Address, Arrival, Refusal
from node.spool import Spool
from node.testing import ct_series
from tests.peers import DICOM, wait_until
from tests.wire import (
    ABORT,
    COMMAND,
    LAST,
    RELEASE,
    Peer,
    associate,
    command,
    echo_rq,
    p_data,
    pdv,
    split,
    store_rq,
    us,
)

pytestmark = pytest.mark.filterwarnings("ignore")

VERIFICATION = "1.2.840.10008.1.1"
CT, MR = str(CTImageStorage), str(MRImageStorage)
CONTEXTS = {
    1: (CT, str(ExplicitVRLittleEndian)),
    3: (MR, str(ExplicitVRLittleEndian)),
    5: (VERIFICATION, str(ImplicitVRLittleEndian)),
    7: (CT, str(ImplicitVRLittleEndian)),
    9: (CT, str(DeflatedExplicitVRLittleEndian)),
    11: (CT, str(ExplicitVRBigEndian)),
}
REQUEST = associate(CONTEXTS)
P_DATA_TYPE, ABORT_TYPE, RELEASE_RP_TYPE = 4, 7, 6
HELD = ReceiveLimits().held_bytes


class StockReceiver(Receiver):
    """A receiver whose associations have pynetdicom's own upper layer.

    A PDU that is too long, or whose rest does not come, ends its connection: pynetdicom alone would wait for ever.
    """

    def _on_open(self, event: evt.Event) -> None:
        connection = event.assoc.dul.socket
        assert connection is not None
        assert connection.socket is not None
        connection.socket.settimeout(self.idle_seconds)
        receive = connection.recv

        def receive_bounded(nr_bytes: int) -> bytearray:
            if nr_bytes > LONGEST_PDU:
                raise OSError(errno.EMSGSIZE, f"a PDU of {nr_bytes} bytes")
            return receive(nr_bytes)

        connection.recv = receive_bounded  # type: ignore[method-assign]


@dataclass
class Side:
    """A receiver, and what it kept or refused."""

    spool: Spool
    receiver: Receiver
    rows: list[Arrival | Refusal] = field(default_factory=list)

    def put(self, one: Arrival | Refusal) -> None:
        self.rows.append(one)

    def check_ledger(self) -> None: ...

    def told(self) -> list[tuple[Any, ...]]:
        """What has a row, without what differs from run to run."""
        return [
            (one.instance.sop_instance_uid, one.instance.study_uid, one.instance.series_uid, one.instance.modality,
             one.instance.transfer_syntax_uid, one.instance.calling, one.instance.peer, one.instance.urgency,
             one.instance.checksum, self.spool.part10(one.place).read())
            if isinstance(one, Arrival)
            else (one.sop_instance_uid, one.sop_class_uid, one.study_uid, one.calling, one.peer, one.reason)
            for one in self.rows
        ]  # fmt: skip

    def converse(self, *turns: Sequence[bytes], patience: float = 20) -> list[bytes]:
        """Send each turn and wait for its answer, release, and return all that was answered."""
        peer = Peer(self.receiver.port, REQUEST, patience=patience)
        answers = []
        for turn in turns:
            peer.send(*turn)
            answers.append(peer.pdu())
        peer.send(RELEASE)
        answers += peer.rest()
        peer.close()
        self.quiet()
        return answers

    def flood(self, content: Sequence[bytes], patience: float) -> list[bytes]:
        """Send everything, whatever it is, and return all that is answered while no answer takes longer than that."""
        peer = Peer(self.receiver.port, REQUEST)
        peer.socket.settimeout(patience)
        with suppress(OSError):
            peer.send(*content)
        answers = peer.rest()
        peer.close()
        self.quiet()
        return answers

    def quiet(self) -> None:
        """Wait until no association is left that holds a pack."""
        wait_until(lambda: not any(self.spool.is_open(path.name) for path in self.packs()), what="the end")

    def packs(self) -> list[Path]:
        return list(self.spool.packs.iterdir())


Open = Callable[..., Side]


@pytest.fixture(scope="module")
def open_side(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    opened: list[Receiver] = []

    def made(*, kind: type[Receiver] = Receiver, idle_seconds: float = 20.0, **limits: int) -> Side:
        spool = Spool(tmp_path_factory.mktemp("spool"), synced=False)
        rows: list[Any] = []
        side = Side(spool, None, rows)  # type: ignore[arg-type]
        side.receiver = kind(
            address=Address("ISOCENTER", "127.0.0.1", 0),
            peers=KnownPeers.parse("ISOCENTER", ()),
            store=StoreScp(spool, side),  # type: ignore[arg-type]
            associations=100,
            idle_seconds=idle_seconds,
            limits=ReceiveLimits(**limits),
            poll_seconds=0.02,
        )
        side.receiver.start()
        opened.append(side.receiver)
        return side

    yield made
    for receiver in opened:
        receiver.stop()


@pytest.fixture(scope="module")
def stock(open_side: Open) -> Side:
    return open_side(kind=StockReceiver)


@pytest.fixture(scope="module")
def sides(open_side: Open, stock: Side) -> tuple[Side, Side]:
    """pynetdicom's own upper layer, and the node's."""
    return stock, open_side()


@pytest.fixture(scope="module", params=[0, 700, HELD])
def sides_that_hold(request: pytest.FixtureRequest, open_side: Open, stock: Side) -> tuple[Side, Side]:
    """The same, where an instance of more than so many bytes is written in pieces."""
    return stock, open_side(held_bytes=request.param)


def encoded(image: Dataset, syntax: str = str(ExplicitVRLittleEndian)) -> bytes:
    image.file_meta.TransferSyntaxUID = syntax
    out = BytesIO()
    image.save_as(out, enforce_file_format=True)
    content = out.getvalue()
    return content[144 + int.from_bytes(content[140:144], "little") :]


(IMAGE,) = ct_series(slices=1, rows=24, columns=24)
INSTANCE = str(IMAGE.SOPInstanceUID)
BODIES = {number: encoded(IMAGE, syntax) for number, (_, syntax) in CONTEXTS.items() if number not in (3, 5, 11)}
BODIES[11] = encoded(ct_series(slices=1, rows=24, columns=24, transfer_syntax=ExplicitVRBigEndian)[0], CONTEXTS[11][1])


@dataclass(frozen=True)
class Message:
    """One message, and how it is divided: into values, values into PDUs, and all into writes."""

    context: int
    elements: dict[int, bytes]
    body: bytes
    fragments: tuple[int, ...] = ()
    per_pdu: int = 1
    writes: tuple[int, ...] = ()

    def values(self) -> list[bytes]:
        """Its presentation data values."""
        found = []
        for kind, content in ((COMMAND, command(self.elements)), (0, self.body)):
            pieces = split(content, self.fragments)
            found += [
                pdv(self.context, kind | (LAST if number == len(pieces) - 1 else 0), piece)
                for number, piece in enumerate(pieces)
            ]
        return found

    def pdus(self) -> list[bytes]:
        values = self.values()
        return [p_data(*values[start : start + self.per_pdu]) for start in range(0, len(values), self.per_pdu)]

    def sent(self) -> list[bytes]:
        return split(b"".join(self.pdus()), self.writes)


def good(context: int = 1, **how: Any) -> Message:
    return Message(context, store_rq(CT, INSTANCE, message=7), BODIES[context], **how)


OTHERS: dict[str, Callable[[], tuple[int, dict[int, bytes], bytes]]] = {
    "echo": lambda: (5, echo_rq(3), b""),
    "another class than the data set's": lambda: (3, store_rq(MR, INSTANCE), BODIES[1]),
    "another class than the context's": lambda: (1, store_rq(MR, INSTANCE), BODIES[1]),
    "another instance": lambda: (1, store_rq(CT, "1.2.3"), BODIES[1]),
    "no UID": lambda: (1, store_rq(CT, "x/../y"), BODIES[1]),
    "a UID with letters": lambda: (1, store_rq(CT, "a.b"), BODIES[1]),
    "garbage": lambda: (1, store_rq(CT, INSTANCE), b"\xff" * 99),
    "a data set cut short": lambda: (1, store_rq(CT, INSTANCE), BODIES[1][:300]),
    "a header cut short": lambda: (1, store_rq(CT, INSTANCE), BODIES[1][:117]),
    "deflated, cut short": lambda: (9, store_rq(CT, INSTANCE), BODIES[9][:-40]),
    "not deflated at all": lambda: (9, store_rq(CT, INSTANCE), BODIES[1]),
    "implicit as explicit": lambda: (1, store_rq(CT, INSTANCE), BODIES[7]),
    "explicit as implicit": lambda: (7, store_rq(CT, INSTANCE), BODIES[1]),
    "a command with more": lambda: (1, {**store_rq(CT, INSTANCE), 0x1031: us(1)}, BODIES[1]),
    "no data set": lambda: (1, store_rq(CT, INSTANCE, data_set=us(0x0101)), b""),
}
STRATEGY = st.builds(
    lambda what, fragments, per_pdu, writes: Message(*what, fragments, per_pdu, writes),
    st.one_of(
        st.sampled_from(sorted(BODIES)).map(lambda one: (one, store_rq(CT, INSTANCE, message=one), BODIES[one])),
        st.sampled_from(sorted(OTHERS)).map(lambda name: OTHERS[name]()),
    ),
    st.lists(st.integers(1, 700), max_size=3).map(tuple),
    st.integers(1, 4),
    st.lists(st.integers(1, 900), max_size=3).map(tuple),
)


def compared(sides: tuple[Side, Side], told: Callable[[Side], list[bytes]]) -> list[bytes]:
    """Have both sides told the same, and return what both answered."""
    for side in sides:
        side.rows.clear()
    stock, quick = (told(side) for side in sides)
    assert quick == stock
    assert sides[1].told() == sides[0].told()
    return quick


def flooded(sides: tuple[Side, Side], content: Sequence[bytes]) -> None:
    """Have both sides told something that may have no answer.

    On a busy machine an answer may come late, and pynetdicom's two threads may meet what comes in another order: that
    shows in a second look, and in a third.
    """
    for patience in (0.3, 5.0):
        with suppress(AssertionError):
            compared(sides, partial(Side.flood, content=content, patience=patience))
            return
    compared(sides, partial(Side.flood, content=content, patience=5.0))


# The same answers.


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(messages=st.lists(STRATEGY, min_size=1, max_size=3))
def test_however_messages_are_divided_they_are_answered_as_by_pynetdicom(
    sides_that_hold: tuple[Side, Side], messages: list[Message]
) -> None:
    compared(sides_that_hold, lambda side: side.converse(*(message.sent() for message in messages)))


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_not_in_order_is_answered_as_by_pynetdicom(sides: tuple[Side, Side], name: str) -> None:
    compared(sides, lambda side: side.converse(Message(*OTHERS[name]()).sent(), good().sent()))


def test_good_ones_are_kept(sides: tuple[Side, Side]) -> None:
    """So that the comparisons compare something."""
    answers = compared(sides, lambda side: side.converse(*(good(one).sent() for one in sorted(BODIES))))
    assert [answer[0] for answer in answers] == [P_DATA_TYPE] * len(BODIES) + [RELEASE_RP_TYPE]
    assert [b"\x00\x00\x00\x09\x02\x00\x00\x00\x00\x00"[3:] in answer for answer in answers[:-1]] == [True] * len(
        BODIES
    )
    assert len(sides[1].rows) == len(BODIES)
    assert all(isinstance(one, Arrival) for one in sides[1].rows)


def status(answer: bytes) -> int:
    place = answer.index(b"\0\0\0\x09\x02\0\0\0") + 8
    return int.from_bytes(answer[place : place + 2], "little")


def damaged() -> dict[str, list[bytes]]:
    (whole,), values = good(per_pdu=99).pdus(), good(fragments=(400,)).values()
    echo = Message(5, echo_rq(), b"").values()[0]
    return {
        "a PDU of 4 GiB": [b"\x04\0\xff\xff\xff\xff" + whole[6:]],
        "a PDU of no length": [b"\x04\0\0\0\0\0", whole],
        "an unknown type": [b"\x09\0\0\0\0\x04abcd", whole],
        "a value of no length": [p_data(b"\0\0\0\0\x01\x03"), whole],
        "a value without control header": [p_data(b"\0\0\0\1\x01"), whole],
        "a value longer than its PDU": [p_data(b"\0\0\xff\xff\x01\x03abc"), whole],
        "bytes after the last value": [p_data(*values, b"\0\0")],
        "a broken value amid a data set": [p_data(*values[:3]), p_data(b"\0\0\xff\xff\x01\x00abc")],
        "a data set without command": [p_data(pdv(1, LAST, b"abc")), whole],
        "a data set before its command": [p_data(pdv(1, 0, BODIES[1][:50])), p_data(*values[:1])],
        "a command amid a data set": [p_data(*values[:3]), p_data(echo), p_data(*values[3:])],
        "a context that is not accepted": [p_data(*(pdv(99, one[5], one[6:]) for one in values))],
        "an even context": [p_data(*(pdv(2, one[5], one[6:]) for one in values))],
        "a data set on another context": [
            p_data(*values[:1]),
            p_data(*(pdv(3, one[5], one[6:]) for one in values[1:])),
        ],
        "more bits in the control header": [p_data(*(pdv(1, one[5] | 0xFC, one[6:]) for one in values))],
        "a command that is none": [p_data(pdv(1, COMMAND | LAST, b"\xff" * 40))],
        "an unknown command": [p_data(pdv(1, COMMAND | LAST, command({0x0100: us(0x7777)})))],
        "a long command": [p_data(pdv(1, COMMAND, bytes(3000))), p_data(pdv(1, COMMAND | LAST, bytes(3000)))],
        "no priority": [p_data(pdv(1, 3, command({k: v for k, v in store_rq(CT, INSTANCE).items() if k != 0x700})))],
        "a priority that is none": [p_data(pdv(1, 3, command(store_rq(CT, INSTANCE, priority=us(9)))))],
        "an association within one": [REQUEST, whole],
        "an abort amid a data set": [p_data(*values[:3]), ABORT],
        "a release amid a data set": [p_data(*values[:3]), RELEASE],
    }


@pytest.mark.parametrize("name", damaged())
def test_what_is_damaged_is_answered_as_by_pynetdicom(sides: tuple[Side, Side], name: str) -> None:
    flooded(sides, damaged()[name])


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_bytes_flipped_anywhere_are_answered_as_by_pynetdicom(sides: tuple[Side, Side], data: st.DataObject) -> None:
    content = bytearray(b"".join(good(fragments=(500,)).pdus()))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    flooded(sides, [bytes(content)])


# Otherwise on purpose.


def test_a_message_that_begins_in_the_pdu_in_which_another_ends_is_not_lost(open_side: Open) -> None:
    side = open_side()
    peer = Peer(side.receiver.port, REQUEST)
    echo = Message(5, echo_rq(), b"").values()
    peer.send(p_data(*good().values(), *good().values(), *echo))
    assert sorted(status(peer.pdu()) for _ in range(3)) == [SUCCESS] * 3
    assert len(side.rows) == 2
    peer.send(RELEASE)
    assert peer.pdu()[0] == RELEASE_RP_TYPE


def test_a_message_within_an_instance_that_is_no_longer_held_is_the_end(open_side: Open) -> None:
    side = open_side(held_bytes=0)
    values = good(fragments=(400,)).values()
    peer = Peer(side.receiver.port, REQUEST)
    for value in values[:-1]:
        peer.send(p_data(value))
        wait_until(lambda: bool(side.packs()) or value is values[0] or value is values[1], seconds=5)  # noqa: B023
    peer.send(p_data(*Message(5, echo_rq(), b"").values()))
    assert [pdu[0] for pdu in peer.rest()] == [ABORT_TYPE]
    side.quiet()
    assert side.rows == []
    assert side.packs() == []


def test_what_arrived_is_acknowledged_before_there_is_more(open_side: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender that has one short segment on its way at most (Nagle, RFC 896) would wait for it each time."""
    acknowledge, told = Connection.acknowledge, threading.Event()

    def telling(connection: Connection) -> None:
        acknowledge(connection)
        told.set()

    side = open_side()
    peer = Peer(side.receiver.port, REQUEST)
    monkeypatch.setattr(Connection, "acknowledge", telling)
    request, data = good().pdus()
    for short in (request[:40], request[40:], data[:100]):
        told.clear()
        peer.send(short)
        assert told.wait(5), f"{len(short)} bytes are not acknowledged"
    peer.send(data[100:])
    assert status(peer.pdu()) == SUCCESS
    peer.close()


def test_another_message_is_not_taken_without_end(open_side: Open) -> None:
    side = open_side(message_bytes=5000)
    peer = Peer(side.receiver.port, REQUEST)
    elements = {**store_rq(CT, INSTANCE), 0x1031: us(1)}
    peer.send(p_data(pdv(1, COMMAND | LAST, command(elements))), *[p_data(pdv(1, 0, bytes(1000)))] * 6)
    assert [pdu[0] for pdu in peer.rest()] == [ABORT_TYPE]


# When it ends badly.


def stream() -> bytes:
    return b"".join([*good(fragments=(600,)).pdus(), *good(7, fragments=(600,)).pdus()])


@pytest.mark.parametrize("end", ["close", "reset", "abort", "release"])
@pytest.mark.parametrize("held", [0, HELD])
def test_a_connection_that_ends_at_any_byte_leaves_whole_instances_alone(open_side: Open, end: str, held: int) -> None:
    side, content = open_side(held_bytes=held), stream()
    first = len(b"".join(good(fragments=(600,)).pdus()))
    before = threading.active_count()
    places = range(0, len(content), 41 if end != "abort" else 7)
    for place in places:
        peer = Peer(side.receiver.port, REQUEST)
        peer.send(content[:place])
        if place >= first:
            assert status(peer.pdu()) == SUCCESS
        peer.send(*{"abort": [ABORT], "release": [RELEASE]}.get(end, []))
        peer.close(reset=end == "reset")
    side.quiet()
    wait_until(lambda: threading.active_count() <= before, what="the end of every association")
    more = len(ABORT) if end in ("abort", "release") else 0  # it is data where that is not yet whole
    assert len(side.rows) == sum(place + more >= whole for place in places for whole in (first, len(content)))
    recovered = [one.instance.sop_instance_uid for one in side.spool.unwritten({})]
    assert len(recovered) == len(side.rows)
    assert side.spool.unread({}) == {}


def test_a_peer_that_stops_at_any_byte_is_met_by_the_idle_time_out(open_side: Open) -> None:
    side, content = open_side(idle_seconds=1.0), stream()
    whole = REQUEST + content
    before = threading.active_count()
    peers = []
    for place in range(0, len(whole) - 1, 101):
        connection = Peer.__new__(Peer)
        Peer.__init__(connection, side.receiver.port, REQUEST)
        connection.send(content[:place])
        peers.append(connection)
    for connection in peers:
        assert connection.rest()[-1][0] == ABORT_TYPE
        connection.close()
    side.quiet()
    wait_until(lambda: threading.active_count() <= before, what="the end of every association")


def test_what_is_refused_while_it_comes_leaves_no_pack(open_side: Open) -> None:
    side = open_side(held_bytes=0)
    bad = Message(1, store_rq(CT, INSTANCE), b"\xff" * 5000, fragments=(100,), writes=(50,))
    other = Message(3, store_rq(MR, INSTANCE), BODIES[1], fragments=(100,), writes=(50,))
    answers = side.converse(bad.sent(), other.sent())
    assert [status(one) for one in answers[:2]] == [CANNOT_UNDERSTAND, MISMATCH]
    assert side.packs() == []
    side.spool.free_mark = 2**60
    assert status(side.converse(good(fragments=(100,), writes=(50,)).sent())[0]) == 0xA700
    assert side.packs() == []


def test_a_disk_that_fails_under_a_large_instance_is_told(open_side: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    from node import spool as spool_module

    side = open_side()
    (image,) = ct_series(slices=1, rows=1024, columns=1024)
    instance, body = str(image.SOPInstanceUID), encoded(image)
    real, calls = spool_module.write_all, []

    def fails_once(fd: int, parts: Any) -> None:
        calls.append(fd)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        real(fd, parts)

    monkeypatch.setattr(spool_module, "write_all", fails_once)
    large = Message(1, store_rq(CT, instance), body, fragments=(65000,)).sent()
    answers = side.converse(large, large)
    assert [status(one) for one in answers[:2]] == [0xA700, SUCCESS]
    (refusal, arrival) = side.rows
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "the spool cannot be written: Input/output error"
    assert isinstance(arrival, Arrival)
    assert side.spool.part10(arrival.place).read().endswith(body)


def test_a_large_instance_is_noted(open_side: Open) -> None:
    """By what it was, and not by what lies now where it was received."""
    side = open_side()
    (image,) = ct_series(slices=1, rows=1024, columns=1024)
    body = encoded(image)
    side.converse(Message(1, store_rq(CT, str(image.SOPInstanceUID)), body, fragments=(65000,)).sent())
    (arrival,) = side.rows
    assert arrival.place.length > BUFFER_SIZE
    note = read_summary(arrival.instance.note)
    assert note == summarize_file(side.spool.part10(arrival.place).read())
    assert note is not None


def test_a_large_instance_is_never_held(open_side: Open) -> None:
    side = open_side()
    (image,) = ct_series(slices=1, rows=512, columns=512)
    image.NumberOfFrames, image.PixelData = 64, image.PixelData * 64
    instance, body = str(image.SOPInstanceUID), encoded(image)
    peer = Peer(side.receiver.port, REQUEST)
    pdus = Message(1, store_rq(CT, instance), body, fragments=(100_000,)).pdus()
    tracemalloc.start()
    peer.send(*pdus)
    assert status(peer.pdu()) == SUCCESS
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    (arrival,) = side.rows
    assert isinstance(arrival, Arrival)
    assert side.spool.part10(arrival.place).read().endswith(body)
    assert peak < 6 * 2**20, "beside what the test holds itself"


# What is picked without pydicom.


def headers() -> Iterator[tuple[str, bytes]]:
    yield from ((CONTEXTS[number][1], body) for number, body in BODIES.items())
    for path in sorted(DICOM.rglob("*.dcm"))[::5] if DICOM.exists() else []:
        content = path.read_bytes()
        if content[128:132] == b"DICM" and len(content) < 3_000_000:
            meta = read_file_meta_info(path)
            start = 144 + int.from_bytes(content[140:144], "little")
            yield str(meta.get("TransferSyntaxUID", "")), content[start:]


def test_what_is_picked_is_what_pydicom_reads() -> None:
    """Of real data sets of every kind, where they are."""
    picked = 0
    for syntax, body in headers():
        head = file_header(sop_class_uid="1.2", sop_instance_uid="1.2", transfer_syntax_uid=syntax)
        plain = inflated(body, whole=True) if syntax == DeflatedExplicitVRLittleEndian else body
        found = pick(walked(plain, syntax), whole=True)
        if found is not None:
            picked += 1
            header = parse(BytesIO(head + body), pixels=False)
            read = {keyword: str(header.get(keyword)) for keyword in found}
            assert found == read
            assert "Modality" in found or not header.get("Modality")
    assert picked >= 3


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_what_pydicom_refuses_is_not_picked(data: st.DataObject) -> None:
    number = data.draw(st.sampled_from([1, 7]))
    body = bytearray(BODIES[number])
    for _ in range(data.draw(st.integers(0, 5))):
        body[data.draw(st.integers(0, 900))] = data.draw(st.integers(0, 255))
    syntax = CONTEXTS[number][1]
    found = pick(walked(bytes(body), syntax), whole=True)
    if found is not None:
        head = file_header(sop_class_uid="1.2", sop_instance_uid="1.2", transfer_syntax_uid=syntax)
        header = parse(BytesIO(head + body), pixels=False)
        assert found == {keyword: str(header.get(keyword)) for keyword in found}


def test_the_upper_layer_is_ours(open_side: Open) -> None:
    """So that a change in pynetdicom does not leave the fast path unused, and all of this comparing nothing."""
    side = open_side()
    peer = Peer(side.receiver.port, REQUEST)
    assert side.receiver._server is not None
    (association,) = side.receiver._server.active_associations
    assert isinstance(association, Association)
    assert isinstance(association.dul, UpperLayer)
    called: list[evt.Event] = []
    association.bind(evt.EVT_C_STORE, lambda event: called.append(event) or 0)  # type: ignore[func-returns-value]
    peer.send(*good().sent())
    assert status(peer.pdu()) == SUCCESS
    assert called == []
