"""The evidence that a study is complete: its associations are over, and each of their instances has its row."""

import os
import socket
from collections.abc import Callable, Sequence
from math import inf

import pytest
from pydicom.dataset import Dataset

from node.assemble import settle
from node.images.series import Series
from node.ledger import Ledger
from node.receive import Arrivals
from node.receive.c_store import CANNOT_UNDERSTAND, OUT_OF_RESOURCES, SUCCESS
from node.records import Arrival, QuietTime, StudyState
from node.spool import Pack, Spool
from node.testing import ct_series
from tests.conftest import Clock, received
from tests.reception import Reception, store_bytes, store_in

STUDY, OTHER = "1.2.1", "1.2.2"


def patience(arrived: Sequence[Series], *, released: bool, receiving: bool, lacking: bool) -> QuietTime:
    """As a route that asks for `released`: wait 10 seconds, or no time once every association is released."""
    if receiving:
        return QuietTime(inf, "never")
    return QuietTime(0.0 if released and not lacking else 10.0, "set by the test")


def append(pack: Pack, number: int, clock: Clock, *, study: str = STUDY) -> Arrival:
    return pack.append(received(number, study=study, series=f"{study}.1", at=clock()), b"not looked at")


Look = Callable[[], StudyState]


@pytest.fixture
def look(ledger: Ledger, spool: Spool, clock: Clock) -> Look:
    """Let a second pass, settle what can be settled, and return the state of the study."""

    def find() -> StudyState:
        clock.advance(1)
        settle(ledger.studies, ledger.instances, spool, patience, clock=clock)
        study = ledger.studies.find(STUDY)
        assert study is not None
        return study.state

    return find


def test_a_study_waits_no_quiet_time_once_its_association_is_over(
    ledger: Ledger, spool: Spool, clock: Clock, look: Look
) -> None:
    pack = spool.open_pack()
    ledger.instances.record([append(pack, 1, clock)])
    assert look() == StudyState.RECEIVING
    pack.close()
    assert look() == StudyState.STABLE


def test_an_association_whose_last_instances_have_no_rows_yet_is_not_over(
    ledger: Ledger, spool: Spool, clock: Clock, look: Look
) -> None:
    pack = spool.open_pack()
    first, last = append(pack, 1, clock), append(pack, 2, clock)
    pack.close()
    ledger.instances.record([first])
    assert look() == StudyState.RECEIVING
    ledger.instances.record([last])
    assert look() == StudyState.STABLE


def test_a_pack_begun_meanwhile_may_hold_more_of_the_study_until_it_has_a_row(
    ledger: Ledger, spool: Spool, clock: Clock, look: Look
) -> None:
    full = spool.open_pack()
    ledger.instances.record([append(full, 1, clock)])
    full.close()
    following = spool.open_pack()
    arrival = append(following, 1, clock, study=OTHER)
    assert look() == StudyState.RECEIVING
    ledger.instances.record([arrival])
    assert look() == StudyState.STABLE, "it is another study's"
    following.close()


# What stands against it: what was refused, what ended otherwise, what is still open.

FIRST = "1.2.826.0.1.3680043.10.543"


@pytest.fixture
def three() -> list[Dataset]:
    images = ct_series(slices=3)
    for image in images:
        image.StudyInstanceUID = STUDY
    return images


def story(ledger: Ledger) -> str:
    study = ledger.studies.find(STUDY)
    assert study is not None
    return study.because


def test_a_study_waits_for_refused_instances_and_then_reports_them(
    reception: Reception, clock: Clock, look: Look, three: list[Dataset]
) -> None:
    with reception.association() as association:
        assert store_in(association, three[0]) == SUCCESS
        reception.spool.free_mark = 2**60
        assert [store_in(association, image) for image in three[1:]] == [OUT_OF_RESOURCES] * 2
    reception.all_closed()
    reception.arrivals.record()
    assert look() == StudyState.RECEIVING, "its association was released, but not all of it was taken"
    clock.advance(5)
    assert reception.send(three[1]) == [OUT_OF_RESOURCES], "the last evidence"
    clock.advance(8)
    assert look() == StudyState.RECEIVING
    clock.advance(2)
    assert look() == StudyState.STABLE
    assert story(reception.ledger) == "set by the test; 2 instances were refused and have not come again"


def test_refused_instances_that_come_again_complete_the_study(
    reception: Reception, look: Look, three: list[Dataset]
) -> None:
    reception.send(three[0])
    reception.spool.free_mark = 2**60
    assert reception.send(*three[1:]) == [OUT_OF_RESOURCES] * 2
    reception.spool.free_mark = 0
    assert look() == StudyState.RECEIVING
    assert reception.send(three[1]) == [SUCCESS]
    assert look() == StudyState.RECEIVING
    assert reception.send(three[2]) == [SUCCESS]
    assert look() == StudyState.STABLE
    assert story(reception.ledger) == "set by the test"


@pytest.mark.parametrize("body", [b"", b"\xff" * 100])
def test_an_unreadable_instance_is_missing_in_the_study_of_its_association(
    reception: Reception, clock: Clock, look: Look, three: list[Dataset], body: bytes
) -> None:
    with reception.association() as association:
        assert store_bytes(association, body, instance=f"{FIRST}.1") == CANNOT_UNDERSTAND
        assert store_in(association, three[0]) == SUCCESS
    reception.all_closed()
    reception.arrivals.record()
    assert look() == StudyState.RECEIVING
    clock.advance(10)
    assert look() == StudyState.STABLE
    assert "1 instance was refused and has not come again" in story(reception.ledger)


