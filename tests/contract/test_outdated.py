"""The newest whole answer wins: what a later revision outdates records nothing, and does not leave."""

import random
from collections.abc import Callable

import pytest
from sqlalchemy import text

from node.ledger import Ledger
from node.records import Arrival, Declined, Delivery, DeliveryState, Job, JobState, Plan, ResultObject, Study
from tests.conftest import Clock

Arrive = Callable[..., Arrival]
Want = Callable[..., Plan]
Make = Callable[..., ResultObject]
Route = Callable[..., int]

STUDY = "1.2.1"
OTHER = "1.2.1.2"
"""A series that no job reads."""
LEASE = 60.0
SUPERSEDED, DELIVERED = DeliveryState.SUPERSEDED, DeliveryState.DELIVERED


def claimed(ledger: Ledger) -> Job:
    job = ledger.jobs.claim(lease_seconds=LEASE)
    assert job is not None
    return job


def jobs(ledger: Ledger) -> list[JobState]:
    return [job.state for job in ledger.jobs.of(STUDY)]


def deliveries(ledger: Ledger) -> dict[str, DeliveryState]:
    return {delivery.object.sop_instance_uid: delivery.state for delivery in ledger.deliveries.of(STUDY)}


def story(ledger: Ledger, name: str) -> list[str]:
    return [event.detail for _, event in ledger.events.read(STUDY) if event.name == name]


def study(ledger: Ledger) -> Study:
    found = ledger.studies.find(STUDY)
    assert found is not None
    return found


def named(ledger: Ledger, job: Job) -> list[str]:
    return [predecessor.sop_instance_uid for predecessor in ledger.jobs.predecessors(job)]


@pytest.fixture
def waiting(ledger: Ledger, routed: Route, wanted: Want, result: Make) -> ResultObject:
    """The object of revision 1, done and not yet sent."""
    routed(wanted(digest="half"))
    made = result(1, kind="SR")
    assert ledger.jobs.finish(claimed(ledger), [made])
    return made


def grow(ledger: Ledger, arrival: Arrive, number: int = 2) -> None:
    """Have another image of the series that jobs read come."""
    ledger.instances.record([arrival(number)])


# Jobs.


@pytest.mark.parametrize("planned", [True, False], ids=["planned", "still received"])
def test_a_job_whose_images_grew_while_it_ran_records_nothing(
    ledger: Ledger, routed: Route, wanted: Want, arrival: Arrive, result: Make, planned: bool
) -> None:
    routed(wanted(digest="half"))
    job = claimed(ledger)
    if planned:
        routed(wanted(digest="whole"), number=2)
    else:
        grow(ledger, arrival)
    assert not ledger.jobs.renew(job, lease_seconds=LEASE), "its worker may stop at once"
    assert not ledger.jobs.finish(job, [result(1)], remarks=["half"])
    assert jobs(ledger)[0] is JobState.SUPERSEDED
    assert deliveries(ledger) == {}
    assert story(ledger, "job.superseded") == [
        "spleen, revision 1: revision 2 came while it ran; nothing of it is recorded"
    ]
    assert not {"job.done", "job.remark"} & {event.name for _, event in ledger.events.read(STUDY)}


def test_a_job_whose_images_changed_while_it_ran_is_not_claimed_again_when_its_worker_dies(
    ledger: Ledger, routed: Route, wanted: Want, arrival: Arrive, clock: Clock
) -> None:
    routed(wanted())
    claimed(ledger)
    ledger.instances.record([arrival(1, checksum=8)])
    clock.advance(LEASE + 1)
    assert ledger.jobs.claim(lease_seconds=LEASE) is None


def test_a_job_whose_images_stay_as_they_were_records_its_answer_while_the_study_grows(
    ledger: Ledger, routed: Route, wanted: Want, arrival: Arrive, result: Make
) -> None:
    routed(wanted(digest="ct"))
    job = claimed(ledger)
    ledger.instances.record([arrival(2, series=OTHER)])
    assert ledger.jobs.finish(job, [result(1)])
    assert routed(wanted(digest="ct"), number=3, series=OTHER) == 0, "it is the answer of revision 2 as well"
    (sent,) = ledger.deliveries.claim("PACS", lease_seconds=LEASE)
    assert sent.object == result(1)


def test_a_job_that_a_later_revision_plans_on_more_series_records_nothing(
    ledger: Ledger, routed: Route, wanted: Want, result: Make
) -> None:
    routed(wanted(digest="one series"))
    job = claimed(ledger)
    routed(wanted(digest="two series"), number=2, series=OTHER)
    assert not ledger.jobs.finish(job, [result(1)])
    assert jobs(ledger) == [JobState.SUPERSEDED, JobState.WAITING]


