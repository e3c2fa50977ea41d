"""Packs give back what was acknowledged, byte for byte, whatever was torn or damaged after it."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node import app
from node.errors import ConfigError, SpoolFull
from node.images.part10 import Part10
from node.settings import Settings
from node.spool import Pack, Spool
from node.spool.recovery import HEAD, MAGIC, next_magic
from node.testing import ct_series, write
from tests.packs import INSTANCE, content, filled, found, numbered, record_fsync


def test_what_is_appended_is_given_back_byte_for_byte(spool: Spool) -> None:
    pack = spool.open_pack()
    first = pack.append(numbered(1), b"head", b"", b"body" * 1000)
    second = pack.append(numbered(2), os.urandom(100_000))
    assert spool.part10(first.place).read() == b"head" + b"body" * 1000
    assert len(spool.part10(second.place).read()) == 100_000
    assert pack.path.stat().st_size == second.end == pack.size


def test_an_appended_dicom_file_is_read_where_it_lies(spool: Spool, tmp_path: Path) -> None:
    pack = spool.open_pack()
    for number, path in enumerate(write(ct_series(slices=3, rows=8, columns=8), tmp_path / "in")):
        arrival = pack.append(numbered(number), path.read_bytes())
        assert spool.part10(arrival.place).read() == path.read_bytes() == Part10.of_file(path).read()


def test_the_checksum_is_that_of_the_bytes(spool: Spool) -> None:
    pack = spool.open_pack()
    same = [pack.append(INSTANCE, *parts).instance.checksum for parts in ((b"abc",), (b"a", b"bc"))]
    assert same[0] == same[1]
    assert pack.append(INSTANCE, b"abd").instance.checksum != same[0]


def test_an_instance_is_synced_before_append_returns(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = spool.open_pack()
    calls: list[tuple[str, int]] = []
    writev, fdatasync = os.writev, os.fdatasync
    monkeypatch.setattr(os, "writev", lambda fd, parts: (calls.append(("write", fd)), writev(fd, parts))[1])
    monkeypatch.setattr(os, "fdatasync", lambda fd: (calls.append(("sync", fd)), fdatasync(fd))[1])
    for _ in range(2):
        pack.append(INSTANCE, b"abc")
        assert calls == [("write", pack._fd), ("sync", pack._fd)]
        calls.clear()


def test_a_new_pack_is_durable_by_its_name(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = record_fsync(monkeypatch)
    spool.open_pack()
    assert synced == [spool.packs]


@pytest.mark.parametrize("taken", [1, 5, 31, 32, 33, 1000])
def test_a_kernel_that_takes_less_than_it_is_given_is_asked_again(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    writev = os.writev

    def stingy(fd: int, parts: list[memoryview]) -> int:
        together = b"".join(parts)[:taken]
        return writev(fd, [together])

    monkeypatch.setattr(os, "writev", stingy)
    path, (first, second) = filled(spool, 2)
    assert found(path) == [first, second]
    assert spool.part10(second.place).read() == content(2)


def test_every_pack_has_a_name_of_its_own(spool: Spool) -> None:
    assert len({spool.open_pack().name for _ in range(50)}) == 50


# After the writer has gone.


def test_rows_are_read_back_from_packs(spool: Spool) -> None:
    path, arrivals = filled(spool, 3)
    assert found(path) == arrivals
    assert list(spool.unwritten({})) == arrivals


def test_only_instances_beyond_the_mark_are_read(spool: Spool) -> None:
    path, arrivals = filled(spool, 3)
    assert list(spool.unwritten({path.name: arrivals[1].end})) == arrivals[2:]
    assert list(spool.unwritten({path.name: arrivals[2].end})) == []
    assert found(path, arrivals[2].end + 100) == []


def test_packs_are_listed_in_the_order_in_which_they_were_opened(spool: Spool) -> None:
    paths = [filled(spool, 1)[0].name for _ in range(3)]
    assert [arrival.place.pack for arrival in spool.unwritten({})] == paths


def test_a_pack_is_left_alone_while_its_writer_lives(spool: Spool) -> None:
    pack = spool.open_pack()
    pack.append(INSTANCE, b"abc")
    assert spool.is_open(pack.name)
    assert list(spool.unwritten({})) == []
    pack.close()
    assert not spool.is_open(pack.name)
    assert len(list(spool.unwritten({}))) == 1


def test_a_writer_of_another_process_is_seen_and_its_death_too(spool: Spool) -> None:
    script = f"""
