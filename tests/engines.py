"""Shared by the contract tests of the engines: engines that are stopped at the end, work that counts, the job queue."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg
from psycopg.types.json import Jsonb

from node.engine import Engine, Step
from node.engine.procrastinate import CONNECT_SECONDS, POLL_SECONDS, Procrastinate
from node.engine.steps import REST_SECONDS
from node.ledger import Ledger, conninfo
from node.records import JOB_QUEUE, JOB_TASK, Job, Plan
from tests.peers import wait_until

PATIENCE = 60
"""Seconds after which a test that waits has failed; none waits so long when all is well."""
NEVER = 600.0
PROCRASTINATE = "procrastinate"
STUDY = "1.2.1"

Planned = Callable[..., int]
Wanted = Callable[..., Plan]


@dataclass
class Engines:
    """Starts engines of one kind, and stops them at the end."""

    kind: str
    url: str
    idle_seconds: float = NEVER
    rest_seconds: float = REST_SECONDS
    poll_seconds: float = POLL_SECONDS
    connect_seconds: float = CONNECT_SECONDS
    started: list[Engine] = field(default_factory=list)

    def __call__(self, *steps: Step) -> Engine:
        engine = Engine(
            list(steps), courier=self.courier(), idle_seconds=self.idle_seconds, rest_seconds=self.rest_seconds
        )
        self.started.append(engine)
        engine.start()
        return engine

    def courier(self) -> Procrastinate | None:
        if self.kind != PROCRASTINATE:
            return None
        return Procrastinate(str(conninfo(self.url)), JOB_QUEUE, JOB_TASK, self.poll_seconds, self.connect_seconds)

    def wake_for_job(self, engine: Engine) -> None:
        """In one process the step before says that a job may be due; else the message is all there is."""
        if self.kind != PROCRASTINATE:
            engine.wake("infer")


class Counted:
    """Work that counts its calls, and answers from a list, then None."""

    def __init__(self, *answers: float | Exception | None) -> None:
        self.calls = 0
        self.answers = list(answers)
        self.ran = threading.Semaphore(0)

    def __call__(self) -> float | None:
        self.calls += 1
        answer = self.answers.pop(0) if self.answers else None
        self.ran.release()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def wait(self, times: int = 1) -> None:
        for _ in range(times):
            assert self.ran.acquire(timeout=PATIENCE), "it did not run"


@dataclass
class Slots:
    """Does jobs as `infer` does: claims what the ledger gives it, and finishes it."""

    ledger: Ledger
    perform: Callable[[Job], object] = lambda job: None
    done: list[Job] = field(default_factory=list)

    def __call__(self) -> float | None:
        job = self.ledger.jobs.claim(lease_seconds=60)
        if job is None:
            due = self.ledger.jobs.next_due()
            return None if due is None else due - self.ledger.db.clock()
        self.perform(job)
        if self.ledger.jobs.finish(job, []):
            self.done.append(job)
        return 0.0

    def step(self, threads: int = 1) -> Step:
        return Step(name="infer", work=self, threads=threads, remind=self.ledger.jobs.remind)

    def wait(self, number: int) -> None:
        wait_until(lambda: len(self.done) >= number, seconds=PATIENCE, what=f"the end of {number} jobs")


def messages(url: str, state: str = "todo") -> list[int]:
    """The jobs that messages in the queue name."""
    with psycopg.connect(url, autocommit=True) as rows:
        found = rows.execute("SELECT args ->> 'job_id' FROM procrastinate_jobs WHERE status = %s ORDER BY id", [state])
        return [int(number) for (number,) in found]


def change(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as rows:
        rows.execute(statement)  # type: ignore[call-overload]


def listening(url: str) -> bool:
    """Whether a worker hears of new messages."""
    with psycopg.connect(url, autocommit=True) as rows:
        query = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"
        return rows.execute(query).fetchone() != (0,)


def defer(url: str, job_id: int) -> None:
    message = "INSERT INTO procrastinate_jobs (queue_name, task_name, args) VALUES (%s, %s, %s)"
    with psycopg.connect(url, autocommit=True) as rows:
        rows.execute(message, [JOB_QUEUE, JOB_TASK, Jsonb({"job_id": job_id})])
