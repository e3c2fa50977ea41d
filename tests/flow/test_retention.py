"""Bytes that are lost by a power cut or a damaged disk, or purged by age: each is reported, and no row points to it."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from sqlalchemy import text

from node import purge as purging
from node.assemble import settle
from node.commands import check as checking
from node.commands.explain import explain
from node.errors import BytesLost
from node.images.part10 import Part10
from node.images.stacks import group_into_stacks
from node.ledger import Ledger
from node.ledger.retention import Retention
from node.purge import purge
from node.receive import Arrivals
from node.records import Arrival, Plan, ResultObject, Study, StudyState
from node.route import Routes, plan_due, read_routes
from node.settings import Settings
from node.spool import IDLE_SECONDS, Spool
from node.testing import ct_series, write
from tests.conftest import Clock, received

STUDY = "1.2.1"
DAY = 86400.0


@pytest.fixture
def clock() -> Clock:
    """A clock that starts at the time of the file system."""
    return Clock(time.time())


@pytest.fixture
def routes(tmp_path: Path) -> Routes:
    path = tmp_path / "routes.toml"
    path.write_text("")
    return read_routes(path, plugins={}, destinations=(), quiet_seconds=5)


@pytest.fixture
def receive(ledger: Ledger, tmp_path: Path, clock: Clock) -> Callable[..., list[Arrival]]:
    """Append images of one study to a new pack, and write their rows."""

    def make(spool: Spool, numbers: Sequence[int] = (0, 1, 2), *, closed: bool = True) -> list[Arrival]:
        pack, arrivals = spool.open_pack(), []
        paths = write(ct_series(slices=3, rows=16, columns=16), tmp_path / "images")
        for number in numbers:
            instance = received(number, study=STUDY, series=f"{STUDY}.1", at=clock())
            arrivals.append(pack.append(instance, sorted(paths)[number].read_bytes()))
        if closed:
            pack.close()
        ledger.instances.record(arrivals)
        return arrivals

    return make


Receive = Callable[..., list[Arrival]]


def study(ledger: Ledger) -> Study:
    found = ledger.studies.find(STUDY)
    assert found is not None
    return found


def settled(ledger: Ledger, spool: Spool, routes: Routes, clock: Clock) -> None:
    clock.advance(10)
    settle(ledger.studies, ledger.instances, spool, routes.patience, clock=clock)


def cut(spool: Spool, arrival: Arrival) -> None:
    """Cut the end off a pack, as a power cut or a damaged disk does."""
    os.truncate(spool.packs / arrival.place.pack, arrival.place.offset + 100)


def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that the files synced from now on are added to."""
    names: list[str] = []
    fdatasync = os.fdatasync

    def noted(fd: int) -> None:
        names.append(Path(f"/proc/self/fd/{fd}").readlink().name)
        fdatasync(fd)

    monkeypatch.setattr(os, "fdatasync", noted)
    return names


# What Success promises.


