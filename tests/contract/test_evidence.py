"""What the ledger knows for and against the completeness of a study, and does not forget."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from node.completeness import Ending, PackEnd, StudyEvidence
from node.ledger import Ledger
from node.records import Arrival, Refusal
from tests.conftest import Clock

STUDY, OTHER = "1.2.1", "1.2.2"
Arrive = Callable[..., Arrival]


def refused(number: int | None, at: float, *, study: str = STUDY, association: str = "one") -> Refusal:
    return Refusal(
        at=at,
        sop_instance_uid="" if number is None else f"{STUDY}.9.{number}",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        study_uid=study,
        calling="CT1",
        peer="127.0.0.1",
        reason="12 MiB are free under the spool, the mark is 1024 MiB",
        association=association,
    )


@pytest.fixture
def arrive(arrival: Arrive) -> Arrive:
    """Make a durable instance that an association has brought."""

    def make(number: int, *, association: str = "one", **wanted: str) -> Arrival:
        return replace(arrival(number, **wanted), association=association)

    return make


def evidence(ledger: Ledger, study: str = STUDY) -> StudyEvidence:
    return ledger.instances.evidence(study)


def test_what_was_refused_is_missing_until_it_comes(ledger: Ledger, clock: Clock, arrive: Arrive) -> None:
    ledger.instances.record([arrive(1)], [refused(2, clock()), refused(2, clock() + 1), refused(3, clock() + 2)])
    assert evidence(ledger).caveat == "2 instances were refused and have not come again"
    assert evidence(ledger).at == clock() + 2
    clock.advance(5)
    ledger.instances.record([arrive(2)])
    assert evidence(ledger).caveat == "1 instance was refused and has not come again"
    assert [refusal.came_at for refusal in ledger.queries.refusals(STUDY)] == [clock(), clock(), None]
    ledger.instances.record([arrive(3)])
    assert evidence(ledger).caveat == ""
    assert evidence(ledger, OTHER).caveat == ""


def test_a_restart_does_not_forget_it(ledger: Ledger, ledger_url: str, clock: Clock, arrive: Arrive) -> None:
    ledger.instances.record([arrive(1)], [refused(2, clock())])
    again = Ledger(ledger_url, clock=clock)
    assert evidence(again).refused == 1
    again.close()


def test_a_refused_instance_that_is_sent_again_unchanged_is_no_longer_missing(
    ledger: Ledger, clock: Clock, arrive: Arrive
) -> None:
    ledger.instances.record([arrive(1)], [refused(1, clock() + 1)])
    assert evidence(ledger).refused == 1, "what was refused came later, and may have been another"
    clock.advance(2)
    ledger.instances.record([arrive(1)])
    assert evidence(ledger).refused == 0


def test_a_refusal_whose_row_comes_after_that_of_the_instance_is_made_good(
    ledger: Ledger, clock: Clock, arrive: Arrive
) -> None:
    at = clock()
    clock.advance(1)
    ledger.instances.record([arrive(1)])
    ledger.instances.record([], [refused(1, at), refused(2, at)])
    assert evidence(ledger).refused == 1


def test_within_one_group_the_times_decide(ledger: Ledger, clock: Clock, arrive: Arrive) -> None:
    early, late = refused(1, clock() - 1), refused(2, clock() + 1)
    ledger.instances.record([arrive(1), arrive(2)], [early, late])
    assert evidence(ledger).refused == 1


def test_another_study_with_the_same_uid_makes_nothing_good(ledger: Ledger, clock: Clock, arrive: Arrive) -> None:
    ledger.instances.record([arrive(1)], [refused(7, clock())])
    other = arrive(7, study=OTHER, series=f"{OTHER}.1")
    other = replace(other, instance=replace(other.instance, sop_instance_uid=f"{STUDY}.9.7"))
    ledger.instances.record([other])
    assert evidence(ledger).refused == 1


def test_what_cannot_be_read_counts_for_the_study_before_it_else_for_the_next(
    ledger: Ledger, clock: Clock, arrive: Arrive
) -> None:
    first = refused(None, clock(), study="")
    clock.advance(1)
    ledger.instances.record([arrive(1, pack="1.pack")], [first])
    clock.advance(1)
    ledger.instances.record([arrive(2, pack="2.pack", study=OTHER)])
    assert (evidence(ledger).refused, evidence(ledger, OTHER).refused) == (1, 0)
    second, elsewhere = refused(None, clock(), study=""), refused(None, clock(), study="", association="two")
    ledger.instances.record([], [second, elsewhere])
    assert (evidence(ledger).refused, evidence(ledger, OTHER).refused) == (1, 1)


def end(how: Ending, at: float, *, pack: str = "", association: str = "") -> PackEnd:
    return PackEnd(at=at, how=how, pack=pack, association=association)


@pytest.mark.parametrize("how", [Ending.ABORTED, Ending.BROKEN])
def test_an_association_that_failed_is_made_good_by_a_later_one_that_is_released(
    ledger: Ledger, clock: Clock, arrive: Arrive, how: Ending
) -> None:
    ledger.instances.record([arrive(1, pack="1.pack")], ends=[end(how, clock() + 1, pack="1.pack")])
    assert evidence(ledger).caveat == "an association that brought it ended without release, and nobody called again"
    assert evidence(ledger).at == clock() + 1
    clock.advance(2)
    ledger.instances.record([arrive(1, pack="2.pack", association="two")])
    assert len(evidence(ledger).failed) == 1
    ledger.instances.record([], ends=[end(Ending.RELEASED, clock(), association="two")])
    assert evidence(ledger).failed == [], "though all it brought was here already"
    assert evidence(ledger).caveat == ""


def test_it_is_not_made_good_by_another_sender_nor_by_one_that_was_open_beside_it(
    ledger: Ledger, clock: Clock, arrive: Arrive
) -> None:
    beside, foreign = arrive(1, pack="1.pack", association="beside"), arrive(3, pack="3.pack", association="foreign")
    ledger.instances.record([beside, arrive(2, pack="2.pack", association="failed")])
    failed = end(Ending.ABORTED, clock() + 1, pack="2.pack")
    ledger.instances.record([], ends=[failed, end(Ending.RELEASED, clock() + 2, association="beside")])
    clock.advance(3)
    foreign = replace(foreign, instance=replace(foreign.instance, calling="CT2", received_at=clock()))
    ledger.instances.record([foreign], ends=[end(Ending.RELEASED, clock(), association="foreign")])
    assert [pack.name for pack in evidence(ledger).failed] == ["2.pack"]


def test_a_release_is_the_end_of_all_packs_of_its_association(ledger: Ledger, clock: Clock, arrive: Arrive) -> None:
    ledger.instances.record([arrive(1, pack="1.pack")], ends=[end(Ending.CONTINUED, clock(), pack="1.pack")])
    ledger.instances.record([arrive(2, pack="2.pack"), arrive(3, pack="3.pack", association="two")])
    assert [pack.ended for pack in evidence(ledger).packs] == [Ending.CONTINUED, None, None]
    assert set(ledger.instances.unended()) == {"2.pack", "3.pack"}
    ledger.instances.record([], ends=[end(Ending.RELEASED, clock(), association="one")])
    assert [pack.ended for pack in evidence(ledger).packs] == [Ending.RELEASED, Ending.RELEASED, None]


def test_the_caveat_of_a_study_is_that_of_its_jobs(
    ledger: Ledger, clock: Clock, arrive: Arrive, wanted: Callable[..., object]
) -> None:
    ledger.instances.record([arrive(1)])
    seen = ledger.studies.find(STUDY)
    assert seen is not None
    assert ledger.studies.settle(seen, "quiet; 2 are missing", caveat="2 are missing")
    stable = ledger.studies.find(STUDY)
    assert stable is not None
    assert stable.caveat == "2 are missing"
    ledger.studies.plan(stable, [], [replace(wanted(), caveat=stable.caveat)])  # type: ignore[type-var, list-item]
    assert [job.caveat for job in ledger.jobs.of(STUDY)] == ["2 are missing"]
