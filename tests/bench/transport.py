"""A volume to Triton and labels back: 500 slices of 512 × 512 by shared memory, against plain gRPC.

The model is a Python backend that answers at once, on the server of the wheel: what is measured is the way there and
back. The peer is NVIDIA's own client, with the volume in the message.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput

from node.arena import Arena, ArenaPool
from node.triton import GrpcTriton, LocalServer

SHAPE = (500, 512, 512)
RUNS = 5
CONFIG = """
backend: "python"
max_batch_size: 0
input [{name: "image" data_type: TYPE_INT16 dims: [-1, -1, -1]}]
output [{name: "mask" data_type: TYPE_UINT8 dims: [-1, -1, -1]}]
"""
MODEL = """
import numpy as np
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        return [pb.InferenceResponse([pb.Tensor("mask", self.mask(r))]) for r in requests]

    def mask(self, request):
        image = pb.get_input_tensor_by_name(request, "image").as_numpy()
        if getattr(self, "kept", None) is None or self.kept.shape != image.shape:
            self.kept = np.ones(image.shape, np.uint8)
        return self.kept
"""


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """A server of the wheel with one model."""
    (folder / "models" / "labels" / "1").mkdir(parents=True)
    (folder / "models" / "labels" / "config.pbtxt").write_text(CONFIG)
    (folder / "models" / "labels" / "1" / "model.py").write_text(MODEL)
    with LocalServer(folder / "models", folder / "triton.log") as running:
        yield running.address


def by_grpc(address: str) -> Callable[[np.ndarray], np.ndarray]:
    """As the examples of tritonclient do it."""
    limits = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    client = InferenceServerClient(address, channel_args=limits)
    client.load_model("labels")

    def infer(volume: np.ndarray) -> np.ndarray:
        image = InferInput("image", list(volume.shape), "INT16")
        image.set_data_from_numpy(volume)
        labels: np.ndarray = client.infer("labels", [image]).as_numpy("mask")
        return labels

    return infer


def timed(work: Callable[[], np.ndarray]) -> float:
    """Seconds that an answer takes, which must be whole."""
    begun = time.perf_counter()
    labels = work()
    took = time.perf_counter() - begun
    assert labels.shape == SHAPE
    assert labels[0, 0, 0] == labels[-1, -1, -1] == 1
    return took


def main() -> None:
    """Print the table."""
    arenas = ArenaPool(1 << 30)
    size = 2 * int(np.prod(SHAPE))
    with (
        tempfile.TemporaryDirectory(prefix="isocenter-bench-") as name,
        server(Path(name)) as address,
        arenas.lend(size, lambda: True) as lent,
    ):
        arena = Arena(lent)
        plain, client = by_grpc(address), GrpcTriton([address], arena=arena)
        elsewhere = np.ones(SHAPE, np.int16)
        volume = arena.empty(SHAPE, np.int16)
        volume[...] = 1

        methods = {
            f"tritonclient {version('tritonclient')}: gRPC": lambda: timed(lambda: plain(elsewhere)),
            "isocenter: shared memory": lambda: timed(lambda: client.infer("labels", image=volume)["mask"]),
        }
        seconds: dict[str, list[float]] = {method: [] for method in methods}
        for number in range(RUNS + 1):
            for method, work in methods.items():
                took = work()
                if number:
                    seconds[method].append(took)
    arenas.close()
    show(seconds)


def show(seconds: dict[str, list[float]]) -> None:
    """Print medians, least and most in seconds, and ratios to the peer."""
    peer = median(next(iter(seconds.values())))
    print(f"transport: int16 {' × '.join(map(str, SHAPE))} there, uint8 back; medians of {RUNS} after one to warm up")
    print("| | median, s | least | most | × gRPC |\n|---|---|---|---|---|")
    for method, measured in seconds.items():
        middle = median(measured)
        print(f"| {method} | {middle:.3f} | {min(measured):.3f} | {max(measured):.3f} | {middle / peer:.3f} |")
