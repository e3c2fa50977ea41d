"""What goes over the wire between node and Triton for a CT study of 400 slices: every byte counted on its way.

A forwarder stands between the node's client and the server of the wheel. Bytes are those of TCP's payload, with gRPC's
frames.
"""

import socket
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from node.arena import Arena, ArenaPool
from node.triton import GrpcTriton
from tests.bench.transport import server

SHAPE = (400, 512, 512)
AT_MOST = 1.1
"""Times the bytes of the int16 volume that may go up."""


@contextmanager
def counted(address: str) -> Iterator[tuple[str, Counter[str]]]:
    """Forward connections to an address; give where to connect instead, and the bytes "up" and "down" so far."""
    host, _, port = address.rpartition(":")
    wires: Counter[str] = Counter()
    with socket.create_server(("127.0.0.1", 0)) as mouth:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    near = mouth.accept()[0]
                    far = socket.create_connection((host, int(port)))
                    for direction, source, sink in (("up", near, far), ("down", far, near)):
                        threading.Thread(target=forward, args=(direction, source, sink), daemon=True).start()

        def forward(direction: str, source: socket.socket, sink: socket.socket) -> None:
            with suppress(OSError):
                while some := source.recv(1 << 20):
                    sink.sendall(some)
                    wires[direction] += len(some)
                sink.shutdown(socket.SHUT_WR)

        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{mouth.getsockname()[1]}", wires
        mouth.shutdown(socket.SHUT_RDWR)


def study(address: str, volume: np.ndarray, arena: Arena | None = None) -> tuple[Counter[str], np.ndarray]:
    """Prepare the model and have a volume answered, as a job does; return the bytes of both ways, and the labels."""
    with counted(address) as (there, wires):
        triton = GrpcTriton([there], arena=arena)
        triton.prepare(["labels"], 60)
        labels = triton.infer("labels", image=volume)["mask"]
        triton.close()
        return wires, labels


def main() -> None:
    """Print the table; an AssertionError where more goes over the wire than may."""
    size = 2 * int(np.prod(SHAPE))
    arenas = ArenaPool(1 << 30)
    with (
        tempfile.TemporaryDirectory(prefix="isocenter-bench-") as name,
        server(Path(name)) as address,
        arenas.lend(size, lambda: True) as lent,
    ):
        elsewhere, _ = study(address, np.ones(SHAPE, np.int16))
        used = Arena(lent)
        volume = used.empty(SHAPE, np.int16)
        volume[...] = 1
        here, labels = study(address, volume, used)
        in_place = used.offset(volume) is not None and used.offset(labels) is not None
        del volume, labels
    arenas.close()
    extent = " × ".join(map(str, SHAPE))
    print(f"traffic: int16 {extent} up ({size / 1e6:.1f} MB), uint8 labels down ({size / 2e6:.1f} MB)")
    print("| | bytes up | × volume | bytes down | × labels |\n|---|---|---|---|---|")
    for transport, wires in (("gRPC, the server elsewhere", elsewhere), ("shared memory, the server here", here)):
        up, down = wires["up"], wires["down"]
        print(f"| {transport} | {up:,} | {up / size:.4f} | {down:,} | {down / (size / 2):.4f} |")
    print(f"by shared memory the server read the volume and wrote the labels where the node has them: {in_place}")
    assert elsewhere["up"] <= AT_MOST * size
    assert here["up"] + here["down"] < 1 << 16
    assert in_place
