"""The methods of the models that come with isocenter, imported as Triton has them: from their own folder."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import torch  # noqa: F401 - the whole of it, before a model imports a part

MODELS = Path(__file__).parents[1] / "triton_models"


def method(model: str, module: str) -> ModuleType:
    """Import a module of a model; each has a name of its own, but for what is linked from one place."""
    folder = str(MODELS / model / "1")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module(module)
