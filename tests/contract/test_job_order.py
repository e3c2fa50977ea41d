"""Which job is claimed and which delivery sent first, by urgency and by turns of the senders: for every database."""

from dataclasses import replace

from node.ledger import Ledger
from node.records import (
    Plan,
)
from tests.conftest import Clock
from tests.ledger_rows import Arrive, Make, Want, claimed, study


def order(ledger: Ledger, count: int) -> list[str]:
    return [claimed(ledger).study_uid for _ in range(count)]


def send(ledger: Ledger, arrival: Arrive, plan: Plan, uid: str, *, calling: str = "CT1", urgency: int = 0) -> None:
    arrived = arrival(1, study=uid)
    ledger.instances.record([replace(arrived, instance=replace(arrived.instance, calling=calling, urgency=urgency))])
    ledger.studies.settle(study(ledger, uid), "")
    assert ledger.studies.plan(study(ledger, uid), [], [plan]) == 1


def test_a_flood_from_one_sender_does_not_starve_another(
    ledger: Ledger, arrival: Arrive, wanted: Want, clock: Clock
) -> None:
    for number in range(6):
        send(ledger, arrival, wanted(), f"1.1.{number}", calling="FLOOD")
        clock.advance(1)
    send(ledger, arrival, wanted(), "1.2.0", calling="QUIET")
    send(ledger, arrival, wanted(), "1.2.1", calling="QUIET")
    assert order(ledger, 5) == ["1.1.0", "1.2.0", "1.1.1", "1.2.1", "1.1.2"]
    send(ledger, arrival, wanted(), "1.3.0", calling="NEW")
    assert order(ledger, 3) == ["1.3.0", "1.1.3", "1.1.4"]


def test_urgent_images_overtake_and_add_to_their_route(ledger: Ledger, arrival: Arrive, wanted: Want) -> None:
    send(ledger, arrival, wanted(), "1.1.1")
    send(ledger, arrival, wanted(), "1.1.2", urgency=-10)
    send(ledger, arrival, wanted(), "1.1.3", urgency=10)
    send(ledger, arrival, wanted(priority=5), "1.1.4", urgency=10)
    send(ledger, arrival, wanted(priority=5), "1.1.5")
    assert order(ledger, 5) == ["1.1.4", "1.1.3", "1.1.5", "1.1.1", "1.1.2"]


def test_deliveries_of_urgent_studies_go_first(
    ledger: Ledger, arrival: Arrive, wanted: Want, result: Make, clock: Clock
) -> None:
    for number, urgency in enumerate((0, 20, 10)):
        send(ledger, arrival, wanted(), f"1.1.{number}", urgency=urgency)
        ledger.jobs.finish(claimed(ledger), [result(number)])
        clock.advance(1)
    assert [delivery.study_uid for delivery in ledger.deliveries.claim("PACS", lease_seconds=60)] == [
        "1.1.1",
        "1.1.2",
        "1.1.0",
    ]
