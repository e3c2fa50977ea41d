"""What a plugin cannot analyse is told in the story of the study, and sent where a route asks for it."""

from pathlib import Path

import pytest

from node import flow
from node.host import read_plugin
from node.images.part10 import Part10
from node.images.stacks import group_into_stacks
from node.infer import Order
from node.records import Job, JobState
from node.route import plan, read_routes
from node.spool import Spool
from node.testing import ct_series, write
from node.triton.fake import FakeTriton

MANIFEST = 'name = "spleen"\nversion = "1"\ntitle = "Spleen"\nkind = "A"\n[series.ct]\nwhen.Modality = "CT"\n'
CODE = """\
from node import NotSuitable

def run(ct, triton):
    return NotSuitable("the spleen is cut off")
"""
ROUTE = "[[route]]\nname = '{name}'\nwhen.Modality = 'CT'\nplugins = ['spleen']\nto = ['PACS']\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "plugins" / "spleen"
    folder.mkdir(parents=True)
    (folder / "plugin.toml").write_text(MANIFEST)
    (folder / "plugin.py").write_text(CODE)
    return folder


@pytest.mark.parametrize(
    ("report", "earlier", "sent"),
    [(False, False, 0), (True, False, 1), (False, True, 1)],
    ids=["story", "asked", "new"],
)
def test_a_report_is_sent_where_a_route_asks_or_an_earlier_one_no_longer_holds(
    folder: Path, spool: Spool, tmp_path: Path, report: bool, earlier: bool, sent: int
) -> None:
    parts = tuple(Part10.of_file(path) for path in write(ct_series(), tmp_path / "images"))
    (series,) = group_into_stacks(parts).series
    job = Job(
        id=1, study_uid=series.study_uid, revision=1, plugin="spleen", version="1", route="r", destinations=(),
        inputs=({"ct": series.key},), state=JobState.RUNNING, attempts=1, planned_at=1.0, ordinal=0, worker="",
        reason="", report_not_suitable=report,
    )  # fmt: skip
    order = Order(
        job=job, plugin=read_plugin(folder), parts=parts, predecessors=("gone.dcm",) if earlier else (),
        device_uid="2.25.1", inputs="",
    )  # fmt: skip
    performed = flow.perform(order, spool, FakeTriton({}), {})
    assert [one.kind for one in performed.objects] == ["SR"] * sent
    assert performed.remarks == (f"{series.key}: not suitable, because the spleen is cut off",)


@pytest.mark.parametrize(("asking", "reported"), [("", False), ("report_not_suitable = true\n", True)])
def test_one_route_that_asks_is_enough(folder: Path, tmp_path: Path, asking: str, reported: bool) -> None:
    (tmp_path / "routes.toml").write_text(ROUTE.format(name="a") + ROUTE.format(name="b") + asking)
    plugins = {"spleen": read_plugin(folder)}
    routes = read_routes(tmp_path / "routes.toml", plugins=plugins, destinations=["PACS"], quiet_seconds=1)
    parts = [Part10.of_file(path) for path in write(ct_series(), tmp_path / "images")]
    (series,) = group_into_stacks(parts).series
    (planned,) = plan([series], routes, {frame.sop_instance_uid: 0 for frame in series.frames}).plans
    assert planned.report_not_suitable is reported
