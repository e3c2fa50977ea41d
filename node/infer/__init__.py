"""One plugin on one study's images, with a Triton server to ask."""

from node.infer.fleet import Fleet
from node.infer.job import PREPARE_SECONDS, Order, Performed, Stopwatch, attempt, worth_telling
from node.infer.prior import Priors
from node.infer.room import Room
from node.infer.run import run
from node.infer.server import LocalServer
from node.infer.triton import GrpcTriton, Triton

__all__ = [
    "PREPARE_SECONDS",
    "Fleet",
    "GrpcTriton",
    "LocalServer",
    "Order",
    "Performed",
    "Priors",
    "Room",
    "Stopwatch",
    "Triton",
    "attempt",
    "run",
    "worth_telling",
]
