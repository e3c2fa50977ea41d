"""What is downloaded: whole or in parts, checked, unpacked into its own folder and nowhere else."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from node.errors import ConfigError
from node.models.download import PART, download, sum_of, unpacked
from tests.file_server import FileServer, serving

CONTENT = bytes(range(256)) * 4000


@pytest.fixture
def server(tmp_path: Path):
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "file").write_bytes(CONTENT)
    with serving(tmp_path / "served") as running:
        yield running


def test_a_download_that_breaks_off_goes_on_where_it_ended(server: FileServer, tmp_path: Path) -> None:
    server.cut = [1000]
    place, seen = tmp_path / "kept" / "file", []
    with pytest.raises(ConfigError, match="1,000 bytes are kept, run the command again"):
        download(f"{server.url}/file", place, lambda *_: None)
    assert not place.exists()
    assert download(f"{server.url}/file", place, lambda *counts: seen.append(counts)) == place
    assert place.read_bytes() == CONTENT
    assert server.asked == ["", "bytes=1000-"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert not place.with_name(place.name + PART).exists()


def test_a_file_that_became_shorter_is_begun_again(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / f"file{PART}").write_bytes(CONTENT + b"more")
    with pytest.raises(ConfigError, match=r"has changed .* run the command again"):
        download(f"{server.url}/file", tmp_path / "file", lambda *_: None)
    download(f"{server.url}/file", tmp_path / "file", lambda *_: None)
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "said"),
    [("nowhere", "answers 404 .* name it by --from"), ("file", "cannot be downloaded: .*refused.* name it by --from")],
)
def test_a_server_that_has_it_not_or_is_away_is_named(path: str, said: str, tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        url = server.url
        if path == "nowhere":
            with pytest.raises(ConfigError, match=said):
                download(f"{url}/{path}", tmp_path / "file", lambda *_: None)
    if path == "file":
        with pytest.raises(ConfigError, match=said):
            download(f"{url}/{path}", tmp_path / "file", lambda *_: None)


def test_a_sum_is_that_of_a_file_or_of_all_files_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    assert sum_of(tmp_path / "a", "sha1") == hashlib.sha1(b"a", usedforsecurity=False).hexdigest()
    before = sum_of(tmp_path, "sha256")
    (tmp_path / "b").write_bytes(b"")
    assert sum_of(tmp_path, "sha256") != before


def link() -> zipfile.ZipInfo:
    found = zipfile.ZipInfo("link")
    found.external_attr = 0o120777 << 16
    return found


@pytest.mark.parametrize("member", ["../out", "/out", "a/../../out", "..\\out", link()])
def test_an_archive_that_would_write_elsewhere_is_refused(member: str | zipfile.ZipInfo, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("good", "")
        archive.writestr(member, "/etc/passwd")
    with pytest.raises(ConfigError, match="would lie outside its folder: do not use it"):
        unpacked(tmp_path / "a.zip", tmp_path / "files")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip"]


def test_an_archive_that_is_damaged_or_larger_than_the_disk_leaves_nothing(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("good", CONTENT)
    whole = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(whole.replace(CONTENT[:64], bytes(64), 1))
    with pytest.raises(ConfigError, match=r"cannot be unpacked: .*; remove it, and get it again"):
        unpacked(tmp_path / "a.zip", tmp_path / "files")
    size = zipfile.ZipInfo("large")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr(size, b"")
        archive.filelist[0].file_size = 1 << 60
        archive.filelist[0].compress_size = 1
    with pytest.raises(ConfigError, match=r"unpacks to 1,152,921,504,606,846,976 bytes, and .* are free"):
        unpacked(tmp_path / "b.zip", tmp_path / "files")
    assert not (tmp_path / "files").exists()
