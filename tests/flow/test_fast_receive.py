"""The node's upper layer responds as pynetdicom's does and keeps the same bytes, however messages are cut or damaged.

Where the node answers differently on purpose: test_fast_receive_limits.py.
"""

import errno
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pynetdicom import evt
from pynetdicom.association import Association

from node.receive import Receiver
from node.receive.c_store import SUCCESS
from node.receive.pdu import LONGEST_PDU
from node.receive.upper_layer import UpperLayer
from node.records import Arrival
from tests.fast_path import (
    BODIES,
    CT,
    HELD,
    INSTANCE,
    MR,
    P_DATA_TYPE,
    RELEASE_RP_TYPE,
    REQUEST,
    Message,
    ObservedReceiver,
    status,
    store_message,
)
from tests.wire import ABORT, COMMAND, LAST, RELEASE, Peer, command, echo_rq, p_data, pdv, store_rq, us

pytestmark = pytest.mark.filterwarnings("ignore")

Open = Callable[..., ObservedReceiver]
Pair = tuple[ObservedReceiver, ObservedReceiver]


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


@pytest.fixture(scope="module")
def stock(open_receiver: Open) -> ObservedReceiver:
    return open_receiver(kind=StockReceiver)


@pytest.fixture(scope="module")
def receivers(open_receiver: Open, stock: ObservedReceiver) -> Pair:
    """pynetdicom's own upper layer, and the node's."""
    return stock, open_receiver()


@pytest.fixture(scope="module", params=[0, 700, HELD])
def receivers_that_hold(request: pytest.FixtureRequest, open_receiver: Open, stock: ObservedReceiver) -> Pair:
    """The same two; the node's writes an instance of more than so many bytes in pieces."""
    return stock, open_receiver(held_bytes=request.param)


UNUSUAL: dict[str, Callable[[], tuple[int, dict[int, bytes], bytes]]] = {
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
MESSAGES = st.builds(
    lambda what, fragments, per_pdu, writes: Message(*what, fragments, per_pdu, writes),
    st.one_of(
        st.sampled_from(sorted(BODIES)).map(
            lambda number: (number, store_rq(CT, INSTANCE, message=number), BODIES[number])
        ),
        st.sampled_from(sorted(UNUSUAL)).map(lambda name: UNUSUAL[name]()),
    ),
    st.lists(st.integers(1, 700), max_size=3).map(tuple),
    st.integers(1, 4),
    st.lists(st.integers(1, 900), max_size=3).map(tuple),
)


def answered_alike(receivers: Pair, send: Callable[[ObservedReceiver], list[bytes]]) -> list[bytes]:
    """Send the same to both receivers, and return the responses, which must be the same."""
    for observed in receivers:
        observed.rows.clear()
    stock, fast = (send(observed) for observed in receivers)
    assert fast == stock
    assert receivers[1].kept() == receivers[0].kept()
    return fast


def answered_alike_if_at_all(receivers: Pair, content: Sequence[bytes]) -> None:
    """Send both receivers something that may have no response.

    On a busy machine a response may come late, and pynetdicom's two threads may meet events in another order. The
    comparison is then repeated, twice at most.
    """
    for seconds in (0.3, 5.0):
        with suppress(AssertionError):
            answered_alike(receivers, partial(ObservedReceiver.send_all, content=content, seconds=seconds))
            return
    answered_alike(receivers, partial(ObservedReceiver.send_all, content=content, seconds=5.0))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(messages=st.lists(MESSAGES, min_size=1, max_size=3))
def test_messages_divided_in_any_way_are_answered_as_by_pynetdicom(
    receivers_that_hold: Pair, messages: list[Message]
) -> None:
    answered_alike(receivers_that_hold, lambda observed: observed.exchange(*(message.sent() for message in messages)))


@pytest.mark.parametrize("name", UNUSUAL)
def test_messages_out_of_order_are_answered_as_by_pynetdicom(receivers: Pair, name: str) -> None:
    answered_alike(
        receivers, lambda observed: observed.exchange(Message(*UNUSUAL[name]()).sent(), store_message().sent())
    )


def test_valid_messages_are_stored(receivers: Pair) -> None:
    """The comparisons are meaningful only if valid messages are stored."""
    responses = answered_alike(
        receivers, lambda observed: observed.exchange(*(store_message(number).sent() for number in sorted(BODIES)))
    )
    assert [response[0] for response in responses] == [P_DATA_TYPE] * len(BODIES) + [RELEASE_RP_TYPE]
    assert [b"\x00\x00\x00\x09\x02\x00\x00\x00\x00\x00"[3:] in response for response in responses[:-1]] == [True] * len(
        BODIES
    )
    assert len(receivers[1].rows) == len(BODIES)
    assert all(isinstance(row, Arrival) for row in receivers[1].rows)


def damaged() -> dict[str, list[bytes]]:
    (whole,), values = store_message(per_pdu=99).pdus(), store_message(fragments=(400,)).values()
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
        "a context that is not accepted": [p_data(*(pdv(99, value[5], value[6:]) for value in values))],
        "an even context": [p_data(*(pdv(2, value[5], value[6:]) for value in values))],
        "a data set on another context": [
            p_data(*values[:1]),
            p_data(*(pdv(3, value[5], value[6:]) for value in values[1:])),
        ],
        "more bits in the control header": [p_data(*(pdv(1, value[5] | 0xFC, value[6:]) for value in values))],
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
def test_damaged_messages_are_answered_as_by_pynetdicom(receivers: Pair, name: str) -> None:
    answered_alike_if_at_all(receivers, damaged()[name])


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_bytes_flipped_anywhere_are_answered_as_by_pynetdicom(receivers: Pair, data: st.DataObject) -> None:
    content = bytearray(b"".join(store_message(fragments=(500,)).pdus()))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    answered_alike_if_at_all(receivers, [bytes(content)])


def test_associations_use_the_upper_layer_of_the_node(open_receiver: Open) -> None:
    """A change in pynetdicom that leaves the fast path unused must fail here; the comparisons would not notice it."""
    observed = open_receiver()
    peer = Peer(observed.scp.port, REQUEST)
    assert observed.scp._server is not None
    (association,) = observed.scp._server.active_associations
    assert isinstance(association, Association)
    assert isinstance(association.dul, UpperLayer)
    called: list[evt.Event] = []
    association.bind(evt.EVT_C_STORE, lambda event: called.append(event) or 0)  # type: ignore[func-returns-value]
    peer.send(*store_message().sent())
    assert status(peer.pdu()) == SUCCESS
    assert called == []
