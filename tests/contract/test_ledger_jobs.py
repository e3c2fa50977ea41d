"""Jobs in the ledger: claim, lease, end, and every move between states. For every database."""

from collections.abc import Callable, Mapping
from enum import StrEnum

from sqlalchemy import text

from node.ledger import Ledger
from node.ledger.job_moves import move_jobs
from node.records import (
    JOB_MOVES,
    Job,
    JobState,
)
from tests.ledger_rows import LEASE, STUDY, Arrive, Make, Route, Want, claimed, states


def test_the_most_urgent_job_is_claimed_first_then_the_longest_due(
    ledger: Ledger, routed: Route, wanted: Want, clock: Callable[[], float]
) -> None:
    routed(wanted("slow", priority=-1), wanted("first"), wanted("second"), study="1.2.1")
    clock.advance(1)  # type: ignore[attr-defined]
    routed(wanted("third"), wanted("urgent", priority=5), study="1.2.2")
    order = [claimed(ledger).plugin for _ in range(5)]
    assert order == ["urgent", "first", "second", "third", "slow"]
    assert ledger.jobs.claim(lease_seconds=LEASE) is None


def test_jobs_of_plugins_whose_models_are_being_loaded_are_left_for_later(
    ledger: Ledger, routed: Route, wanted: Want
) -> None:
    routed(wanted("loading", priority=5), wanted("ready"))
    assert ledger.jobs.waiting_plugins() == {"loading", "ready"}
    job = ledger.jobs.claim(lease_seconds=LEASE, without=["loading"])
    assert job is not None
    assert job.plugin == "ready"
    assert ledger.jobs.claim(lease_seconds=LEASE, without=["loading"]) is None
    due, without = ledger.jobs.next_due(), ledger.jobs.next_due(without=["loading", "ready"])
    assert due is not None
    assert due <= ledger.db.clock()
    assert without is None
    later = claimed(ledger)
    assert (later.plugin, later.attempts) == ("loading", 1)


def test_a_claimed_job_names_its_worker(ledger: Ledger, routed: Route, wanted: Want) -> None:
    routed(wanted("a"), wanted("b"))
    first, second = claimed(ledger), claimed(ledger)
    assert first.state is JobState.RUNNING
    assert first.attempts == 1
    assert first.worker
    assert first.worker != second.worker


def test_a_job_whose_lease_ran_out_is_claimed_again(
    ledger: Ledger, routed: Route, wanted: Want, clock: Callable[[], float]
) -> None:
    routed(wanted())
    slow = claimed(ledger, lease=10)
    clock.advance(10)  # type: ignore[attr-defined]
    assert ledger.jobs.claim(lease_seconds=10) is None, "the last second still counts"
    clock.advance(0.1)  # type: ignore[attr-defined]
    fast = claimed(ledger, lease=10)
    assert (fast.id, fast.attempts) == (slow.id, 2)
    assert fast.worker != slow.worker


def test_a_renewed_lease_holds(ledger: Ledger, routed: Route, wanted: Want, clock: Callable[[], float]) -> None:
    routed(wanted())
    job = claimed(ledger, lease=10)
    for _ in range(5):
        clock.advance(9)  # type: ignore[attr-defined]
        assert ledger.jobs.renew(job, lease_seconds=10)
        assert ledger.jobs.claim(lease_seconds=10) is None


def test_a_worker_that_lost_its_lease_records_nothing(
    ledger: Ledger, routed: Route, wanted: Want, result: Make, clock: Callable[[], float]
) -> None:
    routed(wanted())
    slow = claimed(ledger, lease=10)
    clock.advance(11)  # type: ignore[attr-defined]
    fast = claimed(ledger, lease=10)
    before = ledger.jobs.of(STUDY), ledger.events.read(STUDY)
    assert not ledger.jobs.renew(slow, lease_seconds=10)
    assert not ledger.jobs.finish(slow, [result(1)], remarks=["late"])
    assert not ledger.jobs.park(slow, "late")
    assert not ledger.jobs.postpone(slow, seconds=1, reason="late", attempts=0)
    assert (ledger.jobs.of(STUDY), ledger.events.read(STUDY)) == before
    assert ledger.deliveries.of(STUDY) == []
    assert ledger.jobs.finish(fast, [result(2)])
    assert not ledger.jobs.finish(slow, [result(1)])
    assert [delivery.object for delivery in ledger.deliveries.of(STUDY)] == [result(2)]


def test_a_lease_that_ran_out_and_that_nobody_took_still_counts(
    ledger: Ledger, routed: Route, wanted: Want, clock: Callable[[], float]
) -> None:
    routed(wanted())
    job = claimed(ledger, lease=10)
    clock.advance(1000)  # type: ignore[attr-defined]
    assert ledger.jobs.renew(job, lease_seconds=10)
    assert ledger.jobs.finish(job, [])


def test_a_finished_job_is_done_and_queues_each_object_for_each_destination(
    ledger: Ledger, routed: Route, wanted: Want, result: Make
) -> None:
    routed(wanted(to=("PACS", "ARCHIVE")))
    job = claimed(ledger)
    made = [result(1), result(2, kind="SR")]
    assert ledger.jobs.finish(job, made, remarks=["one stack was left out"], timing={"load": 1.25})
    assert states(ledger) == [JobState.DONE]
    assert {(delivery.object.sop_instance_uid, delivery.destination) for delivery in ledger.deliveries.of(STUDY)} == {
        (result.sop_instance_uid, to) for result in made for to in ("PACS", "ARCHIVE")
    }
    details = {event.name: event.detail for _, event in ledger.events.read(STUDY)}
    assert details["job.remark"] == "spleen: one stack was left out"
    assert details["job.done"] == "spleen 1: SEG, SR; load 1.25 s"
    assert not ledger.jobs.finish(job, made), "once"


