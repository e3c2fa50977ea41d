"""Work without progress is reported, and a person requeues all of it or a part: for every database."""

from typing import Any

import pytest
from sqlalchemy import event as engine_event

from node.ledger import Ledger
from tests.conftest import Clock
from tests.ledger_rows import Arrive, Make, Route, Want, claimed

DAY = 86400.0


def test_work_that_has_not_moved_for_long_is_reported(
    ledger: Ledger, routed: Route, wanted: Want, result: Make, arrival: Arrive, clock: Clock
) -> None:
    routed(wanted())
    ledger.jobs.finish(claimed(ledger), [result(1), result(2)])
    ledger.deliveries.postpone(
        ledger.deliveries.claim("PACS", lease_seconds=60)[0], seconds=9, reason="refused the association"
    )
    routed(wanted(), study="1.2.2")
    claimed(ledger)
    ledger.instances.record([arrival(1, study="1.2.3")])
    assert ledger.queries.stuck(seconds=3600) == []
    clock.advance(7200)
    receiving, job, delivery = ledger.queries.stuck(seconds=3600)
    assert receiving == "study 1.2.3 has been receiving for 2 hours"
    assert job.startswith("job 2 (spleen) of study 1.2.2 has run past its lease by 119 minutes")
    assert delivery == "2 deliveries to PACS wait, the oldest for 2 hours: refused the association"


def test_one_job_or_one_destination_is_put_back_alone(
    ledger: Ledger, routed: Route, wanted: Want, result: Make
) -> None:
    routed(wanted(to=("PACS", "ARCHIVE")))
    ledger.jobs.finish(claimed(ledger), [result(1), result(2)])
    for destination in ("PACS", "ARCHIVE"):
        for sent in ledger.deliveries.claim(destination, lease_seconds=60):
            ledger.deliveries.park(sent, "refused")
    for number in (2, 3):
        routed(wanted(), study=f"1.2.{number}")
        ledger.jobs.park(claimed(ledger), "broken")
    assert ledger.queries.requeue(job_id=2) == {"studies": 0, "jobs": 1, "deliveries": 0}
    assert ledger.queries.requeue(destination="PACS", object_uid="2.25.1") == {"studies": 0, "jobs": 0, "deliveries": 1}
    assert ledger.queries.requeue(destination="PACS") == {"studies": 0, "jobs": 0, "deliveries": 1}
    assert ledger.queries.requeue(object_uid="2.25.2") == {"studies": 0, "jobs": 0, "deliveries": 1}
    assert ledger.queries.requeue("1.2.2") == {"studies": 0, "jobs": 0, "deliveries": 0}
    assert ledger.queries.requeue() == {"studies": 0, "jobs": 1, "deliveries": 1}


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
def test_a_claim_looks_at_unfinished_jobs_alone(ledger: Ledger, routed: Route, wanted: Want) -> None:
    """However many are done: SQLite tells which rows it would visit."""
    routed(wanted())
    seen: list[tuple[str, Any]] = []
    engine_event.listen(
        ledger.db._engine, "before_cursor_execute", lambda _c, _cursor, *executed: seen.append(executed[:2])
    )
    claimed(ledger)
    statement, values = next(executed for executed in seen if executed[0].startswith("UPDATE job"))
    with ledger.db.reading() as connection:
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert any("SEARCH job USING INDEX job_due" in line for line in plan)
    assert not any(line.startswith("SCAN job") for line in plan)
