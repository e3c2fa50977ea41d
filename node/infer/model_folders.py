"""Look at the folders of a plugin's models, without a server: they are there, and say what they take and give."""

from collections.abc import Sequence
from pathlib import Path

from node.errors import ModelRefused
from node.host import Kind, Plugin
from node.infer.demonstration import passes_for_more
from node.records import GUARD
from node.toml_files import meant
from node.triton.model_config import CONFIG, kind_of, model_folder, read_config


def check_models_of(plugin: Plugin, places: Sequence[Path]) -> None:
    """Check the folders of a plugin's models and guards in model repositories, without a server.

    Raises
    ------
    ModelRefused
        A model is not there, or is of kind C and the plugin of another kind.
    ConfigError
        Its config.pbtxt is missing, or Triton would not take it.
    """
    there = [folder.name for place in places for folder in place.glob("*/") if folder.is_dir()]
    guards = {f"{GUARD}{guard}": role for role, guard in plugin.manifest.guards.items()}
    for model in plugin.manifest.model_names:
        if model not in there:
            whose = f"the guard of series.{guards[model]}" if model in guards else "models"
            raise ModelRefused(
                f"{plugin.folder / 'plugin.toml'}: {whose} names {model}, which is not in {places[0]}; put its folder "
                f"there{meant(model, there)}"
            )
        found = model_folder(places, model)
        config = read_config(found)
        if config.backend == "python" and not (config.input and config.output):  # others can tell it from the network
            raise ModelRefused(
                f"{found / CONFIG} declares no {'outputs' if config.input else 'inputs'}: write them there"
            )
        if kind_of(config) == Kind.DEMONSTRATION and plugin.manifest.kind is not Kind.DEMONSTRATION:
            raise passes_for_more(plugin, model)
