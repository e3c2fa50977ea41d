"""A plugin asks only the models that its manifest declares: of these alone the node knows kind and version."""

from collections.abc import Sequence
from dataclasses import dataclass

from node.errors import ModelRefused
from node.host import Plugin
from node.toml_files import meant
from node.triton.client import HasArray, Triton
from node.triton.server_connection import ServedModel
from node.triton.tensors import Array


class Outputs(dict[str, Array]):
    """The outputs of a model by name; a name that it does not have is a sentence, and no bare KeyError."""

    def __init__(self, model: str, outputs: dict[str, Array]) -> None:
        super().__init__(outputs)
        self._model = model

    def __missing__(self, name: object) -> Array:
        """Raise ModelRefused, which names the outputs that there are."""
        there = ", ".join(sorted(self)) or "none"
        raise ModelRefused(f"model {self._model} has no output {name!r}; it has: {there}{meant(str(name), self)}")


@dataclass(frozen=True, slots=True)
class DeclaredModels:
    """A Triton for one plugin, which refuses the models that plugin.toml does not name."""

    triton: Triton
    plugin: Plugin

    def infer(self, model: str, /, **inputs: Array | HasArray) -> dict[str, Array]:
        """See `Triton.infer`.

        Raises
        ------
        ModelRefused
            The plugin does not declare the model.
        """
        if model not in self.plugin.manifest.model_names:
            raise ModelRefused(
                f"plugin {self.plugin.name} asks the model {model}, which its plugin.toml does not declare: its author "
                f"must add it to models{meant(model, self.plugin.manifest.model_names)}"
            )
        return Outputs(model, self.triton.infer(model, **inputs))

    def prepare(self, models: Sequence[str], deadline_seconds: float) -> None:
        """See `Triton.prepare`."""
        self.triton.prepare(models, deadline_seconds)

    def models(self) -> list[ServedModel]:
        """See `Triton.models`."""
        return self.triton.models()

    def version(self, model: str) -> str:
        """See `Triton.version`."""
        return self.triton.version(model)

    def kind(self, model: str) -> str:
        """See `Triton.kind`."""
        return self.triton.kind(model)

    def close(self) -> None:
        """Leave the connection open: it is the node's."""
