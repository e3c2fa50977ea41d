"""The programs that the flow tests and the bench run: dcmtk, Orthanc, and `isocenter serve` itself."""

import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection
from io import BytesIO, StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset

from node.commands.explain import explain
from node.ledger import Ledger
from node.records import Address
from tests.processes import ISOCENTER, ROOT, Started, isocenter, start, start_isocenter

SHARED = ROOT.parent / "shared"
DICOM = SHARED / "data" / "dicom"
VALIDATOR = SHARED / "tools" / "validate_dicom.py"
SYSTEM_PATH = os.pathsep.join(
    folder for folder in os.environ["PATH"].split(os.pathsep) if Path(folder) != ISOCENTER.parent
)
"""Where dcmtk's programs are; pynetdicom installs programs of the same names beside `isocenter`."""

SETTINGS = """\
routes = "routes.toml"
plugins = ["{root}/plugins"]
[receive]
address = "ISOCENTER@127.0.0.1:{port}"
[assemble]
quiet_seconds = {quiet}
[spool]
path = "spool"
free_mark_mb = 10
[ledger]
url = "sqlite:///ledger.db"
[triton]
urls = ["{triton}"]
model_repository = "{root}/triton_models"
[destinations.PACS]
address = "{pacs}"
commitment = {commitment}
"""
ROUTES = """\
[[route]]
name = "every CT"
when.Modality = "CT"
stable = {{ released = true, quiet_seconds = {quiet} }}
plugins = ["ct_lung"]
to = ["PACS"]
report_not_suitable = true
"""


