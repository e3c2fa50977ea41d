"""The main job on one machine: a study by C-STORE into a node with a real Triton, SEG and SR into a stand-in PACS."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from node import testing
from node.app import Node
from node.commands.explain import stages, unanswered
from node.deliver import OutgoingObject, readable, send
from node.errors import ConfigError, Transient
from node.ledger import Ledger
from node.receive import stand_in_pacs
from node.records import Address, DeliveryState, Event, JobState, StudyState
from node.settings import PACKAGE, LogSettings, Settings
from node.triton import Servers

LONGEST_SECONDS = 1800
SILENT_SECONDS = 5.0
"""After so long without a word, the demo says what it waits for."""
SLICES = 100
MARK = ".isocenter-demo"
"""A file that says that a folder is a demo's, which the next demo may empty."""
RESTING = {JobState.DONE, JobState.PARKED, JobState.SUPERSEDED}

SETTINGS = """\
# The node that `isocenter demo` ran: one of yours looks like this.
routes = "routes.toml"
plugins = ["{root}/plugins"]
[receive]
address = "ISOCENTER@127.0.0.1:0"            # port 0: any that is free
processes = 1                                # one sender comes
[assemble]
quiet_seconds = 5
[spool]
path = "spool"
free_mark_mb = 100
[ledger]
url = "sqlite:///ledger.db"
[triton]
urls = ["local"]
model_repository = "{root}/triton_models"
[destinations.PACS]
address = "PACS@127.0.0.1:{port}"
"""
ROUTES = """\
[[route]]
name = "every CT"
when.Modality = "CT"
stable = { released = true, quiet_seconds = 0.5 }   # complete when the sender has released its association
plugins = ["ct_lung"]
to = ["PACS"]
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the demo left, why studies have no answer, and what it measured in seconds."""

    unanswered: tuple[str, ...]
    objects: tuple[Path, ...]
    pictures: tuple[Path, ...]
    seconds: tuple[tuple[str, float], ...]


def demo(folder: Path, dicom: Path | None, say: Callable[[str], None]) -> Outcome:
    """Run a study through a whole node in `folder`, and say what happens while it happens.

    Parameters
    ----------
    dicom
        A folder of DICOM files of one or more studies; a synthetic chest CT of 100 slices without it.

    Raises
    ------
    ConfigError
        There is nothing to send, or the folder cannot be used.
    Transient
        The study was not through in half an hour.
    """
    prepare(folder)
    if dicom is None:
        dicom = folder / "images"
        with waiting(say, f"making a synthetic chest CT of {SLICES} slices"):
            testing.write(testing.chest_ct(slices=SLICES), dicom)
    found = readable(dicom)
    for sentence in (*found.passed_over, *found.missing):
        say(sentence)
    pacs = stand_in_pacs("PACS", folder / "pacs")
    pacs.start()
    try:
        (folder / "isocenter.toml").write_text(SETTINGS.format(root=PACKAGE, port=pacs.port), encoding="utf-8")
        (folder / "routes.toml").write_text(ROUTES, encoding="utf-8")
        return _through_the_node(folder, found.objects, say)
    finally:
        pacs.stop()