def test_a_postponed_job_is_due_again_at_its_time(
    ledger: Ledger, routed: Route, wanted: Want, clock: Callable[[], float]
) -> None:
    routed(wanted())
    assert ledger.jobs.next_due() == clock()
    assert ledger.jobs.postpone(claimed(ledger), seconds=30, reason="Triton is away", attempts=0)
    (job,) = ledger.jobs.of(STUDY)
    assert (job.state, job.reason, job.attempts, job.worker) == (JobState.WAITING, "Triton is away", 0, "")
    assert ledger.jobs.claim(lease_seconds=LEASE) is None
    assert ledger.jobs.next_due() == clock() + 30
    clock.advance(30)  # type: ignore[attr-defined]
    assert claimed(ledger).attempts == 1


def test_the_end_of_a_lease_is_when_a_job_may_be_due(
    ledger: Ledger, routed: Route, wanted: Want, clock: Callable[[], float]
) -> None:
    assert ledger.jobs.next_due() is None
    routed(wanted())
    job = claimed(ledger, lease=60)
    due = ledger.jobs.next_due()
    assert due is not None
    assert due >= clock() + 60
    clock.advance(due - clock())  # type: ignore[attr-defined]
    clock.advance(0.001)  # type: ignore[attr-defined]
    assert claimed(ledger).id == job.id


def test_a_parked_job_rests_until_a_person_puts_it_back(ledger: Ledger, routed: Route, wanted: Want) -> None:
    routed(wanted())
    ledger.jobs.park(claimed(ledger), "the plugin failed")
    assert ledger.queries.parked() == [(STUDY, "job spleen", "the plugin failed")]
    assert ledger.jobs.claim(lease_seconds=LEASE) is None
    assert ledger.queries.requeue("1.2.404") == {"studies": 0, "jobs": 0, "deliveries": 0}
    assert ledger.queries.requeue(STUDY) == {"studies": 0, "jobs": 1, "deliveries": 0}
    assert ledger.queries.parked() == []
    assert claimed(ledger).attempts == 1, "attempts are counted afresh"


def test_objects_of_the_newest_earlier_revision_are_the_predecessors(
    ledger: Ledger, routed: Route, wanted: Want, result: Make
) -> None:
    for number in (1, 2, 3):
        routed(wanted(digest=str(number)), wanted("other", digest=str(number), priority=-1), number=number)
        job = claimed(ledger)
        earlier = [f"2.25.{number - 1}"] if number > 1 else []
        assert [predecessor.sop_instance_uid for predecessor in ledger.jobs.predecessors(job)] == earlier
        ledger.jobs.finish(job, [result(number)])
        ledger.jobs.finish(claimed(ledger), [result(number + 100)])
        for sent in ledger.deliveries.claim("PACS", lease_seconds=60):
            ledger.deliveries.mark_delivered(sent)


def test_every_move_of_a_job_that_the_table_does_not_have_is_refused(
    ledger: Ledger, routed: Route, wanted: Want, arrival: Arrive
) -> None:
    """Each state is reached, each move is tried by who would make it, and the table says what comes of it."""

    def reinstate(job: Job) -> None:
        with ledger.db.writing() as connection:
            move_jobs(ledger.db, connection, text("id = :id").bindparams(id=job.id), "reinstate")

    moves: Mapping[str, Callable[[Job], object]] = {
        "finish": lambda job: ledger.jobs.finish(job, []),
        "postpone": lambda job: ledger.jobs.postpone(job, seconds=0, reason="", attempts=0),
        "park": lambda job: ledger.jobs.park(job, ""),
        "requeue": lambda job: ledger.queries.requeue(job.study_uid),
        "supersede": lambda job: ledger.instances.record([arrival(2, study=job.study_uid)]),
        "claim": lambda _job: ledger.jobs.claim(lease_seconds=LEASE),
        "strand": lambda job: ledger.jobs.adopt({}, only=job),
        "reinstate": reinstate,
    }
    ways: Mapping[JobState, Callable[[Job], object]] = {
        JobState.WAITING: lambda job: ledger.jobs.postpone(job, seconds=0, reason="", attempts=0),
        JobState.RUNNING: lambda job: None,
        JobState.DONE: lambda job: ledger.jobs.finish(job, []),
        JobState.PARKED: lambda job: ledger.jobs.park(job, ""),
        JobState.SUPERSEDED: lambda job: (
            ledger.jobs.park(job, ""),
            ledger.instances.record([arrival(3, study=job.study_uid)]),
        ),
    }
    assert set(ways) == set(JobState)
    assert set(moves) == {move for _, move in JOB_MOVES}
    for number, (state, move) in enumerate((state, move) for state in ways for move in moves):
        uid = f"1.3.{number}"
        routed(wanted(), study=uid)
        held = claimed(ledger)
        assert held.study_uid == uid
        ways[state](held)
        (before,) = ledger.jobs.of(uid)
        assert before.state is state
        moves[move](held)
        (after,) = ledger.jobs.of(uid)
        expected: StrEnum = JOB_MOVES.get((state, move), state)
        if (state, move) == (JobState.RUNNING, "claim"):
            assert after == before, "only when the lease has run out"
        assert after.state is expected, f"{state} {move}"
        with ledger.db.writing() as connection:
            connection.execute(text("UPDATE job SET state = 'done'"))