def missing(*programs: str) -> str:
    """Return why a test that needs these programs must be skipped, empty when all are there."""
    absent = [program for program in programs if shutil.which(program, path=SYSTEM_PATH) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(true: object, *, seconds: float = 60, what: str = "it") -> None:
    """Wait until `true()` is; TimeoutError names what did not happen."""
    until = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        if time.monotonic() > until:
            raise TimeoutError(f"{what} did not happen in {seconds} s")
        time.sleep(0.1)


def listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def storescu(
    port: int, files: Sequence[Path], *options: str, called: str = "ISOCENTER"
) -> subprocess.CompletedProcess[str]:
    """Send files with dcmtk's storescu; it proposes each file's own SOP class and transfer syntax."""
    program = shutil.which("storescu", path=SYSTEM_PATH) or "storescu"
    command = [program, "-v", "-R", "-aet", "MODALITY", "-aec", called, *options, "127.0.0.1", str(port)]
    return subprocess.run([*command, *map(str, files)], capture_output=True, text=True, check=False, timeout=300)


@dataclass(frozen=True)
class Orthanc:
    """A real PACS, on free ports."""

    dicom_port: int
    http_port: int

    @property
    def address(self) -> str:
        return f"ORTHANC@127.0.0.1:{self.dicom_port}"

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=30) as answer:
            return bytes(answer.read())

    def send(self, method: str, path: str, content: object = None) -> dict[str, Any]:
        """POST or DELETE, and return what it answers."""
        with closing(HTTPConnection("127.0.0.1", self.http_port, timeout=30)) as connection:
            connection.request(method, path, json.dumps(content))
            answer = connection.getresponse()
            assert answer.status == 200, f"{method} {path}: {answer.status}"
            return dict(json.loads(answer.read()))

    def asks(self, modality: str, references: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """Have it ask a modality to commit to (SOP class, instance) pairs, and return its final report."""
        content = {"DicomInstances": [list(reference) for reference in references]}
        asked = self.send("POST", f"/modalities/{modality}/storage-commitment", content)
        report: dict[str, Any] = {"Status": "Pending"}

        def settled() -> bool:
            report.update(json.loads(self.get(asked["Path"])))
            return bool(report["Status"] != "Pending")

        wait_until(settled, what="Orthanc's commitment report")
        return report

    def empty(self) -> None:
        """Delete all that it holds."""
        for patient in json.loads(self.get("/patients")):
            self.send("DELETE", f"/patients/{patient}")

    def instances(self) -> list[str]:
        """Return Orthanc's own names of all instances it holds."""
        return list(json.loads(self.get("/instances")))

    def objects(self) -> list[Dataset]:
        """Return every instance it holds."""
        return [dcmread(BytesIO(self.get(f"/instances/{name}/file"))) for name in self.instances()]

    def save(self, folder: Path) -> list[Path]:
        """Write every instance it holds into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for name in self.instances():
            paths.append(folder / f"{name}.dcm")
            paths[-1].write_bytes(self.get(f"/instances/{name}/file"))
        return paths


@contextmanager
def orthanc(
    folder: Path,
    *,
    modalities: Mapping[str, Address] | None = None,
    again: Orthanc | None = None,
    plugins: Sequence[Path] = (),
) -> Iterator[Orthanc]:
    """Run Orthanc on an empty store, or on what is there at the ports it had, and stop it; it can call `modalities`."""
    folder.mkdir(parents=True, exist_ok=True)
    peer = again or Orthanc(free_port(), free_port())
    known = {name: [address.ae_title, address.host, address.port] for name, address in (modalities or {}).items()}
    settings = {
        "Name": "PACS",
        "StorageDirectory": str(folder / "store"),
        "IndexDirectory": str(folder / "store"),
        "DicomAet": "ORTHANC",
        "DicomPort": peer.dicom_port,
        "HttpPort": peer.http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowEcho": True,
        "DicomModalities": known,
        "Plugins": [str(plugin) for plugin in plugins],
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    process = start(["Orthanc", str(folder / "orthanc.json")], folder / "orthanc.log")
    try:
        wait_until(lambda: listens(peer.dicom_port) and listens(peer.http_port), what="Orthanc's start")
        yield peer
    finally:
        process.terminate()
        process.wait(30)


@dataclass(frozen=True)
class Served:
    """A running `isocenter serve`."""

    folder: Path
    port: int
    process: Started

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run another command on the same configuration."""
        return isocenter(*words, "--config", str(self.folder / "isocenter.toml"))

    def explain(self, study_uid: str) -> str:
        """Return what `isocenter explain` prints of a study: tests ask many times, and a process each takes longer."""
        with closing(self.ledger()) as ledger:
            return "\n".join(explain(ledger, study_uid))

    def ledger(self) -> Ledger:
        """Open the running node's ledger, as another process may."""
        return Ledger(f"sqlite:///{self.folder / 'ledger.db'}")


def write_config(
    folder: Path,
    *,
    port: int,
    pacs: str,
    quiet: float = 2.0,
    triton: str = "local",
    commitment: bool = False,
    routes: str = "",
) -> Path:
    """Write the two files of a node's configuration, and return the first."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "routes.toml").write_text(routes or ROUTES.format(quiet=quiet))
    path = folder / "isocenter.toml"
    path.write_text(
        SETTINGS.format(root=ROOT, port=port, pacs=pacs, quiet=quiet, triton=triton, commitment=str(commitment).lower())
    )
    return path


@contextmanager
def serve(
    folder: Path,
    *,
    pacs: str,
    quiet: float = 2.0,
    port: int | None = None,
    commitment: bool = False,
    routes: str = "",
    environment: Mapping[str, str] | None = None,
    fresh: bool = False,
) -> Iterator[Served]:
    """Run `isocenter serve` on an empty spool and ledger, or on what is there, and stop it with SIGTERM.

    With `fresh` it is a program of its own; else a fork of one that has imported what a node needs.
    """
    port = port or free_port()
    config = write_config(folder, port=port, pacs=pacs, quiet=quiet, commitment=commitment, routes=routes)
    log = folder / "serve.log"
    words, environment = ("serve", "--config", str(config)), environment or {}
    process = (
        start([str(ISOCENTER), *words], log, **environment) if fresh else start_isocenter(words, log, **environment)
    )
    try:
        wait_until(lambda: listens(port) or process.poll() is not None, seconds=120, what="the node's start")
        assert process.poll() is None, log.read_text()
        yield Served(folder, port, process)
    finally:
        process.terminate()
        code = process.wait(60)
    assert code == 0, f"serve ended with {code}: {log.read_text()[-2000:]}"


def events(story: str, name: str) -> int:
    """Return how many events of a name are in what `isocenter explain` prints; alike ones share a line."""
    return sum(int(number or 1) for number in re.findall(rf"{re.escape(name)}  (?:(\d+) instances, )?", story))


PRIVATE_CODE = "Unrecognized defined term = <99ISOCENTER>"


def complaints(sources: Path, results: Path, *skip: str) -> set[str]:
    """Return what the judge of DICOM objects says against results, less what it says against their sources too.

    Codes of the node's own are no fault: `tests/unit/test_private_codes.py` holds the reason of each.
    """
    said = _without_files(judged([results], [sources], skip))
    if said:  # only then is it of interest what the sources themselves lack
        said -= _without_files(judged(sorted(sources.rglob("*.dcm"))[:1], [sources], skip))
    return said


def _without_files(lines: Sequence[str]) -> set[str]:
    parts = [line.split("\t") for line in lines if PRIVATE_CODE not in line]
    return {f"{part[2]}: {part[3]}" for part in parts if len(part) == 4 and part[0] in ("error", "warning")}


def judged(results: Iterable[Path], sources: Iterable[Path], skip: Iterable[str] = ()) -> list[str]:
    """Have files or folders judged by all validators but those to skip; return a line for each problem.

    The judge runs within this process: to start it takes four times as long as to judge the objects of a study.
    """
    said, complained = StringIO(), StringIO()
    words = [*(f"--sources={path}" for path in sources), *(f"--skip={tool}" for tool in skip), *map(str, results)]
    with redirect_stdout(said), redirect_stderr(complained):
        code = validator().main(words)
    assert code in (0, 1), said.getvalue() + complained.getvalue()
    return said.getvalue().splitlines()


@cache
def validator() -> ModuleType:
    """Import the judge, which is no part of this repository."""
    spec = importlib.util.spec_from_file_location(VALIDATOR.stem, VALIDATOR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its data classes look themselves up there
    spec.loader.exec_module(module)
    return module
