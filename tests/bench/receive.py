"""How fast the node receives, compared with other Storage SCPs: dcmtk's storescu sends, on a real disk and on tmpfs.

Every receiver has its turn in each round, so that other work of the machine slows all of them. The tables have medians,
as ratios to storescp with its defaults. `--quick` sends less. `disk`, `tmpfs`, `shipped`, `idle`, `tls` are parts;
`slices`, `small` or `large` sends that load alone; `1`, `2` or `4` opens so many associations at once.

dcmtk, also in Orthanc, waits for acknowledgements that come 40 ms late, unless the environment of both sides has
TCP_NODELAY. It has, except in `shipped`, which sends less, over one association, to dcmtk with its defaults.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median

from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import build_context

from node import testing
from node.receive.scp import listen
from node.records import Address
from tests.certificates import Authority
from tests.peers import ISOCENTER, ROOT, SYSTEM_PATH, free_port, listens, missing, orthanc, wait_until

MEDIA = {"disk": Path(tempfile.gettempdir()), "tmpfs": Path("/dev/shm")}  # noqa: S108
IDLE = 50
PEER = "storescp"


@dataclass(frozen=True)
class Load:
    """What is sent, over how many associations at once."""

    name: str
    word: str
    count: int
    rows: int
    frames: int = 1
    associations: tuple[int, ...] = (1, 2, 4)


FULL = (
    Load("CT slices of 530 KB", "slices", 500, 512),
    Load("instances of 20 KB", "small", 2000, 100),
    Load("a multi-frame of 200 MB", "large", 1, 512, frames=400, associations=(1,)),
)
SHIPPED = (
    Load("CT slices of 530 KB", "slices", 100, 512, associations=(1,)),
    Load("instances of 20 KB", "small", 200, 100, associations=(1,)),
)
QUICK = (
    Load("CT slices of 530 KB", "slices", 200, 512),
    Load("instances of 20 KB", "small", 800, 100),
    Load("a multi-frame of 200 MB", "large", 1, 512, frames=400, associations=(1,)),
)
ROUNDS = 5


def write_load(load: Load, folder: Path) -> list[Path]:
    """Write the files of a load: one image, under UIDs of their own."""
    (image,) = testing.ct_series(slices=1, rows=load.rows, columns=load.rows)
    if load.frames > 1:
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
        image.NumberOfFrames = load.frames
        image.PixelData = image.PixelData * load.frames
    folder.mkdir()
    paths = []
    for number in range(load.count):
        uid = testing.uid("receive", load.name, number)
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = uid
        paths.append(folder / f"{number}.dcm")
        image.save_as(paths[-1], enforce_file_format=True)
    return paths


@dataclass
class Scp:
    """A receiver that runs: where it listens, what it keeps, and how it is made ready for a run."""

    port: int
    pids: list[int]
    ready: Callable[[], None]
    report: dict[str, float] = field(default_factory=dict)

    @property
    def peak(self) -> float:
        """The most memory that any of its processes had, in MiB."""
        return max(_status(pid, "VmHWM") / 1024 for pid in self.pids)


def _status(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


def emptied(folder: Path) -> None:
    """Leave nothing of the run before."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


@contextmanager
def started(command: Sequence[str], port: int, folder: Path) -> Iterator[Scp]:
    """Run a program that stores into a folder."""
    emptied(folder)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: listens(port), what=command[0])
        yield Scp(port, [process.pid], lambda: emptied(folder))
    finally:
        process.kill()
        process.wait()


@contextmanager
def storescp(folder: Path, *options: str) -> Iterator[Scp]:
    """Run dcmtk's."""
    port = free_port()
    program = shutil.which("storescp", path=SYSTEM_PATH) or "storescp"
    with started([program, "-od", str(folder), *options, str(port)], port, folder) as scp:
        yield scp


@contextmanager
def pynetdicom(folder: Path) -> Iterator[Scp]:
    """Run pynetdicom's application."""
    port = free_port()
    with started([str(ISOCENTER.with_name("storescp")), str(port), "-od", str(folder)], port, folder) as scp:
        yield scp


@contextmanager
def orthanc_scp(folder: Path) -> Iterator[Scp]:
    """Run Orthanc, emptied between runs."""
    emptied(folder)
    with orthanc(folder) as peer:
        pids = [int(pid) for pid in subprocess.check_output(["pgrep", "-f", str(folder / "orthanc.json")]).split()]

        def ready() -> None:
            for patient in json.loads(peer.get("/patients")):
                peer.send("DELETE", f"/patients/{patient}")

        yield Scp(peer.dicom_port, pids, ready)