def test_a_study_waits_while_its_association_is_open_however_long_nothing_comes(
    reception: Reception, clock: Clock, look: Look, three: list[Dataset]
) -> None:
    with reception.association() as association:
        assert store_in(association, three[0]) == SUCCESS
        reception.arrivals.record()
        clock.advance(1000)
        assert look() == StudyState.RECEIVING
        assert store_in(association, three[1]) == SUCCESS
    reception.all_closed()
    reception.arrivals.record()
    assert look() == StudyState.STABLE


def test_a_study_waits_only_the_quiet_time_when_its_association_continues_with_another_study(
    reception: Reception, clock: Clock, look: Look, three: list[Dataset]
) -> None:
    with reception.association() as association:
        assert store_in(association, three[0]) == SUCCESS
        assert store_in(association, ct_series(slices=1, seed="other")[0]) == SUCCESS
        reception.arrivals.record()
        assert look() == StudyState.RECEIVING, "it is not released"
        clock.advance(10)
        assert look() == StudyState.STABLE
        assert story(reception.ledger) == "set by the test"


@pytest.mark.parametrize("ends", ["abort", "connection lost"])
def test_a_study_waits_after_an_aborted_association_and_then_reports_it(
    reception: Reception, clock: Clock, look: Look, three: list[Dataset], ends: str
) -> None:
    with reception.association() as association:
        assert store_in(association, three[0]) == SUCCESS
        clock.advance(60)
        if ends == "abort":
            association.abort()
        else:
            association.dul.socket.socket.shutdown(socket.SHUT_RDWR)
        reception.all_closed()
    reception.arrivals.record()
    assert look() == StudyState.RECEIVING, "the quiet time begins with the abort"
    clock.advance(10)
    assert look() == StudyState.STABLE
    assert "an association that brought it ended without release" in story(reception.ledger)


def test_a_sender_that_calls_again_makes_an_aborted_association_good(
    reception: Reception, clock: Clock, look: Look, three: list[Dataset]
) -> None:
    with reception.association() as association:
        assert store_in(association, three[0]) == SUCCESS
        association.abort()
        reception.all_closed()
    reception.arrivals.record()
    assert look() == StudyState.RECEIVING
    assert reception.send(*three) == [SUCCESS] * 3
    assert look() == StudyState.STABLE
    assert story(reception.ledger) == "set by the test"


def test_a_released_association_is_no_evidence_for_an_aborted_one(
    reception: Reception, clock: Clock, look: Look, three: list[Dataset]
) -> None:
    with reception.association() as first, reception.association(calling="CT2") as second:
        assert store_in(first, three[0]) == SUCCESS
        assert store_in(second, three[1]) == SUCCESS
        first.release()
        second.abort()
        reception.all_closed()
    reception.arrivals.record()
    assert look() == StudyState.RECEIVING
    clock.advance(10)
    assert look() == StudyState.STABLE
    assert "ended without release" in story(reception.ledger)


# The rows that tell how an association ended may be lost; the packs tell it again.


def recovered(reception: Reception, clock: Clock) -> int:
    """Another process reads what the dead one left."""
    ledger = reception.ledger
    return Arrivals(ledger.studies, ledger.instances, reception.spool, wake=lambda: None, clock=clock).recover()


@pytest.mark.parametrize("recorded", [True, False])
def test_a_receiver_that_dies_amid_an_association_is_evidence_too(
    reception: Reception, clock: Clock, look: Look, three: list[Dataset], *, recorded: bool
) -> None:
    with reception.association() as association:
        assert store_in(association, three[0]) == SUCCESS
        if recorded:
            reception.arrivals.record()
        association.abort()
        reception.all_closed()
    if recorded:
        clock.advance(1000)
        assert look() == StudyState.RECEIVING, "how its association ended is not known yet"
    recovered(reception, clock)
    assert look() == StudyState.RECEIVING
    clock.advance(10)
    assert look() == StudyState.STABLE
    assert "ended without release" in story(reception.ledger)


def test_a_sender_that_called_again_before_the_death_was_noticed_makes_it_good(
    reception: Reception, clock: Clock, look: Look, three: list[Dataset]
) -> None:
    with reception.association() as association:
        assert store_in(association, three[0]) == SUCCESS
        reception.arrivals.record()
        association.abort()
        reception.all_closed()
    reception.arrivals._waiting.clear()  # its end never had a row
    (left,) = reception.spool.packs.iterdir()
    os.utime(left, (clock(), clock()))
    clock.advance(5)
    assert reception.send(*three) == [SUCCESS] * 3
    clock.advance(5)
    recovered(reception, clock)
    assert look() == StudyState.STABLE
    assert story(reception.ledger) == "set by the test"


def test_a_release_without_a_row_is_recovered_from_the_pack(
    reception: Reception, clock: Clock, look: Look, three: list[Dataset]
) -> None:
    with reception.association() as association:
        assert [store_in(association, image) for image in three] == [SUCCESS] * 3
    reception.all_closed()
    assert recovered(reception, clock) == 3
    assert look() == StudyState.STABLE
    assert story(reception.ledger) == "set by the test"


def test_refusals_without_a_row_are_recovered_too(
    reception: Reception, clock: Clock, look: Look, three: list[Dataset]
) -> None:
    with reception.association() as association:
        assert store_in(association, three[0]) == SUCCESS
        reception.spool.free_mark = 2**60
        assert store_in(association, three[1]) == OUT_OF_RESOURCES
    reception.all_closed()
    assert reception.arrivals.unrecorded == 1
    assert recovered(reception, clock) == 1
    assert look() == StudyState.RECEIVING
    clock.advance(10)
    assert look() == StudyState.STABLE
    assert "nobody called again" in story(reception.ledger)
