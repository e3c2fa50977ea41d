"""Which associations are accepted, and which ports can be listened on."""

from collections.abc import Sequence

import pytest

from node.errors import ConfigError
from node.receive import Receiver, try_port
from node.receive.c_store import SUCCESS
from node.records import Address
from node.testing import ct_series
from tests.reception import OpenReception, Reception

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom", "ignore::UserWarning:pynetdicom")


# Who may call.


@pytest.mark.parametrize(
    ("accept_from", "wanted", "diagnostic"),
    [
        ((), {"called": "OTHER"}, 7),
        (("CT2@127.0.0.1",), {}, 3),
        (("*@10.0.0.0/8",), {}, 3),
        (("CT1@127.0.0.2",), {}, 3),
    ],
    ids=["called AE title", "calling AE title", "network", "address"],
)
def test_callers_that_are_not_allowed_are_rejected_with_the_reasons_of_the_standard(
    open_reception: OpenReception, accept_from: Sequence[str], wanted: dict[str, str], diagnostic: int
) -> None:
    reception = open_reception(accept_from=accept_from)
    with reception.association(**wanted) as association:
        assert association.is_rejected
        answer = association.acceptor.primitive
        assert answer is not None
        assert (answer.result, answer.result_source, answer.diagnostic) == (1, 1, diagnostic)


def test_an_allowed_caller_is_accepted_after_others_were_rejected(open_reception: OpenReception) -> None:
    reception = open_reception(accept_from=("CT1@127.0.0.1",))
    with reception.association(calling="CT2") as association:
        assert association.is_rejected
    assert reception.send(*ct_series(slices=1)) == [SUCCESS]


def test_more_associations_than_allowed_are_rejected_for_now(open_reception: OpenReception) -> None:
    reception = open_reception(associations=1)
    with reception.association() as first:
        assert first.is_established
        with reception.association() as second:
            assert second.is_rejected
            assert second.acceptor.primitive is not None
            assert second.acceptor.primitive.result == 2, "transient: PS3.8 table 9-21"


def test_one_sender_cannot_take_all_associations(open_reception: OpenReception) -> None:
    reception = open_reception()
    reception.receiver.sender_associations = 1
    with reception.association() as first:
        assert first.is_established
        with reception.association() as second:
            assert second.is_rejected
            assert second.acceptor.primitive is not None
            assert second.acceptor.primitive.result == 2, "transient: PS3.8 table 9-21"


# The port.


def test_a_port_in_use_is_reported(reception: Reception) -> None:
    address = Address("ISOCENTER", "127.0.0.1", reception.receiver.port)
    message = rf"receive\.address {address}: the port is in use; stop the other program or choose another port"
    with pytest.raises(ConfigError, match=message):
        try_port(address)
    second = Receiver(
        address=address, peers=reception.receiver.peers, store=reception.receiver.store, associations=1, idle_seconds=1
    )
    with pytest.raises(ConfigError, match=message):
        second.start()
    second.stop()


@pytest.mark.parametrize("host", ["203.0.113.1", "no.such.host.invalid"])
def test_an_interface_that_is_not_here_is_reported(reception: Reception, host: str) -> None:
    address = Address("ISOCENTER", host, 0)
    receiver = Receiver(
        address=address, peers=reception.receiver.peers, store=reception.receiver.store, associations=1, idle_seconds=1
    )
    with pytest.raises(ConfigError, match=rf"receive\.address ISOCENTER@{host}:0: .+"):
        try_port(address)
    with pytest.raises(ConfigError, match=rf"receive\.address ISOCENTER@{host}:0: .+"):
        receiver.start()


def test_a_port_is_free_again_after_the_stop(reception: Reception) -> None:
    port = reception.receiver.port
    with reception.association() as association:
        association.send_c_echo()
    reception.receiver.stop()
    try_port(Address("ISOCENTER", "127.0.0.1", port))
    reception.receiver.stop()