@contextmanager
def isocenter(folder: Path, durability: str, processes: int = 1, tls: Sequence[Path] = ()) -> Iterator[Scp]:
    """Run the node's receiver, with a new spool and ledger for each run."""
    emptied(folder)
    with listen(Address("ISOCENTER", "127.0.0.1", 0)) as listening:
        port, descriptor = listening.getsockname()[1], listening.fileno()
        command = [sys.executable, "-m", "tests.bench.receiver", str(descriptor), durability, *map(str, tls)]
        children = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
                             stderr=subprocess.DEVNULL, pass_fds=(descriptor,))
            for _ in range(processes)
        ]  # fmt: skip
    used: list[Path] = []

    def ready() -> None:
        for number, child in enumerate(children):
            assert child.stdin is not None
            assert child.stdout is not None
            home = folder / f"run{len(used)}-{number}"
            home.mkdir()
            child.stdin.write(f"{home}\n")
            child.stdin.flush()
            assert child.stdout.readline() == "ready\n"
            used.append(home)
        for old in used[:-processes]:
            shutil.rmtree(old, ignore_errors=True)

    scp = Scp(port, [child.pid for child in children], ready)
    try:
        yield scp
        for child in children:
            report, _ = child.communicate(timeout=60)
            for name, value in json.loads(report).items():
                scp.report[name] = scp.report.get(name, 0.0) + value
    finally:
        for child in children:
            child.kill()
            child.wait()


RECEIVERS: dict[str, Callable[[Path], "contextmanager[Scp]"]] = {  # type: ignore[type-arg]
    "isocenter, power": lambda folder: isocenter(folder, "power"),
    "isocenter, process": lambda folder: isocenter(folder, "process"),
    "isocenter, power, 2 processes": lambda folder: isocenter(folder, "power", 2),
    "isocenter, process, 2 processes": lambda folder: isocenter(folder, "process", 2),
    PEER: storescp,
    "storescp --fork -pdu 131072": lambda folder: storescp(folder, "--fork", "-pdu", "131072"),
    "Orthanc": orthanc_scp,
    "pynetdicom's storescp": pynetdicom,
}


SLOW = ("Orthanc", "pynetdicom's storescp")
"""These have one association at a time: more of them take long, and are no faster."""


def sent(port: int, files: Sequence[Path], associations: int, *options: str) -> float:
    """Send files over so many associations at once, and return how long that took."""
    program = shutil.which("storescu", path=SYSTEM_PATH) or "storescu"
    command = [program, "-R", *options, "-aec", "ISOCENTER", "127.0.0.1", str(port)]
    begun = time.perf_counter()
    senders = [
        subprocess.Popen(
            [*command, *map(str, files[number::associations])],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for number in range(min(associations, len(files)))
    ]
    output = [sender.communicate()[0] for sender in senders]
    took = time.perf_counter() - begun
    assert not any(sender.returncode for sender in senders), output
    return took


def compare(medium: str, loads: Sequence[Load], rounds: int, names: Sequence[str]) -> None:
    """Print one table for each load."""
    with tempfile.TemporaryDirectory(prefix="isocenter-bench-", dir=MEDIA[medium]) as folder, ExitStack() as running:
        inputs = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="isocenter-load-", dir="/dev/shm")))
        scps = {
            scp: running.enter_context(RECEIVERS[scp](Path(folder) / str(number))) for number, scp in enumerate(names)
        }
        taking: defaultdict[str, float] = defaultdict(float)
        for number, load in enumerate(loads):
            files = write_load(load, inputs / str(number))
            for associations in load.associations:
                times: defaultdict[str, list[float]] = defaultdict(list)
                for turn in range(rounds + 1):
                    for name, scp in scps.items():
                        if name in SLOW and associations > 1:
                            continue
                        scp.ready()
                        os.sync()
                        took = sent(scp.port, files, associations)
                        taking[name] += took
                        if turn:  # the first round fills caches
                            times[name].append(took)
                show(f"{medium}, {load.name}, {associations} at once", load, files, times)
        print(f"\n| {medium} | most memory, MiB |\n|---|---|")
        for name, scp in scps.items():
            print(f"| {name} | {scp.peak:.0f} |")
        running.pop_all().close()
        for name, scp in scps.items():
            if scp.report:
                share = scp.report["cpu_seconds"] / taking[name]
                print(f"{name}: ledger {scp.report['cpu_seconds']:.1f} s of CPU for {scp.report['instances']:.0f} "
                      f"instances, {share:.1%} of the time of receiving")  # fmt: skip


def show(title: str, load: Load, files: Sequence[Path], times: dict[str, list[float]]) -> None:
    """Print medians, and medians of the ratios within each round."""
    size = sum(path.stat().st_size for path in files) / 1e6
    print(f"\n| {title} | instances/s | MB/s | × storescp | × storescp --fork -pdu 131072 |\n|---|---|---|---|---|")
    for name, own in times.items():
        took = median(own)
        ratios = [
            median(theirs / ours for theirs, ours in zip(times[peer], own, strict=True)) if peer in times else 0.0
            for peer in (PEER, "storescp --fork -pdu 131072")
        ]
        print(
            f"| {name} | {load.count / took:.0f} | {size / took:.0f} | {ratios[0]:.2f} | {ratios[1]:.2f} |", flush=True
        )