def test_a_job_that_an_older_program_let_run_records_nothing_either(
    ledger: Ledger, routed: Route, wanted: Want, result: Make
) -> None:
    """Such a program superseded no running job; its ledger has one beside the job of the later revision."""
    routed(wanted(digest="half"))
    job = claimed(ledger)
    routed(wanted(digest="whole"), number=2)
    with ledger.db.writing() as connection:
        connection.execute(text("UPDATE job SET state = 'running' WHERE revision = 1"))
    assert not ledger.jobs.finish(job, [result(1)])
    assert jobs(ledger) == [JobState.SUPERSEDED, JobState.WAITING]
    assert story(ledger, "job.superseded")[-1] == "spleen, revision 1: a later revision came while it ran"


def test_an_outdated_answer_stays_outdated_whatever_becomes_of_the_new_one(
    ledger: Ledger, waiting: ResultObject, routed: Route, wanted: Want
) -> None:
    routed(wanted(digest="whole"), number=2)
    ledger.jobs.park(claimed(ledger), "the plugin failed")
    assert deliveries(ledger) == {waiting.sop_instance_uid: SUPERSEDED}
    assert ledger.queries.requeue() == {"studies": 0, "jobs": 1, "deliveries": 0}
    assert ledger.deliveries.claim("PACS", lease_seconds=LEASE) == []


def test_images_that_are_again_as_they_were_before_are_analysed_anew(
    ledger: Ledger, routed: Route, wanted: Want, result: Make
) -> None:
    """The newest answer is about other images, though an older one was about these."""
    for number, digest in enumerate(("a", "b", "a"), 1):
        assert routed(wanted(digest=digest), number=number) == 1
        ledger.jobs.finish(claimed(ledger), [result(number)])
        (sent,) = ledger.deliveries.claim("PACS", lease_seconds=LEASE)
        ledger.deliveries.mark_delivered(sent)
    assert routed(wanted(digest="a"), number=4) == 0


def test_an_answer_that_was_withdrawn_is_given_anew_where_the_images_are_as_before(
    ledger: Ledger, waiting: ResultObject, routed: Route, wanted: Want, arrival: Arrive
) -> None:
    ledger.instances.record([arrival(1, checksum=8)])
    assert deliveries(ledger) == {waiting.sop_instance_uid: SUPERSEDED}
    ledger.instances.record([arrival(1)])
    seen = study(ledger)
    assert ledger.studies.settle(seen, "quiet")
    assert ledger.studies.plan(study(ledger), [], [wanted(digest="half")]) == 1


def test_bytes_that_were_lost_and_came_again_outdate_nothing(
    ledger: Ledger, waiting: ResultObject, arrival: Arrive
) -> None:
    assert ledger.studies.lose(study(ledger), lambda *_: False) == 1
    ledger.instances.record([arrival(1)])
    assert study(ledger).revision == 2
    assert deliveries(ledger) == {waiting.sop_instance_uid: DeliveryState.WAITING}


# Deliveries.


def test_an_outdated_object_that_has_not_left_does_not_leave(
    ledger: Ledger, waiting: ResultObject, arrival: Arrive
) -> None:
    grow(ledger, arrival)
    assert deliveries(ledger) == {waiting.sop_instance_uid: SUPERSEDED}
    assert ledger.deliveries.claim("PACS", lease_seconds=LEASE) == []
    assert ledger.deliveries.next_due("PACS") is None
    (detail,) = story(ledger, "object.superseded")
    assert detail == f"{waiting.sop_instance_uid} to PACS: revision 2 came before it left"
    assert jobs(ledger) == [JobState.DONE]


@pytest.mark.parametrize("end", ["park", "decline"])
def test_an_outdated_object_that_a_destination_refused_is_neither_requeued_nor_replaced(
    ledger: Ledger, waiting: ResultObject, arrival: Arrive, result: Make, end: str
) -> None:
    (sent,) = ledger.deliveries.claim("PACS", lease_seconds=LEASE)
    getattr(ledger.deliveries, end)(sent, "PACS does not take it")
    grow(ledger, arrival)
    assert deliveries(ledger) == {waiting.sop_instance_uid: SUPERSEDED}
    assert ledger.queries.requeue()["deliveries"] == 0
    refused = Declined(delivery=sent, job_id=1, objects=(waiting,))
    ledger.fallbacks.replace(refused, [result(2, kind="SC")], "a picture in its place")
    ledger.fallbacks.supplant(sent, [result(3, kind="SR")], "a report without it")
    assert deliveries(ledger) == {waiting.sop_instance_uid: SUPERSEDED}


