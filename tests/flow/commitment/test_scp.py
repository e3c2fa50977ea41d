"""Senders ask the node to commit, and it reports on the association of the request or on a new one."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from pydicom.uid import CTImageStorage, MRImageStorage

from node import testing
from node.commitment import (
    INVALID_ARGUMENT,
    NO_SUCH_ACTION_TYPE,
    NO_SUCH_INSTANCE,
)
from node.receive.commitment_scp import GIVE_UP_SECONDS, OTHER_PROCESS_SECONDS, ROW_SECONDS
from node.records import Address
from tests.commitment import (
    DAY,
    CommitmentSender,
    NodeEnds,
    Pair,
    report,
    stored,
)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom", "ignore::UserWarning:pynetdicom")


def test_stored_instances_are_committed_on_the_same_association(node: NodeEnds) -> None:
    modality = CommitmentSender(node)
    association = modality.associate()
    wanted = stored(association)
    assert modality.ask(association, wanted) == 0x0000
    assert node.woken
    assert node.scp.report() == pytest.approx(ROW_SECONDS), "no row is judged before it can be there"
    assert modality.reports == []
    assert report(node) is None
    assert modality.result() == (1, wanted, [], [])
    assert modality.where == ["same"]
    assert association.send_c_store(testing.ct_series(slices=1, seed="b")[0]).Status == 0x0000, "it lives on"
    association.release()
    assert report(node, DAY) is None
    assert len(modality.reports) == 1


def test_rows_are_written_before_they_are_judged(node: NodeEnds) -> None:
    modality = CommitmentSender(node)
    association = modality.associate()
    wanted = stored(association)
    assert not node.ledger.instances.of(str(testing.ct_series(slices=1, seed="a")[0].StudyInstanceUID))
    modality.ask(association, wanted)
    report(node)
    assert modality.result() == (1, wanted, [], [])
    association.release()


def test_missing_instances_and_those_of_another_class_are_reported_with_the_reason(node: NodeEnds) -> None:
    modality = CommitmentSender(node)
    association = modality.associate()
    (first, second) = stored(association)
    other = (str(MRImageStorage), second[1])
    absent = (str(CTImageStorage), "1.2.3.404")
    modality.ask(association, [first, other, absent])
    assert report(node) is not None
    assert modality.reports == [], "what is missing is looked for once more"
    assert report(node, 2.0) is None
    assert modality.result() == (2, [first], [other, absent], [0x0119, 0x0112])
    assert modality.where == ["same"]
    association.release()


def test_an_instance_whose_pack_is_gone_is_not_committed(node: NodeEnds) -> None:
    modality = CommitmentSender(node)
    association = modality.associate()
    (wanted,) = stored(association, 1)
    for pack in node.spool.packs.iterdir():
        pack.unlink()
    modality.ask(association, [wanted])
    report(node, 3.0)
    assert modality.result() == (2, [], [wanted], [0x0112])
    association.release()


def test_an_instance_of_two_studies_is_committed_when_both_are_kept(node: NodeEnds) -> None:
    """A reference names no study: the node commits only if the instance of each study is kept."""
    modality = CommitmentSender(node)
    association = modality.associate()
    (wanted,) = stored(association, 1)
    (copy,) = testing.ct_series(slices=1, seed="a")
    copy.StudyInstanceUID, copy.SeriesInstanceUID = "1.2.3.4", "1.2.3.4.1"
    assert association.send_c_store(copy).Status == 0x0000
    modality.ask(association, [wanted])
    report(node)
    assert modality.result() == (1, [wanted], [], [])
    ((_, place),) = node.ledger.instances.of("1.2.3.4")
    (node.spool.packs / place.pack).unlink()
    modality.ask(association, [wanted])
    report(node, 3.0)
    assert modality.result() == (2, [], [wanted], [0x0112])
    association.release()


def test_a_sender_may_store_while_it_receives_the_commitment_report(node: NodeEnds) -> None:
    modality = CommitmentSender(node, pause=0.5)
    association = modality.associate()
    wanted = stored(association)
    modality.ask(association, wanted)
    reporting = threading.Thread(target=report, args=(node,))
    reporting.start()
    more = stored(association, 3, seed="b")
    reporting.join(20)
    assert modality.result() == (1, wanted, [], [])
    assert association.is_established
    modality.pause = 0.0
    modality.ask(association, more)
    report(node)
    assert modality.result() == (1, more, [], [])
    association.release()


def test_a_sender_whose_association_is_over_is_called_at_its_address(
    open_node: Callable[..., NodeEnds], listening: Callable[[CommitmentSender], None], free_port: int
) -> None:
    node = open_node(addresses=[Address("CT1", "127.0.0.1", free_port)])
    modality = CommitmentSender(node, free_port)
    association = modality.associate()
    wanted = stored(association)
    modality.ask(association, wanted)
    association.release()
    wait = report(node)
    assert wait is not None, "nobody listens there yet"
    listening(modality)
    assert report(node, wait) is None
    assert modality.result() == (1, wanted, [], [])
    assert modality.where == ["new"]
    (reported,) = [event for _, event in node.ledger.events.read() if event.name == "commitment.reported"]
    assert reported.detail.endswith("2 committed, 0 not")


def test_a_restarted_node_reports_on_requests_from_before(
    open_node: Callable[..., NodeEnds], listening: Callable[[CommitmentSender], None]
) -> None:
    first = open_node()
    modality = CommitmentSender(first)
    listening(modality)
    association = modality.associate()
    wanted = stored(association)
    modality.ask(association, wanted)
    first.receiver.stop()
    again = open_node(addresses=[modality.address])
    again.arrivals.recover()
    assert again.scp.report() is not None, "left to the process that holds the association, if there is one"
    assert report(again, OTHER_PROCESS_SECONDS) is None
    assert modality.result() == (1, wanted, [], [])
    assert modality.where == ["new"]


def test_a_refused_commitment_report_is_sent_again_at_growing_intervals_and_then_given_up(
    open_node: Callable[..., NodeEnds], listening: Callable[[CommitmentSender], None]
) -> None:
    node = open_node()
    modality = CommitmentSender(node, status=0x0110)
    listening(modality)
    node.scp.addresses = {"CT1": modality.address}
    association = modality.associate()
    modality.ask(association, stored(association))
    association.release()
    wait = report(node)
    waits = []
    while wait is not None:
        waits.append(wait)
        wait = report(node, max(wait, 20000.0))
    assert waits == sorted(waits)
    assert len(waits) > GIVE_UP_SECONDS / DAY
    (reported,) = [event for _, event in node.ledger.events.read() if event.name == "commitment.unreported"]
    assert "given up after 7 days" in reported.detail


def test_a_sender_without_an_address_gets_its_report_on_its_own_association_or_not_at_all(node: NodeEnds) -> None:
    modality = CommitmentSender(node)
    association = modality.associate()
    modality.ask(association, stored(association))
    association.release()
    assert report(node) is not None
    with node.ledger.db.reading() as connection:
        (reason,) = connection.exec_driver_sql("SELECT reason FROM commitment_request").scalars()
    assert reason == (
        "the association of CT1 is over and its address is not known; name CT1@host:port in receive.commitment_to"
    )


@pytest.mark.parametrize(
    ("wanted", "other", "status"),
    [
        ([], {}, INVALID_ARGUMENT),
        ([("1.2", "1.3")], {"action": 2}, NO_SUCH_ACTION_TYPE),
        ([("1.2", "1.3")], {"instance": "1.2.3"}, NO_SUCH_INSTANCE),
    ],
)
def test_a_request_that_asks_for_nothing_or_something_else_is_refused(
    node: NodeEnds, wanted: list[Pair], other: dict[str, Any], status: int
) -> None:
    modality = CommitmentSender(node)
    association = modality.associate()
    assert modality.ask(association, wanted, **other) == status
    association.release()
    assert report(node) is None


def test_the_same_request_twice_is_reported_twice(node: NodeEnds) -> None:
    modality = CommitmentSender(node)
    association = modality.associate()
    wanted = stored(association)
    for _ in range(2):
        assert modality.ask(association, wanted, "2.25.77") == 0x0000
        report(node)
    assert len(modality.reports) == 2
    assert modality.ask(association, wanted[:1], "2.25.77") == INVALID_ARGUMENT
    association.release()
