"""The log tells the life of a study, with UIDs, jobs and seconds, and never a name."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog

from node import flow, testing
from node.deliver import Outbox, StoreOutcome
from node.deliver.storescu import StoreResult
from node.errors import DestinationUnavailable, PluginFailed
from node.host import Plugin, read_plugin
from node.infer import Order, Performed, attempt
from node.ledger import Ledger
from node.log import log_event, log_to_stderr
from node.profiles import PROFILES
from node.records import Address, StudyState
from node.route import Route, Routes
from node.route.planning import plan_due
from node.spool import Spool
from node.triton.fake import FakeTriton
from tests.received import receive

MANIFEST = 'name = "spleen"\nversion = "1"\ntitle = "Spleen"\nkind = "A"\n[series.ct]\nwhen.Modality = "CT"\n'
CODE = """\
from node import Measurement, codes

def run(ct, triton):
    return Measurement(name=codes.SCT.Volume, value=1, unit=codes.UCUM.CubicCentimeter)
"""
Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str], ledger: Ledger) -> Iterator[Lines]:
    """Log as a node does that runs outside a terminal, and read what has been logged."""
    log_to_stderr()
    ledger.db.listener = log_event
    yield lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    structlog.reset_defaults()


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    folder = tmp_path / "spleen"
    folder.mkdir()
    (folder / "plugin.toml").write_text(MANIFEST)
    (folder / "plugin.py").write_text(CODE)
    return read_plugin(folder)


def perform(spool: Spool, order: Order, _renew: object) -> Performed:
    return flow.perform(order, spool, FakeTriton({}), {"PACS": PROFILES["orthanc"]})


def broken(_order: Order, _renew: object) -> Performed:
    raise PluginFailed("it divided by zero")


def test_the_life_of_a_study_is_in_the_log(
    ledger: Ledger, spool: Spool, plugin: Plugin, clock: Any, lines: Lines
) -> None:
    clock.now = time.time()  # by which the receiver notes when images come
    images = testing.ct_series(slices=3, rows=8, columns=8)
    study = images[0].StudyInstanceUID
    receive(spool, ledger, images)
    (seen,) = ledger.studies.in_state(StudyState.RECEIVING)
    clock.advance(10)
    ledger.studies.settle(seen, "nothing came for 10 s")
    route = Route(name="chest", when={}, plugins=("spleen",), to=("PACS",))
    routes = Routes(routes=(route,), plugins={"spleen": plugin}, quiet_seconds=0)
    plan_due(ledger.studies, ledger.instances, spool, routes)
    analyse = partial(attempt, ledger.jobs, ledger.instances, routes.plugins, attempts=1, device_uid="2.25.1")
    analyse(broken, spool.part10)
    ledger.queries.requeue(study)
    clock.advance(5)
    analyse(partial(perform, spool), spool.part10)
    away = True

    def send(_to: object, _calling: str, objects: Sequence[object], **_: object) -> Iterator[StoreResult]:
        if away:
            raise DestinationUnavailable("nobody listens")
        for _object in objects:
            yield StoreResult(StoreOutcome.STORED, "")

    outbox = Outbox(
        destination="PACS", address=Address("PACS", "127.0.0.1", 1), calling="ISOCENTER", seconds=1,
        give_up_seconds=1e6, deliveries=ledger.deliveries, spool=spool, clock=clock, send_objects=send,
    )  # fmt: skip
    outbox.deliver()
    clock.advance(60)
    away = False
    outbox.deliver()

    history = lines()
    assert [line["event"] for line in history] == [
        "association.released", "study.begun", "study.stable", "job.planned", "job.claimed", "job.parked",
        "requeued", "job.claimed", "job.done", "destination.down", "object.postponed", "destination.up",
        "object.delivered",
    ]  # fmt: skip
    by_name = {line["event"]: line for line in history}
    assert by_name["association.released"]["studies"] == [study]
    assert (by_name["association.released"]["calling"], by_name["association.released"]["instances"]) == ("CT1", 3)
    assert {line["study"] for line in history if line["event"].split(".")[0] in ("study", "job", "object")} == {study}
    assert len({line["job"] for line in history if line["event"].startswith("job.")}) == 1
    seconds = {name: by_name[name]["seconds"] for name in ("study.stable", "job.done", "destination.up")}
    assert seconds == {"study.stable": pytest.approx(10, abs=5), "job.done": 5, "destination.up": 60}
    assert (by_name["object.delivered"]["destination"], by_name["object.delivered"]["seconds"]) == ("PACS", 60)
    assert (by_name["job.parked"]["level"], by_name["job.done"]["level"]) == ("error", "info")
    assert "it divided by zero" in by_name["job.parked"]["detail"]
    assert {datetime.fromisoformat(line["timestamp"]).utcoffset() for line in history} == {timedelta(0)}
    words = json.dumps(history)
    assert not [name for name in str(images[0].PatientName).split("^") if name in words]


def test_what_is_rolled_back_is_not_logged(ledger: Ledger, lines: Lines) -> None:
    def fail() -> None:
        with ledger.db.writing() as connection:
            ledger.db.add_event(connection, "1.2.1", "study.begun", "")
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        fail()
    ledger.events.add("1.2.2", "study.begun", "")
    assert [line["study"] for line in lines()] == ["1.2.2"]


def test_the_setting_decides_level_and_form(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("warning", "text")
    structlog.get_logger().info("study.begun")
    structlog.get_logger().warning("destination.down", reason="nobody listens")
    (line,) = capsys.readouterr().err.splitlines()
    assert not line.startswith("{")
    assert "destination.down" in line
    assert "nobody listens" in line


def test_a_terminal_that_was_closed_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed:
        def write(self, _text: str) -> int:
            raise OSError(5, "Input/output error")

        flush = isatty = lambda self: False

    monkeypatch.setattr("sys.stderr", Closed())
    log_to_stderr()
    structlog.get_logger().info("study.begun")
