"""A sliding-window U-Net over a whole volume on Triton, against the bare network on the same device.

The network is MONAI's U-Net, brought by `isocenter model add`; a run is a whole volume there and its labels back: cut
into tiles, blended, decided, restored. The peer is the network alone with as many tiles, which lie on the device
already. With a GPU 500 slices of 512 × 512, else a small volume and network; nothing else is different.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from monai.networks.nets import UNet
from torch import Tensor

from node.arena import Arena, ArenaPool
from node.models import add
from node.serving.chain import Chain
from node.serving.volume import segment
from node.toml_files import load_toml
from node.triton import GrpcTriton, LocalServer

RUNS = 5
CHAIN = """\
tile = [{tile}, {tile}, {tile}]
overlap = 0.25
scale = [-1000, 1000]
tiles_at_once = {together}
"""
CLASSES = 3


@dataclass(frozen=True)
class Size:
    """Of the volume, of a tile, of what goes through the network together, and of the network."""

    shape: tuple[int, int, int]
    tile: int
    together: int
    channels: tuple[int, ...]


SIZES = {
    "cuda": Size((500, 512, 512), 96, 4, (32, 64, 128, 256, 512)),
    "cpu": Size((96, 128, 128), 64, 2, (32, 64, 128, 256)),
}


def main() -> None:
    """Print the table."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = SIZES[device]
    arenas = ArenaPool(2 << 30)
    with tempfile.TemporaryDirectory(prefix="isocenter-bench-") as name:
        folder = Path(name)
        network = brought(folder, size).to(device)
        chain = Chain.of(load_toml(folder / "chain.toml"))
        batches = batches_of(chain, size)
        with (
            LocalServer(folder / "models", folder / "triton.log") as server,
            arenas.lend(2 * int(np.prod(size.shape)), lambda: True) as lent,
        ):
            arena = Arena(lent)
            triton = GrpcTriton([server.address], deadline_seconds=600, arena=arena)
            triton.prepare(["window"], 600)
            volume = arena.empty(size.shape, np.int16)
            volume[...] = np.random.default_rng(1).integers(-1000, 1000, size.shape, np.int16)
            methods: dict[str, Callable[[], object]] = {
                "the bare network": lambda: run_bare(network, batches),
                "isocenter": lambda: triton.infer("window", image=volume, affine=np.eye(4))["labels"],
            }
            seconds: dict[str, list[float]] = {method: [] for method in methods}
            for number in range(RUNS + 1):
                for method, work in methods.items():
                    begun = time.perf_counter()
                    work()
                    if number:
                        seconds[method].append(time.perf_counter() - begun)
            triton.close()
    arenas.close()
    show(device, size, len(batches), seconds)


def brought(folder: Path, size: Size) -> torch.nn.Module:
    """Bring the network as a user does, and return it."""
    torch.manual_seed(1)
    network = UNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=CLASSES,
        channels=size.channels,
        strides=(2,) * (len(size.channels) - 1),
        num_res_units=2,
    ).eval()
    given = torch.zeros(size.together, 1, size.tile, size.tile, size.tile)
    torch.jit.trace(network, given).save(folder / "net.ts")  # type: ignore[no-untyped-call]
    (folder / "chain.toml").write_text(CHAIN.format(tile=size.tile, together=size.together))
    (folder / "models").mkdir()
    (folder / "plugins").mkdir()
    labels = [f"Organ {number}" for number in range(1, CLASSES)]
    add(
        folder / "net.ts",
        "window",
        models=folder / "models",
        plugins=folder / "plugins",
        labels=labels,
        chain=folder / "chain.toml",
        trust=True,
    )
    return network


def batches_of(chain: Chain, size: Size) -> list[tuple[int, ...]]:
    """Return the shapes of what the chain hands its network for the volume."""
    shapes: list[tuple[int, ...]] = []

    def network(tiles: Tensor) -> Tensor:
        shapes.append(tuple(tiles.shape))
        return tiles.new_zeros(tiles.shape[0], CLASSES, *tiles.shape[2:])

    segment(chain, [(torch.zeros(size.shape, dtype=torch.int16), np.eye(4))], network)
    return shapes


@torch.inference_mode()
def run_bare(network: torch.nn.Module, batches: list[tuple[int, ...]]) -> None:
    """Have the network alone see as many tiles."""
    device = next(network.parameters()).device
    tiles = {shape: torch.zeros(shape, device=device) for shape in set(batches)}
    for shape in batches:
        network(tiles[shape])
    if device.type == "cuda":
        torch.cuda.synchronize()


def show(device: str, size: Size, batches: int, seconds: dict[str, list[float]]) -> None:
    """Print medians in seconds, and the share of the bare network's throughput."""
    peer = median(seconds["the bare network"])
    shape = " × ".join(map(str, size.shape))
    print(f"window: {shape} on {device}, {batches} batches of {size.together} tiles of {size.tile}³; medians of {RUNS}")
    print("| | median, s | least | most | of the bare throughput |\n|---|---|---|---|---|")
    for method, measured in seconds.items():
        middle = median(measured)
        print(
            f"| {method} | {middle:.2f} | {min(measured):.2f} | {max(measured):.2f} | {peer / middle:.2f} |", flush=True
        )
