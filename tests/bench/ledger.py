"""What the ledger's questions cost with few and with many finished studies in it: the ratio should be about 1."""

import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import insert

from node.ledger import Ledger
from node.ledger.schema import decision, delivery, event, instance, job, pack, result_object, study
from node.records import Arrival, Decision, Instance, Place, Plan, ResultObject, StudyState
from tests.postgres import lacking, postgres

FEW, MANY = 100, 100_000
ROUNDS = 300
CHUNK = 5000
SLICES = 20
STORY = ("study.begun", "study.stable", "job.planned", "job.claimed", "job.done", "object.delivered")
CT = "1.2.840.10008.5.1.4.1.1.2"
Answer = TypeVar("Answer")


def finished(number: int) -> dict[Any, list[dict[str, Any]]]:
    """The rows of one study whose result was delivered long ago."""
    uid, at, name = f"1.2.{number}", 1e9 + number, f"{number:08}.pack"
    common = {"sop_class_uid": CT, "study_uid": uid, "modality": "CT", "transfer_syntax_uid": "1.2", "calling": "CT1"}
    return {
        pack: [{"name": name, "mark": 2000}],
        instance: [
            common
            | {"sop_instance_uid": f"{uid}.1.{number}", "series_uid": f"{uid}.1", "peer": "10.0.0.1", "received_at": at,
               "checksum": number, "pack": name, "offset": number * 1000, "length": 900}
            for number in range(2)
        ],
        study: [{"study_uid": uid, "state": "routed", "revision": 1, "changed_at": at, "because": "nothing came"}],
        decision: [
            {"study_uid": uid, "revision": 1, "series_key": f"{uid}.1", "series_text": "CT", "route": "every CT",
             "matched": True, "sentence": "it matches"}
        ],
        job: [
            {"id": number, "study_uid": uid, "revision": 1, "plugin": "ct_lung", "version": "1", "route": "every CT",
             "inputs": [{"ct": f"{uid}.1"}], "destinations": ["PACS"], "priority": 0, "digest": uid, "ordinal": 0,
             "state": "done", "attempts": 1, "planned_at": at, "due_at": at, "worker": "w", "lease_until": at + 60,
             "finished_at": at, "reason": ""}
        ],
        result_object: [
            {"sop_instance_uid": f"2.25.{number}", "job_id": number, "sop_class_uid": CT, "series_uid": "2.26",
             "kind": "SEG", "transfer_syntax_uid": "1.2", "path": f"{uid}.dcm"}
        ],
        delivery: [
            {"sop_instance_uid": f"2.25.{number}", "destination": "PACS", "study_uid": uid, "state": "delivered",
             "attempts": 1, "queued_at": at, "due_at": at, "delivered_at": at, "reason": ""}
        ],
        event: [{"at": at, "study_uid": uid, "name": name, "detail": ""} for name in STORY],
    }  # fmt: skip


def fill(ledger: Ledger, studies: int) -> None:
    """Put finished studies in, by the tables: through the ledger's own methods it would take an hour."""
    for start in range(1, studies + 1, CHUNK):
        rows: defaultdict[Any, list[dict[str, Any]]] = defaultdict(list)
        for number in range(start, min(start + CHUNK, studies + 1)):
            for table, some in finished(number).items():
                rows[table] += some
        with ledger.db.writing() as connection:
            for table, some in rows.items():
                connection.execute(insert(table), some)
    with ledger.db.writing() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SELECT setval('job_id_seq', (SELECT max(id) FROM job))")


