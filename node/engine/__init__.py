"""What makes the river move: steps in threads, jobs in child processes."""

from node.engine.child_process import give_way, run_in_child, warm_up
from node.engine.handover import beside
from node.engine.lease import LEASE_SECONDS, Lease
from node.engine.local import Courier, Engine, Step
from node.engine.slots import Places

__all__ = [
    "LEASE_SECONDS",
    "Courier",
    "Engine",
    "Lease",
    "Places",
    "Step",
    "beside",
    "give_way",
    "run_in_child",
    "warm_up",
]
