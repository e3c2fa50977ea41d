"""What makes the river move: steps in threads, jobs in child processes."""

from node.engine.local import Engine, Step
from node.engine.slot import run_in_child, warm_up

__all__ = ["Engine", "Step", "run_in_child", "warm_up"]