class Timed:
    """Seconds of each question, by its name."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)

    def __call__(self, name: str, ask: Callable[[], Answer]) -> Answer:
        begun = time.perf_counter()
        answer = ask()
        self.seconds[name].append(time.perf_counter() - begun)
        return answer


def live(ledger: Ledger, number: int, timed: Timed) -> None:
    """Run one study from its first instance to its delivery, with the questions that the node asks on the way."""
    uid = f"1.3.{number}"
    arrivals = [
        Arrival(
            instance=Instance(
                sop_instance_uid=f"{uid}.1.{slice_number}", sop_class_uid=CT, study_uid=uid, series_uid=f"{uid}.1",
                modality="CT", transfer_syntax_uid="1.2", calling="CT1", peer="10.0.0.1",
                received_at=time.time(), checksum=slice_number,
            ),
            place=Place(pack=f"{uid}.pack", offset=slice_number * 1000, length=900),
            end=slice_number * 1000 + 950,
        )
        for slice_number in range(SLICES)
    ]  # fmt: skip
    timed(f"record {SLICES} instances", lambda: ledger.instances.record(arrivals))
    (seen,) = timed("studies(receiving)", lambda: ledger.studies.in_state(StudyState.RECEIVING))
    timed("packs", lambda: ledger.instances.packs(uid))
    timed("series", lambda: ledger.instances.series(uid))
    assert timed("settle", lambda: ledger.studies.settle(seen, "quiet"))
    (stable,) = timed("studies(stable)", lambda: ledger.studies.in_state(StudyState.STABLE))
    timed("instances", lambda: ledger.instances.of(uid))
    why = Decision(series_key=f"{uid}.1", series_text="CT", route="every CT", matched=True, sentence="it matches")
    wanted = Plan(
        plugin="ct_lung", version="1", route="every CT", inputs=({"ct": f"{uid}.1"},), destinations=("PACS",),
        priority=0, digest=uid,
    )  # fmt: skip
    assert timed("plan", lambda: ledger.studies.plan(stable, [why], [wanted]))
    held = timed("claim", lambda: ledger.jobs.claim(lease_seconds=60))
    assert held is not None
    timed("renew", lambda: ledger.jobs.renew(held, lease_seconds=60))
    timed("predecessors", lambda: ledger.jobs.predecessors(held))
    timed("next_job_due", ledger.jobs.next_due)
    made = ResultObject(
        sop_instance_uid=f"2.27.{number}", sop_class_uid=CT, series_uid="2.28", kind="SEG", transfer_syntax_uid="1.2",
        path="a.dcm",
    )  # fmt: skip
    assert timed("finish", lambda: ledger.jobs.finish(held, [made]))
    (due,) = timed("claim_deliveries", lambda: ledger.deliveries.claim("PACS", lease_seconds=60))
    timed("next_delivery_due", lambda: ledger.deliveries.next_due("PACS"))
    timed("delivered", lambda: ledger.deliveries.mark_delivered(due))
    timed("claim, nothing due", lambda: ledger.jobs.claim(lease_seconds=60))
    timed("parked", ledger.queries.parked)
    timed("purge, nothing due", lambda: ledger.retention.purge(before=0.0))


def compare(name: str, few: Ledger, many: Ledger) -> None:
    """Ask both in turn, so that whatever else the machine does befalls both, and print medians and their ratio."""
    begun = time.perf_counter()
    fill(few, FEW)
    fill(many, MANY)
    print(f"{name}: {MANY} finished studies made in {time.perf_counter() - begun:.0f} s", flush=True)
    times = {few: Timed(), many: Timed()}
    for number in range(ROUNDS + 20):
        if number == 20:  # the first rounds fill caches
            times = {few: Timed(), many: Timed()}
        for ledger in random.sample((few, many), 2):
            live(ledger, number, times[ledger])
    print(f"| {name}, ms | {FEW} | {MANY} | ratio |\n|---|---|---|---|")
    for question in times[few].seconds:
        few_ms, many_ms = (1000 * statistics.median(times[ledger].seconds[question]) for ledger in (few, many))
        print(f"| {question} | {few_ms:.2f} | {many_ms:.2f} | {many_ms / few_ms:.2f} |", flush=True)


@contextmanager
def sqlite_ledgers() -> Iterator[tuple[Ledger, Ledger]]:
    """Two in files."""
    with tempfile.TemporaryDirectory(prefix="isocenter-bench-") as folder:
        few, many = (Ledger(f"sqlite:///{Path(folder) / name}.db") for name in ("few", "many"))
        yield few, many
        few.close()
        many.close()


@contextmanager
def postgres_ledgers() -> Iterator[tuple[Ledger, Ledger]]:
    """Two databases of one server, without fsync."""
    with postgres() as server:
        few, many = Ledger(server.create()), Ledger(server.create())
        yield few, many
        few.close()
        many.close()


def main() -> None:
    """Print the comparison on SQLite, and on PostgreSQL if it is installed."""
    with sqlite_ledgers() as pair:
        compare("SQLite", *pair)
    if reason := lacking():
        print(f"PostgreSQL: left out, {reason}")
        return
    with postgres_ledgers() as pair:
        compare("PostgreSQL", *pair)
