"""Run one plugin on the series of its roles, and check its results."""

import importlib.util
import inspect
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import cast, get_args

from node.author_place import MODULES, place_of
from node.errors import BrokenResult, Permanent, PluginFailed, UnsuitableSeries
from node.faults import fault
from node.host import Plugin
from node.images.agreement import check_stack, check_study
from node.images.series import Series
from node.infer.declarative import declared_run
from node.infer.declared_models import DeclaredModels
from node.infer.demonstration import check_kind, demonstration_refusal
from node.infer.geometry import check
from node.infer.guards import suitable_inputs
from node.infer.one_body import inputs_of_one_body
from node.infer.plausibility import check_plausible
from node.results import NotSuitable, Result
from node.triton.client import Triton

RESULTS = get_args(Result)
NAMES = ", ".join(kind.__name__ for kind in RESULTS)


def run(
    plugin: Plugin, inputs: Mapping[str, Series], triton: Triton, *, allow_demonstration: bool = False
) -> tuple[Result, ...]:
    """Call the plugin's `run` and return its results, checked against the geometry of its inputs.

    A role without a series in `inputs` is None. If a series cannot become a volume, or its images do not agree
    (`node.images.agreement`), the guard of its role refuses it, the series of two roles do not show one body, or the
    answer is not plausible, the result is `NotSuitable` with the reason. So it is if the plugin has a demonstration
    network and the images were acquired (`node.infer.demonstration`), unless `allow_demonstration`.

    Raises
    ------
    MixedStudy
        The images of a study carry two Patient IDs, or those of a series two names, dates or orders.
    ModelRefused
        A model is a demonstration, and the plugin says that it is none, or the plugin does not declare the model.
    BrokenResult
        The plugin returned something that is no result, or does not fit the images.
    PluginFailed
        The plugin's code cannot be imported.
    NodeError
        An error of the node, raised by the Triton client or by the plugin.
    Exception
        Any other error of the plugin's code.
    """
    fault("infer.running")
    check_study(inputs.values())
    check_kind(plugin, triton)
    if refusal := demonstration_refusal(plugin, inputs, allowed=allow_demonstration):
        return (refusal,)
    try:
        for series in inputs.values():
            check_stack(series)
        roles = plugin.manifest.series
        inputs = inputs_of_one_body(roles, suitable_inputs(roles, inputs, triton))
        results = tuple(_results(load(plugin)(**plugin.arguments(inputs), triton=DeclaredModels(triton, plugin))))
    except UnsuitableSeries as error:
        return (NotSuitable(str(error)),)
    except Permanent as error:
        if place := place_of(error):
            raise type(error)(f"{error} ({place})") from error
        raise
    check(results, inputs)
    return check_plausible(plugin.plausible, results, inputs)


def _results(returned: object) -> Iterator[Result]:
    """Yield the results of `run`, which returns None, a result, several results or a generator."""
    if isinstance(returned, Generator):
        yield from _generated(returned)
    elif isinstance(returned, RESULTS):
        yield returned
    elif isinstance(returned, Iterable) and not isinstance(returned, (str, bytes, Mapping)):
        for result in returned:
            yield _checked(result, "returns")
    elif returned is not None:
        kind = type(returned).__name__
        raise BrokenResult(f"run() returns a {kind}, which is neither a result nor several; results are {NAMES}")


def _generated(generator: Generator[object, None, object]) -> Iterator[Result]:
    """Yield what a generator yields; BrokenResult names its line, also for what it returns: that would be lost."""
    while True:
        try:
            result = next(generator)
        except StopIteration as end:
            if end.value is not None:
                kind = type(end.value).__name__
                raise BrokenResult(f"run() yields, and returns a {kind}, which is lost: write yield there") from None
            return
        yield _checked(result, "yields", _suspended(generator))


def _suspended(generator: Generator[object, None, object]) -> str:
    """Return where a generator has just yielded."""
    frame = inspect.getgeneratorstate(generator) == inspect.GEN_SUSPENDED and getattr(generator, "gi_frame", None)
    return f" ({Path(frame.f_code.co_filename).name}, line {frame.f_lineno})" if frame else ""


def _checked(result: object, does: str, place: str = "") -> Result:
    if isinstance(result, RESULTS):
        return cast("Result", result)
    raise BrokenResult(f"run() {does} a {type(result).__name__}, which is no result; results are {NAMES}{place}")


class _FromSource(SourceFileLoader):
    """Reads what the file says now: Python takes old bytecode for that of a file saved twice in a second."""

    def get_code(self, fullname: str) -> CodeType:
        """Return the compiled text of the file."""
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def load(plugin: Plugin) -> Callable[..., object]:
    """Import plugin.py under its own module name, and return `run`; for a plugin without code, its declared `run`."""
    if plugin.manifest.model is not None:
        return declared_run(plugin.manifest, plugin.manifest.model.name)
    name = f"{MODULES}{plugin.name}"
    spec = importlib.util.spec_from_file_location(name, plugin.code, loader=_FromSource(name, str(plugin.code)))
    if spec is None or spec.loader is None:
        raise PluginFailed(f"{plugin.code} cannot be imported")
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        raise PluginFailed(f"{plugin.code}: {error}; install what it needs beside the node") from error
    function: Callable[..., object] = module.run
    return function
