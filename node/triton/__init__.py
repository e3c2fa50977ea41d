"""NVIDIA Triton: the client, the servers of a node, and the local server from the wheel."""

from node.triton.client import GrpcTriton, Triton
from node.triton.fleet import Fleet
from node.triton.local_servers import LOCAL, Servers
from node.triton.model_memory import ModelMemory
from node.triton.server import LocalServer, Wheel

__all__ = ["LOCAL", "Fleet", "GrpcTriton", "LocalServer", "ModelMemory", "Servers", "Triton", "Wheel"]
