"""One attempt at one job: claim it, do it in a child process and record it, or put it back, or park it."""

import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from node.engine import Lease
from node.errors import JobDied, NodeError, NodeStops, PluginGone, Transient
from node.faults import fault
from node.host import Plugin
from node.images.header_summary import read_summary
from node.images.part10 import Part10
from node.images.series import Series
from node.ledger.instances import Instances
from node.ledger.jobs import Jobs
from node.records import LEASE_SECONDS, Job, Place, ResultObject
from node.results import NotSuitable, Result

PREPARE_SECONDS = 60.0
"""How long a job waits for its models to be loaded before it is put back."""
RETRY_SHARE, RETRY_SHORTEST, RETRY_LONGEST = 0.25, 1.0, 300.0
"""A job that waits for Triton is tried again after a quarter of the time it has waited, within these limits."""
DEATH_SECONDS = 5.0
"""A job whose process died is tried again after this time, multiplied by the attempts so far."""


Renew = Callable[[], bool]
"""Renews the lease of a job if necessary, and returns whether this process still holds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Everything a child process needs for one job.

    `parts` are the instances of its inputs and of its priors; `inputs` is a digest of all that the job reads.
    """

    job: Job
    plugin: Plugin
    parts: tuple[Part10, ...]
    predecessors: tuple[str, ...]
    device_uid: str
    inputs: str

    @property
    def allow_demonstration(self) -> bool:
        """Whether a demonstration network may be asked about images of patients."""
        return self.job.allow_demonstration

    @property
    def reports_not_suitable(self) -> bool:
        """Whether a report is sent of unsuitable images: a route asks for it, or it replaces an earlier report."""
        return self.job.report_not_suitable or bool(self.predecessors)

    @property
    def volume_bytes(self) -> int:
        """How many bytes the volumes of the largest run of the plugin take, estimated from header summaries."""
        sizes: dict[str, int] = defaultdict(int)
        for part in self.parts:
            summary = read_summary(part.summary)
            series = summary.values["SeriesInstanceUID"] if summary else ""
            sizes[series] += summary.volume_bytes if summary else part.length
        runs = [{key.partition("#")[0] for key in keys.values()} for keys in self.job.inputs]
        return sizes[""] + max((sum(sizes[series] for series in run) for run in runs), default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Performed:
    """The outcome of a job: its objects in the spool, remarks for the study's story, and seconds for each step.

    `recipients` maps SOP Instance UID to destinations, for the objects that do not go to all destinations of the job.
    """

    objects: tuple[ResultObject, ...]
    remarks: tuple[str, ...]
    timing: Mapping[str, float]
    recipients: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(slots=True)
class Stopwatch:
    """Seconds for each step of a job."""

    laps: dict[str, float] = field(default_factory=dict)
    _since: float = field(default_factory=time.perf_counter)

    def lap(self, name: str) -> None:
        """Record the time since the last lap under a name."""
        now = time.perf_counter()
        self.laps[name] = now - self._since
        self._since = now


def attempt(
    jobs: Jobs,
    instances: Instances,
    plugins: Mapping[str, Plugin],
    perform: Callable[[Order, Renew], Performed],
    part10: Callable[[Place, str], Part10],
    *,
    attempts: int,
    device_uid: str,
    priors: Callable[[Order, Renew], tuple[Order, tuple[str, ...]]] = lambda order, _: (order, ()),
    loading: Callable[[], Collection[str]] = tuple,
    contradicts: Callable[[Iterable[ResultObject], Mapping[str, str]], str] = lambda _made, _others: "",
    steady: Callable[[], float] = time.monotonic,
) -> float | None:
    """Do one job if one is due; return in how many seconds to look again, None if no job waits.

    `perform` gets the order and a function that renews the lease and returns whether the job is still held. `priors`
    gets the same; it adds the series of earlier studies to the order, and returns remarks about them. Jobs of plugins
    whose models are still `loading` are left waiting. `contradicts` gets the objects of the job and the Segmentations
    of other plugins on the study, and returns why they cannot both be right: the job then has no objects. `steady` is
    the clock of the lease: it does not jump when the system time is set.
    """
    later = loading()
    job = jobs.claim(lease_seconds=LEASE_SECONDS, without=later)
    if job is None:
        due = jobs.next_due(without=later)
        return None if due is None else due - jobs.clock()
    fault("infer.claimed")
    if job.attempts > attempts:  # the whole node died each time
        jobs.park(job, f"its process or the node died {attempts} times while it ran")
        return 0.0
    try:
        lease = Lease(lambda: jobs.renew(job, lease_seconds=LEASE_SECONDS), seconds=LEASE_SECONDS, clock=steady)
        order, prior_remarks = priors(_order(job, jobs, instances, plugins, part10, device_uid), lease.keep)
        performed = perform(order, lease.keep)
        if reason := contradicts(performed.objects, jobs.segmentations_beside(job)):
            remarks = (*performed.remarks, f"not suitable, because {reason}")
            performed = replace(performed, objects=(), recipients={}, remarks=remarks)
        fault("infer.performed")
        jobs.finish(
            job,
            performed.objects,
            remarks=(*prior_remarks, *performed.remarks),
            timing=performed.timing,
            recipients=performed.recipients,
        )
        fault("infer.finished")
    except NodeStops as error:
        jobs.postpone(job, seconds=0, reason=str(error), attempts=job.attempts - 1)
    except JobDied as error:
        _after_death(jobs, job, str(error), attempts)
    except PluginGone as error:
        jobs.park(job, str(error))
        if job.plugin in plugins:
            jobs.adopt({job.plugin: plugins[job.plugin].manifest.version}, only=job)
    except Transient as error:
        wait = min(max((jobs.clock() - job.planned_at) * RETRY_SHARE, RETRY_SHORTEST), RETRY_LONGEST)
        jobs.postpone(job, seconds=wait, reason=str(error), attempts=job.attempts - 1)
    except NodeError as error:
        jobs.park(job, str(error))
    return 0.0


def _order(
    job: Job,
    jobs: Jobs,
    instances: Instances,
    plugins: Mapping[str, Plugin],
    part10: Callable[[Place, str], Part10],
    device_uid: str,
) -> Order:
    """Return the order of a job; PluginGone if its plugin is missing, or of another version."""
    plugin = plugins.get(job.plugin)
    if plugin is None or plugin.manifest.version != job.version:
        there = f"version {plugin.manifest.version} is" if plugin else "no version is"
        raise PluginGone(
            f"planned for {job.plugin} {job.version}, but {there} here; put the plugin back and requeue, "
            "or send the study anew"
        )
    series = {key.partition("#")[0] for keys in job.inputs for key in keys.values()}
    rows = instances.of(job.study_uid)
    predecessors = tuple(made.path for made in jobs.predecessors(job))
    return Order(
        job=job,
        plugin=plugin,
        parts=tuple(part10(place, row.note) for row, place in rows if row.series_uid in series),
        predecessors=predecessors,
        device_uid=device_uid,
        inputs=digest_of(job.digest, *predecessors),
    )


def digest_of(*lines: str) -> str:
    """Return a hash of lines: equal for equal lines in the same order only."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _after_death(jobs: Jobs, job: Job, reason: str, attempts: int) -> None:
    """Postpone a job whose process died, or park it after `attempts`: the job itself may kill the process."""
    if job.attempts >= attempts:
        jobs.park(job, f"{reason}; tried {job.attempts} times")
    else:
        jobs.postpone(job, seconds=DEATH_SECONDS * job.attempts, reason=reason, attempts=job.attempts)


Run = tuple[Mapping[str, Series], tuple[Result, ...]]


def reported_runs(runs: Iterable[Run], remarks: list[str], *, not_suitable: bool = True) -> Iterator[Run]:
    """Yield each run that a job reports, as soon as this is known, and add a remark for each unsuitable stack.

    A study often contains a localiser or a second reconstruction: if a plugin could use any stack, the unsuitable
    stacks become remarks only. If it could use none, the run on the largest stack is reported, with its reason, if the
    reason is for readers and `not_suitable` runs are.
    """
    unsuitable: list[Run] = []
    suitable = False
    for inputs, results in runs:
        refused = next((result for result in results if isinstance(result, NotSuitable)), None)
        if refused is None:
            suitable = True
            yield inputs, results
        else:
            if refused.reported and not_suitable:
                unsuitable.append((inputs, results))
            keys = " and ".join(series.key for series in inputs.values())
            remarks.append(f"{keys}: not suitable, because {refused.reason}")
    if unsuitable and not suitable:
        yield max(unsuitable, key=lambda run: sum(len(series.frames) for series in run[0].values()))
