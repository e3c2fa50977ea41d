"""Four workers on PostgreSQL and procrastinate, two of them killed again and again: each job is recorded once."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import product
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import psycopg
import pytest

from node.engine import Engine, Step
from node.engine.procrastinate import Procrastinate, schema
from node.host import find_plugins
from node.infer import Order, Performed, attempt, job
from node.ledger import JobQueue, Ledger, conninfo
from node.records import JOB_QUEUE, JOB_TASK, JobState, Plan, ResultObject
from tests.crash.harness import House, Pacs, study
from tests.peers import wait_until
from tests.postgres import Postgres

WORKERS, SLOTS = 4, 2
STUDIES, PLUGINS = [f"1.2.{number}" for number in range(1, 11)], [f"plugin{number}" for number in range(20)]
LEASE_SECONDS = 2.0
LATE = 0.1
"""The share of jobs that hang until their lease is lost, and then want to record what they found all the same."""

TODO = "SELECT count(*) FROM procrastinate_jobs WHERE status = 'todo'"
Workers = list[ForkServerProcess]


def opened(url: str) -> Ledger:
    return Ledger(url, queue=JobQueue(schema()))


def serve(url: str, seed: int) -> None:
    """Be a worker: all that is real but the plugin, which takes its time."""
    job.LEASE_SECONDS = LEASE_SECONDS
    ledger, chance = opened(url), random.Random(seed)  # noqa: S311
    (plugin,) = find_plugins([Path(__file__).parent / "plugins"]).values()
    plugins = dict.fromkeys(PLUGINS, plugin)

    def perform(order: Order, renew: Callable[[], bool]) -> Performed:
        if chance.random() < LATE:
            time.sleep(LEASE_SECONDS + 1)
        for _ in range(chance.randrange(1, 6)):
            time.sleep(0.05)
            renew()
        made = ResultObject(
            sop_instance_uid=f"2.25.{order.job.id}.{order.job.attempts}", sop_class_uid="1.2.840.10008.5.1.4.1.1.66.4",
            series_uid="2.25.99", kind="SEG", transfer_syntax_uid="1.2.840.10008.1.2.1", path="objects/a.dcm",
        )  # fmt: skip
        return Performed(objects=(made,), remarks=(), timing={})

    def infer() -> float | None:
        return attempt(
            ledger.jobs,
            ledger.instances,
            plugins,
            perform,
            lambda place, note: None,
            attempts=1000,
            device_uid="2.25.1",
        )  # type: ignore[arg-type, return-value]

    steps = [Step(name="infer", work=infer, threads=SLOTS, remind=ledger.jobs.remind)]
    courier = Procrastinate(str(conninfo(url)), JOB_QUEUE, JOB_TASK)
    engine = Engine(steps, courier=courier, idle_seconds=1.0, rest_seconds=1.0)
    signal.signal(signal.SIGTERM, lambda *_: engine.stop())
    engine.start()
    while not engine.stopping:
        signal.pause()
    ledger.close()


def start_engine(url: str) -> ForkServerProcess:
    process = get_context("forkserver").Process(target=serve, args=(url, random.getrandbits(32)), daemon=True)
    process.start()
    return process


@pytest.fixture
def url(database_server: Postgres) -> Iterator[str]:
    made = database_server.create()
    yield made
    database_server.drop(made)


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with closing(opened(url)) as made:
        yield made


@pytest.fixture
def clock() -> Callable[[], float]:
    return time.time


@pytest.fixture
def workers(url: str, ledger: Ledger) -> Iterator[Workers]:
    running = [start_engine(url) for _ in range(WORKERS)]
    yield running
    for process in running:
        process.kill()
        process.join()


def kill_two(workers: Workers, url: str) -> None:
    for number in random.sample(range(WORKERS), 2):
        assert workers[number].pid is not None
        os.kill(workers[number].pid, signal.SIGKILL)
        workers[number].join()
        workers[number] = start_engine(url)


def test_each_of_200_jobs_is_recorded_once_however_many_workers_die(
    ledger: Ledger, url: str, workers: Workers, routed: Callable[..., int], wanted: Callable[..., Plan]
) -> None:
    for uid in STUDIES:
        plans = [wanted(name, priority=10 * (number % 3 == 0)) for number, name in enumerate(PLUGINS)]
        assert routed(*plans, study=uid) == len(PLUGINS)
        for _ in range(2):
            time.sleep(random.uniform(0.2, 1.0))  # noqa: S311
            kill_two(workers, url)

    def states() -> Counter[JobState]:
        return Counter(job.state for uid in STUDIES for job in ledger.jobs.of(uid))

    wait_until(lambda: states() == {JobState.DONE: 200}, seconds=120, what="the end of all jobs")
    events = [event for uid in STUDIES for _, event in ledger.events.read(uid)]
    done = Counter((event.study_uid, event.detail.split()[0]) for event in events if event.name == "job.done")
    assert done == dict.fromkeys(product(STUDIES, PLUGINS), 1)
    for uid in STUDIES:
        found = sorted(delivery.object.sop_instance_uid for delivery in ledger.deliveries.of(uid))
        assert found == sorted(f"2.25.{job.id}.{job.attempts}" for job in ledger.jobs.of(uid)), (
            "what the last claim made"
        )
    claims = [event for event in events if event.name == "job.claimed"]
    assert len(claims) > 200, "some workers died, or were late, with a job in hand"

    with psycopg.connect(url, autocommit=True) as rows:
        wait_until(lambda: rows.execute(TODO).fetchone() == (0,), what="the last message")
        for worker in workers:
            worker.terminate()
            worker.join(60)
            assert worker.exitcode == 0
        rows.execute("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '2 minutes'")
        ledger.jobs.remind()
        assert rows.execute("SELECT count(*) FROM procrastinate_jobs").fetchone() == (0,)


def test_a_whole_node_runs_on_it(house: Callable[..., House], pacs: Pacs, url: str, tmp_path: Path) -> None:
    node = house()
    node.start(ISOCENTER_LEDGER__URL=url, ISOCENTER_ENGINE__KIND="procrastinate")
    assert node.send(study(tmp_path, "one")) == []
    wait_until(lambda: len(pacs.arrived) == 2, what="SEG and report")
    node.stop()
    with psycopg.connect(url, autocommit=True) as rows:
        assert rows.execute("SELECT count(*) FROM procrastinate_jobs").fetchone() == (0,)
        called = rows.execute("SELECT is_called FROM procrastinate_workers_id_seq").fetchone()
        assert called == (True,), "a worker has listened"
