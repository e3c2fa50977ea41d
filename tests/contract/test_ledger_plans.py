"""What is asked again and again is found by an index: a hundred thousand finished studies must cost nothing."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event

from node.ledger import Ledger
from node.records import Arrival, Delivery, Job, Place, Plan, ResultObject, Study, StudyState
from tests.conftest import received

STUDY, OTHER = "1.2.1", "1.2.1.2"
READS_ALL = re.compile(r"SCAN (instance|refusal|study|decision|job|object|delivery|event)\b|Seq Scan on \w+")


@pytest.fixture
def lived(
    ledger: Ledger,
    routed: Callable[..., int],
    wanted: Callable[..., Plan],
    result: Callable[..., ResultObject],
    arrival: Callable[..., Arrival],
) -> tuple[Ledger, Study, Job, Delivery]:
    """A ledger with a study that grows, a job that runs and a delivery that waits."""
    routed(wanted("a"), wanted("b"))
    done, running = ledger.jobs.claim(lease_seconds=60), ledger.jobs.claim(lease_seconds=60)
    assert done is not None
    assert running is not None
    ledger.jobs.finish(done, [result(1)])
    ledger.instances.record([arrival(2, series=OTHER)])
    study = ledger.studies.find(STUDY)
    assert study is not None
    return ledger, study, running, ledger.deliveries.claim("PACS", lease_seconds=60)[0]


Ask = Callable[[Ledger, Study, Job, Delivery], Any]
ASKED: dict[str, Ask] = {
    "studies": lambda ledger, *_: ledger.studies.in_state(StudyState.RECEIVING),
    "study": lambda ledger, *_: ledger.studies.find(STUDY),
    "series": lambda ledger, *_: ledger.instances.series(STUDY),
    "packs": lambda ledger, *_: ledger.instances.packs(STUDY),
    "instances": lambda ledger, *_: ledger.instances.of(STUDY),
    "compressed": lambda ledger, *_: ledger.instances.compressed(["1.2.840.10008.1.2"]),
    "record": lambda ledger, *_: ledger.instances.record([GROWS]),
    "settle": lambda ledger, study, *_: ledger.studies.settle(study, "quiet"),
    "plan": lambda ledger, study, *_: (
        ledger.studies.settle(study, ""),
        ledger.studies.plan(study, [], [PLAN]),
    ),
    "claim": lambda ledger, *_: ledger.jobs.claim(lease_seconds=60),
    "renew": lambda ledger, _study, job, _: ledger.jobs.renew(job, lease_seconds=60),
    "finish": lambda ledger, _study, job, _: ledger.jobs.finish(job, []),
    "postpone": lambda ledger, _study, job, _: ledger.jobs.postpone(job, seconds=1, reason="", attempts=0),
    "park": lambda ledger, _study, job, _: ledger.jobs.park(job, ""),
    "predecessors": lambda ledger, _study, job, _: ledger.jobs.predecessors(job),
    "next_job_due": lambda ledger, *_: ledger.jobs.next_due(),
    "claim_deliveries": lambda ledger, *_: ledger.deliveries.claim("PACS", lease_seconds=60),
    "renew_deliveries": lambda ledger, _study, _job, sent: ledger.deliveries.renew([sent], lease_seconds=60),
    "release_deliveries": lambda ledger, _study, _job, sent: ledger.deliveries.release([sent]),
    "news": lambda ledger, *_: ledger.events.names(after=1),
    "last_event": lambda ledger, *_: ledger.events.last(),
    "begin_deliveries": lambda ledger, _study, _job, sent: ledger.deliveries.begin([sent]),
    "uncommitted_again": lambda ledger, _study, _job, sent: ledger.commitments.send_again(sent, seconds=1, reason=""),
    "next_delivery_due": lambda ledger, *_: ledger.deliveries.next_due("PACS"),
    "has_delivered": lambda ledger, *_: ledger.deliveries.has_delivered("PACS"),
    "delivered": lambda ledger, _study, _job, sent: ledger.deliveries.mark_delivered(sent),
    "uncommitted": lambda ledger, *_: ledger.commitments.due("PACS"),
    "next_ask_due": lambda ledger, *_: ledger.commitments.next_due("PACS"),
    "next_request_due": lambda ledger, *_: ledger.requests.next_due(),
    "parked": lambda ledger, *_: ledger.queries.parked(),
    "requeue": lambda ledger, *_: ledger.queries.requeue(),
    "purge": lambda ledger, *_: ledger.retention.purge(before=0.0),
    "pack_counts": lambda ledger, *_: ledger.instances.pack_counts(["a.pack"]),
    "packs_at_work": lambda ledger, *_: ledger.instances.packs_in_use(["a.pack"]),
    "lacking": lambda ledger, study, *_: ledger.studies.lacking(study),
    "stuck": lambda ledger, *_: ledger.queries.stuck(seconds=60),
    "adopt": lambda ledger, *_: ledger.jobs.adopt({}),
    "events": lambda ledger, *_: ledger.events.read(STUDY),
}
GROWS = Arrival(
    instance=received(3, study=STUDY, series=f"{STUDY}.1", at=1.0),
    place=Place(pack="a.pack", offset=3000, length=900),
    end=3950,
)
PLAN = Plan(plugin="c", version="1", route="r", inputs=({"ct": "1"},), destinations=("PACS",), priority=0, digest="d")


def explained(ledger: Ledger, ask: Callable[[], Any]) -> list[str]:
    """Return how the database finds the rows of each statement of a question."""
    seen: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        if not many and re.match(r"\s*(SELECT|UPDATE|DELETE|WITH)", statement):
            seen.append((statement, parameters))

    event.listen(ledger.db._engine, "before_cursor_execute", note)
    ask()
    event.remove(ledger.db._engine, "before_cursor_execute", note)
    assert seen
    with ledger.db.writing() as connection:
        explain = "EXPLAIN QUERY PLAN "
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")  # it reads a small table whole, and rightly
            explain = "EXPLAIN "
        return [
            f"{' '.join(map(str, line))}: {statement}"
            for statement, parameters in seen
            for line in connection.exec_driver_sql(explain + statement, parameters)
        ]


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_no_query_of_the_flow_reads_a_whole_table(lived: tuple[Ledger, Study, Job, Delivery], ask: Ask) -> None:
    ledger = lived[0]
    assert not [line for line in explained(ledger, lambda: ask(*lived)) if READS_ALL.search(line)]


def test_that_check_sees_a_query_that_reads_a_whole_table(lived: tuple[Ledger, Study, Job, Delivery]) -> None:
    def all_with_a_reason() -> None:
        with lived[0].db.reading() as connection:
            connection.exec_driver_sql("SELECT * FROM job WHERE reason = 'x'").all()

    assert [line for line in explained(lived[0], all_with_a_reason) if READS_ALL.search(line)]
