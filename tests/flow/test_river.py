"""The main job with real parts: storescu → isocenter serve → Triton → Orthanc."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from node import testing
from node.testing.chest_phantom import CHEST_FIELD, CHEST_HEIGHT
from tests.bench.memory import resident, tree
from tests.peers import DICOM, VALIDATOR, Orthanc, Served, complaints, events, serve, storescu, wait_until

CHEST = DICOM / "CT" / "chest_cmb_crc_100"
SEG, SR = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.34"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, archive: Orthanc) -> Iterator[Served]:
    """A node for all tests of this module; each sends a study of its own."""
    with serve(tmp_path_factory.mktemp("river") / "node", pacs=archive.address) as served:
        yield served


def classes(objects: list[Dataset]) -> list[str]:
    return sorted(str(dataset.SOPClassUID) for dataset in objects)


def send(node: Served, files: list[Path]) -> None:
    sent = storescu(node.port, files)
    assert sent.returncode == 0, sent.stdout + sent.stderr


def reached(node: Served, study_uid: str, text: str, *, seconds: float = 120) -> None:
    wait_until(lambda: text in node.explain(study_uid), seconds=seconds, what=f"{text!r} in the story of the study")


def judged(images: Path, pacs: Orthanc, results: Path, *skip: str) -> None:
    """Have the objects in the PACS judged; PixelMed, which takes 16 s for a report, sees the first one only."""
    if VALIDATOR.exists():
        pacs.save(results)
        assert not complaints(images, results, *skip)


def test_a_study_comes_back_as_a_seg_and_a_report_and_sending_it_again_changes_nothing(
    tmp_path: Path, node: Served, pacs: Orthanc
) -> None:
    if not CHEST.exists():
        pytest.skip("the real chest CT of ../shared/data is not here")
    images = sorted(CHEST.glob("*.dcm"))
    source = dcmread(images[0], stop_before_pixels=True)
    send(node, images)
    wait_until(lambda: len(pacs.instances()) >= 2, seconds=180, what="SEG and SR in the PACS")
    objects = pacs.objects()
    assert classes(objects) == [SEG, SR]
    for dataset in objects:
        assert (dataset.StudyInstanceUID, dataset.PatientID) == (source.StudyInstanceUID, source.PatientID)
        assert dataset.SeriesInstanceUID != source.SeriesInstanceUID

    send(node, images)
    reached(node, source.StudyInstanceUID, "instance.repeated")
    wait_until(
        lambda: events(node.explain(source.StudyInstanceUID), "instance.repeated") == len(images),
        what="an event for every repeated instance",
    )
    assert "revision 1, routed" in node.explain(source.StudyInstanceUID)
    assert sorted(dataset.SOPInstanceUID for dataset in pacs.objects()) == sorted(
        dataset.SOPInstanceUID for dataset in objects
    )
    judged(CHEST, pacs, tmp_path / "results")


def test_a_late_slice_makes_revision_2_whose_report_names_the_one_it_replaces(
    tmp_path: Path, node: Served, pacs: Orthanc
) -> None:
    images = testing.write(testing.chest_ct(slices=60, rows=256, seed="late"), tmp_path / "images")
    study_uid = dcmread(images[0], stop_before_pixels=True).StudyInstanceUID
    send(node, images[:-1])
    wait_until(lambda: len(pacs.instances()) == 2, seconds=180, what="the results of revision 1")
    first = pacs.objects()

    send(node, images[-1:])
    wait_until(lambda: len(pacs.instances()) == 4, seconds=180, what="the results of revision 2")
    second = [
        dataset for dataset in pacs.objects() if dataset.SOPInstanceUID not in {old.SOPInstanceUID for old in first}
    ]
    assert classes(second) == [SEG, SR]
    earlier, report = (next(one for one in objects if one.SOPClassUID == SR) for objects in (first, second))
    (named,) = report.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert named.ReferencedSOPInstanceUID == earlier.SOPInstanceUID
    assert "revision 2, routed" in node.explain(study_uid)
    judged(tmp_path / "images", pacs, tmp_path / "results", "DicomSRValidator")


def texts(dataset: Dataset) -> Iterator[str]:
    for element in dataset.iterall():
        if element.keyword == "TextValue":
            yield str(element.value)


def test_two_slices_come_back_as_a_report_that_says_why_and_no_seg(tmp_path: Path, node: Served, pacs: Orthanc) -> None:
    two = testing.write(testing.ct_series(slices=2, rows=64, columns=64, seed="two"), tmp_path / "two")
    send(node, two)
    wait_until(lambda: len(pacs.instances()) == 1, seconds=120, what="the report")
    (report,) = pacs.objects()
    assert report.SOPClassUID == SR
    assert any(text.lower().startswith("not suitable, because ") for text in texts(report))
    judged(tmp_path / "two", pacs, tmp_path / "results", "DicomSRValidator")


def test_a_ct_without_rescale_in_some_slices_comes_back_as_a_report_that_names_them(
    tmp_path: Path, node: Served, pacs: Orthanc
) -> None:
    images = testing.chest_ct(slices=60, rows=64, seed="rescale")
    for image in images[40:]:
        del image.RescaleSlope, image.RescaleIntercept
    send(node, testing.write(images, tmp_path / "images"))
    wait_until(lambda: len(pacs.instances()) == 1, seconds=120, what="the report")
    (report,) = pacs.objects()
    assert report.SOPClassUID == SR
    (reason,) = [text for text in texts(report) if text.lower().startswith("not suitable, because ")]
    assert "Rescale Slope and Rescale Intercept are absent (Type 1, PS3.3 C.8.2.1) in 20 of 60 images" in reason
    assert "Instance Numbers 41 to 60" in reason
    assert "are absent" in node.explain(images[0].StudyInstanceUID)
    judged(tmp_path / "images", pacs, tmp_path / "results", "DicomSRValidator")


def test_a_node_that_is_killed_and_restarted_delivers_the_results_of_acknowledged_instances(
    tmp_path: Path, pacs: Orthanc
) -> None:
    images = testing.write(testing.chest_ct(slices=60, rows=256), tmp_path / "images")
    killed = pytest.raises(AssertionError, match="ended with -9")
    with killed, serve(tmp_path / "node", pacs=pacs.address) as node:
        send(node, images)
        node.process.kill()
    with serve(tmp_path / "node", pacs=pacs.address):
        wait_until(lambda: len(pacs.instances()) == 2, seconds=180, what="the results")
    assert classes(pacs.objects()) == [SEG, SR]


def test_a_triton_that_is_killed_is_started_again(tmp_path: Path, node: Served, pacs: Orthanc) -> None:
    servers = [process for process in tree(node.process.pid) if resident(process)[0] == "Triton server"]
    assert servers
    for process in servers:
        os.kill(process, signal.SIGKILL)
    send(node, testing.write(testing.chest_ct(slices=60, rows=256, seed="restart"), tmp_path / "images"))
    wait_until(lambda: len(pacs.instances()) == 2, seconds=180, what="the results")
    assert classes(pacs.objects()) == [SEG, SR]


def test_an_enhanced_ct_with_a_japanese_name_comes_back_with_the_name_as_it_was(
    tmp_path: Path, node: Served, pacs: Orthanc
) -> None:
    spacing = (CHEST_HEIGHT / 60, CHEST_FIELD / 256, CHEST_FIELD / 256)
    image = testing.enhanced_ct(array=testing.chest_phantom(slices=60, rows=256), spacing=spacing, seed="japanese")
    image.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    image.PatientName = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    (path,) = testing.write([image], tmp_path / "images")
    send(node, [path])
    wait_until(lambda: len(pacs.instances()) == 2, seconds=180, what="SEG and SR in the PACS")
    objects = pacs.objects()
    assert classes(objects) == [SEG, SR]
    assert {str(dataset.PatientName) for dataset in objects} == {str(image.PatientName)}
    judged(tmp_path / "images", pacs, tmp_path / "results", "DicomSRValidator", "dsrdump")  # this knows no ISO 2022