def test_an_object_that_was_on_its_way_is_delivered_if_it_arrives(
    ledger: Ledger, waiting: ResultObject, arrival: Arrive
) -> None:
    (sent,) = ledger.deliveries.claim("PACS", lease_seconds=LEASE)
    assert ledger.deliveries.begin([sent])
    grow(ledger, arrival)
    assert not ledger.deliveries.begin([sent]), "what has not begun to leave is not sent"
    assert not ledger.deliveries.renew([sent], lease_seconds=LEASE)
    ledger.deliveries.mark_delivered(sent, commitment=True)
    assert deliveries(ledger) == {waiting.sop_instance_uid: DELIVERED}
    assert len(ledger.commitments.due("PACS")) == 1, "its destination is asked to keep it, as any other"


@pytest.mark.parametrize("end", ["postpone", "park", "decline", "release"])
def test_an_object_that_was_on_its_way_and_did_not_arrive_stays_superseded(
    ledger: Ledger, waiting: ResultObject, arrival: Arrive, end: str
) -> None:
    (sent,) = ledger.deliveries.claim("PACS", lease_seconds=LEASE)
    grow(ledger, arrival)
    ends: dict[str, Callable[[Delivery], None]] = {
        "postpone": lambda sent: ledger.deliveries.postpone(sent, seconds=0, reason="no answer"),
        "park": lambda sent: ledger.deliveries.park(sent, "refused"),
        "decline": lambda sent: ledger.deliveries.decline(sent, "not taken"),
        "release": lambda sent: ledger.deliveries.release([sent]),
    }
    ends[end](sent)
    (after,) = ledger.deliveries.of(STUDY)
    assert (after.state, after.worker) == (SUPERSEDED, "")
    assert after.reason == "revision 2 came before it left"


@pytest.mark.parametrize("end", ["send_again", "abandon"])
def test_an_outdated_object_that_its_destination_does_not_keep_is_not_sent_again(
    ledger: Ledger, waiting: ResultObject, routed: Route, wanted: Want, end: str
) -> None:
    (sent,) = ledger.deliveries.claim("PACS", lease_seconds=LEASE)
    ledger.deliveries.mark_delivered(sent, commitment=True)
    routed(wanted(digest="whole"), number=2)
    assert deliveries(ledger) == {waiting.sop_instance_uid: DELIVERED}
    if end == "send_again":
        ledger.commitments.send_again(sent, seconds=0, reason="PACS did not commit to it")
    else:
        ledger.commitments.abandon(sent, "never committed", answered=False)
    assert deliveries(ledger) == {waiting.sop_instance_uid: SUPERSEDED}
    assert named(ledger, claimed(ledger)) == [waiting.sop_instance_uid], "PACS stored it once"


def test_an_outdated_study_is_purged_when_its_newest_answer_is_delivered(
    ledger: Ledger, waiting: ResultObject, routed: Route, wanted: Want, result: Make, clock: Clock
) -> None:
    routed(wanted(digest="whole"), number=2)
    ledger.jobs.finish(claimed(ledger), [result(2)])
    (sent,) = ledger.deliveries.claim("PACS", lease_seconds=LEASE)
    ledger.deliveries.mark_delivered(sent)
    clock.advance(10)
    assert ledger.retention.purge(before=clock()) == [STUDY]


# Predecessors.


def test_a_report_that_never_left_is_no_predecessor(
    ledger: Ledger, waiting: ResultObject, routed: Route, wanted: Want
) -> None:
    routed(wanted(digest="whole"), number=2)
    assert named(ledger, claimed(ledger)) == []


@pytest.mark.parametrize(("begun", "answered"), [(True, False), (True, True), (False, False)])
def test_a_report_that_may_have_left_is_a_predecessor(
    ledger: Ledger, waiting: ResultObject, routed: Route, wanted: Want, begun: bool, answered: bool
) -> None:
    """One that was begun to be sent and not answered: the destination may have stored it."""
    (sent,) = ledger.deliveries.claim("PACS", lease_seconds=LEASE)
    if begun:
        assert ledger.deliveries.begin([sent])
    ledger.deliveries.postpone(sent, seconds=60, reason="no answer", answered=answered)
    routed(wanted(digest="whole"), number=2)
    assert deliveries(ledger) == {waiting.sop_instance_uid: SUPERSEDED}
    may_have_left = begun and not answered
    assert named(ledger, claimed(ledger)) == ([waiting.sop_instance_uid] if may_have_left else [])


