"""What `isocenter send` takes: folders, files, ZIP files and a DICOMDIR; UIDs are those of the data set."""

import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MediaStorageDirectoryStorage
from pynetdicom import build_context
from typer.testing import CliRunner

from node import deliver, testing
from node.cli import app
from node.deliver import StoreOutcome, StoreResult, readable, unpacked
from node.deliver.send import Pace
from node.deliver.storescu import _named_alike, _refused_context, result_of
from node.errors import ConfigError


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    return sorted(testing.write(testing.ct_series(slices=3), tmp_path / "images"))


def uids(source: Path) -> list[str]:
    return [outgoing.sop_instance_uid for outgoing in readable(source).objects]


def write_directory(folder: Path, names: list[str]) -> Path:
    """Write a DICOMDIR that names files of its folder."""
    directory = Dataset()
    directory.file_meta = FileMetaDataset()
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPInstanceUID = "1.2"
    records = []
    for name in names:
        record = Dataset()
        record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", name
        records.append(record)
    directory.DirectoryRecordSequence = records
    directory.save_as(folder / "DICOMDIR", enforce_file_format=True)
    return folder / "DICOMDIR"


@pytest.mark.filterwarnings("ignore:The value length:UserWarning")
def test_a_file_a_folder_and_a_dicomdir_are_sources(images: list[Path]) -> None:
    folder = images[0].parent
    expected = [str(dcmread(path).SOPInstanceUID) for path in images]
    assert uids(images[0]) == expected[:1]
    directory = write_directory(folder, [path.name for path in images[:2]])
    assert uids(directory) == expected[:2]
    assert sorted(uids(folder)) == sorted(expected)


@pytest.mark.filterwarnings("ignore:The value length:UserWarning")
def test_what_a_dicomdir_names_and_is_not_there_is_said_and_ends_with_1(
    images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = write_directory(images[0].parent, [images[0].name, "GONE"])
    found = readable(directory)
    assert (len(found.objects), found.missing) == (1, (f"{directory.parent / 'GONE'} is not there",))
    stored = StoreResult(StoreOutcome.STORED, "")
    monkeypatch.setattr(deliver, "send_at_once", lambda objects, *_, **__: [(one, stored) for one in objects])
    done = CliRunner().invoke(app, ["send", str(directory), "PACS@127.0.0.1:104"])
    assert done.exit_code == 1, done.output
    assert "GONE is not there" in done.output
    assert "1 of 1 instances stored" in done.output
    assert "1 file could not be sent" in done.output
    assert CliRunner().invoke(app, ["send", str(images[0]), "PACS@127.0.0.1:104"]).exit_code == 0


def test_a_zip_is_unpacked_and_removed_afterwards(images: list[Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        for path in images:
            archive.write(path, f"DICOM/{path.name}")
    with unpacked([tmp_path / "study.zip", images[0]]) as found:
        assert [len(uids(source)) for source in found] == [3, 1]
    assert not found[0].exists()
    (tmp_path / "study.zip").write_bytes((tmp_path / "study.zip").read_bytes().replace(b"DICM", b"DICX", 1))
    with pytest.raises(ConfigError, match=r"study\.zip cannot be unpacked: "), unpacked([tmp_path / "study.zip"]):
        pass


def test_uids_are_those_of_the_data_set_and_not_of_the_file_meta_information(images: list[Path]) -> None:
    image = dcmread(images[0])
    image.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    image.save_as(images[0])
    assert uids(images[0]) == [str(image.SOPInstanceUID)]
    assert not _named_alike(readable(images[0]).objects[0])
    assert _named_alike(readable(images[1]).objects[0])


def test_the_reason_of_the_peer_is_told(images: list[Path]) -> None:
    assert result_of(0xA700, "disk full").reason == "out of resources (0xA700): disk full"
    assert result_of(0xB000, "name changed").reason == "stored with warning 0xB000: name changed"
    outgoing = readable(images[0]).objects[0]
    context = build_context(CTImageStorage, ExplicitVRLittleEndian)
    association = SimpleNamespace(rejected_contexts=[context])
    for result, where in ((3, ""), (4, " in Explicit VR Little Endian")):
        context.result = result
        said = _refused_context(association, outgoing)  # type: ignore[arg-type]
        assert said == f"SOP class CT Image Storage is not accepted{where}"


@pytest.mark.parametrize(("name", "said"), [("nowhere", "there is no such"), ("text", "is not a DICOM file")])
def test_what_cannot_be_sent_is_a_sentence(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "text").write_text("no DICOM")
    with pytest.raises(ConfigError, match=said):
        readable(tmp_path / name)


def test_a_rate_lets_so_many_pass_in_a_second() -> None:
    now, slept = [0.0], list[float]()
    pace = Pace(4, clock=lambda: now[0], sleep=slept.append)
    assert all(pace.wait() for _ in range(3))
    assert slept == [0.25, 0.5]
    now[0] = 10
    assert pace.wait()
    assert len(slept) == 2


@pytest.mark.filterwarnings("ignore:The value length:UserWarning")
def test_a_dicomdir_that_names_a_file_outside_its_folder_has_it_refused(images: list[Path]) -> None:
    folder = images[0].parent / "disc"
    folder.mkdir()
    inside = images[1].rename(folder / images[1].name)
    (folder / "LINK").symlink_to(images[2])
    for name in (f"../{images[0].name}", str(images[0]), "LINK"):
        found = readable(write_directory(folder, [name, inside.name]))
        assert [outgoing.path for outgoing in found.objects] == [inside]
        assert "outside its folder" in found.missing[0]


def test_a_zip_that_would_fill_the_disk_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("image.dcm", bytes(2**20))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**20))
    monkeypatch.setattr(zipfile.ZipFile, "extractall", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(ConfigError, match="more than half of the free space"), unpacked([tmp_path / "bomb.zip"]):
        pass
