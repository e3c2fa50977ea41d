"""Run a plugin in a test as the node runs it: on data sets, files or series, with a fake or a real Triton."""

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node.host import read_plugin
from node.host.plausible_table import EMPTY
from node.images.part10 import Part10
from node.images.series import Series
from node.images.stacks import group_into_stacks
from node.infer.run import run
from node.results import Result
from node.route import Planned, Route, Routes, plan
from node.testing.data_set import write
from node.triton.client import Triton
from node.triton.fake import FakeTriton

LOADING_SECONDS = 120.0
"""How long a real server may take to load the models of a plugin."""
Models = Mapping[str, Callable[..., Mapping[str, NDArray[Any]]]]
"""Name of a model → a function from its inputs, by name, to its outputs."""
Images = Path | Sequence[Dataset] | Series
"""A file, or a folder of files; data sets with pixel data; or a series that has been read."""


def stacks(files: Path | Iterable[Path]) -> tuple[Series, ...]:
    """Return the stacks of one study from its files, or from the folder that holds them."""
    if isinstance(files, Path):
        files = sorted(path for path in files.rglob("*") if path.is_file()) if files.is_dir() else [files]
    return group_into_stacks(map(Part10.of_file, files)).series


def run_plugin(
    plugin: Path,
    images: Mapping[str, Images],
    models: Models | Triton,
    *,
    judge: bool = True,
    allow_demonstration: bool = False,
) -> tuple[Result, ...]:
    """Run the plugin in a folder as the node does, and return its results.

    Parameters
    ----------
    images
        Role → the images of one stack; of several stacks where the role takes several.
    models
        A Triton server; or functions in place of its models.
    judge
        Whether the results must be plausible in a patient, by plausible.toml; those of made-up images seldom are.
    allow_demonstration
        Whether a plugin of kind C is run on images that this package has not made, as on a route that allows it.

    Raises
    ------
    BrokenResult
        The results do not fit the images.
    """
    found = read_plugin(plugin.resolve())
    if not judge:
        found = replace(found, plausible=EMPTY)
    triton: Triton = FakeTriton(models) if isinstance(models, Mapping) else models
    if not isinstance(models, Mapping):
        triton.prepare(found.manifest.models, LOADING_SECONDS)
    several = len(images) == len(found.manifest.present) == 1
    inputs: dict[str, Series] = {}
    with tempfile.TemporaryDirectory() as folder:
        for role, given in images.items():
            series = _series_of(given, Path(folder) / role)
            inputs |= found.named(series) if several else dict(zip([role], series, strict=True))
        return run(found, inputs, triton, allow_demonstration=allow_demonstration)


def plan_plugin(plugin: Path, images: Sequence[Dataset]) -> Planned:
    """Return what the node plans for a plugin in a folder when a study with these images is routed to it."""
    found = read_plugin(plugin.resolve())
    route = Route(name="test", when={}, plugins=(found.name,), to=("PACS",))
    routes = Routes(routes=(route,), plugins={found.name: found}, quiet_seconds=0)
    with tempfile.TemporaryDirectory() as folder:
        series = stacks(write(images, Path(folder)))
        return plan(series, routes, {frame.sop_instance_uid: 0 for stack in series for frame in stack.frames})


def _series_of(images: Images, folder: Path) -> tuple[Series, ...]:
    if isinstance(images, Series):
        return (images,)
    return stacks(images) if isinstance(images, Path) else stacks(write(images, folder))
