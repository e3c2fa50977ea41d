"""A plugin asks only the models that its manifest declares: of these alone the node knows kind and version."""

from collections.abc import Sequence
from dataclasses import dataclass

from node.errors import ModelRefused
from node.host import Plugin
from node.triton.client import HasArray, Triton
from node.triton.server_connection import ServedModel
from node.triton.tensors import Array


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
                "must add it to models"
            )
        return self.triton.infer(model, **inputs)

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
