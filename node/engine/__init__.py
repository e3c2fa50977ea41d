"""What runs the steps of the flow: threads in this process, and child processes for jobs."""

from node.engine.child_process import preload_children, release_slot, run_in_child, start_fork_server
from node.engine.consumer import consumer_thread
from node.engine.lease import Lease
from node.engine.slots import Slots
from node.engine.steps import Courier, Engine, Step
from node.sandbox import Sandbox, landlock_version, tcp_ports

__all__ = [
    "Courier",
    "Engine",
    "Lease",
    "Sandbox",
    "Slots",
    "Step",
    "consumer_thread",
    "landlock_version",
    "preload_children",
    "release_slot",
    "run_in_child",
    "start_fork_server",
    "tcp_ports",
]
