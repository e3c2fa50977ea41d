"""The flow: what happens to a study, from the first C-STORE to the last.

    receive → assemble → route → infer → compose → deliver

Each function below returns one step, in this order. The engine runs a step when it is due, or when a step before it has
done something (`then`); a step looks into the ledger for what it has to do. `perform` is one job: it runs in a child
process, infers and composes.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from node.arena import PROCESS_MEMORY, Memory
from node.assemble import decode_due, settle
from node.compose import compose_job, fall_back, job_identity
from node.deliver import CommitmentScu, Outbox, commitment_step
from node.engine import Slots, Step, consumer_thread, release_slot
from node.images.part10 import Part10
from node.images.stacks import group_into_stacks
from node.infer import PREPARE_SECONDS, Order, Performed, Priors, Stopwatch, attempt, models_asked, reported_runs, run
from node.infer.agreement_of_results import contradiction
from node.ledger import Ledger
from node.profiles import Profile
from node.purge import purging
from node.receive import Receivers
from node.route import Routes, plan_due
from node.spool import Spool
from node.triton import Triton

PerformJob = Callable[[Callable[[], None], Order, Callable[[], bool]], Performed]
"""Performs a job; its arguments release the job's slot early, say what to do, and renew the job's lease."""


def receive(receivers: Receivers) -> Step:
    """Receive instances: processes of their own take associations, and this step replaces those that died."""
    return Step(name="receive", work=receivers.watch, then=("assemble",))


def assemble(ledger: Ledger, spool: Spool, routes: Routes) -> Step:
    """Settle studies: a study is stable when what its routes ask for is there, or when nothing more comes."""
    work = partial(settle, ledger.studies, ledger.instances, spool, routes.patience)
    return Step(name="assemble", work=work, then=("route",))


def route(ledger: Ledger, spool: Spool, routes: Routes) -> Step:
    """Plan jobs: one for each plugin that a route sends series of a stable study to."""
    return Step(name="route", work=partial(plan_due, ledger.studies, ledger.instances, spool, routes), then=("infer",))


def infer(
    ledger: Ledger,
    spool: Spool,
    routes: Routes,
    slots: Slots,
    perform_job: PerformJob,
    priors: Priors,
    *,
    attempts: int,
    device_uid: str,
    destinations: Sequence[str],
    loading: Callable[[], Collection[str]],
) -> Step:
    """Do jobs: claim one that is due, have it performed, and record its objects, each due at its destinations.

    Jobs of plugins whose models are still `loading` wait.
    """

    def do_job(release: Callable[[], None]) -> float | None:
        return attempt(
            ledger.jobs,
            ledger.instances,
            routes.plugins,
            partial(perform_job, release),
            spool.part10,
            attempts=attempts,
            device_uid=device_uid,
            priors=priors.add_to,
            loading=loading,
            contradicts=partial(contradiction, spool.path),
        )

    work = partial(slots.run, do_job)
    then = tuple(deliver_step(destination) for destination in destinations)
    return Step(name="infer", work=work, then=then, threads=slots.threads, remind=ledger.jobs.remind)


def perform(
    order: Order, spool: Spool, triton: Triton, profiles: Mapping[str, Profile], memory: Memory = PROCESS_MEMORY
) -> Performed:
    """Perform one job: load its series, infer, and compose the objects of one run while the next run infers."""
    watch = Stopwatch()
    remarks: list[str] = []
    stacks = {series.key: series for series in group_into_stacks(order.parts, memory).series}
    inputs = [{role: stacks[key] for role, key in keys.items()} for keys in order.job.inputs]
    watch.lap("load")
    triton.prepare(models_asked(order.plugin, inputs, allowed=order.allow_demonstration), PREPARE_SECONDS)
    identity = partial(
        job_identity, order.job, order.plugin.manifest, triton.version, device_uid=order.device_uid, inputs=order.inputs
    )
    run_plugin = partial(run, order.plugin, triton=triton, allow_demonstration=order.allow_demonstration)
    compose = partial(compose_job, profiles, order.job, identity, spool, order.predecessors)
    with consumer_thread(compose) as (put, composed):
        runs = ((by_role, run_plugin(by_role)) for by_role in inputs)
        for answer in reported_runs(runs, remarks, not_suitable=order.reports_not_suitable):
            put(answer)
        watch.lap("infer")
        release_slot()
    objects, recipients, failures = composed.result()
    watch.lap("compose")
    return Performed(objects=objects, remarks=(*remarks, *failures), timing=watch.laps, recipients=recipients)


def deliver(ledger: Ledger, spool: Spool, outbox: Outbox, profile: Profile) -> Step:
    """Send objects to one destination, and compose other objects in place of those that it cannot store."""

    def work() -> float | None:
        seconds = outbox.deliver()
        return 0.0 if fall_back(ledger.fallbacks, ledger.instances, spool, outbox.destination, profile) else seconds

    return Step(name=deliver_step(outbox.destination), work=work, then=(commitment_step(outbox.destination),))


def deliver_step(destination: str) -> str:
    """Return the name of the step that sends to a destination."""
    return f"deliver to {destination}"


def commit(commitment: CommitmentScu) -> Step:
    """Ask one destination to commit to keeping what it stored (Storage Commitment, PS3.4 Annex J)."""
    return Step(name=commitment_step(commitment.destination), work=commitment.commit)


def decode_early(
    ledger: Ledger,
    spool: Spool,
    routes: Routes,
    decode: Callable[[Sequence[Part10]], None],
    *,
    limit: int,
    threads: int,
) -> Step:
    """Beside the flow: decode compressed images that routes want while their study arrives, `limit` bytes at most."""
    work = partial(decode_due, ledger.instances, spool, routes.wants, decode, limit=limit)
    return Step(name="decode", work=work, threads=threads)


def purge(ledger: Ledger, spool: Spool, *, keep_seconds: float, history_seconds: float) -> Step:
    """At the end: delete what was finished so long ago, and later its history."""
    work = purging(ledger.retention, ledger.instances, spool, keep_seconds=keep_seconds, tell_seconds=history_seconds)
    return Step(name="purge", work=work)