import sys
from pathlib import Path
from node.records import Instance
from node.spool import Pack
pack = Pack(Path({str(spool.packs / "other.pack")!r}))
pack.append({INSTANCE!r}, b"abc")
print("ready", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout
        assert writer.stdout.readline() == b"ready\n"
        assert spool.is_open("other.pack")
        assert list(spool.unwritten({})) == []
        writer.kill()
        writer.wait()
        assert not spool.is_open("other.pack")
        (arrival,) = spool.unwritten({})
        assert spool.part10(arrival.place).read() == b"abc"


def test_a_pack_without_reference_is_unlocked(spool: Spool) -> None:
    name = spool.open_pack().name
    assert not spool.is_open(name)


def test_a_pack_that_is_gone_is_not_open(spool: Spool) -> None:
    assert not spool.is_open("gone.pack")


def test_asking_whether_a_pack_is_open_does_not_lock_it(spool: Spool) -> None:
    path, _ = filled(spool, 1)
    spool.is_open(path.name)
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_last_record_torn_at_any_byte_loses_itself_alone(spool: Spool) -> None:
    path, arrivals = filled(spool, 2)
    whole = path.read_bytes()
    for size in range(arrivals[0].end, len(whole)):
        path.write_bytes(whole[:size])
        assert found(path) == arrivals[:1], f"torn at byte {size} of {len(whole)}"
    path.write_bytes(whole)
    assert found(path) == arrivals


@pytest.mark.parametrize("filler", [b"\0", b"\xff", MAGIC])
def test_a_last_record_whose_end_was_never_written_loses_itself_alone(spool: Spool, filler: bytes) -> None:
    """A file may have its length before it has its content: the rest is zeros, or anything."""
    path, arrivals = filled(spool, 2)
    whole = path.read_bytes()
    for size in range(arrivals[0].end, len(whole)):
        rest = len(whole) - size
        path.write_bytes(whole[:size] + (filler * rest)[:rest])
        if path.read_bytes() != whole:
            assert found(path) == arrivals[:1]


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_record_hides_none_of_the_others(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    spool = Spool(tmp_path_factory.mktemp("spool"))
    path, arrivals = filled(spool, 4)
    which = data.draw(st.integers(0, 3), "record")
    start = arrivals[which - 1].end if which else 0
    offset = data.draw(st.integers(start, arrivals[which].end - 1), "byte")
    damaged = bytearray(path.read_bytes())
    damaged[offset] ^= data.draw(st.integers(1, 255), "flipped bits")
    path.write_bytes(damaged)
    if HEAD.size - 8 <= offset - start < HEAD.size:
        return  # the last eight bytes of a head mean nothing
    assert found(path) == [arrival for number, arrival in enumerate(arrivals) if number != which]


@pytest.mark.parametrize("length", [2**40, 2**63 - 1, 2**64 - 1])
def test_a_head_that_promises_the_impossible_is_passed_over(spool: Spool, length: int) -> None:
    path, arrivals = filled(spool, 3)
    damaged = bytearray(path.read_bytes())
    HEAD.pack_into(damaged, arrivals[0].end, MAGIC, length, 100, 1)
    path.write_bytes(damaged)
    assert found(path) == [arrivals[0], arrivals[2]]


def test_bytes_that_look_like_a_head_inside_an_instance_mislead_nobody(spool: Spool) -> None:
    pack = spool.open_pack()
    tricky = pack.append(numbered(1), MAGIC * 20 + HEAD.pack(MAGIC, 3, 5, 7) + MAGIC)
    after = pack.append(numbered(2), b"abc")
    pack.close()
    assert found(pack.path) == [tricky, after]
    damaged = bytearray(pack.path.read_bytes())
    damaged[tricky.end - 1] ^= 1
    pack.path.write_bytes(damaged)
    assert found(pack.path) == [after]


@pytest.mark.parametrize("before", [0, 1, 2**20 - 8, 2**20 - 7, 2**20 - 1, 2**20, 2**20 + 1, 2**21 - 9])
def test_a_head_is_found_also_across_the_blocks_in_which_a_pack_is_read(tmp_path: Path, before: int) -> None:
    path = tmp_path / "a.pack"
    path.write_bytes(b"\0" * before + MAGIC + b"\0" * 5)
    with path.open("rb") as file:
        assert next_magic(file.fileno(), 0) == before
        assert next_magic(file.fileno(), before + 1) is None


def test_a_file_that_is_no_pack_tells_nothing(spool: Spool) -> None:
    (spool.packs / "x.pack").write_bytes(b"not a pack " * 1000)
    (spool.packs / "empty.pack").write_bytes(b"")
    assert list(spool.unwritten({})) == []


# A disk that fails.


@pytest.mark.parametrize("failing", ["writev", "fdatasync"])
def test_what_could_not_be_made_durable_is_not_kept_and_ends_the_pack(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    pack = spool.open_pack()
    before = [pack.append(numbered(1), content(1))]

    def fail(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, failing, fail)
        with pytest.raises(SpoolFull, match="the spool cannot be written: No space left on device"):
            pack.append(numbered(2), content(2))
    assert pack.broken
    assert pack.path.stat().st_size == before[0].end
    assert not spool.is_open(pack.name)
    with pytest.raises(SpoolFull):
        pack.append(numbered(3), content(3))
    assert found(pack.path) == before


def test_a_write_that_fails_in_the_middle_leaves_nothing_half(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = spool.open_pack()
    before = [pack.append(numbered(1), content(1))]
    writev, written = os.writev, []

    def fills_up(fd: int, parts: list[memoryview]) -> int:
        if written:
            raise OSError(28, "No space left on device")
        written.append(writev(fd, [b"".join(parts)[:40]]))
        return written[0]

    monkeypatch.setattr(os, "writev", fills_up)
    with pytest.raises(SpoolFull):
        pack.append(numbered(2), content(2))
    assert written == [40]
    assert pack.path.stat().st_size == before[0].end
    assert found(pack.path) == before


def test_a_real_limit_on_the_size_of_files_is_met_like_a_full_disk(spool: Spool) -> None:
    """RLIMIT_FSIZE: the kernel takes the first part of the write, and refuses the rest with EFBIG."""
    script = f"""
import resource, signal
from pathlib import Path
from node.errors import SpoolFull
from node.records import Instance
from node.spool import Pack
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
instance = {INSTANCE!r}
pack = Pack(Path({str(spool.packs / "limited.pack")!r}))
whole = pack.append(instance, b"a" * 5000)
resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))
try:
    pack.append(instance, b"b" * 5000)
except SpoolFull as error:
    print(pack.broken, pack.path.stat().st_size == whole.end, error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "True True the spool cannot be written: File too large\n"
    (kept,) = spool.unwritten({})
    assert spool.part10(kept.place).read() == b"a" * 5000


def test_a_pack_can_be_closed_twice_and_while_it_is_written(spool: Spool) -> None:
    pack = spool.open_pack()
    pack.close()
    pack.close()
    assert pack.broken
    with pytest.raises(SpoolFull):
        pack.append(INSTANCE, b"abc")
    assert pack.path.stat().st_size == 0


def test_no_pack_where_none_can_be_made(spool: Spool) -> None:
    spool.packs.rmdir()
    with pytest.raises(SpoolFull, match="no pack can be made in the spool: No such file or directory"):
        spool.open_pack()


def test_a_pack_that_exists_is_never_opened_again(spool: Spool) -> None:
    path, _ = filled(spool, 1)
    with pytest.raises(FileExistsError):
        Pack(path)


def test_below_the_mark_nothing_is_taken(tmp_path: Path) -> None:
    Spool(tmp_path).check_space()
    with pytest.raises(SpoolFull, match=r"\d+ MiB are free under the spool, the mark is \d+ MiB"):
        Spool(tmp_path, free_mark=2**60).check_space()


@pytest.mark.parametrize("path", ["file", "file/spool", "/proc/spool"])
def test_a_path_that_cannot_be_used_is_an_error(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"spool\.path .*spool|spool\.path .*file") as error:
        Spool(tmp_path / path)
    assert "name another" in str(error.value)


@pytest.mark.parametrize(("durability", "held"), [("power", True), ("process", False)])
def test_the_setting_chooses_what_success_promises(tmp_path: Path, durability: str, held: bool) -> None:
    settings = Settings(receive={"durability": durability}, spool={"path": tmp_path / "spool"})
    assert app.open_spool(settings).open_pack().synced is held


# Composed objects.


def test_an_object_is_kept_under_its_name(spool: Spool) -> None:
    path = spool.keep("1.2.1", "a.dcm", b"first")
    assert path == "objects/1.2.1/a.dcm"
    assert (spool.path / path).read_bytes() == b"first"


def test_keeping_again_replaces_it_whole(spool: Spool) -> None:
    path = spool.path / spool.keep("1.2.1", "a.dcm", b"first, and long")
    reader = path.open("rb")
    spool.keep("1.2.1", "a.dcm", b"second")
    assert path.read_bytes() == b"second"
    assert reader.read() == b"first, and long", "who reads the old one is not disturbed"
    reader.close()
    assert [file.name for file in path.parent.iterdir()] == ["a.dcm"]


@pytest.mark.parametrize("failing", ["fsync", "mkdir"])
def test_an_object_that_cannot_be_kept_leaves_the_former_one(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = spool.path / spool.keep("1.2.1", "a.dcm", b"first")

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, fail)
    folder = "1.2.1" if failing == "fsync" else "1.2.2"
    with pytest.raises(SpoolFull, match="the spool cannot be written: No space left on device"):
        spool.keep(folder, "a.dcm", b"second")
    assert path.read_bytes() == b"first"
    assert [file.name for file in path.parent.iterdir()] == ["a.dcm"]


def test_an_object_and_its_name_are_durable_when_keep_returns(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = record_fsync(monkeypatch)
    spool.keep("1.2.1", "a.dcm", b"first")
    assert synced[0].name.startswith(".a.dcm")
    assert synced[1:] == [spool.objects / "1.2.1", spool.objects]
