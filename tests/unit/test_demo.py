"""What the demo says: what it waits for, and why a study has no answer."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from node.cli import app
from node.commands import demo
from node.commands.demo import Outcome, waiting
from node.commands.explain import unanswered
from node.ledger import Ledger
from node.records import Arrival, Decision, Plan


def test_what_takes_long_says_that_it_still_goes_on() -> None:
    said: list[str] = []
    third = threading.Event()

    def say(line: str) -> None:
        said.append(line)
        if len(said) == 3:
            third.set()

    with waiting(say, "starting Triton", seconds=0.001):
        assert third.wait(10)
    assert said[0] == "starting Triton"
    assert said[1].startswith("still starting Triton, for ")


def test_a_study_that_no_route_takes_has_every_route_with_why_not(
    ledger: Ledger, arrival: Callable[..., Arrival]
) -> None:
    ledger.instances.record([arrival(1)])
    seen = ledger.studies.find("1.2.1")
    assert seen is not None
    ledger.studies.settle(seen, "settled by the test")
    stable = ledger.studies.find("1.2.1")
    assert stable is not None
    decision = Decision(
        series_key="1.2.1.1",
        series_text="MR series 3",
        route="every CT",
        matched=False,
        sentence="Modality is MR, not CT",
    )
    ledger.studies.plan(stable, [decision], [])
    lines = list(unanswered(ledger, "1.2.1"))
    assert lines == ["no route takes study 1.2.1:", "  every CT: MR series 3 – Modality is MR, not CT"]


def test_a_job_that_is_parked_is_said_and_one_that_is_done_is_not(
    ledger: Ledger, routed: Callable[..., int], wanted: Callable[..., Plan]
) -> None:
    routed(wanted())
    assert list(unanswered(ledger, "1.2.1")) == []
    job = ledger.jobs.claim(lease_seconds=60)
    assert job is not None
    ledger.jobs.park(job, "it divided by zero")
    assert list(unanswered(ledger, "1.2.1")) == ["spleen is parked: it divided by zero"]


@pytest.mark.parametrize(("why", "code"), [((), 0), (("no route takes study 1:",), 1)])
def test_a_demo_without_an_answer_ends_with_1(
    why: tuple[str, ...], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = Outcome(unanswered=why, objects=(), pictures=(), seconds=())
    monkeypatch.setattr(demo, "demo", lambda *_: outcome)
    done = CliRunner().invoke(app, ["demo", "--out", str(tmp_path)])
    assert done.exit_code == code
    assert done.output.startswith("· importing PyTorch")
    assert all(line in done.output for line in why)
