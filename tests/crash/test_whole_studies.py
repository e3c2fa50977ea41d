"""What is analysed is whole, and of one patient: real associations into a real node, up to what its PACS gets."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association

from node.records import JobState, Study, StudyState
from tests.crash.harness import HERE, House, dataset, study, study_uid
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
    output = node.explain(study_uid(files)) + found.because + node.log
    assert "A1" not in output.replace("CT1", "")
    assert "B2" not in output
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


# A study is complete when nothing says otherwise.

FULL = "pack.append.written:3:ENOSPC"
"""From the third instance on the disk is full."""
MISSING = "3 instances were refused and have not come again"


def test_a_study_of_which_a_part_was_refused_is_analysed_late_and_its_report_says_so(
    house: New, tmp_path: Path
) -> None:
    node = house()
    node.start(FAULT_AT=FULL, ISOCENTER_ASSEMBLE__QUIET_SECONDS="2")
    files = study(tmp_path, "refused", slices=5)
    left = node.send(files)
    assert node.modality.statuses == {0: 2, 0xA700: 3}
    node.rest(study_uid(files))
    assert MISSING in node.explain(study_uid(files))
    assert [MISSING in text for text in reports(node)] == [True]
    output = isocenter("explain", study_uid(files), "--config", str(node.config)).stdout
    assert MISSING in " ".join(output.split())

    node.stop()
    node.start()
    before = set(node.pacs.arrived)
    assert not node.send(left)
    node.rest(study_uid(files))
    assert node.account(files) == []
    assert revisions_done(node, study_uid(files)) == [1, 2]
    assert [MISSING in text for text in reports(node, but=before)] == [False]


def test_a_restart_does_not_forget_what_was_refused(house: New, tmp_path: Path) -> None:
    node = house()
    node.start(FAULT_AT=FULL, ISOCENTER_ASSEMBLE__QUIET_SECONDS="600")
    files = study(tmp_path, "forgotten", slices=5)
    left = node.send(files)
    assert len(left) == 3
    wait_until(lambda: node.explain(study_uid(files)).count("instance.refused") == 3, what="the rows of the refusals")
    node.kill()
    node.start(ISOCENTER_ASSEMBLE__QUIET_SECONDS="600")
    other = study(tmp_path, "other", slices=3)
    assert not node.send(other)
    node.rest(study_uid(other))
    found = row(node, study_uid(files))
    assert found is not None
    assert found.state is StudyState.RECEIVING
    assert not node.send(left)
    node.rest(study_uid(files))
    assert node.account(files) == []
    assert revisions_done(node, study_uid(files)) == [1]
    assert [MISSING in text for text in reports(node)] == [False] * 2


def test_an_association_that_is_aborted_midway_is_no_whole_study(house: New, tmp_path: Path) -> None:
    node = house()
    node.start(ISOCENTER_ASSEMBLE__QUIET_SECONDS="2")
    files = study(tmp_path, "aborted", slices=5)
    association = calling(node)
    for file in files[:3]:
        assert association.send_c_store(dcmread(file)).Status == 0
    association.abort()
    wait_until(lambda: "study.stable" in node.explain(study_uid(files)), what="the study taken for stable")
    assert "ended without release, and nobody called again" in node.explain(study_uid(files))
    assert not node.send(files)
    wait_until(lambda: revisions_done(node, study_uid(files))[-1:] == [2], what="the whole study analysed")
    found = row(node, study_uid(files))
    assert found is not None
    assert found.caveat == ""


def test_an_association_that_is_open_is_waited_for(house: New, tmp_path: Path) -> None:
    node = house(receivers=2)
    node.start(ISOCENTER_ASSEMBLE__QUIET_SECONDS="0.5")
    files, other = study(tmp_path, "open", slices=5), study(tmp_path, "meanwhile", slices=3)
    association = calling(node)
    for file in files[:3]:
        assert association.send_c_store(dcmread(file)).Status == 0
    assert not node.send(other)
    node.rest(study_uid(other))
    found = row(node, study_uid(files))
    assert found is not None
    assert found.state is StudyState.RECEIVING
    for file in files[3:]:
        assert association.send_c_store(dcmread(file)).Status == 0
    association.release()
    wait_until(lambda: revisions_done(node, study_uid(files)) == [1], what="the study analysed once")
    with node.ledger() as ledger:
        assert len(ledger.instances.of(study_uid(files))) == 5


def calling(node: House) -> Association:
    """Open an association as a modality does that sends slowly."""
    entity = AE("CT1")
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 60
    entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", node.port, ae_title="ISOCENTER")
    assert association.is_established
    return association


def reports(node: House, *, but: Collection[str] = ()) -> list[str]:
    """Return all text of each report that the PACS has, less those named."""
    found = [dataset(contents[0]) for uid, contents in node.pacs.arrived.items() if uid not in but]
    return [
        " ".join(str(item.value) for item in report.iterall() if item.keyword == "TextValue")
        for report in found
        if report.Modality == "SR"
    ]


def _patient(node: House, uid: str) -> str:
    return str(dataset(node.pacs.arrived[uid][0]).PatientID)
