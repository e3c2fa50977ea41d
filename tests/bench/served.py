"""The Triton server of a node that is being measured: what it says of the time that it has computed itself."""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from node.triton.server import SOCKET_NUMBER
from tests.bench.memory import tree
from tests.peers import wait_until

ADDRESS = "--grpc-address="


def address_of(node: int, models: Collection[str] = ()) -> str:
    """Return the address of the server that a node has started, as soon as it has loaded the models."""
    wait_until(lambda: ready(started(node), models), seconds=600, what="that the node's server is ready")
    return started(node)


def started(node: int) -> str:
    """Return the address of the server that a node has started, by its command line; empty without a server."""
    for process in tree(node):
        with suppress(OSError):
            words = Path(f"/proc/{process}/cmdline").read_text().split("\0")
            found = next((argument.removeprefix(ADDRESS) for argument in words if argument.startswith(ADDRESS)), "")
            if found:
                return f"{found}:{SOCKET_NUMBER}"
    return ""


def ready(address: str, models: Collection[str]) -> bool:
    """Return whether a server answers and has loaded the models."""
    if not address:
        return False
    client = InferenceServerClient(address)
    try:
        return client.is_server_live() and all(map(client.is_model_ready, models))
    except InferenceServerException:
        return False
    finally:
        client.close()


@dataclass(frozen=True)
class Computing:
    """What a server has computed, by Triton's own statistics."""

    address: str

    def seconds(self) -> float:
        """Return how long all models together have computed since the server began, loading left out."""
        client = InferenceServerClient(self.address)
        try:
            models = client.get_inference_statistics().model_stats
        finally:
            client.close()
        return sum(model.inference_stats.compute_infer.ns for model in models) / 1e9
