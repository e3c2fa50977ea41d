"""Several processes: receivers on one port, roles on one spool and one ledger, and what a stop or a kill leaves."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.association import Association
from sqlalchemy import text

from node.ledger import Ledger
from node.records import JobState, StudyState
from tests.crash.harness import House, Pacs, alive, body, study, study_uid
from tests.peers import ISOCENTER, listens, wait_until
from tests.postgres import Postgres
from tests.processes import kill_session, session

CT = "1.2.840.10008.5.1.4.1.1.2"
WAITING = """\
    here = Path(__file__)
    (here.parents[2] / "spool" / "objects" / "begun").touch()
    while here.with_name("hold").exists():
        time.sleep(0.05)
    volume = ct.volume()
"""


@dataclass
class Houses(House):
    """One configuration, and any number of processes that serve it, each in a session of its own."""

    url: str = ""
    receivers: int = 2
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        opened = Ledger(self.url or f"sqlite:///{self.folder / 'ledger.db'}")
        try:
            yield opened
        finally:
            opened.close()

    def run(self, *roles: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a process in a role, and wait until it works."""
        log = self.folder / f"{len(self.processes)}.log"
        own = {"ISOCENTER_LEDGER__URL": self.url} if self.url else {}
        with log.open("wb") as file:
            process = subprocess.Popen(
                [str(ISOCENTER), *roles, "--config", str(self.config)],
                stdout=file, stderr=file, env={**os.environ, **own, **environment}, start_new_session=True,
            )  # fmt: skip
        self.processes.append(process)
        wait_until(
            lambda: "node.started" in log.read_text() or process.poll() is not None,
            seconds=120,
            what=f"{roles}'s start",
        )
        assert process.poll() is None, log.read_text()
        return process

    def let_leases_lapse(self) -> None:
        """Let a minute pass for what the dead had claimed."""
        with self.ledger() as ledger, ledger.db.writing() as connection:
            connection.execute(text("UPDATE job SET lease_until = 0 WHERE state = 'running'"))
            connection.execute(text("UPDATE delivery SET lease_until = 0 WHERE state = 'waiting'"))

    @property
    def log(self) -> str:
        return "\n".join(path.read_text()[-2000:] for path in sorted(self.folder.glob("*.log")))

    def hold(self) -> Path:
        """Make jobs wait while the returned file exists; the file `begun` among the objects says that a job waits."""
        plugin = self.folder / "plugins" / "threshold" / "plugin.py"
        code = plugin.read_text().replace("    volume = ct.volume()\n", WAITING)
        plugin.write_text(code.replace("from pathlib", "import time\nfrom pathlib"))
        held = plugin.with_name("hold")
        held.touch()
        return held

    def end(self) -> None:
        """Ask all processes to end, and check that they do."""
        left = [process for process in self.processes if process.poll() is None]
        for process in left:
            process.terminate()
        try:
            assert [process.wait(60) for process in left] == [0] * len(left), self.log
        finally:
            for process in self.processes:
                kill_session(process.pid)


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    with Pacs().listening() as listening:
        yield listening


@pytest.fixture
def houses(tmp_path: Path, pacs: Pacs) -> Iterator[Callable[..., Houses]]:
    with ExitStack() as ends:

        def build(**wanted: object) -> Houses:
            built = Houses(tmp_path / "node", pacs, **wanted)
            ends.callback(built.end)
            return built

        yield build


def receivers(pid: int) -> list[int]:
    """The receiver processes of a node."""
    found = []
    for member in session(pid):
        with suppress(OSError):
            if b"node.roles.receiver_process" in Path(f"/proc/{member}/cmdline").read_bytes():
                found.append(member)
    return found


def writers(house: House) -> set[str]:
    """The processes that wrote the packs there are."""
    return {path.name.split("-")[-2] for path in (house.folder / "spool" / "packs").glob("*.pack")}


def called(port: int) -> Association:
    entity = AE("CT1")
    entity.acse_timeout = entity.dimse_timeout = 30
    entity.add_requested_context(CT, "1.2.840.10008.1.2.1")
    return entity.associate("127.0.0.1", port, ae_title="ISOCENTER")


def test_roles_on_one_spool_and_one_ledger_deliver_each_object_once_though_some_are_killed(
    houses: Callable[..., Houses], database_server: Postgres, tmp_path: Path, pacs: Pacs
) -> None:
    house = houses(url=database_server.create())
    house.run("receive")
    roles: list[tuple[str, Mapping[str, str]]] = [
        ("work", {"FAULT_AT": "infer.running"}),
        ("deliver", {"FAULT_AT": "deliver.marked"}),
        ("work", {}),
        ("deliver", {}),
    ]
    worker, deliverer, *_ = [house.run(role, ISOCENTER_ENGINE__SLOTS="1", **faults) for role, faults in roles]
    files = [study(tmp_path, f"study {number}", slices=3) for number in range(40)]
    sent = 0
    while not (worker.poll() and deliverer.poll()):
        assert sent < len(files), f"nobody was killed:\n{house.log}\n{house.story(study_uid(files[0]))}"
        house.send(files[sent])
        sent += 1
        with suppress(TimeoutError):
            wait_until(lambda: worker.poll() and deliverer.poll(), seconds=2)
    assert [worker.wait(), deliverer.wait()] == [-signal.SIGKILL] * 2
    house.let_leases_lapse()
    house.rest(*(study_uid(file) for file in files[:sent]))
    for file in files[:sent]:
        assert house.account(file) == []
    with house.ledger() as ledger:
        jobs = [job for file in files[:sent] for job in ledger.jobs.of(study_uid(file))]
    assert sorted({job.attempts for job in jobs}) == [1, 2], "the worker's death cost one attempt of one job"


