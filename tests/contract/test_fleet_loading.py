"""Models are loaded side by side, those that jobs wait for first; a broken model holds up no other."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from node.errors import ModelRefused
from node.triton.client import GrpcTriton
from node.triton.fleet import Fleet
from node.triton.model_memory import ModelMemory
from node.triton.server import LocalServer
from tests.fleets import CONFIG, loaded
from tests.peers import wait_until

pytest.importorskip("pytriton", reason="nvidia-pytriton is not installed")


SLOW = """
import time
from pathlib import Path

while not Path("GATE").exists():
    time.sleep(0.05)
BROKEN

class TritonPythonModel:
    def execute(self, requests):
        raise ValueError
"""


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """A repository of models that load when their gate is opened: a file of their name beside it; one never does."""
    for name in ("first", "second", "third", "broken"):
        (tmp_path / "models" / name / "1").mkdir(parents=True)
        code = SLOW.replace("GATE", str(tmp_path / name)).replace("BROKEN", "1 / 0" if name == "broken" else "")
        (tmp_path / "models" / name / "1" / "model.py").write_text(code)
        (tmp_path / "models" / name / "config.pbtxt").write_text(CONFIG)
    return tmp_path


def test_models_are_loaded_side_by_side_and_those_that_jobs_wait_for_before_others(slow: Path) -> None:
    with LocalServer(slow / "models", slow / "triton.log") as server:
        events: list[int] = []
        memory = ModelMemory(repository=slow / "models", limit=0)
        servers = Fleet(
            urls=lambda: [server.address],
            models=["first", "second", "third"],
            memory=memory,
            deadline_seconds=60,
            urgent=lambda: {"third"},
            on_loaded=lambda: events.append(1),
            loads_at_once=2,
        )
        servers.start()
        assert servers.is_loading(["first"])
        wait_until(lambda: loading(servers, server) == {"third", "first"}, what="that two are being loaded")
        (slow / "third").touch()
        wait_until(lambda: events, what="the model that a job waits for")
        assert not servers.is_loading(["third"])
        assert servers.is_loading(["third", "first"])
        (slow / "second").touch()
        wait_until(lambda: len(events) == 2, what="the next model, while another is still being loaded")
        assert not servers.is_loading(["second"])
        assert servers.is_loading(["first"])
        (slow / "first").touch()
        loaded(servers)


def test_a_model_that_does_not_load_holds_up_no_other_and_no_job(slow: Path) -> None:
    for name in ("first", "broken"):
        (slow / name).touch()
    with LocalServer(slow / "models", slow / "triton.log") as server:
        memory = ModelMemory(repository=slow / "models", limit=0)
        servers = Fleet(
            urls=lambda: [server.address], models=["broken", "first"], memory=memory, deadline_seconds=60,
        )  # fmt: skip
        with capture_logs() as logs:
            servers.start()
            loaded(servers)
        logged = {(line["event"], line["model"]) for line in logs}
        ends = {("model.refused", "broken"), ("model.ready", "first")}
        assert logged == {("model.loading", "broken"), ("model.loading", "first"), *ends}
        (refused,) = (line for line in logs if line["event"] == "model.refused")
        assert "division by zero" in refused["reason"]
        assert "isocenter check" in refused["mend"]
        assert next(line for line in logs if line["event"] == "model.ready")["seconds"] >= 0
        with pytest.raises(ModelRefused, match="division by zero"):
            GrpcTriton([server.address]).prepare(["broken"], 60)


def loading(servers: Fleet, server: LocalServer) -> set[str]:
    return servers._loader.running(server.address)
