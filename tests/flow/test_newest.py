"""The newest complete answer wins, and a study keeps its instances: a real node, real associations, a PACS."""

from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from node import testing
from node.commands.explain import explain
from node.records import DeliveryState, JobState
from tests.crash.harness import House, Pacs, alive, study, study_uid
from tests.peers import wait_until

SR = "1.2.840.10008.5.1.4.1.1.88.34"
HALF, WHOLE = 10, 20
SLOW = f"""\
    here = Path(__file__)
    objects = here.parents[2] / "spool" / "objects"
    half = len(ct.frames) == {HALF}
    if half:
        (objects / "begun.part").write_text(str(os.getpid()))
        (objects / "begun.part").rename(objects / "begun")
    while half and here.with_name("hold").exists():
        time.sleep(0.05)
    if half:
        (objects / "over").touch()
    volume = ct.volume()
"""


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    with Pacs().listening() as listening:
        yield listening


@pytest.fixture
def house(tmp_path: Path, pacs: Pacs) -> Iterator[House]:
    built = House(tmp_path / "node", pacs)
    yield built
    built.stop()


def objects(house: House) -> Path:
    """Where a plugin may write."""
    return house.folder / "spool" / "objects"


def slow_on_half(house: House) -> Path:
    """Have a job on half of the images wait while the returned file is there."""
    plugin = house.folder / "plugins" / "threshold" / "plugin.py"
    code = plugin.read_text().replace("    volume = ct.volume()\n", SLOW)
    plugin.write_text(code.replace("from pathlib", "import os\nimport time\nfrom pathlib"))
    held = plugin.with_name("hold")
    held.touch()
    return held


def explanation(house: House, uid: str) -> str:
    """Return what `isocenter explain` prints."""
    with house.ledger() as ledger:
        return "\n".join(explain(ledger, uid))


def reports(pacs: Pacs) -> list[Dataset]:
    found = [dcmread(BytesIO(contents[0]), force=True) for contents in pacs.arrived.values()]
    return [dataset for dataset in found if dataset.get("SOPClassUID") == SR]


def half_is_over(house: House) -> bool:
    """Whether the job on half of the images runs no more: it has come to its end, or its process was killed."""
    with suppress(FileNotFoundError):
        return (objects(house) / "over").exists() or not alive(int((objects(house) / "begun").read_text()))
    return False


def test_the_report_of_half_a_study_is_never_delivered_after_the_report_of_the_whole_study(
    house: House, pacs: Pacs, tmp_path: Path
) -> None:
    files = study(tmp_path, "study", slices=WHOLE)
    uid = study_uid(files)
    held = slow_on_half(house)
    house.start()
    assert house.send(files[:HALF]) == []
    wait_until((objects(house) / "begun").exists, what="the job on half of the study")
    assert house.send(files[HALF:]) == []
    house.rest(uid)
    assert len(pacs.arrived) == 2, "the results of the whole"
    held.unlink()
    wait_until(lambda: half_is_over(house), what="the end of the job on half of the study")
    house.stop()
    with house.ledger() as ledger:
        jobs = {job.revision: job.state for job in ledger.jobs.of(uid)}
        assert jobs == {1: JobState.SUPERSEDED, 2: JobState.DONE}
        assert {delivery.state for delivery in ledger.deliveries.of(uid)} == {DeliveryState.DELIVERED}
    assert len(pacs.arrived) == 2
    assert (
        "threshold 1, revision 1: superseded – revision 2 came while it ran; nothing of it is recorded"
        in explanation(house, uid)
    )
    assert house.account(files) == []


def test_a_report_of_half_a_study_that_waits_for_the_pacs_does_not_leave(
    house: House, pacs: Pacs, tmp_path: Path
) -> None:
    files = study(tmp_path, "study", slices=WHOLE)
    uid = study_uid(files)
    house.start()
    pacs.rejects = True
    assert house.send(files[:HALF]) == []
    wait_until(lambda: "job.done" in house.explain(uid), what="the results of half of the study")
    assert house.send(files[HALF:]) == []
    wait_until(lambda: house.explain(uid).count("job.done") == 2, what="the results of the whole")
    pacs.rejects = False
    house.rest(uid)
    assert len(pacs.arrived) == 2
    assert explanation(house, uid).count("superseded – revision 2 came before it left") == 2
    assert house.account(files) == []
    assert not [dataset for dataset in reports(pacs) if "PredecessorDocumentsSequence" in dataset], (
        "no other was ever stored"
    )


@pytest.mark.parametrize("reused", [10, 30])
def test_a_study_keeps_its_images_whose_uids_are_used_again_in_another(
    house: House, pacs: Pacs, tmp_path: Path, reused: int
) -> None:
    files = study(tmp_path, "first", slices=30)
    others = []
    for path in files[:reused]:
        image = dcmread(path)
        image.StudyInstanceUID, image.SeriesInstanceUID = "1.2.3.4.5", "1.2.3.4.5.1"
        image.PixelData = bytes(len(image.PixelData))
        others.append(image)
    copies = testing.write(others, tmp_path / "second")
    house.start()
    for some in (files, copies):
        assert house.send(some) == []
        house.rest(study_uid(some))
    first, second = study_uid(files), study_uid(copies)
    with house.ledger() as ledger:
        assert (len(ledger.instances.of(first)), len(ledger.instances.of(second))) == (30, reused)
    for mine, other, count in ((first, second, 30), (second, first, reused)):
        assert f"{count} instances" in explanation(house, mine)
        assert f"instance.shared  {reused} instances, " in explanation(house, mine)
        assert explanation(house, mine).count(f"is in study {other} too") == 1, "the first stands for all"
        assert "revision 1, routed" in explanation(house, mine)
    assert len(pacs.arrived) == 4
    house.stop()
    house.start()
    house.rest(first, second)
    with house.ledger() as ledger:
        assert {job.state for uid in (first, second) for job in ledger.jobs.of(uid)} == {JobState.DONE}
    assert len(pacs.arrived) == 4
