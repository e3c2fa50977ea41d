"""The harness of the crash tests: a node as processes, a PACS that counts, and the check that nothing was lost."""

import random
import shutil
import signal
import socket
import subprocess
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path
from threading import Event

from pydicom import dcmread
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification
from sqlalchemy import update

from node import testing
from node.images.part10 import file_header
from node.ledger import Ledger
from node.ledger.schema import delivery, job
from node.records import DeliveryState, Job, JobState, StudyState
from node.spool import Spool
from tests.crash.modality import Modality, body, study_uid
from tests.peers import listens, wait_until
from tests.processes import Started, kill_session, print_stacks, session, start_isocenter, start_text

HERE = Path(__file__).parent
OVER = {DeliveryState.DELIVERED, DeliveryState.SUPERSEDED}
SETTINGS = """\
routes = "routes.toml"
plugins = ["plugins"]
[receive]
address = "ISOCENTER@127.0.0.1:{port}"
processes = {receivers}
[spool]
path = "{spool}"
free_mark_mb = 0
[ledger]
url = "{ledger}"
[engine]
attempts = {attempts}
[destinations.PACS]
address = "PACS@{pacs}"
timeout_seconds = {patience}
"""
SHORT_LEASE = """\
from node.infer import job
job.LEASE_SECONDS = {seconds}
from node.cli import app
app(["serve", "--config", {config!r}])
"""
ROUTES = """\
[[route]]
name = "every CT"
when.Modality = "CT"
stable = { released = true, quiet_seconds = QUIET }
plugins = ["threshold"]
to = ["PACS"]
report_not_suitable = true
"""


def fixed_port() -> int:
    """Return a free port below those that outgoing connections are given: it stays free while a node is down."""
    for port in random.sample(range(20_000, 32_000), 1000):
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")


def study(folder: Path, seed: str, *, slices: int = 5, **wanted: object) -> list[Path]:
    """Write a small CT study and return its files."""
    return testing.write(testing.ct_series(seed=seed, slices=slices, rows=16, columns=16, **wanted), folder / seed)


@dataclass
class Pacs:
    """A Storage SCP that counts what arrives, byte for byte; `answer` says how it behaves."""

    port: int = field(default_factory=fixed_port)
    host: str = "127.0.0.1"
    arrived: dict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    answer: Callable[[evt.Event], int] = lambda event: 0
    rejects: bool = False
    ending: Event = field(default_factory=Event)

    def keep(self, event: evt.Event) -> None:
        request = event.request
        self.arrived[str(request.AffectedSOPInstanceUID)].append(request.DataSet.getvalue())

    def on_store(self, event: evt.Event) -> int:
        status = self.answer(event)
        if status == 0:
            self.keep(event)
        return status

    def on_requested(self, event: evt.Event) -> None:
        if self.rejects:
            event.assoc.acse.send_reject(1, 1, 1)
            event.assoc.is_rejected = True
            event.assoc.kill()

    @contextmanager
    def listening(self) -> Iterator["Pacs"]:
        entity = AE("PACS")
        entity.maximum_associations = 50
        entity.network_timeout = None
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)
        entity.add_supported_context(Verification)
        handlers = [(evt.EVT_C_STORE, self.on_store), (evt.EVT_REQUESTED, self.on_requested)]
        server = entity.start_server((self.host, self.port), block=False, evt_handlers=handlers)
        try:
            yield self
        finally:
            self.ending.set()
            server.shutdown()
            entity.shutdown()


