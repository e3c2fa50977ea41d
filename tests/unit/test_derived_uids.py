"""The same inputs give the same UIDs and bytes at any time; whatever else decides the content gives other UIDs."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom import dcmread

from node import flow, testing
from node.codes import DCM
from node.commands.rebuild_ledger import rebuild
from node.compose import Identity
from node.compose.job_objects import job_identity
from node.errors import TritonUnavailable
from node.host import Kind, Plugin, read_plugin
from node.infer import Order, Performed, attempt
from node.ledger import Ledger
from node.profiles import PROFILES
from node.records import StudyState
from node.route import Route, Routes
from node.route.planning import plan_due
from node.settings import Settings
from node.spool import Spool
from node.triton.fake import FakeTriton
from tests.received import receive

OTHER: dict[str, Any] = {
    "study_uid": "1.2.2",
    "revision": 2,
    "plugin": "liver",
    "version": "2",
    "title": "Liver",
    "manufacturer": "somebody",
    "models": ("spleen 2",),
    "at": datetime(2026, 1, 3, tzinfo=UTC),
    "first_series_number": 3101,
    "device_uid": "2.25.2",
    "kind": Kind.DEMONSTRATION,
    "validated_on": "LiTS",
    "part": 1,
    "family": DCM.MorphologicalOperations,
    "variant": "frames 4",
    "description_format": "{title}",
    "inputs": "e",
    "objects": ("SEG", "SR"),
}
FORM = {"first_series_number", "variant", "description_format", "objects"}
MANIFEST = """\
name = "spleen"
version = "1"
title = "Spleen"
kind = "A"
models = ["spleen"]
[series.ct]
when.Modality = "CT"
"""
CODE = """\
from node import Measurement, codes

def run(ct, triton):
    triton.infer("spleen")
    return Measurement(name=codes.SCT.Volume, value=1, unit=codes.UCUM.CubicCentimeter)
