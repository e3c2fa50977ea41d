"""Storage Commitment with Orthanc, in both directions."""

import threading
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from node import testing
from node.records import Address
from tests.commitment import (
    COMMITTED,
    WAITING,
    CommitmentSender,
    NodeEnds,
    Pair,
    QueueObjects,
    report,
    stored,
)
from tests.peers import Orthanc, free_port, missing, orthanc, serve, storescu, wait_until

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom", "ignore::UserWarning:pynetdicom")


def referenced(image: Dataset) -> Pair:
    return str(image.SOPClassUID), str(image.SOPInstanceUID)


@pytest.fixture
def archive(tmp_path: Path, open_node: Callable[..., NodeEnds]) -> Iterator[tuple[NodeEnds, Orthanc]]:
    """Both ends of a node, and an Orthanc; each knows the address of the other."""
    if reason := missing("Orthanc"):
        pytest.skip(reason)
    node = open_node()
    with orthanc(tmp_path / "orthanc", modalities={"isocenter": node.address}) as peer:
        node.scp.addresses = {"ORTHANC": Address.parse(peer.address)}
        yield node, peer


def test_orthanc_commits_to_stored_objects_and_gets_lost_objects_again(
    archive: tuple[NodeEnds, Orthanc], queue_objects: QueueObjects
) -> None:
    node, peer = archive
    (_, kept), (_, lost) = queue_objects(2)
    address = Address.parse(peer.address)
    node.outbox(address).deliver()
    for name in peer.instances():
        if dcmread(BytesIO(peer.get(f"/instances/{name}/file"))).SOPInstanceUID == lost:
            peer.send("DELETE", f"/instances/{name}")
    node.scu(address, linger=20).commit()
    assert node.states() == [COMMITTED, WAITING]
    assert "no such object instance (0x0112)" in node.rows()[1].reason
    node.clock.advance(60)
    node.outbox(address).deliver()
    node.scu(address, linger=20).commit()
    assert node.states() == [COMMITTED, COMMITTED]
    assert sorted(image.SOPInstanceUID for image in peer.objects()) == sorted([kept, lost])


def test_the_node_reports_to_orthanc_which_instances_it_keeps(archive: tuple[NodeEnds, Orthanc]) -> None:
    node, peer = archive
    association = CommitmentSender(node).associate()
    wanted = stored(association)
    association.release()
    stopped = threading.Event()

    def steps() -> None:
        while not stopped.wait(0.1):
            report(node)

    running = threading.Thread(target=steps)
    running.start()
    try:
        assert peer.asks("isocenter", wanted)["Status"] == "Success"
        commitment_report = peer.asks("isocenter", [*wanted, (str(CTImageStorage), "1.2.3.404")])
    finally:
        stopped.set()
        running.join()
    assert commitment_report["Status"] == "Failure"
    assert [item["SOPInstanceUID"] for item in commitment_report["Failures"]] == ["1.2.3.404"]
    assert sorted(item["SOPInstanceUID"] for item in commitment_report["Success"]) == sorted(uid for _, uid in wanted)


def test_a_served_node_ends_committed_and_says_so_also_when_it_was_killed_before_the_answer(tmp_path: Path) -> None:
    if reason := missing("Orthanc", "storescu"):
        pytest.skip(reason)
    port = free_port()
    images = testing.write(testing.ct_series(slices=2, rows=64, columns=64), tmp_path / "images")
    study_uid = str(dcmread(images[0]).StudyInstanceUID)
    with orthanc(tmp_path / "orthanc") as peer:  # it does not know the node yet, so it cannot report
        killed = pytest.raises(AssertionError, match="ended with -9")
        with killed, serve(tmp_path / "node", pacs=peer.address, port=port, commitment=True) as node:
            assert storescu(node.port, images).returncode == 0
            wait_until(lambda: len(peer.instances()) == 1, what="the report in Orthanc")
            wait_until(lambda: ": delivered" in node.explain(study_uid), what="the delivery")
            node.process.kill()
    known = {"isocenter": Address("ISOCENTER", "127.0.0.1", port)}
    with (
        orthanc(tmp_path / "orthanc", modalities=known, again=peer) as peer,
        serve(tmp_path / "node", pacs=peer.address, port=port, commitment=True) as node,
    ):
        ledger = node.ledger()
        with ledger.db.writing() as connection:  # its patience ends here
            connection.exec_driver_sql("UPDATE delivery SET ask_at = 0 WHERE state = 'delivered'")
        wait_until(lambda: ": committed" in node.explain(study_uid), what="the commitment")
        assert "object.committed" in node.explain(study_uid)
        ledger.close()
