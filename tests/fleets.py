"""Shared by the contract tests of the fleet: models that write down what they are asked, and servers with memory."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from node.triton.client import GrpcTriton
from node.triton.fleet import Fleet
from node.triton.model_memory import PROCESS_BYTES, ModelMemory
from tests.peers import wait_until

CONFIG = """
backend: "python"
max_batch_size: 0
input [{name: "x" data_type: TYPE_INT16 dims: [-1]}]
output [{name: "x" data_type: TYPE_INT16 dims: [-1]}]
"""
MODEL = """
import time
from pathlib import Path
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        x = pb.get_input_tensor_by_name(request, "x").as_numpy()
        with Path("LOG").open("a") as log:
            log.write(f"{x[0]}\\n")
        while Path("GATE").exists():
            time.sleep(0.05)
            if request.is_cancelled():
                with Path("LOG").open("a") as log:
                    log.write(f"{x[0]} cancelled\\n")
                break
        return pb.InferenceResponse([pb.Tensor("x", x * VERSION)])
"""
LEVELS = "dynamic_batching { priority_levels: 3 default_priority_level: 2 }"
ON_THE_WAY = 1.5
"""Seconds in which a request that was sent is surely on the server; nothing tells of those that wait there."""
MODELS = {  # name → (more of config.pbtxt, versions)
    "plain": ("", (1,)),
    "other": ("", (1,)),
    "third": ("", (1,)),
    "unasked": ("", (1,)),
    "twice": ("version_policy: {all {}}", (1, 2)),
    "newest": ("", (1, 2)),
    "queue": (LEVELS, (1,)),
    "keeps": ("response_cache {enable: true}", (1,)),
}


@dataclass(frozen=True)
class Models:
    """A repository whose models write down what they are asked, and wait while their gate is shut."""

    folder: Path

    @property
    def gate(self) -> Path:
        return self.folder.with_name("gate")

    def asked(self) -> list[str]:
        log = self.folder.with_name("log")
        return log.read_text().splitlines() if log.exists() else []


def make_models(folder: Path) -> Models:
    """Write a repository of `MODELS` into a folder."""
    made = Models(folder / "models")
    code = MODEL.replace("LOG", str(made.folder.with_name("log"))).replace("GATE", str(made.gate))
    for name, (more, versions) in MODELS.items():
        for version in versions:
            (made.folder / name / str(version)).mkdir(parents=True)
            (made.folder / name / str(version) / "model.py").write_text(code.replace("VERSION", str(version)))
        (made.folder / name / "config.pbtxt").write_text(CONFIG + more)
    return made


def ask(triton: GrpcTriton, model: str, number: int = 1) -> int:
    return int(triton.infer(model, x=np.array([number], np.int16))["x"][0])


def background(*work: Callable[[], Any]) -> list[threading.Thread]:
    threads = [threading.Thread(target=target) for target in work]
    for thread in threads:
        thread.start()
    return threads


def fleet(models: Models, urls: Callable[[], Sequence[str]], wanted: Sequence[str] = (), processes: float = 0) -> Fleet:
    """Servers with memory for so many models of the repository."""
    memory = ModelMemory(repository=models.folder, limit=int(processes * PROCESS_BYTES))
    return Fleet(urls=urls, models=wanted, memory=memory, deadline_seconds=60)


def loaded(servers: Fleet) -> None:
    """Wait until there is nothing left to load."""
    wait_until(lambda: not servers.is_loading(servers.models), what="that the models are loaded")
