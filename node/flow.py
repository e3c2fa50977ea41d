"""The river on one screen: what happens to a study, from the first C-STORE to the last.

    receive → assemble → route → infer → compose → deliver

`River.steps` is the node's side, each step looking into the ledger for what is due; associations come into processes of
their own (`node.receiver`). `perform` is what one job does, in a child process too.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from node.arena import PROCESS_MEMORY, Memory
from node.assemble import settle
from node.compose import compose_for, fall_back, identify
from node.deliver import CommitmentScu, Outbox, commitment_step
from node.engine import Slots, Step, consumer_thread, release_slot
from node.images.stacks import group_into_stacks
from node.infer import PREPARE_SECONDS, Order, Performed, Priors, Stopwatch, attempt, run, worth_telling
from node.ledger import Ledger
from node.profiles import Profile
from node.purge import purge
from node.receive import Receivers
from node.route import Routes, plan_due
from node.spool import Spool
from node.triton import Triton

ROLES = {"receive": ("receive", "assemble", "route", "purge"), "work": ("infer",), "deliver": ("deliver", "commit")}
"""What a machine does of the river: the first words of its steps."""


@dataclass(frozen=True, kw_only=True)
class River:
    """The stages of one node, in the order of the water."""

    ledger: Ledger
    spool: Spool
    receivers: Receivers
    routes: Routes
    outboxes: Sequence[Outbox]
    committing: Sequence[CommitmentScu]
    profiles: Mapping[str, Profile]
    perform: Callable[[Callable[[], None], Order, Callable[[], bool]], Performed]
    priors: Priors
    device_uid: str
    slots: Slots
    attempts: int
    keep_seconds: float
    tell_seconds: float

    def steps(self, roles: Collection[str] = tuple(ROLES)) -> list[Step]:
        """Return the river as the engine runs it, or what some roles do of it."""
        mouths = {f"deliver to {outbox.destination}": partial(self._deliver, outbox) for outbox in self.outboxes}
        commits = {commitment_step(scu.destination): scu.commit for scu in self.committing}
        jobs = partial(self.slots.run, self._infer)
        river = [
            Step(name="receive", work=self.receivers.watch, then=("assemble",)),
            Step(name="assemble", work=self._assemble, then=("route",)),
            Step(name="route", work=self._route, then=("infer",)),
            Step(name="infer", work=jobs, then=tuple(mouths), threads=self.slots.threads, remind=self.ledger.remind),
            *(Step(name=name, work=deliver, then=tuple(commits)) for name, deliver in mouths.items()),
            *(Step(name=name, work=commit) for name, commit in commits.items()),
            Step(name="purge", work=self._purge),
        ]
        words = {word for role in roles for word in ROLES[role]}
        return [step for step in river if step.name.partition(" ")[0] in words]

    def _assemble(self) -> float | None:
        return settle(self.ledger, self.spool, self.routes.patience)

    def _route(self) -> float | None:
        return plan_due(self.ledger, self.spool, self.routes, group_into_stacks)

    def _infer(self, leave: Callable[[], None]) -> float | None:
        look = partial(attempt, self.ledger, self.routes.plugins, partial(self.perform, leave), self.spool.part10)
        return look(attempts=self.attempts, device_uid=self.device_uid, priors=self.priors.found)

    def _deliver(self, outbox: Outbox) -> float | None:
        wait, name = outbox.deliver(), outbox.destination
        return 0.0 if fall_back(self.ledger, self.spool, name, self.profiles[name], group_into_stacks) else wait

    def _purge(self) -> float | None:
        keep, tell = self.keep_seconds, self.tell_seconds
        return purge(self.ledger, self.spool, keep_seconds=keep, tell_seconds=tell)


def perform(
    order: Order, spool: Spool, triton: Triton, profiles: Mapping[str, Profile], memory: Memory = PROCESS_MEMORY
) -> Performed:
    """Do one job: read its series, run the plugin, and leave objects in the spool: of one run while the next infers."""
    watch, remarks, manifest = Stopwatch(), list[str](), order.plugin.manifest
    series = {one.key: one for one in group_into_stacks(order.parts, memory).series}
    inputs = [{role: series[key] for role, key in one.items()} for one in order.job.inputs]
    watch.lap("load")
    triton.prepare(manifest.models, PREPARE_SECONDS)
    called = partial(identify, order.job, manifest, triton.version, device_uid=order.device_uid)
    compose = partial(compose_for, profiles, order.job, called, spool, order.predecessors)
    with consumer_thread(compose) as (put, composed):
        for told in worth_telling(((one, run(order.plugin, one, triton)) for one in inputs), remarks):
            put(told)
        watch.lap("infer")
        release_slot()
    objects, recipients = composed.result()
    watch.lap("compose")
    return Performed(objects=objects, remarks=tuple(remarks), timing=watch.laps, recipients=recipients)
