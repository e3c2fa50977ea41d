"""DICOM data made on the spot, and plugins run without a node: for tests, for the demo, and for authors of plugins.

No data comes from a patient, and every image is marked as made (`node.images.synthetic`), so that a demonstration
network answers it. Remove the mark with `unmarked` if you put pixels of a patient into such an image. The same
arguments give the same bytes and UIDs, so that a test can name them. `run_plugin`, `plan_plugin`, `stacks` and
`FakeTriton` are imported at their first use: most tests need builders only.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from node.testing.chest_phantom import chest_ct, chest_phantom
from node.testing.ct import ct_series
from node.testing.damage import duplicated, late, repeated, tilted, without
from node.testing.data_set import AXIAL, CORONAL, SAGITTAL, Orientation, marked, uid, unmarked, write
from node.testing.enhanced import enhanced_ct, enhanced_mr
from node.testing.microscopy import slide
from node.testing.mr import mr_series
from node.testing.pet import pet_series
from node.testing.photographs import fundus_photograph, photograph
from node.testing.radiography import digital_radiograph, mammogram, radiograph
from node.testing.ultrasound import ultrasound

if TYPE_CHECKING:
    from node.testing.plugin_run import plan_plugin, run_plugin, stacks
    from node.triton.fake import FakeTriton

__all__ = [
    "AXIAL",
    "CORONAL",
    "SAGITTAL",
    "FakeTriton",
    "Orientation",
    "chest_ct",
    "chest_phantom",
    "ct_series",
    "digital_radiograph",
    "duplicated",
    "enhanced_ct",
    "enhanced_mr",
    "fundus_photograph",
    "late",
    "mammogram",
    "marked",
    "mr_series",
    "pet_series",
    "photograph",
    "plan_plugin",
    "radiograph",
    "repeated",
    "run_plugin",
    "slide",
    "stacks",
    "tilted",
    "uid",
    "ultrasound",
    "unmarked",
    "without",
    "write",
]

_IMPORTED_AT_FIRST_USE = {
    "FakeTriton": "node.triton.fake",
    "plan_plugin": "node.testing.plugin_run",
    "run_plugin": "node.testing.plugin_run",
    "stacks": "node.testing.plugin_run",
}


def __getattr__(name: str) -> object:
    if name in _IMPORTED_AT_FIRST_USE:
        return getattr(import_module(_IMPORTED_AT_FIRST_USE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
