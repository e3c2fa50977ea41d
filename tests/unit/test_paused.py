"""What is paused waits: routes, and destinations; what people find a study by is kept when it is planned."""

from collections.abc import Callable, Iterator
from pathlib import Path

from node import testing
from node.deliver import Outbox
from node.deliver.storescu import StoreResult
from node.host import read_plugin
from node.ledger import Ledger
from node.records import Address, DeliveryState, Plan, ResultObject, StudyState
from node.route import Route, Routes
from node.route.planning import PAUSED_SECONDS, plan_due
from node.spool import Spool
from tests.received import receive

MANIFEST = 'name = "spleen"\nversion = "1"\ntitle = "Spleen"\nkind = "A"\n[series.ct]\nwhen.Modality = "CT"\n'


def test_a_study_of_a_paused_route_waits_and_can_be_found(ledger: Ledger, spool: Spool, tmp_path: Path) -> None:
    (tmp_path / "spleen").mkdir()
    (tmp_path / "spleen" / "plugin.toml").write_text(MANIFEST)
    (tmp_path / "spleen" / "plugin.py").write_text("def run(ct, triton):\n    return []\n")
    images = testing.ct_series(slices=2, rows=8, columns=8)
    for image in images:
        image.AccessionNumber, image.StudyDate = "A17", "20260102"
    receive(spool, ledger, images)
    (seen,) = ledger.studies.in_state(StudyState.RECEIVING)
    ledger.studies.settle(seen, "told by the test")
    route = Route(name="chest", when={}, plugins=("spleen",), to=("PACS",))
    routes = Routes(routes=(route,), plugins={"spleen": read_plugin(tmp_path / "spleen")}, quiet_seconds=0)

    def plan() -> float | None:
        return plan_due(ledger.studies, ledger.instances, spool, routes)

    ledger.pauses.add("route", "chest")
    assert plan() == PAUSED_SECONDS
    assert ledger.studies.in_state(StudyState.STABLE)
    assert ledger.overview.meant("A17") == [seen.study_uid]
    assert ledger.overview.meant(str(images[0].PatientID)) == [seen.study_uid]
    ledger.pauses.remove("route", "chest")
    assert plan() is None
    assert [job.plugin for job in ledger.jobs.of(seen.study_uid)] == ["spleen"]


def test_nothing_is_sent_to_a_paused_destination(
    ledger: Ledger,
    spool: Spool,
    routed: Callable[..., int],
    wanted: Callable[..., Plan],
    result: Callable[..., ResultObject],
) -> None:
    routed(wanted())
    job = ledger.jobs.claim(lease_seconds=60)
    assert job is not None
    ledger.jobs.finish(job, [result()])

    def send(*_: object, **__: object) -> Iterator[StoreResult]:
        raise AssertionError("it was sent")

    outbox = Outbox(
        destination="PACS", address=Address("PACS", "127.0.0.1", 1), calling="ISOCENTER", seconds=1,
        give_up_seconds=1e6, deliveries=ledger.deliveries, spool=spool, send_objects=send, paused=lambda: True,
    )  # fmt: skip
    assert outbox.deliver() is None
    (waiting,) = ledger.deliveries.of("1.2.1")
    assert (waiting.state, waiting.attempts) == (DeliveryState.WAITING, 0)
