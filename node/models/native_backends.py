"""A network that is a model of its own on Triton: for a native back end of NVIDIA's container, or as it was served."""

from pathlib import Path

from node.errors import ConfigError
from node.models.config_pbtxt import net_config
from node.models.import_source import Brought
from node.models.network_file import ONNX, TORCHSCRIPT, TRITON, Names
from node.triton.model_config import parsed

PYTHON, ORT, TENSORRT, PYTORCH = "python", "onnxruntime", "tensorrt", "pytorch"
NATIVE = {ORT: (ONNX,), TENSORRT: (ONNX,), PYTORCH: (TORCHSCRIPT,)}
"""Which kinds of network each native back end runs; the volume model itself runs them all."""
WARM_UP = """\
model_warmup [{{                     # asked once when it is loaded, so that the first study does not wait for it
  name: "one tile of zeros"
  batch_size: 1
  inputs {{ key: "{input}", value: {{ data_type: TYPE_FP32, dims: [ {example} ], zero_data: true }} }}
}}]
"""
ON_GPU = "instance_group [{ kind: KIND_GPU, count: 1 }]\n"
PLAN = """\
# Make model.plan of model.onnx on the very GPU that will run it, with trtexec of the same container, beside this file:
# trtexec --onnx=1/model.onnx --saveEngine=1/model.plan --minShapes={least} --optShapes={most} --maxShapes={most}
"""


def is_own_model(brought: Brought, backend: str) -> bool:
    """Return whether the network becomes a model of its own, and does not run in the volume model.

    Raises
    ------
    ConfigError
        The back end does not run this kind of network, or no network with this answer.
    """
    kind, answer = brought.network.kind, brought.chain.answer
    if backend == PYTHON:
        return kind == TRITON
    if kind not in NATIVE.get(backend, ()) or answer == "boxes":
        runs = ", ".join(f"{name} runs {kind}" for name, (kind,) in NATIVE.items())
        raise ConfigError(
            f"--backend {backend} is not for {kind} that gives {answer}: {runs}, {PYTHON} runs everything"
        )
    return True


def write(folder: Path, name: str, brought: Brought, backend: str) -> Names:
    """Write the network and its config.pbtxt into a folder; return what its input and output are called.

    The configuration is checked against Triton's schema. Whether a native back end accepts the network, only NVIDIA's
    container can say.
    """
    network, chain, example = brought.network, brought.chain, brought.example
    if backend == PYTHON:
        network.save(folder)
        return network.names
    names = Names(input="INPUT__0", output="OUTPUT__0") if backend == PYTORCH else network.names
    (folder / "1").mkdir(parents=True)
    network.save(folder / "1" / "model")
    text = net_config(name, chain, len(example), names, backend) + ON_GPU
    if backend == TENSORRT:
        least, most = ("x".join(map(str, (tiles, *example[1:]))) for tiles in (1, chain.tiles_at_once))
        text = PLAN.format(least=f"{names.input}:{least}", most=f"{names.input}:{most}") + text
    if chain.tile:
        text += WARM_UP.format(input=names.input, example=", ".join(map(str, example)))
    parsed(text, folder / "config.pbtxt")
    (folder / "config.pbtxt").write_text(text, encoding="utf-8")
    return names
