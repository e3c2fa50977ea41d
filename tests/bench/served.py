"""The Triton server of a node that is being measured: what it says of the time that it has computed itself."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tritonclient.grpc import InferenceServerClient

from tests.bench.memory import tree

PORT = "--grpc-port="


def address_of(node: int) -> str:
    """Return host:port of the server that a node has started, by its command line."""
    for process in tree(node):
        with suppress(OSError):
            words = Path(f"/proc/{process}/cmdline").read_text().split("\0")
            port = next((word.removeprefix(PORT) for word in words if word.startswith(PORT)), "")
            if port:
                return f"127.0.0.1:{port}"
    raise LookupError("the node has started no Triton server")


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
        return sum(one.inference_stats.compute_infer.ns for one in models) / 1e9
