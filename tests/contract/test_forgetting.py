"""The story of a study that was purged long ago is deleted; the rows that recognise it when it comes again stay."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import func, insert, select

from node.ledger import Ledger
from node.ledger.schema import commitment, commitment_request, decision
from node.records import Arrival, Plan, Refusal, ResultObject, StudyState
from tests.conftest import Clock

DAY = 86400.0
OLD, NEW = "1.2.1", "1.2.2"


@pytest.fixture
def finish(
    ledger: Ledger, routed: Callable[..., int], wanted: Callable[..., Plan], result: Callable[..., ResultObject]
) -> Callable[[str, int], None]:
    def make(uid: str, number: int) -> None:
        assert routed(wanted(digest=uid), study=uid, number=number) == 1
        job = ledger.jobs.claim(lease_seconds=60)
        assert job is not None
        assert ledger.jobs.finish(job, [result(number)])
        for sent in ledger.deliveries.claim("PACS", lease_seconds=60):
            ledger.deliveries.mark_delivered(sent)

    return make


def refused(at: float, study_uid: str) -> Refusal:
    return Refusal(
        at=at, sop_instance_uid="1.3", sop_class_uid="1.4", study_uid=study_uid, calling="CT1", peer="::1", reason="odd"
    )


def count(ledger: Ledger, table: object) -> int:
    with ledger.db.reading() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def test_the_story_of_a_study_goes_a_while_after_the_study(
    ledger: Ledger, finish: Callable[[str, int], None], clock: Clock
) -> None:
    finish(OLD, 1)
    ledger.instances.record([], [refused(clock(), OLD), refused(clock(), ""), refused(clock(), "1.2.9")])
    clock.advance(10 * DAY)
    assert ledger.retention.purge(before=clock()) == [OLD]
    finish(NEW, 2)
    ledger.instances.record([], [refused(clock(), NEW), refused(clock(), "1.2.9")])
    assert ledger.retention.forget(before=clock() - DAY) == 0, "it was purged just now"
    assert [refusal.study_uid for refusal in ledger.queries.refusals()] == [OLD, NEW, "1.2.9"], (
        "nobody knows the others' studies"
    )
    clock.advance(400 * DAY)
    assert ledger.retention.forget(before=clock() - 365 * DAY) == 1
    assert ledger.retention.forget(before=clock() - 365 * DAY) == 0
    assert ledger.events.read(OLD) == []
    assert [refusal.study_uid for refusal in ledger.queries.refusals()] == [NEW], (
        "a study that is not purged keeps its story"
    )
    assert next(event.name for _, event in ledger.events.read(NEW)) == "study.begun"
    found = ledger.studies.find(OLD)
    assert found is not None
    assert found.state == StudyState.PURGED
    assert len(ledger.jobs.of(OLD)) == len(ledger.deliveries.of(OLD)) == 1, "by these it is known when it comes again"


def test_the_decisions_and_the_commitments_go_too(
    ledger: Ledger, finish: Callable[[str, int], None], clock: Clock
) -> None:
    finish(OLD, 1)
    with ledger.db.writing() as connection:
        connection.execute(
            insert(decision).values(
                study_uid=OLD, revision=1, series_key="k", series_text="t", route="r", matched=True, sentence="s"
            )
        )
        for number, reported in enumerate((clock(), None)):
            connection.execute(
                insert(commitment_request).values(
                    transaction_uid=f"1.5.{number}", calling="CT1", references=[], received_at=clock(), due_at=clock(),
                    attempts=0, reported_at=reported, reason="",
                )
            )  # fmt: skip
        connection.execute(
            insert(commitment).values(transaction_uid="1.6", destination="PACS", ae_title="PACS", asked_at=clock())
        )
    clock.advance(10 * DAY)
    ledger.retention.purge(before=clock())
    ledger.retention.forget(before=clock() - 365 * DAY)
    assert [count(ledger, table) for table in (decision, commitment, commitment_request)] == [1, 1, 2]
    clock.advance(400 * DAY)
    ledger.retention.forget(before=clock() - 365 * DAY)
    assert [count(ledger, table) for table in (decision, commitment, commitment_request)] == [0, 0, 1], (
        "one is unreported"
    )


def test_the_pack_of_an_instance_that_was_set_aside_is_needed_as_long_as_its_refusal_is_kept(
    ledger: Ledger, arrival: Callable[..., Arrival], clock: Clock
) -> None:
    good, broken = arrival(1), arrival(2)
    broken = replace(broken, instance=replace(broken.instance, study_uid="1." * 40, received_at=clock()))
    ledger.instances.record([good, broken])
    (aside,) = ledger.queries.refusals()
    assert "it was received, and lies in pack" in aside.reason
    assert ledger.instances.pack_counts([aside.pack]) == {broken.place.pack: 2}
    clock.advance(400 * DAY)
    ledger.retention.forget(before=clock() - 365 * DAY)
    assert ledger.instances.pack_counts([aside.pack]) == {broken.place.pack: 1}