def prepare(folder: Path) -> None:
    """Empty what an earlier demo left; ConfigError where the folder holds anything else, such as a node."""
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise ConfigError(f"{folder} is not empty and no demo's folder; name another with --out")
    for name in ("spool", "pacs", "images"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for database in folder.glob("ledger.db*"):
        database.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()


@contextmanager
def waiting(say: Callable[[str], None], what: str, seconds: float = SILENT_SECONDS) -> Iterator[None]:
    """Say what is begun, and that it still goes on each time so many seconds have passed."""
    say(what)
    begun, done = time.monotonic(), threading.Event()

    def remind() -> None:
        while not done.wait(seconds):
            say(f"still {what}, for {time.monotonic() - begun:.0f} s")

    reminding = threading.Thread(target=remind, daemon=True)
    reminding.start()
    try:
        yield
    finally:
        done.set()
        reminding.join()


@contextmanager
def stop_announced(say: Callable[[str], None]) -> Iterator[None]:
    """At Ctrl-C, say that the end takes a moment."""
    try:
        yield
    except KeyboardInterrupt:
        say("stopping the node and Triton")
        raise


def _through_the_node(folder: Path, parcels: Sequence[OutgoingObject], say: Callable[[str], None]) -> Outcome:
    read = Settings.read(folder / "isocenter.toml")
    settings = read.model_copy(update={"log": LogSettings(level="warning", format="text")})  # the demo says it all
    begun = time.time()
    with ExitStack() as stack:
        with waiting(say, "starting Triton from its wheel, and loading the model"), stop_announced(say):
            servers = stack.enter_context(Servers(settings.triton, folder / "triton.log"))
            node = Node(settings)
            node.start(servers)
        started = time.time()
        try:
            with stop_announced(say):
                with waiting(say, f"sending {len(parcels)} instances to ISOCENTER@127.0.0.1:{node.port}"):
                    for sent, result in send(parcels, Address("ISOCENTER", "127.0.0.1", node.port), "DEMO"):
                        if result.reason:
                            say(f"{sent.path.name}: {result.reason}")
                last_store = time.time()
                story = _follow(node.ledger, say)
            return _outcome(folder, node.ledger, story, started=started - begun, last_store=last_store)
        finally:
            node.stop()


def _follow(ledger: Ledger, say: Callable[[str], None]) -> list[Event]:
    """Say every event as it comes, until nothing of any study is left to do."""
    story: list[Event] = []
    seen, until, spoken = 0, time.time() + LONGEST_SECONDS, time.monotonic()
    while time.time() < until:
        done = through(ledger)
        for number, event in ledger.events.read(after=seen):
            seen = number
            story.append(event)
            say(f"{event.name}  {event.detail}")
            spoken = time.monotonic()
        if time.monotonic() - spoken > SILENT_SECONDS and not done:
            say(f"still waiting for {_awaited(ledger)}")
            spoken = time.monotonic()
        if done:
            return story
        time.sleep(0.2)
    raise Transient(f"the demo was not through in {LONGEST_SECONDS // 60} minutes; see triton.log in its folder")


def _awaited(ledger: Ledger) -> str:
    """Return what the demo waits for, of the studies that are not through."""
    if ledger.studies.in_state(StudyState.RECEIVING):
        return "the study to be complete: no more images have come, and the route's quiet time runs"
    studies = ledger.studies.in_state(StudyState.ROUTED)
    jobs = [job for study in studies for job in ledger.jobs.of(study.study_uid) if job.state not in RESTING]
    running = ", ".join(f"{job.plugin} ({job.state})" for job in jobs)
    return f"the jobs {running}" if jobs else "the stand-in PACS to take the results"


def through(ledger: Ledger) -> bool:
    """Return whether all that came has been planned, done and delivered, or parked."""
    if ledger.studies.in_state(StudyState.RECEIVING) or ledger.studies.in_state(StudyState.STABLE):
        return False
    studies = [*ledger.studies.in_state(StudyState.ROUTED), *ledger.studies.in_state(StudyState.PARKED)]
    jobs = [job for study in studies for job in ledger.jobs.of(study.study_uid)]
    deliveries = [one for study in studies for one in ledger.deliveries.of(study.study_uid)]
    return (
        bool(studies)
        and all(job.state in RESTING for job in jobs)
        and all(one.state is not DeliveryState.WAITING for one in deliveries)
    )


def _outcome(folder: Path, ledger: Ledger, story: Sequence[Event], *, started: float, last_store: float) -> Outcome:
    delivered = [event.at for event in story if event.name == "object.delivered"]
    total = [("last C-STORE to results in the PACS", max(delivered) - last_store)] if delivered else []
    studies = [*ledger.studies.in_state(StudyState.ROUTED), *ledger.studies.in_state(StudyState.PARKED)]
    return Outcome(
        unanswered=tuple(line for study in studies for line in unanswered(ledger, study.study_uid)),
        objects=tuple(sorted((folder / "pacs").rglob("*.dcm"))),
        pictures=tuple(sorted((folder / "spool" / "objects").rglob("*.png"))),
        seconds=(("Triton and node start", started), *stages(story), *total),
    )
