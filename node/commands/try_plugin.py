"""Run one plugin on a folder of DICOM files: the author's loop, without a node."""

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import uuid4

import numpy as np

from node import flow
from node.author_place import author_frames, author_sentence
from node.deliver import readable
from node.errors import ConfigError, NodeError, PluginFailed, UnsuitableSeries
from node.host import DEMONSTRATION, Kind, Plugin, find_plugins, read_plugin
from node.images.part10 import Part10
from node.images.predicates import orientation
from node.images.series import Series
from node.images.stacks import group_into_stacks
from node.infer import Order, Stopwatch, check_models_of, with_prior
from node.records import Job, JobState
from node.route import Route, Routes, plan
from node.settings import Settings
from node.spool import Spool
from node.triton import LOCAL, GrpcTriton, Servers

TRITON_SECONDS = 600.0
"""How long Triton may take to start, to load the models, and for an answer: an author's machine may be busy."""
LOOK_SECONDS = 0.5
PICTURE = "picture: "
"""How the line of a picture begins."""
COARSE = 5
"""A warning is printed if the slice distance is more than so many times the pixel spacing."""


def try_plugin(
    settings: Settings,
    plugin: str,
    folder: Path,
    out: Path,
    *,
    prior: Path | None = None,
    allow_demonstration: bool = False,
    again: Callable[[Path], bool] = lambda _: False,
) -> Iterator[str]:
    """Run a plugin, by name or by its folder, on the images of one study; yield what happened, line by line.

    The objects and the picture are written to `out`. A plugin of kind C is run on images of patients only with
    `allow_demonstration`. `prior` is a folder with images of an earlier study. `again` gets the plugin's folder when a
    run has ended, and says whether to run it again, as it is then; a mistake of the plugin is then a line.

    Raises
    ------
    ConfigError
        There is no such plugin, the folder holds images of no study or of several, or nothing that fits its roles.
    ModelRefused
        A model of the plugin is not there.
    PluginFailed
        The plugin raised an error; the message has its line.
    """
    chosen, watch = find(settings, plugin), Stopwatch()
    places = (settings.triton.model_repository, *settings.triton.included)
    check_models_of(chosen, places)
    spool = Spool(out.resolve())
    yield "starting Triton" if LOCAL in settings.triton.urls else f"asking {', '.join(settings.triton.urls)}"
    with Servers(settings.triton, spool.path / "triton.log", start_seconds=TRITON_SECONDS) as servers:
        watch.lap("start")
        triton = GrpcTriton(servers.urls, deadline_seconds=max(settings.triton.deadline_seconds, TRITON_SECONDS))
        triton.prepare(chosen.manifest.models, TRITON_SECONDS)
        watch.lap("models")
        yield f"Triton {watch.laps['start']:.2f} s, models loaded {watch.laps['models']:.2f} s"
        attempt = partial(_attempt, settings, plugin, folder, spool, triton, prior, allow_demonstration)
        yield from attempt()
        while again(chosen.folder):
            try:
                yield from attempt()
            except NodeError as error:
                yield f"mend: {error}"
        triton.close()


def _attempt(
    settings: Settings,
    plugin: str,
    folder: Path,
    spool: Spool,
    triton: GrpcTriton,
    prior: Path | None,
    allow_demonstration: bool,  # noqa: FBT001
) -> Iterator[str]:
    """Run the plugin as it is now."""
    chosen = find(settings, plugin)
    fitting = yield from what_fits(chosen, folder)
    yield f"{chosen.name} is of kind {chosen.manifest.kind}: {chosen.manifest.statement}"
    order = order_of(chosen, fitting, allow_demonstration=allow_demonstration)
    for role, key in (pair for inputs in order.job.inputs for pair in inputs.items()):
        yield from _described(role, fitting.series[key])
    if prior is not None:
        order, remarks = with_prior(order, [Part10.of_file(parcel.path) for parcel in readable(prior).objects])
        yield from remarks or (f"{chosen.name} asks for no prior",)
    try:
        yield from _perform(order, spool, triton)
    except NodeError:
        raise
    except Exception as error:  # one of four: a plugin may raise anything
        yield from (f"  {frame.filename}, line {frame.lineno}: {frame.line}" for frame in author_frames(error))
        raise PluginFailed(author_sentence(error)) from error


def until_saved(folder: Path) -> bool:
    """Return True as soon as a file of a plugin has been saved."""
    before = _saved(folder)
    while _saved(folder) == before:
        time.sleep(LOOK_SECONDS)
    return True


def _saved(folder: Path) -> dict[Path, int]:
    found = (path for path in folder.rglob("*") if path.suffix in (".py", ".toml"))
    return {path: path.stat().st_mtime_ns for path in found}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitting:
    """Images of one study, and which of their series fit a plugin's roles: role → series key, once or several times."""

    study_uid: str
    parts: tuple[Part10, ...]
    series: Mapping[str, Series]
    inputs: tuple[dict[str, str], ...]


