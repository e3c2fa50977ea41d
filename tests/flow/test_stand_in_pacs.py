"""The stand-in PACS of the demo stores what it receives as it was sent, whatever its size."""

from pathlib import Path

from node.deliver import StoreOutcome, readable, send
from node.receive import stand_in_pacs
from node.records import Address
from node.testing import ct_series, write


def test_objects_are_files_by_study_and_instance(tmp_path: Path) -> None:
    small, large = (
        ct_series(slices=1, rows=16, columns=16, seed="a")[0],
        ct_series(slices=1, rows=1024, columns=1024)[0],
    )
    write([small, large], tmp_path / "sent")
    objects = readable(tmp_path / "sent").objects
    pacs = stand_in_pacs("PACS", tmp_path / "pacs")
    pacs.start()
    try:
        results = [result for _, result in send(objects, Address("PACS", "127.0.0.1", pacs.port), "ISOCENTER")]
    finally:
        pacs.stop()
    assert [result.outcome for result in results] == [StoreOutcome.STORED] * 2
    for image in (small, large):
        stored = tmp_path / "pacs" / str(image.StudyInstanceUID) / f"{image.SOPInstanceUID}.dcm"
        assert stored.read_bytes()[-len(image.PixelData) :] == image.PixelData
