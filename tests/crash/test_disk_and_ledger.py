"""The disk full, read-only, away; the ledger locked; packs and rules and destinations that are gone."""

import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.crash.harness import House, Pacs, study, study_uid
from tests.peers import wait_until

New = Callable[..., House]
OUT_OF_RESOURCES = 0xA700


def mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir(parents=True)
    mount("-t", "tmpfs", "-o", f"size={size}", "none", str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def remount(folder: Path, options: str) -> None:
    """Mount it again with other options, which the kernel refuses while any file on it is open for writing."""

    def done() -> bool:
        command = ["mount", "-o", f"remount,{options}", str(folder)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    wait_until(done, what=f"a moment in which {folder} can be mounted {options}")


def test_a_disk_that_is_full_or_read_only_costs_the_sender_a_second_try_and_nobody_an_image(
    house: New, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, "64k"):
        node = house(spool_path=disk)
        studies = [study(tmp_path, f"full {number}", slices=12) for number in range(4)]
        node.start()
        left = [node.send(files) for files in studies]
        assert 0 < len(node.modality.acknowledged) < 48
        assert node.modality.statuses[OUT_OF_RESOURCES] == sum(map(len, left))
        uids = [study_uid(files) for files in studies]
        wait_until(lambda: any("job.postponed" in node.explain(uid) for uid in uids), what="an object without room")

        remount(disk, "size=20m,ro")
        assert node.send(left[-1]) == left[-1]
        remount(disk, "size=20m,rw")
        assert not any(node.send(files) for files in left if files)
        node.rest(*uids)
        assert [node.account(files) for files in studies] == [[]] * 4
        node.stop()

        remount(disk, "ro")
        with pytest.raises(AssertionError, match=r"cannot be used|not writable"):
            node.start()


@pytest.mark.parametrize("point", ["pack.append.written", "spool.keep.written"])
def test_a_write_that_fails_is_reported_and_repeated(house: New, tmp_path: Path, point: str) -> None:
    node = house()
    files = study(tmp_path, "unwritten")
    number = 3 if point.startswith("pack") else 1
    node.start(FAULT_AT=f"{point}:{number}:ENOSPC")
    left = node.send(files)
    assert len(left) == (3 if point.startswith("pack") else 0)
    if not left:
        wait_until(lambda: "job.postponed" in node.explain(study_uid(files)), what="the postponed job")
    node.stop()
    node.start()
    assert not left or not node.send(left)
    node.rest(study_uid(files))
    assert node.account(files) == []


def test_a_ledger_that_is_locked_and_packs_that_are_away_for_a_while_are_waited_for(house: New, tmp_path: Path) -> None:
    node = house()
    node.start()
    early, files, late = (study(tmp_path, name) for name in ("early", "locked", "away"))
    assert not node.send(early)
    with sqlite3.connect(node.folder / "ledger.db", timeout=30, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        assert not node.send(files), "rows can wait: the packs tell them"
        wait_until(lambda: "ledger.unavailable" in node.log, what="a step that meets the lock")
        other.execute("COMMIT")
    other.close()
    node.rest(*map(study_uid, (early, files)))

    packs = node.folder / "spool" / "packs"
    packs.rename(packs.with_name("away"))
    assert node.send(late) == late
    packs.with_name("away").rename(packs)
    assert not node.send(late)
    node.rest(study_uid(late))
    assert [node.account(sent) for sent in (early, files, late)] == [[]] * 3


def test_a_pack_that_is_gone_stops_its_own_study_alone(house: New, tmp_path: Path) -> None:
    node = house(quiet=3.0)
    node.start()
    lost, other = study(tmp_path, "lost"), study(tmp_path, "other")
    assert not node.send(lost)
    (pack,) = (node.folder / "spool" / "packs").glob("*.pack")
    pack.unlink()
    assert not node.send(other)
    node.rest(study_uid(other))
    wait_until(lambda: "study.parked" in node.explain(study_uid(lost)), what="a reason for the study that is lost")
    assert node.account(other) == []


def test_what_waits_for_a_rule_or_a_destination_that_is_gone_is_parked_and_comes_back(
    house: New, pacs: Pacs, tmp_path: Path
) -> None:
    node = house()
    files = study(tmp_path, "stranded")
    pacs.answer = lambda event: 0xA700
    node.start()
    assert not node.send(files)
    wait_until(lambda: "object.postponed" in node.explain(study_uid(files)), what="deliveries that wait")
    node.stop()
    config, routes = node.config.read_text(), (node.folder / "routes.toml").read_text()
    node.config.write_text(config.replace("destinations.PACS", "destinations.OTHER"))
    (node.folder / "routes.toml").write_text(routes.replace("PACS", "OTHER"))
    node.start()
    wait_until(lambda: "no longer configured" in node.explain(study_uid(files)), what="a reason for what is stranded")
    node.stop()
    node.config.write_text(config)
    (node.folder / "routes.toml").write_text(routes)
    pacs.answer = lambda event: 0
    node.start()
    with node.ledger() as ledger:
        assert ledger.queries.requeue()["deliveries"] == 2
    node.rest(study_uid(files))
    assert node.account(files) == []
