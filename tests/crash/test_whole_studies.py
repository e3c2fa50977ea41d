"""What is analysed is whole, and of one patient: real associations into a real node, up to what its PACS gets."""

from collections.abc import Callable, Sequence
from pathlib import Path

from pydicom import dcmread

from node.records import JobState, Study, StudyState
from tests.crash.around import HERE, House, dataset, study, study_uid
from tests.peers import wait_until
from tests.processes import ROOT, isocenter

New = Callable[..., House]
PLUGIN = str(HERE / "plugins" / "threshold")


def of_patient(files: Sequence[Path], patient_id: str) -> None:
    """Correct files: another Patient ID, the same SOP Instance UIDs."""
    for file in files:
        image = dcmread(file)
        image.PatientID = patient_id
        image.save_as(file)


def row(node: House, uid: str) -> Study | None:
    with node.ledger() as ledger:
        return ledger.studies.find(uid)


def parked(node: House, uid: str, because: str) -> None:
    def so() -> bool:
        found = row(node, uid)
        return found is not None and found.state is StudyState.PARKED and because in found.because

    wait_until(so, what=f"the study parked, because {because}")


def revisions_done(node: House, uid: str) -> list[int]:
    with node.ledger() as ledger:
        return [job.revision for job in ledger.jobs.of(uid) if job.state is JobState.DONE]


# A study is of one patient.


def test_a_study_of_two_patients_is_parked_for_the_administrator_and_nothing_leaves_the_node(
    house: New, tmp_path: Path
) -> None:
    node = house()
    node.start()
    files = study(tmp_path, "mixed", slices=6, patient_id="A1")
    of_patient(files[3:], "B2")
    assert not node.send(files)
    parked(node, study_uid(files), "two Patient IDs")
    found = row(node, study_uid(files))
    assert found is not None
    assert "a PACS administrator must correct the study and send it again" in found.because
    told = node.explain(study_uid(files)) + found.because + node.log
    assert "A1" not in told.replace("CT1", "")
    assert "B2" not in told
    assert revisions_done(node, study_uid(files)) == []
    assert not node.pacs.arrived

    of_patient(files, "B2")
    assert not node.send(files)
    node.rest(study_uid(files))
    assert node.account(files) == []
    assert {_patient(node, path) for path in node.pacs.arrived} == {"B2"}


def test_a_slow_correction_of_the_patient_is_analysed_when_it_is_whole_and_not_before(
    house: New, tmp_path: Path
) -> None:
    node = house()
    node.start()
    files = study(tmp_path, "corrected", slices=6, patient_id="A1")
    assert not node.send(files)
    node.rest(study_uid(files))
    before = set(node.pacs.arrived)

    of_patient(files, "B2")
    assert not node.send(files[:4])
    parked(node, study_uid(files), "two Patient IDs")
    assert revisions_done(node, study_uid(files)) == [1]
    assert set(node.pacs.arrived) == before

    assert not node.send(files[4:])
    node.rest(study_uid(files))
    assert len(revisions_done(node, study_uid(files))) == 2
    assert {_patient(node, path) for path in set(node.pacs.arrived) - before} == {"B2"}
    assert {_patient(node, path) for path in before} == {"A1"}


def test_trying_a_plugin_on_two_patients_says_what_is_wrong(tmp_path: Path) -> None:
    files = study(tmp_path, "tried", slices=4)
    of_patient(files[2:], "B2")
    config = ROOT / "config" / "isocenter.toml"
    out = tmp_path / "out"
    tried = isocenter("plugin", "try", PLUGIN, str(files[0].parent), "--config", str(config), "--out", str(out))
    assert tried.returncode != 0
    assert "two Patient IDs" in " ".join(tried.stderr.split())
    assert "Traceback" not in tried.stderr


def _patient(node: House, uid: str) -> str:
    return str(dataset(node.pacs.arrived[uid][0]).PatientID)