"""


def identity() -> Identity:
    return Identity(
        study_uid="1.2.1", revision=1, plugin="spleen", version="1", title="Spleen", manufacturer="",
        models=("spleen 1",), at=datetime(2026, 1, 2, tzinfo=UTC), first_series_number=3001, device_uid="2.25.1",
    )  # fmt: skip


@pytest.mark.parametrize("name", [field.name for field in fields(Identity)])
def test_each_part_of_the_identity_decides_the_uid(name: str) -> None:
    other = replace(identity(), **{name: OTHER[name]})
    assert other.uid("seg") != identity().uid("seg")
    assert identity().uid("seg") == identity().uid("seg") != identity().uid("sr")
    assert (other.tracking_uid("1") == identity().tracking_uid("1")) is (name in FORM), "one finding, in any form"


def test_names_do_not_run_into_one_another() -> None:
    assert identity().uid("a|b") != identity().uid("a", "b")


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    folder = tmp_path / "spleen"
    folder.mkdir()
    (folder / "plugin.toml").write_text(MANIFEST)
    (folder / "plugin.py").write_text(CODE)
    return read_plugin(folder)


@pytest.fixture
def analyse(tmp_path: Path, plugin: Plugin, clock: Any) -> Callable[..., dict[str, bytes]]:
    """Receive a study on a node, analyse it as often as is asked, and return its objects by UID."""

    def made(node: str, slices: int, *, times: int = 1, later: float = 0.0) -> dict[str, bytes]:
        images = testing.ct_series(slices=slices, rows=8, columns=8) if slices else []
        with opened(tmp_path / node, clock) as (ledger, spool):
            if slices:
                receive(spool, ledger, images)
            else:
                ledger.queries.requeue()
            route = Route(name="r", when={}, plugins=("spleen",), to=("PACS",))
            routes = Routes(routes=(route,), plugins={"spleen": plugin}, quiet_seconds=0)
            for seen in ledger.studies.in_state(StudyState.RECEIVING):
                ledger.studies.settle(seen, "settled by the test")
            plan_due(ledger.studies, ledger.instances, spool, routes)
            objects = []
            for again in range(times):
                perform = partial(performed, spool, objects, fails=again < times - 1)
                attempt(
                    ledger.jobs, ledger.instances, routes.plugins, perform, spool.part10,
                    attempts=9, device_uid=ledger.queries.device_uid(),
                )  # fmt: skip
                clock.advance(later)
            (first, *rest) = objects
            assert rest == [first] * (times - 1), "the same job makes the same bytes"
            return first

    return made


@contextmanager
def opened(folder: Path, clock: Any) -> Iterator[tuple[Ledger, Spool]]:
    folder.mkdir(exist_ok=True)
    ledger = Ledger(f"sqlite:///{folder / 'ledger.db'}", clock=clock)
    yield ledger, Spool(folder / "spool")
    ledger.close()


def performed(spool: Spool, into: list[dict[str, bytes]], order: Order, _renew: object, *, fails: bool) -> Performed:
    """Perform a job, note what it made, and perhaps fail before it is recorded."""
    done = flow.perform(order, spool, FakeTriton({"spleen": lambda **_: {}}), {"PACS": PROFILES["orthanc"]})
    into.append({made.sop_instance_uid: (spool.path / made.path).read_bytes() for made in done.objects})
    if fails:
        raise TritonUnavailable("the answer was lost")
    return done


def test_a_job_that_is_done_again_makes_the_same_bytes(analyse: Callable[..., dict[str, bytes]]) -> None:
    assert analyse("one", 5, times=2, later=3600)


def test_a_ledger_that_was_made_again_makes_the_same_bytes(
    analyse: Callable[..., dict[str, bytes]], tmp_path: Path, clock: Any
) -> None:
    """The PACS has the objects of the lost ledger: they are sent again as they are, not beside them with other UIDs."""
    before = analyse("one", 5)
    (tmp_path / "one" / "ledger.db").unlink()
    clock.advance(86400)
    settings = Settings(
        spool={"path": tmp_path / "one" / "spool"}, ledger={"url": f"sqlite:///{tmp_path / 'one' / 'ledger.db'}"}
    )
    assert list(rebuild(settings))
    assert analyse("one", 0) == before


def test_the_hour_that_the_end_of_daylight_saving_repeats_gives_two_uids(plugin: Plugin, berlin: None) -> None:
    shift = datetime(2026, 10, 25, 1, tzinfo=UTC).timestamp()
    first, second, again = (planned(plugin, at) for at in (shift - 1800, shift + 1800, shift - 1800))
    assert first.at.replace(tzinfo=None, fold=0) == second.at.replace(tzinfo=None, fold=0), "half past two, twice"
    assert first.uid("seg") == again.uid("seg") != second.uid("seg")


def planned(plugin: Plugin, at: float) -> Identity:
    job: Any = SimpleNamespace(study_uid="1.2.1", revision=1, ordinal=0, planned_at=at)
    return job_identity(job, plugin.manifest, lambda _: "1", device_uid="2.25.1", inputs="", part=0)


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local time of a zone with daylight saving, written as POSIX writes it, so that no zone files are needed."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
        time.tzset()
        yield
    time.tzset()


def test_two_nodes_with_one_pacs_make_different_uids(analyse: Callable[..., dict[str, bytes]]) -> None:
    assert_apart(analyse("one", 5), analyse("other", 5))


def test_83_of_100_slices_make_other_uids(
    analyse: Callable[..., dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.ledger.queries.Queries.device_uid", lambda _: "2.25.1")  # a copy of the same ledger
    assert_apart(analyse("whole", 100), analyse("part", 83))


def assert_apart(*made: dict[str, bytes]) -> None:
    for name in ("SOPInstanceUID", "SeriesInstanceUID"):
        one, other = ({dcmread(path)[name].value for path in files(each)} for each in made)
        assert one
        assert not one & other, name


def files(made: dict[str, bytes]) -> Sequence[Any]:
    return [BytesIO(content) for content in made.values()]
