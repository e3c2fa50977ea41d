"""Run one plugin on the series of its roles, and check its results."""

import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import get_args

from node.errors import BrokenResult, PluginFailed, UnsuitableSeries
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
    for result in results:
        if not isinstance(result, RESULTS):
            raise BrokenResult(f"{plugin.name} gave back a {type(result).__name__}, which is no result")
    check(results, inputs)
    return check_plausible(plugin.plausible, results, inputs)


def _results(returned: object) -> Iterable[Result]:
    """Return the results of `run`, which returns None, a result, several results or a generator."""
    if returned is None:
        return ()
    if isinstance(returned, RESULTS):
        return (returned,)
    if isinstance(returned, Iterable):
        return returned
    raise BrokenResult(f"run() gave back a {type(returned).__name__}, which is neither a result nor several")


def load(plugin: Plugin) -> Callable[..., object]:
    """Import plugin.py under its own module name, and return `run`; for a plugin without code, its declared `run`."""
    if plugin.manifest.model is not None:
        return declared_run(plugin.manifest, plugin.manifest.model.name)
    name = f"isocenter_plugin_{plugin.name}"
    spec = importlib.util.spec_from_file_location(name, plugin.code)
    if spec is None or spec.loader is None:
        raise PluginFailed(f"{plugin.code} cannot be imported")
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        raise PluginFailed(f"{plugin.code}: {error}; install what it needs beside the node") from error
    function: Callable[..., object] = module.run
    return function
