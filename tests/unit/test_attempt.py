"""Every attempt at a job ends in a row."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node.commands.explain import explain
from node.engine.lease import LEASE_SECONDS, RENEWALS
from node.errors import (
    BrokenResult,
    DestinationUnavailable,
    JobDied,
    ModelRefused,
    NodeStops,
    PluginFailed,
    TritonUnavailable,
    UnsuitableSeries,
)
from node.host import Kind, Manifest, Plugin
from node.infer.job import Order, Performed, attempt
from node.ledger import Ledger
from node.records import Arrival, JobState, Plan, ResultObject
from node.spool import Spool

Perform = Callable[[Order, Callable[[], bool]], Performed]
OBJECT = ResultObject(
    sop_instance_uid="2.25.1",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.66.4",
    series_uid="2.25.9",
    kind="SEG",
    transfer_syntax_uid="1.2.840.10008.1.2.1",
    path="objects/a.dcm",
)
DONE = Performed(objects=(OBJECT,), remarks=("one stack was left out",), timing={"infer": 1.0})
UID = "1.2.1"


@pytest.fixture
def plugin(tmp_path: Path) -> Callable[..., Plugin]:
    def make(*, version: str = "1") -> Plugin:
        series = {"ct": {"when": {"Modality": "CT"}}}
        manifest = Manifest(name="spleen", version=version, title="Spleen", kind=Kind.DETERMINISTIC, series=series)
        return Plugin(manifest=manifest, folder=tmp_path)

    return make


@pytest.fixture
def once(
    ledger: Ledger,
    spool: Spool,
    plugin: Callable[..., Plugin],
    routed: Callable[..., int],
    wanted: Callable[..., Plan],
    clock: Any,
) -> Callable[..., float | None]:
    """Plan a job, and make one attempt at it with a given way to perform it."""
    here = {"spleen": plugin()}
    routed(wanted())

    def tried(perform: Perform, *, attempts: int = 3, plugins: Mapping[str, Plugin] = here) -> float | None:
        return attempt(
            ledger.jobs, ledger.instances, plugins, perform, spool.part10, attempts=attempts, device_uid="2.25.7",
            steady=clock,
        )  # fmt: skip

    return tried


def failing(error: Exception) -> Perform:
    def perform(_order: Order, _renew: Callable[[], bool]) -> Performed:
        raise error

    return perform


def test_a_job_that_is_performed_is_done_and_its_objects_are_queued(
    ledger: Ledger, once: Callable[..., float | None]
) -> None:
    orders: list[Order] = []

    def perform(order: Order, renew: Callable[[], bool]) -> Performed:
        orders.append(order)
        assert renew()
        return DONE

    assert once(perform) == 0.0
    (order,) = orders
    assert (order.job.study_uid, order.plugin.name, order.device_uid) == (UID, "spleen", "2.25.7")
    (job,) = ledger.jobs.of(UID)
    assert job.state is JobState.DONE
    assert [delivery.object for delivery in ledger.deliveries.claim("PACS", lease_seconds=60)] == [OBJECT]
    assert once(perform) is None, "nothing is left to do"


def test_a_job_that_contradicts_another_plugin_of_the_study_delivers_nothing_and_says_why(
    ledger: Ledger, spool: Spool, plugin: Callable[..., Plugin], routed: Callable[..., int], wanted: Callable[..., Plan]
) -> None:
    asked: list[tuple[tuple[ResultObject, ...], Mapping[str, str]]] = []

    def contradicts(made: Iterable[ResultObject], others: Mapping[str, str]) -> str:
        asked.append((tuple(made), others))
        return "100% of Spleen lie in a lung" if others else ""

    routed(wanted("spleen"), wanted("lungs"))
    there = {"spleen": plugin(), "lungs": plugin()}
    for uid in ("2.25.1", "2.25.2"):
        made = replace(DONE, objects=(replace(OBJECT, sop_instance_uid=uid, path=f"objects/{uid}.dcm"),))
        attempt(
            ledger.jobs, ledger.instances, there, lambda *_, made=made: made, spool.part10, attempts=1,
            device_uid="2.25.7", contradicts=contradicts,
        )  # fmt: skip
    assert [others for _, others in asked] == [{}, {"objects/2.25.1.dcm": "spleen"}]
    assert [one.object.sop_instance_uid for one in ledger.deliveries.claim("PACS", lease_seconds=60)] == ["2.25.1"]
    assert {job.state for job in ledger.jobs.of(UID)} == {JobState.DONE}
    assert "lungs: not suitable, because 100% of Spleen lie in a lung" in "\n".join(explain(ledger, UID))


def test_an_order_has_the_instances_of_its_series_alone_and_the_objects_before(
    ledger: Ledger,
    once: Callable[..., float | None],
    arrival: Callable[..., Arrival],
    routed: Callable[..., int],
    wanted: Callable[..., Plan],
    spool: Spool,
) -> None:
    orders: list[Order] = []

    def perform(order: Order, _renew: Callable[[], bool]) -> Performed:
        orders.append(order)
        return DONE

    once(perform)
    (sent,) = ledger.deliveries.claim("PACS", lease_seconds=60)
    ledger.deliveries.mark_delivered(sent)
    ledger.instances.record([arrival(7, series="1.2.1.77")])
    routed(wanted(digest="other"), number=2)
    once(perform)
    assert [len(order.parts) for order in orders] == [1, 2]
    assert [part.offset for part in orders[1].parts] == [1000, 2000]
    assert orders[1].parts[0].path == spool.packs / "a.pack"
    assert [order.predecessors for order in orders] == [(), (OBJECT.path,)]


def test_a_stack_after_the_first_belongs_to_the_same_series(
    ledger: Ledger, once: Callable[..., float | None], routed: Callable[..., int], wanted: Callable[..., Plan]
) -> None:
    orders: list[Order] = []

    def perform(order: Order, _renew: Callable[[], bool]) -> Performed:
        orders.append(order)
        return DONE

    once(perform)
    routed(replace(wanted(digest="two"), inputs=({"ct": "1.2.1.1#2"},)), number=2)
    once(perform)
    assert len(orders[1].parts) == 2


@pytest.mark.parametrize("error", [ModelRefused("no model spleen"), PluginFailed("KeyError"), BrokenResult("askew")])
def test_what_needs_a_person_is_parked_with_the_reason(
    ledger: Ledger, once: Callable[..., float | None], error: Exception
) -> None:
    assert once(failing(error)) == 0.0
    assert ledger.queries.parked() == [(UID, "job spleen", str(error))]


def test_a_refused_series_is_parked_too(ledger: Ledger, once: Callable[..., float | None]) -> None:
    once(failing(UnsuitableSeries("instance 1.2 is torn")))
    assert ledger.queries.parked() == [(UID, "job spleen", "instance 1.2 is torn")]


def test_a_transient_error_is_tried_again_without_end_after_growing_delays(
    ledger: Ledger, once: Callable[..., float | None], clock: Any
) -> None:
    waits = []
    for _ in range(40):
        assert once(failing(TritonUnavailable("no server answers")), attempts=2) == 0.0
        (job,) = ledger.jobs.of(UID)
        assert (job.state, job.attempts, job.reason) == (JobState.WAITING, 0, "no server answers")
        wait = once(failing(AssertionError("it is not due")))
        assert wait is not None
        waits.append(wait)
        clock.advance(wait)
    assert waits[0] == 1.0
    assert waits == sorted(waits)
    assert waits[-1] == 300.0
    assert once(lambda *_: DONE) == 0.0
    assert ledger.jobs.of(UID)[0].state is JobState.DONE


def test_any_transient_error_waits(ledger: Ledger, once: Callable[..., float | None]) -> None:
    once(failing(DestinationUnavailable("no answer")))
    assert ledger.jobs.of(UID)[0].state is JobState.WAITING


def test_a_job_whose_process_dies_is_tried_a_few_times_and_then_parked(
    ledger: Ledger, once: Callable[..., float | None], clock: Any
) -> None:
    for number in (1, 2):
        once(failing(JobDied("the job's process died of SIGKILL")), attempts=3)
        (job,) = ledger.jobs.of(UID)
        assert (job.state, job.attempts) == (JobState.WAITING, number)
        clock.advance(60)
    once(failing(JobDied("the job's process died of SIGKILL")), attempts=3)
    assert ledger.queries.parked() == [(UID, "job spleen", "the job's process died of SIGKILL; tried 3 times")]


def test_a_job_that_is_given_back_when_the_node_stops_is_due_at_once_and_has_cost_nothing(
    ledger: Ledger, once: Callable[..., float | None]
) -> None:
    for _ in range(3):
        once(failing(NodeStops("the node stopped while it ran")), attempts=1)
        (job,) = ledger.jobs.of(UID)
        assert (job.state, job.attempts, job.worker) == (JobState.WAITING, 0, "")
        assert ledger.jobs.next_due() == ledger.db.clock()


def test_deaths_are_counted_through_the_times_that_triton_was_away(
    ledger: Ledger, once: Callable[..., float | None], clock: Any
) -> None:
    for error in (JobDied("died"), TritonUnavailable("away"), TritonUnavailable("away"), JobDied("died")):
        once(failing(error), attempts=2)
        clock.advance(1000)
    assert [what for _, what, _ in ledger.queries.parked()] == ["job spleen"]


def test_a_job_of_another_version_than_the_installed_one_is_planned_anew_with_that(
    ledger: Ledger, once: Callable[..., float | None], plugin: Callable[..., Plugin]
) -> None:
    once(failing(AssertionError("it must not be begun")), plugins={"spleen": plugin(version="2")})
    assert [(job.version, job.state) for job in ledger.jobs.of(UID)] == [
        ("1", JobState.SUPERSEDED),
        ("2", JobState.WAITING),
    ]
    once(lambda _order, _renew: DONE, plugins={"spleen": plugin(version="2")})
    assert ledger.jobs.of(UID)[-1].state is JobState.DONE


def test_a_plugin_that_is_gone_parks_the_job_and_says_so(ledger: Ledger, once: Callable[..., float | None]) -> None:
    once(failing(AssertionError("it must not be begun")), plugins={})
    ((_, what, reason),) = ledger.queries.parked()
    assert what == "job spleen"
    assert reason.startswith("planned for spleen 1, but no version is here")


def test_a_worker_that_woke_up_late_records_nothing(
    ledger: Ledger, once: Callable[..., float | None], clock: Any
) -> None:
    kept: list[bool] = []

    def slow(_order: Order, renew: Callable[[], bool]) -> Performed:
        clock.advance(LEASE_SECONDS + 1)
        assert ledger.jobs.claim(lease_seconds=LEASE_SECONDS) is not None
        kept.append(renew())
        return DONE

    once(slow)
    assert kept == [False]
    (job,) = ledger.jobs.of(UID)
    assert job.state is JobState.RUNNING
    assert ledger.deliveries.of(UID) == []


def test_a_job_that_takes_longer_than_its_lease_keeps_it(
    ledger: Ledger, once: Callable[..., float | None], clock: Any
) -> None:
    def slow(_order: Order, renew: Callable[[], bool]) -> Performed:
        for _ in range(3 * RENEWALS):
            clock.advance(LEASE_SECONDS / RENEWALS)
            assert renew()
            assert ledger.jobs.claim(lease_seconds=LEASE_SECONDS) is None
        return DONE

    once(slow)
    (job,) = ledger.jobs.of(UID)
    assert job.state is JobState.DONE


def test_without_a_job_it_says_when_to_look_again(
    ledger: Ledger, once: Callable[..., float | None], clock: Any
) -> None:
    job = ledger.jobs.claim(lease_seconds=60)
    assert job is not None
    ledger.jobs.postpone(job, seconds=45, reason="", attempts=0)
    clock.advance(5)
    assert once(failing(AssertionError("it is not due"))) == 40.0
