"""A node whose models take long to load, or do not load, receives, settles, plans, infers and delivers meanwhile."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread

from node import testing
from node.records import JobState
from tests.peers import ROOT, Orthanc, Served, serve, storescu, wait_until

pytest.importorskip("pytriton", reason="nvidia-pytriton is not installed")

NAMES = "broken", "slow", "template"
GATE = """
import time
from pathlib import Path

while not Path("GATE").exists():
    time.sleep(0.05)
"""
ROUTES = """
[[route]]
name = "every CT"
when.Modality = "CT"
plugins = ["broken", "slow", "template"]
to = ["PACS"]
"""


@pytest.fixture
def node(tmp_path: Path, pacs: Orthanc) -> Iterator[Served]:
    """A node with three models: one loads once the file `gate` is there, one never does, and one does at once."""
    for name in NAMES:
        shutil.copytree(ROOT / "triton_models" / "template", tmp_path / "models" / name)
        shutil.copytree(ROOT / "plugins" / "template", tmp_path / "plugins" / name)
        for path in (
            tmp_path / "models" / name / "config.pbtxt", *(tmp_path / "plugins" / name).glob("plugin.*")
        ):  # fmt: skip
            path.write_text(path.read_text().replace('"template"', f'"{name}"'))
    for name, code in (("slow", GATE.replace("GATE", str(tmp_path / "gate"))), ("broken", "1 / 0\n")):
        path = tmp_path / "models" / name / "1" / "model.py"
        path.write_text(code + path.read_text())
    environment = {
        "ISOCENTER_TRITON__MODEL_REPOSITORY": str(tmp_path / "models"),
        "ISOCENTER_PLUGINS": f'["{tmp_path / "plugins"}"]',
    }
    with serve(tmp_path / "node", pacs=pacs.address, routes=ROUTES, environment=environment) as served:
        yield served
        (tmp_path / "gate").touch()


def test_jobs_wait_for_their_own_models_alone(tmp_path: Path, node: Served, pacs: Orthanc) -> None:
    images = testing.write(testing.ct_series(), tmp_path / "images")
    study_uid = str(dcmread(images[0], stop_before_pixels=True).StudyInstanceUID)
    assert storescu(node.port, images).returncode == 0
    ledger = node.ledger()

    def states() -> dict[str, JobState]:
        return {job.plugin: job.state for job in ledger.jobs.of(study_uid)}

    wait_until(
        lambda: states() == {"template": JobState.DONE, "broken": JobState.PARKED, "slow": JobState.WAITING},
        seconds=90,
        what="that jobs go on whose models are loaded or refused",
    )
    wait_until(lambda: len(pacs.instances()) >= 2, what="the results of the job that is done")
    ((_, _, reason),) = ledger.queries.parked()
    assert "model broken" in reason
    assert "division by zero" in reason
    (slow,) = (job for job in ledger.jobs.of(study_uid) if job.plugin == "slow")
    assert slow.attempts == 0
    (tmp_path / "gate").touch()
    wait_until(lambda: states()["slow"] is JobState.DONE, what="the job, as soon as its model is loaded")
    (slow,) = (job for job in ledger.jobs.of(study_uid) if job.plugin == "slow")
    assert slow.attempts == 1
    ledger.close()
    log = (node.folder / "serve.log").read_text()
    for event, name in (("loading", "slow"), ("ready", "slow"), ("ready", "template"), ("refused", "broken")):
        assert any(f"model.{event}" in line and name in line for line in log.splitlines())