def test_a_study_that_comes_over_eight_associations_into_two_processes_is_one_study(
    houses: Callable[..., Houses], tmp_path: Path
) -> None:
    house = houses(quiet=2)
    node = house.run("serve")
    wait_until(lambda: len(receivers(node.pid)) == 2, what="two receiver processes")
    files = study(tmp_path, "study", slices=40)
    together = threading.Barrier(8)

    def send(mine: list[Path]) -> None:
        association = called(house.port)
        together.wait(30)
        for file in mine:
            assert house.modality._store(association, file) == 0
            house.modality.acknowledged[file.stem] = body(file.read_bytes())
        association.release()

    threads = [threading.Thread(target=send, args=(files[start::8],)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(house.modality.acknowledged) == 40
    assert writers(house) == {str(pid) for pid in receivers(node.pid)}
    house.rest(study_uid(files))
    assert house.account(files) == []
    with house.ledger() as ledger:
        found = ledger.studies.find(study_uid(files))
        assert found is not None
        assert (found.state, found.revision) == (StudyState.ROUTED, 1)
        assert len(ledger.instances.of(study_uid(files))) == 40
        assert len(ledger.jobs.of(study_uid(files))) == 1


def test_a_receiver_that_is_killed_is_followed_by_another_and_nothing_is_lost(
    houses: Callable[..., Houses], tmp_path: Path
) -> None:
    house = houses()
    node = house.run("serve", ISOCENTER_RECEIVE__PROCESSES="1")
    (receiver,) = receivers(node.pid)
    files = study(tmp_path, "study", slices=20)
    left = list(files)
    association = called(house.port)
    for file in files[:10]:
        assert house.modality._store(association, file) == 0
        house.modality.acknowledged[file.stem] = body(file.read_bytes())
        left.remove(file)
    os.kill(receiver, signal.SIGKILL)
    assert house.send(left) == [], "who calls meanwhile waits until another takes the association"
    house.rest(study_uid(files))
    assert house.account(files) == []
    assert node.poll() is None
    assert receivers(node.pid) != [receiver]


def test_a_job_that_the_stop_ends_is_given_back_and_costs_no_attempt(
    houses: Callable[..., Houses], tmp_path: Path, pacs: Pacs
) -> None:
    house = houses()
    held = house.hold()
    files = study(tmp_path, "study")
    node = house.run("serve", ISOCENTER_ENGINE__STOP_SECONDS="0")
    assert house.send(files) == []
    wait_until((house.folder / "spool" / "objects" / "begun").exists, what="the job")
    node.terminate()
    assert node.wait(60) == 0
    wait_until(lambda: not session(node.pid), what="the end of all processes")
    with house.ledger() as ledger:
        (job,) = ledger.jobs.of(study_uid(files))
        assert (job.state, job.attempts, job.reason) == (JobState.WAITING, 0, "the node stopped while it ran")
    held.unlink()
    house.run("serve")
    house.rest(study_uid(files))
    assert house.account(files) == []


def test_running_work_may_end_after_the_stop_is_requested(
    houses: Callable[..., Houses], tmp_path: Path, pacs: Pacs
) -> None:
    house = houses()
    held = house.hold()
    files, late = study(tmp_path, "study"), study(tmp_path, "late")
    node = house.run("serve", ISOCENTER_ENGINE__STOP_SECONDS="40")
    assert house.send(files) == []
    wait_until((house.folder / "spool" / "objects" / "begun").exists, what="the job")
    association = called(house.port)
    assert house.modality._store(association, late[0]) == 0
    node.terminate()
    wait_until(lambda: not listens(house.port), what="the end of listening")
    for file in late[1:]:
        assert house.modality._store(association, file) == 0
    association.release()
    held.unlink()
    assert node.wait(60) == 0
    with house.ledger() as ledger:
        (job,) = ledger.jobs.of(study_uid(files))
        assert (job.state, job.attempts) == (JobState.DONE, 1)
        assert len(ledger.instances.of(study_uid(late))) == len(late)


def test_receivers_end_with_a_node_that_is_killed(houses: Callable[..., Houses]) -> None:
    node = houses().run("serve")
    pids = receivers(node.pid)
    assert len(pids) == 2
    node.kill()
    node.wait()
    wait_until(lambda: not any(map(alive, pids)), what="the end of the receivers")
