"""The river on one screen: what happens to a study, from the first C-STORE to the last.

    receive → assemble → route → infer → compose → deliver

`River.steps` is the node's side, each step looking into the ledger for what is due. `perform` is what one job does, in
a child process of its own.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from node.assemble import settle, stacks
from node.compose import compose_for, fall_back, identify
from node.deliver import CommitmentScu, Outbox, commit_step
from node.engine import Step
from node.infer import Order, Performed, Stopwatch, Triton, attempt, run, worth_telling
from node.ledger import Ledger
from node.profiles import Profile
from node.purge import purge
from node.receive import Arrivals, CommitmentScp
from node.route import Routes, plan_due
from node.spool import Spool

PREPARE_SECONDS = 60.0
"""How long a job waits for its models to be loaded before it is put back."""
REPORT = "report commitment"


@dataclass(frozen=True, kw_only=True)
class River:
    """The stages of one node, in the order of the water."""

    ledger: Ledger
    spool: Spool
    arrivals: Arrivals
    routes: Routes
    outboxes: Sequence[Outbox]
    committing: Sequence[CommitmentScu]
    promises: CommitmentScp
    profiles: Mapping[str, Profile]
    perform: Callable[[Order, Callable[[], bool]], Performed]
    device_uid: str
    slots: int
    attempts: int
    keep_seconds: float
    clock: Callable[[], float] = time.time

    def steps(self) -> list[Step]:
        """Return the river as the engine runs it."""
        mouths = {f"deliver to {outbox.destination}": partial(self._deliver, outbox) for outbox in self.outboxes}
        commits = {commit_step(scu.destination): scu.commit for scu in self.committing}
        return [
            Step(name="receive", work=self.arrivals.record, then=("assemble",)),
            Step(name="assemble", work=self._assemble, then=("route",)),
            Step(name="route", work=self._route, then=("infer",)),
            Step(name="infer", work=self._infer, then=tuple(mouths), threads=self.slots),
            *(Step(name=name, work=deliver, then=tuple(commits)) for name, deliver in mouths.items()),
            *(Step(name=name, work=commit) for name, commit in commits.items()),
            Step(name=REPORT, work=self.promises.report),
            Step(name="purge", work=self._purge),
        ]

    def _assemble(self) -> float | None:
        return settle(self.ledger, self.spool, self.routes.patience, clock=self.clock)

    def _route(self) -> float | None:
        return plan_due(self.ledger, self.spool, self.routes, stacks)

    def _infer(self) -> float | None:
        return attempt(
            self.ledger, self.routes.plugins, self.perform, self.spool.part10,
            attempts=self.attempts, device_uid=self.device_uid,
        )  # fmt: skip

    def _deliver(self, outbox: Outbox) -> float | None:
        wait = outbox.deliver()
        instead = fall_back(self.ledger, self.spool, outbox.destination, self.profiles[outbox.destination])
        return 0.0 if instead else wait

    def _purge(self) -> float | None:
        return purge(self.ledger, self.spool, keep_seconds=self.keep_seconds, clock=self.clock)


def perform(order: Order, spool: Spool, triton: Triton, profiles: Mapping[str, Profile]) -> Performed:
    """Do one job: read its series, run the plugin, compose what it found, and leave the objects in the spool."""
    watch = Stopwatch()
    manifest = order.plugin.manifest
    series = {one.key: one for one in stacks(order.parts).series}
    inputs = [{role: series[key] for role, key in one.items()} for one in order.job.inputs]
    watch.lap("load")
    triton.prepare(manifest.models, PREPARE_SECONDS)
    told, remarks = worth_telling([(one, run(order.plugin, one, triton)) for one in inputs])
    watch.lap("infer")
    models = tuple(f"{model} {triton.version(model)}" for model in manifest.models)
    called = partial(identify, order.job, manifest, models=models, device_uid=order.device_uid)
    objects, recipients = compose_for(profiles, order.job, told, called, spool, earlier=order.predecessors)
    watch.lap("compose")
    return Performed(objects=objects, remarks=tuple(remarks), timing=watch.laps, recipients=recipients)
