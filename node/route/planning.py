"""Plan the jobs of a stable study from its stacks, with a sentence for every stack and route."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from node.errors import BytesLost, LedgerRefused, NodeError, Transient
from node.faults import fault
from node.host import Plugin
from node.images.agreement import check_study
from node.images.predicates import When, mismatch, orientation
from node.images.series import Series
from node.images.stacks import group_into_stacks
from node.ledger.instances import Instances
from node.ledger.studies import Studies
from node.operation_records import Identifiers
from node.plain_text import plain
from node.records import Decision, Plan, StudyState
from node.results.figures import counted
from node.route.rules import Route, Routes
from node.spool import Spool

log = structlog.get_logger()

ALLOWED = "demonstration allowed"
"""Part of the digest of a plan if all its routes allow a demonstration network."""
PAUSED_SECONDS = 60.0
"""How often a study of a paused route is looked at; `isocenter resume` has it looked at at once."""
REPORTED = "not suitable reported"
"""Part of the digest of a plan if one of its routes asks for reports of unsuitable images."""
LOOK_AGAIN_SECONDS = 5.0
"""How long a study waits if its images cannot be read for the moment."""


def plan_due(studies: Studies, instances: Instances, spool: Spool, routes: Routes) -> float | None:
    """Plan the jobs of every stable study or park it; return in how many seconds to look again.

    A study that matches a paused route waits.
    """
    again = None
    for study in studies.in_state(StudyState.STABLE):
        if lacking := studies.lacking(study):
            studies.park(study, f"{lacking} of its instances were purged or lost: the study must be sent again")
            continue
        rows = instances.of(study.study_uid)
        try:
            assembled = group_into_stacks(spool.part10(place, row.note) for row, place in rows)
            checksums = {row.sop_instance_uid: row.checksum for row, _ in rows}
            studies.identify(study.study_uid, _identifiers(assembled.series))
            planned = plan(assembled.series, routes, checksums, caveat=study.caveat)
        except Transient as error:
            log.warning("study.waits", study=study.study_uid, reason=str(error))
            again = LOOK_AGAIN_SECONDS
            continue
        except (NodeError, OSError) as error:
            if not (isinstance(error, BytesLost) and studies.lose(study, spool.holds)):
                studies.park(study, str(error))
            continue
        if assembled.set_aside and studies.lose(study, spool.holds):
            continue
        if {decision.route for decision in planned.decisions if decision.matched} & studies.paused_routes():
            again = PAUSED_SECONDS
            continue
        aside = [f"instance {uid}: {reason}" for uid, reason in assembled.set_aside]
        try:
            studies.plan(study, planned.decisions, planned.plans, planned.remarks, aside)
        except LedgerRefused as error:
            studies.park(study, str(error))
        fault("route.planned")
    return again


def _identifiers(stacks: Sequence[Series]) -> Identifiers:
    """Return what a person finds a study by, as its first image says."""
    if not stacks:
        return Identifiers()
    keywords = ("PatientID", "AccessionNumber", "StudyDate")
    patient_id, accession_number, date = (str(stacks[0].header.get(keyword) or "").strip() for keyword in keywords)
    return Identifiers(
        patient_id=plain(patient_id, 64),
        accession_number=plain(accession_number, 64),
        study_date=date if len(date) == 8 and date.isdigit() else "",
        modalities=",".join(sorted({series.modality for series in stacks} - {""})),
    )


@dataclass(frozen=True, slots=True)
class Planned:
    """The result of routing a study: why each route did or did not match, the jobs, and other remarks."""

    decisions: tuple[Decision, ...]
    plans: tuple[Plan, ...]
    remarks: tuple[str, ...]


def plan(stacks: Sequence[Series], routes: Routes, checksums: Mapping[str, int], *, caveat: str = "") -> Planned:
    """Choose the jobs of a study.

    A plugin that needs one role runs on every stack that is routed to it, or, if the role takes several, on all stacks
    of each series together. A plugin that needs several roles runs once, on the largest stack that fits each role. An
    optional role stays empty if no stack is left. `checksums` has the checksum of each instance by SOP Instance UID: a
    later revision compares them to find whether a plugin has already seen the same images. `caveat` says what is
    missing in the study.

    Raises
    ------
    MixedStudy
        The images carry two Patient IDs, or those of a series two names, dates or orders.
    """
    check_study(stacks)
    decisions = [_decide(route, series) for series in stacks for route in routes.routes]
    matched = {(decision.route, decision.series_key) for decision in decisions if decision.matched}
    plans: list[Plan] = []
    remarks = [f"{series.key}: {warning}" for series in stacks for warning in series.warnings]
    for name in dict.fromkeys(name for route in routes.routes for name in route.plugins):
        plugin = routes.plugins[name]
        calling = [route for route in routes.routes if name in route.plugins]
        calling = [route for route in calling if any((route.name, series.key) in matched for series in stacks)]
        offered = [series for series in stacks if any((route.name, series.key) in matched for route in calling)]
        inputs, missing = _inputs(plugin, offered)
        remarks += missing
        if inputs:
            by_key = {series.key: series for series in stacks}
            plans.append(_plan(plugin, inputs, calling, by_key, checksums, caveat))
    return Planned(tuple(decisions), tuple(plans), tuple(remarks))


def describe(series: Series) -> str:
    """Return a stack in a few words that name no person: "CT series 3, 100 images, axial"."""
    number = series.header.get("SeriesNumber")
    words = [f"{series.modality or 'images'} series {number if number is not None else 'without number'}"]
    words.append(counted(len(series.frames), "image"))
    return ", ".join([*words, *filter(None, [orientation(series.frames[0])])])


def _decide(route: Route, series: Series) -> Decision:
    reason = route.mismatch(series)
    sentence = reason or f"matches; goes to {', '.join(route.plugins)}, results to {', '.join(route.to)}"
    return Decision(
        series_key=series.key,
        series_text=describe(series),
        route=route.name,
        matched=reason is None,
        sentence=sentence,
    )


def _inputs(plugin: Plugin, offered: Sequence[Series]) -> tuple[list[dict[str, Series]], list[str]]:
    """Return role → stack for every run, and a sentence for each role that no stack fits."""
    if not offered:
        return [], []
    roles = plugin.manifest.present
    needed = [role for role, asked in roles.items() if not asked.optional]
    fitting = {
        role: [series for series in offered if mismatch(asked.when, series) is None] for role, asked in roles.items()
    }
    extra = {series.key for role, found in fitting.items() if role not in needed for series in found}
    if extra.issuperset(series.key for series in offered) and not any(fitting[role] for role in needed):
        return [], []  # such as the CT of a study without a PET: the plugin was not meant
    missing = [
        f"{plugin.name} does not run: no series for its role {role!r}; {_why_none(roles[role].when, offered)}"
        for role in needed
        if not fitting[role]
    ]
    if missing:
        return [], missing
    if len(fitting) == 1:
        (found,) = fitting.values()
        return [plugin.named(together) for together in _runs(plugin, found)], []
    if len(needed) == 1:
        (role,) = needed
        return [_with_optional({role: series}, fitting) for series in fitting[role]], []
    return _distinct(plugin, needed, fitting)


def _runs(plugin: Plugin, found: Sequence[Series]) -> list[list[Series]]:
    """Return which stacks a plugin with one role gets together: each alone, or all of a series."""
    if not any(asked.several for asked in plugin.manifest.series.values()):
        return [[series] for series in found]
    by_series: dict[str, list[Series]] = defaultdict(list)
    for series in found:
        by_series[series.series_uid].append(series)
    return list(by_series.values())


def _why_none(when: When, offered: Sequence[Series]) -> str:
    """Return why no stack meets the conditions: once if the reason is the same for all, else for each reason."""
    reasons: dict[str | None, list[Series]] = defaultdict(list)
    for series in offered:
        reasons[mismatch(when, series)].append(series)
    if len(reasons) == 1:
        return str(next(iter(reasons)))
    more = {reason: f" and {len(some) - 1} more" if len(some) > 1 else "" for reason, some in reasons.items()}
    return "; ".join(f"{describe(some[0])}{more[reason]}: {reason}" for reason, some in reasons.items())


def _distinct(
    plugin: Plugin, needed: Sequence[str], fitting: Mapping[str, Sequence[Series]]
) -> tuple[list[dict[str, Series]], list[str]]:
    """Give each role the largest stack that fits it and is still free; roles with the fewest stacks choose first."""
    chosen: dict[str, Series] = {}
    for role in sorted(needed, key=lambda role: len(fitting[role])):
        taken = {series.key for series in chosen.values()}
        left = [series for series in fitting[role] if series.key not in taken]
        if not left:
            return [], [f"{plugin.name} does not run: the series that fits its role {role!r} already has another role"]
        chosen[role] = max(left, key=lambda series: len(series.frames))
    return [_with_optional(chosen, fitting)], []


def _with_optional(chosen: Mapping[str, Series], fitting: Mapping[str, Sequence[Series]]) -> dict[str, Series]:
    """Give each empty role a stack that is left: of the same frame of reference if possible, then the largest."""
    given = dict(chosen)
    places = {series.frame_of_reference_uid for series in chosen.values()} - {""}
    for role in sorted((role for role in fitting if role not in chosen), key=lambda role: len(fitting[role])):
        taken = {series.key for series in given.values()}
        if left := [series for series in fitting[role] if series.key not in taken]:
            given[role] = max(left, key=lambda series: (series.frame_of_reference_uid in places, len(series.frames)))
    return given


def _plan(
    plugin: Plugin,
    inputs: Iterable[Mapping[str, Series]],
    calling: Sequence[Route],
    stacks: Mapping[str, Series],
    checksums: Mapping[str, int],
    caveat: str,
) -> Plan:
    keys = tuple({role: series.key for role, series in stacks_of_run.items()} for stacks_of_run in inputs)
    allowed = all(route.allow_demonstration for route in calling)
    report = any(route.report_not_suitable for route in calling)
    return Plan(
        plugin=plugin.name,
        version=plugin.manifest.version,
        route=", ".join(route.name for route in calling),
        inputs=keys,
        destinations=tuple(dict.fromkeys(destination for route in calling for destination in route.to)),
        priority=max(route.priority for route in calling),
        digest=_digest(keys, stacks, checksums, (caveat, ALLOWED if allowed else "", *([REPORTED] if report else []))),
        caveat=caveat,
        allow_demonstration=allowed,
        report_not_suitable=report,
    )


def _digest(
    keys: Iterable[Mapping[str, str]], stacks: Mapping[str, Series], checksums: Mapping[str, int], more: Iterable[str]
) -> str:
    """Return a hash of the images of the inputs, of their roles, and of everything in `more`."""
    lines = [
        f"{number}|{role}|{key}|{uid}|{checksums[uid]}"
        for number, key_of_role in enumerate(keys)
        for role, key in sorted(key_of_role.items())
        for uid in dict.fromkeys(frame.sop_instance_uid for frame in stacks[key].frames)
    ]
    return hashlib.sha256("\n".join([*lines, *filter(None, more)]).encode()).hexdigest()
