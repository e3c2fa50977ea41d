"""Several processes on one ledger: each does its part, and the rows are as if they had done it in turn."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

import pytest

from node.errors import LedgerUnavailable
from node.ledger import Ledger
from node.records import Arrival, DeliveryState, Instance, Job, JobState, Place, Plan, StudyState

PROCESSES = 4
_ready: Any = None


def _wait_for_all(ready: Any) -> None:
    global _ready  # noqa: PLW0603 (a process of the pool has it from its start)
    _ready = ready


Work = Callable[[Ledger, int], Any]


def _do(work: Work, url: str, number: int) -> Any:
    ledger = Ledger(url, busy_seconds=60)  # SQLite has no queue for writers: on a busy machine one may wait long
    _ready.wait(60)
    try:
        return work(ledger, number)
    finally:
        ledger.close()


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    spawn = get_context("spawn")
    barrier = spawn.Barrier(PROCESSES)
    with ProcessPoolExecutor(PROCESSES, mp_context=spawn, initializer=_wait_for_all, initargs=(barrier,)) as made:
        yield made


@pytest.fixture
def at_once(pool: ProcessPoolExecutor, ledger: Ledger, ledger_url: str) -> Callable[[Work], list[Any]]:
    """Run the same work in four processes that begin together; what one of them raises is raised here."""

    def run(work: Work) -> list[Any]:
        asked = [pool.submit(_do, work, ledger_url, number) for number in range(PROCESSES)]
        return [future.result(120) for future in asked]

    return run


def arrived(study: str, number: int, pack: str, *, at: float = 1.0, checksum: int = 7) -> Arrival:
    instance = Instance(
        sop_instance_uid=f"{study}.9.{number}", sop_class_uid="1.2.840.10008.5.1.4.1.1.2", study_uid=study,
        series_uid=f"{study}.1", modality="CT", transfer_syntax_uid="1.2.840.10008.1.2.1", calling="CT1",
        peer="127.0.0.1", received_at=at, checksum=checksum,
    )  # fmt: skip
    place = Place(pack=pack, offset=number * 1000, length=900)
    return Arrival(instance=instance, place=place, end=place.offset + 950)


STUDIES = [f"1.2.{number}" for number in range(1, 21)]


def record_parts(ledger: Ledger, number: int) -> None:
    """Each process has a quarter of every study, mixed, in an order of its own; the first instance all of them have."""
    mine = [(uid, instance) for uid in STUDIES for instance in (0, *range(number + 1, 41, PROCESSES))]
    random.Random(number).shuffle(mine)  # noqa: S311
    for start in range(0, len(mine), 15):
        ledger.instances.record(
            [arrived(uid, instance, f"{number}.pack") for uid, instance in mine[start : start + 15]]
        )


def test_a_study_that_comes_in_several_processes_at_once_is_one_study(ledger: Ledger, at_once: Any) -> None:
    at_once(record_parts)
    events = Counter((event.study_uid, event.name) for _, event in ledger.events.read())
    for uid in STUDIES:
        assert len(ledger.instances.of(uid)) == 41
        found = ledger.studies.find(uid)
        assert found is not None
        assert (found.state, found.revision) == (StudyState.RECEIVING, 1)
        assert events[uid, "study.begun"] == 1
        assert events[uid, "instance.repeated"] == PROCESSES - 1
    assert len(ledger.instances.marks()) == PROCESSES
    assert ledger.queries.refusals() == []


def record_strangely(ledger: Ledger, number: int) -> None:
    """Senders that use the same instance UIDs in studies of their own."""
    for group in range(10):
        mine = [
            arrived("1.3", instance, f"{number}.pack", checksum=number)
            for instance in range(group * 10, group * 10 + 10)
        ]
        random.Random(number).shuffle(mine)  # noqa: S311
        mine = [replace(arrival, instance=replace(arrival.instance, study_uid=f"1.3.{number}")) for arrival in mine]
        while not recorded(ledger, mine):
            pass


def recorded(ledger: Ledger, group: list[Arrival]) -> bool:
    """PostgreSQL ends one of two transactions in a deadlock; the loser tries again, as arrivals do."""
    try:
        ledger.instances.record(group)
    except LedgerUnavailable:
        return False
    return True


def test_an_instance_that_two_record_at_once_is_never_set_aside(ledger: Ledger, at_once: Any) -> None:
    at_once(record_strangely)
    for number in range(PROCESSES):
        assert {instance.checksum for instance, _ in ledger.instances.of(f"1.3.{number}")} == {number}
        assert len(ledger.instances.of(f"1.3.{number}")) == 100, "each study keeps its own"
    assert ledger.queries.refusals() == []
    events = Counter(event.name for _, event in ledger.events.read())
    assert events["instance.shared"] > 0
    assert events["instance.replaced"] == 0


ROUNDS = 60
GROWING = "1.2.99"


def live(ledger: Ledger, number: int) -> None:
    """The whole life of one study, by everybody at once: record, settle, plan, claim, and every end of a job."""
    chance = random.Random(number)  # noqa: S311
    for turn in range(ROUNDS):
        if chance.random() < 0.4:
            ledger.instances.record([arrived(GROWING, number * ROUNDS + turn, f"{number}.pack", at=float(turn))])
        seen = ledger.studies.find(GROWING)
        if seen is not None and seen.state is StudyState.RECEIVING:
            ledger.studies.settle(seen, "it is time")
        elif seen is not None and seen.state is StudyState.STABLE:
            digest = str(len(ledger.instances.of(GROWING)))
            plans = [
                Plan(plugin=name, version="1", route="r", inputs=({"ct": f"{GROWING}.1"},), destinations=("PACS",),
                     priority=0, digest=digest)
                for name in ("a", "b")
            ]  # fmt: skip
            ledger.studies.plan(seen, [], plans)
        job = ledger.jobs.claim(lease_seconds=60)
        if job is None:
            continue
        end = chance.choice(["finish", "postpone", "park"])
        if end == "finish":
            ended = ledger.jobs.finish(job, [])
        elif end == "postpone":
            ended = ledger.jobs.postpone(job, seconds=0, reason="later", attempts=0)
        else:
            ended = ledger.jobs.park(job, "parked")
        assert ended or is_outdated(ledger, job)
        if chance.random() < 0.1:
            ledger.queries.requeue()


def is_outdated(ledger: Ledger, job: Job) -> bool:
    (now,) = (row for row in ledger.jobs.of(GROWING) if row.id == job.id)
    return now.state is JobState.SUPERSEDED


def test_a_study_is_processed_whole_by_several_processes(ledger: Ledger, at_once: Any) -> None:
    at_once(live)
    events = Counter(event.name for _, event in ledger.events.read(GROWING))
    found = ledger.studies.find(GROWING)
    assert found is not None
    assert found.revision == 1 + events["study.revised"]
    assert events["study.begun"] == 1
    stable = Counter(event.detail for _, event in ledger.events.read(GROWING) if event.name == "study.stable")
    assert set(stable.values()) == {1}, "a revision is settled once"
    jobs = ledger.jobs.of(GROWING)
    assert len(jobs) > 4
    assert [job.ordinal for job in jobs] == list(range(len(jobs)))
    assert max(Counter((job.revision, job.plugin) for job in jobs).values()) == 1
    open_states = {JobState.WAITING, JobState.PARKED}
    newest = {plugin: max(job.revision for job in jobs if job.plugin == plugin) for plugin in ("a", "b")}
    left = [job for job in jobs if job.state in open_states and job.revision < newest[job.plugin]]
    assert left == [], "what is outdated is superseded, however the two met"
    assert not [job for job in jobs if job.state is JobState.RUNNING]
    assert events["job.done"] == len([job for job in jobs if job.state is JobState.DONE])


def deliver_all(ledger: Ledger, _number: int) -> list[str]:
    sent: list[str] = []
    while held := ledger.deliveries.claim("PACS", lease_seconds=60, limit=3):
        for delivery in held[:2]:
            sent.append(delivery.object.sop_instance_uid)
            ledger.deliveries.mark_delivered(delivery)
        ledger.deliveries.release(held[2:] or held)
    return sent


def test_each_object_is_delivered_by_one_process(
    ledger: Ledger, at_once: Any, routed: Callable[..., int], wanted: Callable[..., Plan], result: Callable[..., Any]
) -> None:
    routed(wanted())
    job = ledger.jobs.claim(lease_seconds=60)
    assert job is not None
    ledger.jobs.finish(job, [result(number) for number in range(200)])
    sent = [uid for mine in at_once(deliver_all) for uid in mine]
    assert sorted(sent) == sorted(f"2.25.{number}" for number in range(200)), "each once, by whomever"
    assert {delivery.state for delivery in ledger.deliveries.of("1.2.1")} == {DeliveryState.DELIVERED}


def claim_all(ledger: Ledger, _number: int) -> list[int]:
    claimed = []
    while (job := ledger.jobs.claim(lease_seconds=60)) is not None:
        assert job.attempts == 1
        claimed.append(job.id)
        assert ledger.jobs.finish(job, [])
    return claimed


def test_each_job_is_claimed_by_one_process(
    ledger: Ledger, at_once: Any, routed: Callable[..., int], wanted: Callable[..., Plan]
) -> None:
    for uid in STUDIES[:5]:
        routed(*(wanted(f"p{number}") for number in range(20)), study=uid)
    claims = at_once(claim_all)
    assert sorted(job for mine in claims for job in mine) == sorted(
        job.id for uid in STUDIES[:5] for job in ledger.jobs.of(uid)
    )
    assert {job.state for uid in STUDIES[:5] for job in ledger.jobs.of(uid)} == {JobState.DONE}
