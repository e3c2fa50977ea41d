"""The objects of one job: composed for each destination, written to the spool."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

import structlog

from node.codes import DCM
from node.compose.case import Case
from node.compose.composers import HEADER_FAULTS, compose_by_kind
from node.compose.identity import Identity
from node.compose.stored_objects import store_object, store_page, stored_reports, with_earlier_time
from node.compose.summary_page import draw_summary_page
from node.errors import BrokenResult
from node.host import Manifest
from node.images.series import Series
from node.profiles import DEFAULT_KINDS, PROFILES, Profile
from node.records import Job, ResultObject
from node.results import Result
from node.spool import Spool

log = structlog.get_logger()

FAMILIES = {
    "artificial intelligence": DCM.ArtificialIntelligence,
    "morphological operations": DCM.MorphologicalOperations,
    "histogram analysis": DCM.HistogramAnalysis,
}
"""`family` of a manifest → Algorithm Family (PS3.16 CID 7162)."""
JOB_NUMBERS, PART_NUMBERS = 100, 10
"""Series Numbers start at the profile's. Each job of a study has a hundred of them, each run of a job has ten."""

Run = tuple[Mapping[str, Series], Sequence[Result]]
"""Inputs by role, and results, of one run of the plugin."""
ComposedObjects = tuple[tuple[ResultObject, ...], dict[str, tuple[str, ...]], tuple[str, ...]]
"""Rows of the objects in the spool, the destinations of each by its SOP Instance UID, and what could not be made."""


class IdentityOfRun(Protocol):
    """Gives the identity of a run of the job: `job_identity` with all but the last three arguments."""

    def __call__(self, *, part: int, profile: Profile = ..., kinds: Collection[str] = ...) -> Identity:
        """Return the identity of the run number `part`."""


def job_identity(
    job: Job,
    manifest: Manifest,
    version: Callable[[str], str],
    *,
    device_uid: str,
    inputs: str,
    part: int,
    profile: Profile = PROFILES["orthanc"],
    kinds: Collection[str] = (),
) -> Identity:
    """Return the identity of one run of a job, for the objects of destinations with a profile.

    Parameters
    ----------
    version
        Gives the version of a model that served the job.
    inputs
        Digest of what the job reads: see `Identity`.
    part
        Number of the run, from 0.
    kinds
        Kinds of objects that are composed together.
    """
    return Identity(
        study_uid=job.study_uid,
        revision=job.revision,
        plugin=manifest.name,
        version=manifest.version,
        title=manifest.title,
        manufacturer=manifest.manufacturer,
        models=tuple(f"{model} {version(model)}" for model in manifest.model_names),
        at=datetime.fromtimestamp(job.planned_at).astimezone(),
        first_series_number=profile.first_series_number + JOB_NUMBERS * job.ordinal + PART_NUMBERS * part,
        device_uid=device_uid,
        part=part,
        inputs=inputs,
        objects=tuple(sorted(kinds)),
        family=FAMILIES[manifest.family],
        kind=manifest.kind,
        validated_on=manifest.validated_on,
        variant=profile.variant,
        description_format=profile.series_description,
    )


def compose_job(
    profiles: Mapping[str, Profile],
    job: Job,
    identity_of: IdentityOfRun,
    spool: Spool,
    earlier: Sequence[str],
    runs: Iterable[Run],
) -> ComposedObjects:
    """Write the objects that the destinations of a job want to the spool, and return their rows and destinations.

    An object that cannot be composed or written costs no other: a sentence says which, and why.

    Parameters
    ----------
    profiles
        Profile of each destination, by its name.
    earlier
        Paths in the spool of the objects that the same plugin made on the study's earlier revision.
    runs
        The runs of the plugin; each is composed as soon as the iterator gives it.

    Raises
    ------
    BrokenResult
        What the plugin returned does not fit the images; or no object of the job could be made.
    """
    predecessors = stored_reports(spool, earlier)
    objects: list[ResultObject] = []
    recipients: dict[str, tuple[str, ...]] = {}
    failures: list[str] = []

    def failed(kind: str, error: Exception) -> None:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        log.error("job.object", study=job.study_uid, job=job.id, kind=kind, error=type(error).__name__)
        failures.append(f"{kind} could not be made of the images, and everything else was: {reason}")

    for part, (inputs, results) in enumerate(runs):
        of_page = with_earlier_time(spool, identity_of(part=part))
        for names, profile, kinds in _variants({name: profiles.get(name, Profile()) for name in job.destinations}):
            case = Case(
                inputs=inputs,
                results=results,
                identity=replace(identity_of(part=part, profile=profile, kinds=kinds), at=of_page.at),
                predecessors=predecessors,
                caveat=job.caveat,
                most_frames=profile.most_frames,
            )
            for kind, made in compose_by_kind(case, kinds, failed):
                try:
                    stored = store_object(spool, made)
                except HEADER_FAULTS as error:
                    failed(kind, error)
                    continue
                objects.append(stored)
                recipients[stored.sop_instance_uid] = tuple(
                    name for name in names if kind in profiles.get(name, profile).objects
                )
        case = Case(inputs=inputs, results=results, identity=of_page, caveat=job.caveat)
        try:
            store_page(spool, job, part, draw_summary_page(case), case)
        except HEADER_FAULTS as error:
            failed("the page of results", error)
    if failures and not objects:
        raise BrokenResult("; ".join(failures).replace(", and everything else was", ""))
    return tuple(objects), recipients, tuple(failures)


def _variants(profiles: Mapping[str, Profile]) -> Iterator[tuple[list[str], Profile, set[str]]]:
    """Return the names of destinations that share objects, a profile of theirs, and the kinds that they want."""
    if not profiles:
        yield [], Profile(), set(DEFAULT_KINDS)
    for variant in dict.fromkeys(profile.variant for profile in profiles.values()):
        names = [name for name, profile in profiles.items() if profile.variant == variant]
        yield names, profiles[names[0]], {kind for name in names for kind in profiles[name].objects}
