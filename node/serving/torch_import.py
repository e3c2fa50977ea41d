"""PyTorch as a model needs it, faster and smaller.

Each model of Triton's Python backend is a process of its own, and importing PyTorch is most of what it costs. A third
of the time and an eighth of the memory of that import are `torch._meta_registrations` and what that imports: shapes of
tensors that have no values. torch.compile, torch.export and the optimisers need it, and with them only a model with a
`.pt2` file and register_prior, which call `complete_torch`. So the module is left out while PyTorch is imported, and is
there for whoever imports it afterwards. A PyTorch without such a module is imported as it is.
"""

import importlib
import sys
from types import ModuleType

UNUSED = "torch._meta_registrations"


def import_torch() -> None:
    """Import PyTorch without the module that models do not use; nothing happens where PyTorch is imported already."""
    if "torch" in sys.modules:
        return
    sys.modules[UNUSED] = ModuleType(UNUSED)
    try:
        torch = importlib.import_module("torch")
    finally:
        del sys.modules[UNUSED]
    vars(torch).pop(UNUSED.rpartition(".")[2], None)


def complete_torch() -> None:
    """Import what was left out."""
    importlib.import_module(UNUSED)
