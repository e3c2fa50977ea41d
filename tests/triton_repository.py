"""Small models for the contract of Triton: as a repository for a real server, and as functions for the fake."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
IMAGE = 'input [{name: "image" data_type: TYPE_INT16 dims: [-1, -1, 3]}]\n'
MASK = 'output [{name: "image" data_type: TYPE_INT16 dims: [-1, -1, 3]}]\n'
TEXT = """
input [{name: "text" data_type: TYPE_STRING dims: [-1]}]
output [{name: "text" data_type: TYPE_STRING dims: [-1]}]
"""
CHOICE = """
input [{name: "image" data_type: TYPE_FP32 dims: [-1]}]
input [{name: "scale" data_type: TYPE_FP32 dims: [1] optional: true}]
output [{name: "image" data_type: TYPE_FP32 dims: [-1]}]
"""
MODEL = """
import time
import numpy as np
import triton_python_backend_utils as pb

def objects(texts):
    return np.array(texts, dtype=np.object_)

class TritonPythonModel:
    def execute(self, requests):
        return [pb.InferenceResponse([pb.Tensor(n, a) for n, a in self.answer(r).items()]) for r in requests]

    def take(self, request, name):
        tensor = pb.get_input_tensor_by_name(request, name)
        return None if tensor is None else tensor.as_numpy()

    def scaled(self, request, scale):
        return self.take(request, "image") * (np.float32(1) if scale is None else scale)

    def answer(self, request):
"""
MODELS = {  # name → (inputs and outputs, body of `answer`)
    "double": (IMAGE + MASK, '        return {"image": 2 * self.take(request, "image")}\n'),
    "raises": (IMAGE + MASK, '        raise ValueError("the lung is upside down")\n'),
    "twice": (
        IMAGE + MASK,
        '        image = self.take(request, "image")\n        return {"image": np.concatenate([image, image])}\n',
    ),
    "sleeps": (IMAGE + MASK, '        time.sleep(3)\n        return {"image": self.take(request, "image")}\n'),
    "broken": (IMAGE + MASK, "        return {]\n"),
    "words": (
        TEXT,
        '        return {"text": objects([t.decode().upper().encode() for t in self.take(request, "text")])}\n',
    ),
    "not_text": (
        TEXT,
        '        return {"text": objects([b"\\xff"])}\n',
    ),
    "choosy": (
        CHOICE,
        '        scale = self.take(request, "scale")\n        return {"image": self.scaled(request, scale)}\n',
    ),
}


def write_repository(folder: Path) -> Path:
    for name, (tensors, body) in MODELS.items():
        version = folder / name / "1"
        version.mkdir(parents=True)
        (folder / name / "config.pbtxt").write_text(f'backend: "python"\nmax_batch_size: 0\n{tensors}')
        (version / "model.py").write_text(MODEL + body)
    return folder


def double(image: Array) -> Mapping[str, Array]:
    return {"image": 2 * image}


def raises(image: Array) -> Mapping[str, Array]:
    raise ValueError("the lung is upside down")


def words(text: Array) -> Mapping[str, Array]:
    return {"text": np.char.upper(text)}


@dataclass(frozen=True)
class Carrier:
    """As `node.images.series.Volume`: an array with its affine."""

    array: Array
    affine: Array