def test_the_newest_report_that_each_destination_has_is_a_predecessor(
    ledger: Ledger, routed: Route, wanted: Want, result: Make
) -> None:
    """PACS has the reports of revisions 1 and 2, ARCHIVE that of revision 1 alone."""
    for number, names in ((1, ("PACS", "ARCHIVE")), (2, ("PACS",))):
        routed(wanted(digest=str(number), to=("PACS", "ARCHIVE")), number=number)
        ledger.jobs.finish(claimed(ledger), [result(number)])
        for name in names:
            (sent,) = ledger.deliveries.claim(name, lease_seconds=LEASE)
            ledger.deliveries.mark_delivered(sent)
    routed(wanted(digest="3", to=("PACS", "ARCHIVE")), number=3)
    assert named(ledger, claimed(ledger)) == ["2.25.2", "2.25.1"]


PAIRS = (("grow", "plan"), ("claim", "finish"), ("claim", "finish"), ("take", "send"), ("take", "send"))
"""What the study, two workers and two deliverers do, each in this order."""
ORDERS = 60


class Actors:
    """A study that grows while its first revision is analysed and delivered; an impossible step does nothing."""

    def __init__(self, ledger: Ledger, routed: Route, wanted: Want, arrival: Arrive) -> None:
        self.ledger, self.wanted, self.arrival = ledger, wanted, arrival
        self.revisions: dict[str, int] = {}
        self.named: dict[str, list[str]] = {}
        self.arrived: list[str] = []
        self.jobs: dict[int, Job] = {}
        self.held: dict[int, list[Delivery]] = {}
        routed(wanted(digest="half"))

    def grow(self, _who: int) -> None:
        grow(self.ledger, self.arrival)

    def plan(self, _who: int) -> None:
        assert self.ledger.studies.settle(study(self.ledger), "quiet")
        assert self.ledger.studies.plan(study(self.ledger), [], [self.wanted(digest="whole")]) == 1

    def claim(self, who: int) -> None:
        if (job := self.ledger.jobs.claim(lease_seconds=LEASE)) is not None:
            self.jobs[who] = job
            self.revisions[f"2.25.{job.revision}"] = job.revision
            self.named[f"2.25.{job.revision}"] = named(self.ledger, job)

    def finish(self, who: int) -> None:
        if (job := self.jobs.pop(who, None)) is not None:
            made = ResultObject(
                sop_instance_uid=f"2.25.{job.revision}", sop_class_uid="1.2", series_uid="2.25.9", kind="SR",
                transfer_syntax_uid="1.2", path="",
            )  # fmt: skip
            self.ledger.jobs.finish(job, [made])

    def take(self, who: int) -> None:
        self.held[who] = self.ledger.deliveries.claim("PACS", lease_seconds=LEASE)

    def send(self, who: int) -> None:
        if not (held := self.held.pop(who, [])):
            return
        if not self.ledger.deliveries.begin(held):
            self.ledger.deliveries.release(held)
            return
        self.arrived += [delivery.object.sop_instance_uid for delivery in held]
        for delivery in held:
            self.ledger.deliveries.mark_delivered(delivery)


def test_in_whatever_order_the_newest_report_comes_last_and_names_what_came_before(
    ledger: Ledger, routed: Route, wanted: Want, arrival: Arrive
) -> None:
    reset = ("delivery", "object", "job", "decision", "event", "instance", "study", "pack")
    outcomes = set()
    for seed in range(ORDERS):
        chance = random.Random(seed)  # noqa: S311
        actors = Actors(ledger, routed, wanted, arrival)
        left = [(who, list(steps)) for who, steps in enumerate(PAIRS)]
        order = [(who, step) for who, steps in left for step in steps]
        whose = [who for who, _ in order]
        chance.shuffle(whose)
        for who in whose:
            getattr(actors, left[who][1].pop(0))(who)
        for step in ("claim", "finish", "take", "send"):
            getattr(actors, step)(9)
        assert actors.arrived[-1] == "2.25.2", whose
        assert actors.named["2.25.2"] == actors.arrived[:-1], whose
        outcomes.add(tuple(actors.arrived))
        with ledger.db.writing() as connection:
            for table in reset:
                connection.execute(text(f"DELETE FROM {table}"))  # noqa: S608
    assert outcomes == {("2.25.2",), ("2.25.1", "2.25.2")}
