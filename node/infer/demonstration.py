"""A network that was trained on phantoms is asked about phantoms only, and its plugin says what it is."""

from collections.abc import Iterable, Mapping

from node.errors import ModelRefused
from node.host import Kind, Plugin
from node.images.series import Series
from node.images.synthetic import all_marked
from node.results import NotSuitable
from node.triton.client import Triton

REFUSAL = (
    "{name} has a demonstration network, trained on phantoms; bring weights: its model card, {card}, says where they go"
)


def demonstration_refusal(plugin: Plugin, inputs: Mapping[str, Series], *, allowed: bool) -> NotSuitable | None:
    """Return why a plugin of kind C is not run; None for another kind, for images that were made, and where allowed.

    Priors must have been made, too. No object is made of the refusal: nothing of a demonstration leaves the node.
    """
    if plugin.manifest.kind is not Kind.DEMONSTRATION or allowed or all_marked(inputs.values()):
        return None
    card = f"{plugin.folder.parent.name}/{plugin.folder.name}/README.md"
    return NotSuitable(REFUSAL.format(name=plugin.name, card=card), reported=False)


def models_asked(plugin: Plugin, runs: Iterable[Mapping[str, Series]], *, allowed: bool) -> tuple[str, ...]:
    """Return the models that the runs of a plugin ask: none if each is a demonstration that is refused."""
    refused = all(demonstration_refusal(plugin, inputs, allowed=allowed) for inputs in runs)
    return () if refused else plugin.manifest.models


def check_kind(plugin: Plugin, triton: Triton) -> None:
    """Check that a plugin does not pass for more than the models that it asks; they must be loaded.

    Raises
    ------
    ModelRefused
        A model says in its config.pbtxt that its network was trained on phantoms, and plugin.toml says something else.
    """
    if plugin.manifest.kind is Kind.DEMONSTRATION:
        return
    for model in plugin.manifest.model_names:
        if triton.kind(model) == Kind.DEMONSTRATION:
            raise passes_for_more(plugin, model)


def passes_for_more(plugin: Plugin, model: str) -> ModelRefused:
    """Return the error of a plugin whose model is a demonstration, and which says that it is none."""
    return ModelRefused(
        f'plugin {plugin.name} is of kind "{plugin.manifest.kind}", and its model {model} of kind "C", trained '
        'on phantoms: write kind = "C" into plugin.toml, or, where it has other weights now, their kind into '
        "its config.pbtxt"
    )