def test_with_power_each_instance_is_synced_when_it_is_appended(
    spool: Spool, receive: Receive, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = synced(monkeypatch)
    arrivals = receive(spool)
    assert names == [arrivals[0].place.pack] * 3


def test_with_process_a_study_is_synced_before_it_is_stable(
    tmp_path: Path, ledger: Ledger, routes: Routes, receive: Receive, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path / "spool", synced=False)
    names = synced(monkeypatch)
    (first, *_) = receive(spool, closed=False)
    assert names == []
    states: list[StudyState] = []
    sync = spool.sync_packs
    monkeypatch.setattr(spool, "sync_packs", lambda packs: (states.append(study(ledger).state), sync(packs)))
    settled(ledger, spool, routes, clock)
    assert names[-1:] == [first.place.pack]
    assert states == [StudyState.RECEIVING]
    assert study(ledger).state is StudyState.STABLE


def test_a_study_that_cannot_be_synced_stays_unstable(
    spool: Spool, ledger: Ledger, routes: Routes, receive: Receive, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive(spool)

    def broken(_fd: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", broken)
        settled(ledger, spool, routes, clock)
        assert study(ledger).state is StudyState.RECEIVING
    settled(ledger, spool, routes, clock)
    assert study(ledger).state is StudyState.STABLE


def test_instances_lost_in_a_power_cut_are_reported_at_the_next_start_and_can_be_sent_again(
    tmp_path: Path, ledger: Ledger, routes: Routes, receive: Receive, clock: Clock
) -> None:
    spool = Spool(tmp_path / "spool", synced=False)
    arrivals = receive(spool)
    cut(spool, arrivals[1])
    started = Arrivals(ledger.studies, ledger.instances, spool, wake=lambda: None, clock=clock)
    assert started.recover() == 0
    started.miss()
    assert study(ledger).state is StudyState.PARKED
    assert study(ledger).because.startswith("the bytes of 2 of its 3 instances are gone")
    story = "\n".join(explain(ledger, STUDY))
    assert f"lost: {STUDY}.9.2, its bytes are gone from {arrivals[2].place.pack}" in story
    assert "must be sent again" in story
    receive(spool)
    settled(ledger, spool, routes, clock)
    plan_due(ledger.studies, ledger.instances, spool, routes)
    assert (study(ledger).state, study(ledger).revision) == (StudyState.ROUTED, 2)
    assert len(ledger.instances.of(STUDY)) == 3


@pytest.mark.parametrize("how", ["gone", "cut", "zeros"])
@pytest.mark.parametrize("when", ["receiving", "stable"])
def test_bytes_lost_later_park_the_study_too(
    spool: Spool, ledger: Ledger, routes: Routes, receive: Receive, clock: Clock, how: str, when: str
) -> None:
    arrivals = receive(spool)
    if when == "stable":
        settled(ledger, spool, routes, clock)
    path = spool.packs / arrivals[0].place.pack
    if how == "gone":
        path.unlink()
    elif how == "cut":
        cut(spool, arrivals[0])
    else:
        with path.open("r+b") as file:
            file.seek(arrivals[1].place.offset)
            file.write(bytes(arrivals[1].place.length))
    settled(ledger, spool, routes, clock)
    plan_due(ledger.studies, ledger.instances, spool, routes)
    assert study(ledger).state is StudyState.PARKED
    assert study(ledger).because.endswith("must be sent again")


def test_a_study_whose_bytes_are_not_back_is_parked_again(
    spool: Spool, ledger: Ledger, routes: Routes, receive: Receive, clock: Clock
) -> None:
    arrivals = receive(spool)
    path = spool.packs / arrivals[0].place.pack
    away = path.rename(path.with_suffix(".away"))
    settled(ledger, spool, routes, clock)
    ledger.queries.requeue(STUDY)
    plan_due(ledger.studies, ledger.instances, spool, routes)
    assert study(ledger).state is StudyState.PARKED
    away.rename(path)
    ledger.queries.requeue(STUDY)
    plan_due(ledger.studies, ledger.instances, spool, routes)
    assert study(ledger).state is StudyState.ROUTED, "the disk was only away"


def test_every_reader_reports_lost_bytes(spool: Spool, receive: Receive) -> None:
    arrivals = receive(spool)
    cut(spool, arrivals[2])
    for read in (Part10.read, lambda place: group_into_stacks([place])):
        with pytest.raises(BytesLost, match="must be sent again"):
            read(spool.part10(arrivals[2].place))


# Purge.


@pytest.fixture
def old(ledger: Ledger, spool: Spool, clock: Clock) -> Callable[[], float]:
    """Let a month pass, also for the times of files, and purge."""

    def make() -> float:
        for path in spool.path.rglob("*"):
            os.utime(path, (time.time() - IDLE_SECONDS - 100,) * 2)
        clock.advance(30 * DAY)
        return purge(
            ledger.retention, ledger.instances, spool, keep_seconds=7 * DAY, tell_seconds=365 * DAY, clock=clock
        )

    return make


@pytest.fixture
def finished(
    ledger: Ledger,
    spool: Spool,
    receive: Receive,
    routed: Callable[..., int],
    wanted: Callable[..., Plan],
    result: Callable[..., ResultObject],
) -> Callable[[], list[Arrival]]:
    """Take a study through all states, with an object and a picture."""

    def make() -> list[Arrival]:
        arrivals = receive(spool)
        ledger.studies.settle(study(ledger), "")
        ledger.studies.plan(study(ledger), [], [wanted()])
        job = ledger.jobs.claim(lease_seconds=60)
        assert job is not None
        ledger.jobs.finish(job, [result(path=spool.keep(STUDY, "a.dcm", b"object"))])
        spool.keep(STUDY, "job-1-0.png", b"picture")
        ledger.deliveries.mark_delivered(ledger.deliveries.claim("PACS", lease_seconds=60)[0])
        return arrivals

    return make


def files(spool: Spool) -> list[str]:
    return sorted(path.name for path in (*spool.packs.iterdir(), *spool.objects.rglob("*")))


def test_packs_and_objects_of_finished_old_studies_are_deleted(
    ledger: Ledger, spool: Spool, finished: Callable[[], list[Arrival]], old: Callable[[], float], clock: Clock
) -> None:
    finished()
    purge(ledger.retention, ledger.instances, spool, keep_seconds=7 * DAY, tell_seconds=365 * DAY, clock=clock)
    assert len(files(spool)) == 4, "it is not old"
    assert old() == purging.EVERY_SECONDS
    assert files(spool) == []
    assert ledger.instances.marks() == {}
    story = "\n".join(explain(ledger, STUDY))
    assert "study.purged  3 instances and 1 objects" in story
    assert "SEG 2.25.1 to PACS: delivered" in story


def test_a_pack_with_one_instance_that_must_stay_stays(
    ledger: Ledger, spool: Spool, receive: Receive, old: Callable[[], float], clock: Clock
) -> None:
    (first, *_) = receive(spool)
    receive(spool, [2])  # repeated: its row points to the first pack
    old()
    assert files(spool) == [first.place.pack], "the second holds nothing that a row needs"


@pytest.mark.parametrize("kind", ["open", "young", "beyond its mark", "damaged"])
def test_a_pack_that_may_still_be_needed_stays(
    ledger: Ledger, spool: Spool, receive: Receive, old: Callable[[], float], clock: Clock, kind: str
) -> None:
    pack = spool.open_pack()
    if kind in ("beyond its mark", "damaged"):
        arrival = receive(spool, [0])[0]
        (spool.packs / arrival.place.pack).rename(pack.path)
        if kind == "damaged":
            pack.path.write_bytes(b"ISOPACK1 torn")
    if kind != "open":
        pack.close()
    if kind == "young":
        purge(ledger.retention, ledger.instances, spool, keep_seconds=0, tell_seconds=365 * DAY, clock=clock)
    else:
        old()
    assert pack.name in files(spool)
    assert (pack.name in spool.unread(ledger.instances.marks())) == (kind == "damaged")


@pytest.mark.parametrize("where", ["_drop_objects", "_drop_packs"])
def test_a_crash_between_rows_and_files_leaves_no_row_that_points_to_nothing(
    ledger: Ledger,
    spool: Spool,
    finished: Callable[[], list[Arrival]],
    old: Callable[[], float],
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    clock: Clock,
) -> None:
    finished()

    def crash(*_: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(purging, where, crash)
        with pytest.raises(KeyboardInterrupt):
            old()
    assert ledger.instances.of(STUDY) == []
    assert files(spool)
    assert (
        Arrivals(
            ledger.studies,
            ledger.instances,
            spool,
            wake=lambda: None,
            clock=clock,
        ).recover()
        == 0
    ), "nothing comes back"
    old()
    assert files(spool) == []


def test_rows_are_deleted_before_files(
    ledger: Ledger, spool: Spool, finished: Callable[[], list[Arrival]], old: Callable[[], float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    finished()
    monkeypatch.setattr(Retention, "purge_one", lambda *_: False)
    old()
    assert len(files(spool)) == 4, "no row has gone, so no file may"


def test_objects_composed_after_the_purge_stay(
    ledger: Ledger, spool: Spool, finished: Callable[[], list[Arrival]], old: Callable[[], float], clock: Clock
) -> None:
    finished()
    old()
    newer = spool.objects / spool.keep(STUDY, "b.dcm", b"of the next revision").removeprefix("objects/")
    os.utime(newer, (clock() + 1,) * 2)
    purge(ledger.retention, ledger.instances, spool, keep_seconds=7 * DAY, tell_seconds=365 * DAY, clock=clock)
    assert newer.exists()


def test_half_of_a_purged_study_is_parked_and_the_whole_is_routed(
    ledger: Ledger,
    spool: Spool,
    routes: Routes,
    receive: Receive,
    finished: Callable[[], list[Arrival]],
    old: Callable[[], float],
    clock: Clock,
) -> None:
    finished()
    old()
    receive(spool, [1])
    settled(ledger, spool, routes, clock)
    plan_due(ledger.studies, ledger.instances, spool, routes)
    assert study(ledger).because == "2 of its instances were purged or lost: the study must be sent again"
    receive(spool)
    settled(ledger, spool, routes, clock)
    plan_due(ledger.studies, ledger.instances, spool, routes)
    assert study(ledger).state is StudyState.ROUTED


def test_check_reports_stuck_work_free_space_and_packs(
    tmp_path: Path, ledger: Ledger, spool: Spool, finished: Callable[[], list[Arrival]], receive: Receive, clock: Clock
) -> None:
    arrivals = finished()
    clock.advance(-9 * DAY)
    receive(spool, [0])
    settings = Settings(
        spool={"path": spool.path, "free_mark_mb": 0}, ledger={"url": f"sqlite:///{tmp_path / 'ledger.db'}"}
    )
    good = [report.sentence for report in checking._spool(settings) if report.good]
    assert len(good) == 1
    assert "0.0 GiB of finished studies are kept for 7 days, 0.0 GiB of them wait to be purged" in good[0]
    pack = spool.packs / arrivals[0].place.pack
    with pack.open("ab") as file:
        file.write(b"ISOPACK1 torn")
    assert any(f"pack {pack.name} ends in 13 bytes" in item.sentence for item in checking._spool(settings))
    pack.unlink()
    assert any(f"pack {pack.name} is gone" in item.sentence for item in checking._spool(settings) if not item.good)
    with ledger.db.writing() as connection:
        connection.execute(text("UPDATE study SET state = 'receiving'"))
        connection.execute(text("UPDATE event SET at = 0"))
    stuck = [item.sentence for item in checking._ledger(settings) if not item.good]
    assert any(sentence.startswith(f"stuck: study {STUDY} has been receiving for") for sentence in stuck)
