"""The models of all example routes on the node's own server: seconds until each is ready, and what all take of memory.

Nothing is asked of them: it is what a node waits for after a start, and what it holds before the first study. RSS
counts a shared library in each process, PSS divides it among those that share it.
"""

import tempfile
import threading
import time
from pathlib import Path

import structlog

from node.app import load_routes
from node.settings import Settings
from node.triton import Fleet, LocalServer, ModelMemory
from tests.bench.memory import shares, tree
from tests.peers import ROOT

DEADLINE_SECONDS = 600.0


def main() -> None:
    """Print the seconds, and memory by kind of process."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    settings = Settings.read(ROOT / "config" / "isocenter.toml")
    routes = load_routes(settings.model_copy(update={"routes": ROOT / "config" / "routes.example.toml"}))
    repository = ROOT / "triton_models"
    ready: list[float] = []
    with tempfile.TemporaryDirectory(prefix="isocenter-bench-") as name:
        begun = time.perf_counter()
        with LocalServer(repository, Path(name) / "triton.log") as server:
            up = time.perf_counter() - begun
            every = threading.Event()

            def loaded() -> None:
                ready.append(time.perf_counter() - begun)
                if len(ready) == len(routes.models):
                    every.set()

            fleet = Fleet(
                urls=lambda: [server.address],
                models=routes.models,
                memory=ModelMemory(repository=repository, limit=0),
                deadline_seconds=DEADLINE_SECONDS,
                on_loaded=loaded,
            )
            fleet.start()
            assert every.wait(DEADLINE_SECONDS)
            assert not fleet.is_loading(routes.models)
            show(len(routes.models), fleet.loads_at_once, up, ready, server.process)


def show(models: int, at_once: int, up: float, ready: list[float], root: int) -> None:
    """Print the tables."""
    print(f"models: {models} of config/routes.example.toml, {at_once} loaded at once")
    print("| server up, s | first model ready, s | half of them, s | all, s |\n|---|---|---|---|")
    print(f"| {up:.1f} | {ready[0]:.1f} | {ready[len(ready) // 2]:.1f} | {ready[-1]:.1f} |\n")
    print("| | processes | RSS, MiB | PSS, MiB |\n|---|---|---|---|")
    kinds: dict[str, list[tuple[float, float]]] = {}
    for process in tree(root):
        kind, resident, proportional = shares(process)
        kinds.setdefault(kind, []).append((resident, proportional))
    everything = [figures for several in kinds.values() for figures in several]
    for kind, several in (*kinds.items(), ("all", everything)):
        resident, proportional = (sum(figures[index] for figures in several) for index in (0, 1))
        print(f"| {kind} | {len(several)} | {resident:.0f} | {proportional:.0f} |", flush=True)
