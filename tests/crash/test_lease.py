"""A job whose node died is taken up again when its lease has run out: not before, and by nobody's help."""

from collections.abc import Callable
from pathlib import Path

from tests.crash.harness import House, study, study_uid

LEASE_SECONDS = 6.0


def test_a_job_waits_for_the_lease_of_a_node_that_died(house: Callable[..., House], tmp_path: Path) -> None:
    node = house()
    files = study(tmp_path, "leased")
    node.start_with(LEASE_SECONDS, FAULT_AT="infer.running")
    assert not node.send(files)
    node.wait_for_death()
    node.start_with(LEASE_SECONDS)
    node.rest(study_uid(files))
    with node.ledger() as ledger:
        claims = [event.at for _, event in ledger.events.read(study_uid(files)) if event.name == "job.claimed"]
    assert len(claims) == 2, node.explain(study_uid(files))
    assert claims[1] - claims[0] > LEASE_SECONDS - 0.5
    assert node.account(files) == []