def request() -> bytes:
    """Return an A-ASSOCIATE-RQ."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = "IDLE", "ISOCENTER"
    context = build_context(CTImageStorage, ExplicitVRLittleEndian)
    context.context_id = 1
    primitive.presentation_context_definition_list = [context]
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received, implementation.implementation_class_uid = 16382, testing.uid("idle")
    primitive.user_information = [length, implementation]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    return pdu.encode()


def idle(loads: Sequence[Load], rounds: int) -> None:
    """Print the rate with many idle associations open, beside that without."""
    with tempfile.TemporaryDirectory(prefix="isocenter-bench-", dir="/dev/shm") as name, ExitStack() as running:
        scp = running.enter_context(isocenter(Path(name) / "scp", "process"))
        for number, load in enumerate(load for load in loads if load.count > 1):
            files = write_load(load, Path(name) / str(number))
            times: dict[bool, list[float]] = {False: [], True: []}
            for turn in range(rounds + 1):
                for crowded in (False, True):
                    scp.ready()
                    with ExitStack() as others:
                        for _ in range(IDLE if crowded else 0):
                            connection = others.enter_context(
                                closing(socket.create_connection(("127.0.0.1", scp.port)))
                            )
                            connection.sendall(request())
                            assert connection.recv(4096)[0] == 2
                        took = sent(scp.port, files, 1)
                    if turn:
                        times[crowded].append(took)
            ratio = median(without / with_them for without, with_them in zip(times[False], times[True], strict=True))
            print(
                f"tmpfs, {load.name}: with {IDLE} idle associations open × {ratio:.2f} of the rate without", flush=True
            )


def compare_tls(loads: Sequence[Load], rounds: int) -> None:
    """Print how fast associations over TLS are received, beside those of dcmtk, and beside plain ones."""
    with tempfile.TemporaryDirectory(prefix="isocenter-bench-", dir="/dev/shm") as name, ExitStack() as running:
        folder = Path(name)
        authority = Authority.make(folder / "authority")
        own, sender = authority.sign("node"), authority.sign("CT1")
        options = ("+tls", str(sender.key), str(sender.certificate), "+cf", str(authority.certificate))
        serving = ("+tls", str(own.key), str(own.certificate), "+cf", str(authority.certificate))
        scps = {
            "isocenter, TLS": isocenter(
                folder / "tls", "process", 1, (own.certificate, own.key, authority.certificate)
            ),
            "isocenter, plain": isocenter(folder / "plain", "process"),
            PEER: storescp(folder / "peer", *serving),
            "storescp, plain": storescp(folder / "peer-plain"),
        }
        opened = {scp: running.enter_context(context) for scp, context in scps.items()}
        for number, load in enumerate(loads):
            files = write_load(load, folder / str(number))
            for associations in load.associations:
                times: defaultdict[str, list[float]] = defaultdict(list)
                for turn in range(rounds + 1):
                    for scp_name, scp in opened.items():
                        scp.ready()
                        took = sent(scp.port, files, associations, *(() if "plain" in scp_name else options))
                        if turn:
                            times[scp_name].append(took)
                show(f"TLS, tmpfs, {load.name}, {associations} at once", load, files, times)


def main() -> None:
    """Print all tables, or those that are asked for."""
    if reason := missing("storescu", "storescp", "Orthanc"):
        sys.exit(reason)
    words = sys.argv[2:]
    everything = QUICK if "--quick" in words else FULL
    sizes, numbers = named(words, *(load.word for load in everything)), [int(n) for n in named(words, "1", "2", "4")]
    loads = [replace(load, associations=tuple(n for n in load.associations if n in numbers)) for load in everything]
    parts = {
        "disk": partial(compare, "disk", names=list(RECEIVERS)),
        "tmpfs": partial(compare, "tmpfs", names=list(RECEIVERS)),
        "shipped": partial(compare, "disk", names=list(RECEIVERS)),
        "idle": idle,
        "tls": compare_tls,
    }
    for part in named(words, *parts):
        os.environ.pop("TCP_NODELAY", None)
        if part != "shipped":
            os.environ["TCP_NODELAY"] = "1"
        sent_there = SHIPPED if part == "shipped" else loads
        parts[part]([load for load in sent_there if load.word in sizes], ROUNDS)


def named(words: Sequence[str], *choice: str) -> list[str]:
    """Return those of a choice that are among the words, all where none is."""
    return [name for name in choice if name in words] or list(choice)
