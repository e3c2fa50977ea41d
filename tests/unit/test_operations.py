"""What a person types to see and steer a node, and the exit codes: 0 done, 1 nothing fitted, 2 something to mend."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from node.cli import app
from node.commands.explain import told as watched
from node.ledger import Ledger
from node.operation_records import Identifiers
from node.records import Plan, ResultObject
from node.spool import Spool

STUDY = "1.2.1"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield opened
    opened.close()


@pytest.fixture
def run(tmp_path: Path, ledger: Ledger) -> Callable[..., Result]:
    """Run a command on a node that has one destination, one plugin and one route, and is not running."""
    folder = tmp_path / "plugins" / "spleen"
    folder.mkdir(parents=True)
    (folder / "plugin.toml").write_text(
        'name = "spleen"\nversion = "1"\ntitle = "S"\nkind = "A"\n[series.ct]\nwhen.Modality = "CT"\n'
    )
    (folder / "plugin.py").write_text("def run(ct, triton):\n    return []\n")
    (tmp_path / "routes.toml").write_text(
        '[[route]]\nname = "chest"\nwhen.Modality = "CT"\nplugins = ["spleen"]\nto = ["PACS"]\n'
    )
    config = tmp_path / "isocenter.toml"
    config.write_text(
        'plugins = ["plugins"]\n[spool]\npath = "spool"\nfree_mark_mb = 0\n[ledger]\nurl = "sqlite:///ledger.db"\n'
        '[destinations.PACS]\naddress = "PACS@127.0.0.1:1"\n'
    )
    return lambda *arguments: CliRunner().invoke(app, [*arguments, "--config", str(config)])


@pytest.fixture
def parked(
    ledger: Ledger, routed: Callable[..., int], wanted: Callable[..., Plan], result: Callable[..., ResultObject]
) -> None:
    """A study with a job whose object waits, since its destination failed, and a second study whose job is parked."""
    for number, uid in enumerate((STUDY, "1.2.2"), 1):
        routed(wanted(), study=uid, number=number)
        ledger.studies.identify(uid, Identifiers(patient_id="4711", accession_number=f"A{number}", modalities="CT"))
    job = ledger.jobs.claim(lease_seconds=60)
    assert job is not None
    ledger.jobs.finish(job, [result()])
    (sent,) = ledger.deliveries.claim("PACS", lease_seconds=60)
    ledger.deliveries.postpone(sent, seconds=3600, reason="nobody listens")
    job = ledger.jobs.claim(lease_seconds=60)
    assert job is not None
    ledger.jobs.park(job, "it divided by zero")


@pytest.mark.usefixtures("parked")
def test_status_says_what_runs_waits_and_needs_a_person(run: Callable[..., Result], ledger: Ledger) -> None:
    ledger.processes.report("host:17", roles="receive, work", version="1", started_at=0, detail="local is up")
    done = run("status")
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0].startswith("process host:17 (receive, work) runs")
    assert "  Triton: local is up" in lines
    assert "no process runs: deliver" in lines
    assert any(line.startswith("deliveries waiting: 1, the oldest for") for line in lines)
    assert any(line.startswith("destination PACS: last stored never, 1 wait") for line in lines)
    assert any("nobody listens" in line for line in lines)
    assert "  job spleen of study 1.2.2: it divided by zero" in lines
    assert any(line.startswith("disk: ") for line in lines)
    found = json.loads(run("status", "--json").output)
    assert (found["processes"][0]["alive"], found["missing_roles"]) == (True, ["deliver"])


@pytest.mark.usefixtures("parked")
def test_studies_are_listed_for_people_and_programs(run: Callable[..., Result]) -> None:
    done = run("studies", "--accession", "A1")
    header, line = done.output.splitlines()
    assert header.split()[:3] == ["changed", "patient", "accession"]
    assert {"4711", "A1", "CT", STUDY, "routed"} <= set(line.split())
    assert [row["study"] for row in json.loads(run("studies", "--state", "parked", "--json").output)] == ["1.2.2"]
    assert run("studies", "--patient", "nobody").exit_code == 1
    assert run("studies", "--date", "yesterday").exit_code == 2


@pytest.mark.usefixtures("parked")
def test_explain_takes_what_people_know(run: Callable[..., Result]) -> None:
    done = run("explain", "A1")
    assert done.output.startswith(f"study {STUDY}")
    assert "; tried 1 times, next at" in done.output
    several = run("explain", "4711")
    assert "2 studies; name one of them" in several.output
    assert {STUDY, "1.2.2"} <= set(several.output.split())


def test_a_study_that_is_sent_again_is_one_line(
    run: Callable[..., Result], ledger: Ledger, arrival: Callable[..., Any]
) -> None:
    for _ in range(2):
        ledger.instances.record([arrival(number) for number in range(1, 101)])
    told = [line for line in run("explain", STUDY).output.splitlines() if "instance.repeated" in line]
    (line,) = told
    assert "100 instances, until" in line


@pytest.mark.usefixtures("parked")
def test_requeue_does_nothing_that_was_not_asked_for(run: Callable[..., Result], ledger: Ledger) -> None:
    done = run("requeue")
    assert done.exit_code == 2
    assert "job spleen of study 1.2.2: it divided by zero" in done.output
    assert "--all" in done.output
    assert len(ledger.queries.parked()) == 1
    assert run("requeue", "--study", "1.2.99").exit_code == 1
    done = run("requeue", "--all")
    assert (done.output.strip(), done.exit_code) == ("requeued: 0 studies, 1 jobs, 1 deliveries", 0)
    assert run("requeue", "--all").exit_code == 1


@pytest.mark.usefixtures("parked")
def test_cancel_and_delete_ask_first(run: Callable[..., Result], ledger: Ledger, spool: Spool) -> None:
    for command in ("cancel", "delete"):
        assert run(command, "A1").exit_code == 2, "nobody can answer"
    assert run("cancel", "4711", "--yes").exit_code == 1, "two studies"
    assert run("cancel", "A1", "--yes").output.strip() == "cancelled: 0 studies, 0 jobs, 1 deliveries"
    assert run("cancel", "--job", "99").exit_code == 1
    assert run("delete", "A1", "--yes").output.strip() == f"deleted: 1 instances of study {STUDY}"
    assert ledger.overview.meant("A1") == []


def test_pause_and_resume_take_names_of_the_configuration(run: Callable[..., Result], ledger: Ledger) -> None:
    for kind, name in (("destination", "PACS"), ("route", "chest"), ("plugin", "spleen")):
        assert run("pause", kind, name).exit_code == 0
        assert ledger.pauses.names(kind) == {name}
        assert f"paused: {kind} {name}" in run("status").output
        assert run("resume", kind, name).exit_code == 0
        assert run("resume", kind, name).exit_code == 1
    mistaken = run("pause", "destination", "OTHER")
    assert (mistaken.exit_code, "there are: PACS" in mistaken.output) == (2, True)


@pytest.mark.usefixtures("parked")
def test_queue_lists_what_waits_with_the_reason(run: Callable[..., Result]) -> None:
    done = run("queue", "--json")
    assert done.exit_code == 0
    (waiting,) = json.loads(done.output)
    assert (waiting["what"], waiting["study"], waiting["attempts"]) == ("delivery to PACS", STUDY, 1)
    assert waiting["why"] == "nobody listens"
    assert "nobody listens" in run("queue").output


def test_queue_and_requeue_end_with_1_where_nothing_waits(run: Callable[..., Result]) -> None:
    for command in ("queue", "requeue"):
        done = run(command)
        assert done.exit_code == 1, done.output
        assert done.output.strip()


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("requeue", "--destination", "PAX"), 2, "there is no destination 'PAX'; there are: PACS"),
        (("requeue", "--study", "A9"), 1, "'A9' means 0 studies"),
        (("explain", "A9"), 1, "nothing of study A9 was ever received here"),
        (("studies", "--state", "parkd"), 2, "'parkd' is no state"),
        (("studies", "--date", "yesterday"), 2, "is no date YYYYMMDD"),
        (("cancel", "A9"), 1, "'A9' means 0 studies"),
        (("pause", "plugin", "splen"), 2, "there is no plugin 'splen'; there are: spleen"),
    ],
)
def test_what_is_not_there_is_a_sentence(
    run: Callable[..., Result], words: tuple[str, ...], code: int, sentence: str
) -> None:
    done = run(*words)
    assert (done.exit_code, sentence in done.output) == (code, True), done.output


@pytest.mark.usefixtures("parked")
def test_requeue_takes_an_accession_number(run: Callable[..., Result]) -> None:
    assert run("requeue", "--study", "A2").output.strip() == "requeued: 0 studies, 1 jobs, 0 deliveries"


def test_watch_has_one_line_for_a_study_that_is_sent_again(ledger: Ledger, arrival: Callable[..., Any]) -> None:
    for _ in range(2):
        ledger.instances.record([arrival(number) for number in range(1, 101)])
    lines = list(watched([event for _, event in ledger.events.read()]))
    (line,) = [line for line in lines if "instance.repeated" in line]
    assert "100 instances; the first: " in line


def test_plugins_and_models_are_listed_for_programs_too(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOCENTER_TRITON__MODEL_REPOSITORY", str(tmp_path / "models"))
    (plugin,) = json.loads(run("plugin", "list", "--json").stdout)
    assert (plugin["name"], plugin["roles"]) == ("spleen", ["ct"])
    (tmp_path / "models" / "theirs").mkdir(parents=True)
    (tmp_path / "models" / "theirs" / "config.pbtxt").write_text('backend: "onnxruntime"')
    found = json.loads(run("model", "list", "--json").stdout)
    assert ([model["name"] for model in found["models"]], found["away"]) == (["theirs"], [])