def alive(pid: int) -> bool:
    """Return whether a process lives; one that is dead and not yet waited for does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@dataclass
class House:
    """A node's folder, and the process that serves it again and again."""

    folder: Path
    pacs: Pacs
    quiet: float = 0.5
    attempts: int = 1000
    patience: float = 20
    pacs_port: int = 0
    spool_path: Path = Path("spool")
    ledger_url: str = ""
    port: int = field(default_factory=fixed_port)
    receivers: int = 1
    modality: Modality = field(default_factory=Modality)
    process: Started | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.copytree(HERE / "plugins", self.folder / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
        (self.folder / "routes.toml").write_text(ROUTES.replace("QUIET", str(self.quiet)))
        self.ledger_url = self.ledger_url or f"sqlite:///{self.folder / 'ledger.db'}"
        self.config.write_text(
            SETTINGS.format(
                port=self.port,
                receivers=self.receivers,
                pacs=f"{self.pacs.host}:{self.pacs_port or self.pacs.port}",
                spool=self.spool_path,
                ledger=self.ledger_url,
                attempts=self.attempts,
                patience=self.patience,
            )
        )

    @property
    def config(self) -> Path:
        return self.folder / "isocenter.toml"

    @property
    def log(self) -> str:
        return (self.folder / "serve.log").read_text()

    @property
    def spool(self) -> Spool:
        return Spool(self.folder / self.spool_path)

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        opened = Ledger(self.ledger_url)
        try:
            yield opened
        finally:
            opened.close()

    def start(self, **environment: str) -> None:
        """Serve, and wait until the node listens."""
        self.launch(**environment)
        self.wait_until_it_listens()

    def launch(self, **environment: str) -> None:
        """Serve; the leases of a process that died have run out by now."""
        self.lapse()
        self.process = start_isocenter(
            ["serve", "--config", str(self.config)], self.folder / "serve.log", **environment
        )

    def start_with(self, lease_seconds: float, **environment: str) -> None:
        """Serve with another lease, and let no time pass for jobs that a process that died had claimed."""
        program = SHORT_LEASE.format(seconds=lease_seconds, config=str(self.config))
        self.process = start_text(program, self.folder / "serve.log", **environment)
        self.wait_until_it_listens()

    def wait_until_it_listens(self) -> None:
        process = self.process
        assert process is not None
        with self.stacks_of_a_hang():
            wait_until(lambda: listens(self.port) or process.poll() is not None, what="the node's start")
        assert process.poll() is None, self.log

    @contextmanager
    def stacks_of_a_hang(self) -> Iterator[None]:
        """Show, where a wait for the node is too long, what each of its processes does."""
        try:
            yield
        except (AssertionError, TimeoutError, subprocess.TimeoutExpired) as error:
            assert self.process is not None
            print_stacks(self.process.pid)
            raise AssertionError(f"{error}: {self.log[-20000:]}") from error

    def lapse(self) -> None:
        """Let a minute pass for claimed jobs and deliveries."""
        if (self.folder / "serve.log").exists():
            with self.ledger() as ledger, ledger.db.writing() as connection:
                connection.execute(update(job).where(job.c.state == JobState.RUNNING).values(lease_until=0.0))
                waiting = delivery.c.state == DeliveryState.WAITING
                connection.execute(update(delivery).where(waiting).values(lease_until=0.0))

    def wait_for_death(self) -> None:
        """Wait until the process, and all it had started, are gone."""
        process = self.process
        assert process is not None
        assert process.wait(60) == -signal.SIGKILL, self.log[-3000:]
        wait_until(lambda: not session(process.pid), what="the end of all processes")

    def kill(self) -> None:
        """Kill every process of the node."""
        process = self.process
        assert process is not None
        kill_session(process.pid)
        self.wait_for_death()

    def stop(self) -> None:
        """Ask the node to end, as a service manager does."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            with self.stacks_of_a_hang():
                assert self.process.wait(60) == 0, self.log[-3000:]
        finally:
            kill_session(self.process.pid)

    def send(self, files: Sequence[Path], answered: Callable[[], None] = lambda: None) -> list[Path]:
        return self.modality.send(self.port, files, answered)

    def explain(self, uid: str) -> str:
        with self.ledger() as ledger:
            return "\n".join(f"{event.name} {event.detail}" for _, event in ledger.events.read(uid))

    def at_rest(self, *uids: str) -> bool:
        """Return whether everything that was sent of these studies has a row, and has come to its end."""
        with self.ledger() as ledger:
            return all(self._rests(ledger, uid) for uid in uids)

    def _rests(self, ledger: Ledger, uid: str) -> bool:
        there = {
            instance.sop_instance_uid for instance, _ in ledger.instances.of(uid)
        }  # first: what comes later reopens the study
        row, jobs = ledger.studies.find(uid), ledger.jobs.of(uid)
        ended = {JobState.DONE, JobState.SUPERSEDED}
        return (
            row is not None
            and row.state == StudyState.ROUTED
            and self.modality.sent[uid] <= there
            and bool(jobs)
            and {job.state for job in jobs} <= ended
            and all(delivery.state in OVER for delivery in ledger.deliveries.of(uid))
        )

    def rest(self, *uids: str, seconds: float = 90) -> None:
        """Wait until these studies have come to their end; tell their stories if they do not."""
        try:
            wait_until(lambda: self.at_rest(*uids), seconds=seconds, what="the end of every study")
        except TimeoutError as error:
            late = [uid for uid in uids if not self.at_rest(uid)]
            raise TimeoutError("\n\n".join([*map(self.explain, late), self.log[-3000:]])) from error

    def account(self, files: Sequence[Path], *, twice: bool = False) -> list[str]:
        """Return what is wrong with a study that is at rest: an empty list where nothing is lost and nothing is double.

        `twice`: an object may have been sent again, with the same bytes.
        """
        uid = study_uid(files)
        with self.ledger() as ledger:
            rows = {row.sop_instance_uid: place for row, place in ledger.instances.of(uid)}
            jobs, deliveries = ledger.jobs.of(uid), ledger.deliveries.of(uid)
        done = [job for job in jobs if job.state == JobState.DONE]
        wrong = [*self._unkept(files, rows), *self._undone(done, rows)]
        kinds = Counter(delivery.object.kind for delivery in deliveries)
        if kinds != {"SEG": len(done), "SR": len(done)}:
            wrong.append(f"{len(done)} jobs made {dict(kinds)}")
        for row in deliveries:
            arrived = self.pacs.arrived.get(row.object.sop_instance_uid, [])
            kept = body((self.spool.path / row.object.path).read_bytes())
            missing = not arrived and row.state != DeliveryState.SUPERSEDED
            if missing or any(content != kept for content in arrived) or (len(arrived) > 1 and not twice):
                wrong.append(f"{row.object.kind} arrived {len(arrived)} times, or with other bytes")
        ours = {row.object.sop_instance_uid for row in deliveries}
        wrong += [f"{other} is no result" for other in self._in_pacs(uid) - ours]
        return wrong

    def _unkept(self, files: Sequence[Path], rows: dict[str, object]) -> Iterator[str]:
        for path in files:
            acknowledged = self.modality.acknowledged.get(path.stem)
            if acknowledged is not None and path.stem not in rows:
                yield f"instance {path.stem} was acknowledged and has no row"
            elif acknowledged is not None and body(self.spool.part10(rows[path.stem]).read()) != acknowledged:
                yield f"instance {path.stem} has other bytes than were acknowledged"

    def _undone(self, done: Sequence[Job], rows: dict[str, object]) -> Iterator[str]:
        """The newest report is of all the images there are: the plugin's measurement counts them."""
        if len({job.revision for job in done}) < len(done) or not done:
            yield f"{len(done)} jobs are done, of revisions {[job.revision for job in done]}"
            return
        seen = [self._counted(content) for content in self._reports(done[-1].study_uid)]
        if max(seen, default=0) != len(rows):
            yield f"the reports are of {seen} images, and there are {len(rows)}"

    def _in_pacs(self, uid: str) -> set[str]:
        return {name for name, contents in self.pacs.arrived.items() if _study_of(contents[0]) == uid}

    def _reports(self, uid: str) -> Iterator[object]:
        for name in self._in_pacs(uid):
            composed = dataset(self.pacs.arrived[name][0])
            if composed.Modality == "SR":
                yield composed

    def _counted(self, report: object) -> int:
        numbers = [
            int(item.MeasuredValueSequence[0].NumericValue)
            for item in _items(report)
            if item.ValueType == "NUM" and item.ConceptNameCodeSequence[0].CodeMeaning == "Volume"
        ]
        return max(numbers)


def dataset(content: bytes) -> object:
    head = file_header(sop_class_uid="1.2", sop_instance_uid="1.2", transfer_syntax_uid="1.2.840.10008.1.2.1")
    return dcmread(BytesIO(head + content))


@cache
def _study_of(content: bytes) -> str:
    return str(dataset(content).StudyInstanceUID)


def _items(dataset: object) -> Iterator[object]:
    for item in dataset.get("ContentSequence", []):
        yield item
        yield from _items(item)