def what_fits(plugin: Plugin, folder: Path) -> Generator[str, None, Fitting]:
    """Read a folder, report what in it is set aside, and return what fits the roles of a plugin.

    Raises
    ------
    ConfigError
        The folder holds images of no study or of several, or nothing that fits.
    """
    found = readable(folder)
    yield from (*found.passed_over, *found.missing)
    parts = tuple(Part10.of_file(parcel.path) for parcel in found.objects)
    assembled = group_into_stacks(parts)
    yield from (f"{uid} is set aside: {reason}" for uid, reason in assembled.set_aside)
    studies = {series.study_uid for series in assembled.series}
    if len(studies) != 1:
        raise ConfigError(f"{folder} holds images of {len(studies)} studies; name a folder with images of one study")
    everything = Route(name="try", when={}, plugins=(plugin.name,), to=(str(folder),))
    routes = Routes(routes=(everything,), plugins={plugin.name: plugin}, quiet_seconds=0)
    checksums = {frame.sop_instance_uid: 0 for series in assembled.series for frame in series.frames}
    planned = plan(assembled.series, routes, checksums)
    yield from planned.remarks
    yield from (f"{one.series_text} is set aside: {one.sentence}" for one in planned.decisions if not one.matched)
    if not planned.plans:
        raise ConfigError(f"nothing in {folder} fits what {plugin.name} asks for")
    return Fitting(
        study_uid=studies.pop(),
        parts=parts,
        series={series.key: series for series in assembled.series},
        inputs=planned.plans[0].inputs,
    )


def order_of(plugin: Plugin, fitting: Fitting, *, allow_demonstration: bool = False) -> Order:
    """Return the order of a job that is in no ledger: one plugin on what fits its roles, on a node of its own."""
    job = Job(
        id=0, study_uid=fitting.study_uid, revision=1, plugin=plugin.name, version=plugin.manifest.version, route="try",
        inputs=fitting.inputs, destinations=(), state=JobState.RUNNING, attempts=1, planned_at=time.time(),
        ordinal=0, worker="", reason="", allow_demonstration=allow_demonstration,
        report_not_suitable=True,
    )  # fmt: skip
    return Order(
        job=job, plugin=plugin, parts=fitting.parts, predecessors=(), device_uid=f"2.25.{uuid4().int}", inputs=""
    )


def _described(role: str, series: Series) -> Iterator[str]:
    """Describe what a plugin is given for a role, with warnings about its volume."""
    first, header = series.frames[0], series.header
    yield f"{role}: {series.modality}, {len(series.frames)} images of {header.Rows} × {header.Columns}, {series.key}"
    try:
        apart, down, across = np.linalg.norm(series.affine()[:3, :3], axis=0)
    except UnsuitableSeries as error:
        yield f"warning: {role} has no volume: {error}"
        return
    yield f"{role}: {orientation(first)}, {apart:.3g} mm apart, pixels of {down:.3g} × {across:.3g} mm"
    if orientation(first) == "oblique":
        yield f"warning: {role} is oblique: its slices do not lie along the patient's axes"
    if not 0.9 < apart / (thick := float(header.get("SliceThickness") or apart)) < 1.1:
        yield f"warning: {role} has slices {thick:.3g} mm thick, {'with gaps' if apart > thick else 'which overlap'}"
    if apart > COARSE * max(down, across):
        yield f"warning: {role} is {apart / max(down, across):.0f} times as coarse across slices as in them"


def find(settings: Settings, plugin: str) -> Plugin:
    """Return the plugin in a folder, else the plugin of that name; ConfigError if there is neither."""
    if (Path(plugin) / "plugin.toml").is_file():
        return read_plugin(Path(plugin).resolve())
    plugins = find_plugins(settings.plugin_folders)
    if plugin not in plugins:
        raise ConfigError(f"there is no plugin {plugin!r}; there are: {', '.join(sorted(plugins)) or 'none'}")
    return plugins[plugin]


def _perform(order: Order, spool: Spool, triton: GrpcTriton) -> Iterator[str]:
    performed = flow.perform(order, spool, triton, {})
    yield from performed.remarks
    if order.plugin.manifest.kind is Kind.DEMONSTRATION:
        yield (
            DEMONSTRATION
            if performed.objects
            else "to ask it all the same, without believing it: --allow-demonstration"
        )
    for made in performed.objects:
        yield f"{made.kind}: {spool.path / made.path}"
    for picture in sorted((spool.objects / order.job.study_uid).glob("*.png")):
        yield f"{PICTURE}{picture}"
    yield ", ".join(f"{part} {seconds:.2f} s" for part, seconds in performed.timing.items())
