"""What makes the river move: steps in threads, jobs in child processes."""

from node.engine.beside import beside
from node.engine.local import Courier, Engine, Step
from node.engine.places import Places
from node.engine.slot import give_way, run_in_child, warm_up

__all__ = ["Courier", "Engine", "Places", "Step", "beside", "give_way", "run_in_child", "warm_up"]
