"""Another user of the machine, a sender and a plugin attack a real node with a real Triton while it works.

All attacks go on at the same time, while one study is received, analysed and delivered; each test judges one of them.
"""

import os
import signal
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless
from pynetdicom import AE

from node import testing
from node.images.code_stream import SOC_SIZ
from tests.crash.harness import Pacs
from tests.peers import missing, serve, storescu, wait_until
from tests.unit.test_bombs import MEGABYTE, deflated

NOBODY = 65534
WORLD_READABLE_FOLDER = 0o755
USUAL_UMASK = 0o022
SILENT_CONNECTIONS = 200
MOST_MEGABYTES = 2000
"""Of the node's main process at its largest; the two bombs inflate to 12 GB."""

LOOK = 'while true; do find "$@" -type f -readable 2>/dev/null; sleep 0.05; done'
"""Prints each file in some folders that this user can read, again and again."""
CALL = """\
import socket, sys
for path in sys.argv[1:]:
    try:
        socket.socket(socket.AF_UNIX).connect(path)
        print("reached", path)
    except PermissionError:
        print("refused")
"""
MANIFEST = """\
name = "guest"
version = "1"
title = "Guest"
kind = "A"

[series.ct]
when.Modality = "CT"
"""
GUEST = """\
from node import NotSuitable


def run(ct, triton):
    for path in {files!r}:
        try:
            open(path).read(1)
            yield NotSuitable("it has read " + path)
            return
        except PermissionError:
            pass
    yield NotSuitable("it could read nothing")
"""
ROUTES = """\
[[route]]
name = "every CT"
when.Modality = "CT"
plugins = ["ct_lung", "guest"]
to = ["PACS"]
report_not_suitable = true
"""

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user"),
    pytest.mark.skipif(bool(missing("storescu")), reason="storescu is not installed"),
]


@dataclass(frozen=True, kw_only=True)
class Aftermath:
    """What the attackers saw, and how the node fared."""

    folder: Path
    canary: Path
    seen: frozenset[Path]
    sockets: str
    bombs: tuple[int | None, ...]
    story: str
    megabytes: int


@contextmanager
def world_readable() -> Iterator[Path]:
    """A folder that all users may look into; those of pytest are closed to them."""
    umask = os.umask(USUAL_UMASK)
    with tempfile.TemporaryDirectory(prefix="isocenter-attack-") as name:
        Path(name).chmod(WORLD_READABLE_FOLDER)
        yield Path(name)
    os.umask(umask)


@contextmanager
def spy(output: Path, *folders: Path) -> Iterator[None]:
    """Another user looks for files that it can read."""
    with output.open("wb") as seen:
        process = subprocess.Popen(
            ["/bin/sh", "-c", LOOK, "look", *map(str, folders)],
            stdout=seen, user=NOBODY, group=NOBODY, extra_groups=[], start_new_session=True,
        )  # fmt: skip
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def code_stream_bomb(folder: Path) -> Path:
    """Write a CT slice of 64 × 64 pixels whose JPEG 2000 code stream states 65535 × 65535."""
    (path,) = testing.write(testing.ct_series(slices=1, rows=64, transfer_syntax=JPEG2000Lossless), folder)
    content = bytearray(path.read_bytes())
    at = content.index(SOC_SIZ)
    content[at + 8 : at + 16] = struct.pack(">II", 65535, 65535)
    path.write_bytes(content)
    return path


def send_as_it_is(port: int, path: Path) -> int | None:
    """Send a file as it is, which storescu does not always do; return the status, None where none came."""
    header = dcmread(path, specific_tags=["SOPClassUID"])
    entity = AE("MODALITY")
    entity.add_requested_context(header.SOPClassUID, header.file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", port, ae_title="ISOCENTER")
    try:
        return association.send_c_store(path).get("Status")
    finally:
        association.release()


def as_nobody(*command: str) -> str:
    return subprocess.run(
        command, user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, text=True, check=True, timeout=60
    ).stdout


@pytest.fixture(scope="module")
def aftermath(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aftermath]:
    scratch = tmp_path_factory.mktemp("attack")
    study = testing.chest_ct(slices=40, rows=128)
    images = testing.write(study, scratch / "images")
    bombs = [deflated(scratch, pixel_bytes=200 * MEGABYTE), code_stream_bomb(scratch / "stream")]
    with ExitStack() as stack:
        folder = stack.enter_context(world_readable())
        pacs = stack.enter_context(Pacs().listening())
        home, guest, canary = folder / "node", scratch / "guests" / "guest", folder / "canary"
        canary.write_text("the other user can read here")
        guest.mkdir(parents=True)
        (guest / "plugin.toml").write_text(MANIFEST)
        (guest / "plugin.py").write_text(GUEST.format(files=[str(home / "isocenter.toml"), str(home / "ledger.db")]))
        guests = f"['{Path(__file__).parents[2] / 'plugins'}', '{guest.parent}']"
        node = stack.enter_context(
            serve(
                home, pacs=f"PACS@127.0.0.1:{pacs.port}", routes=ROUTES, fresh=True,
                environment={"ISOCENTER_PLUGINS": guests},
            )
        )  # fmt: skip
        stack.enter_context(spy(scratch / "seen", folder, Path("/dev/shm")))  # noqa: S108
        for _ in range(SILENT_CONNECTIONS):
            stack.enter_context(socket.create_connection(("127.0.0.1", node.port)))
        answers = tuple(send_as_it_is(node.port, bomb) for bomb in bombs)
        sent = storescu(node.port, images)
        assert sent.returncode == 0, sent.stdout + sent.stderr
        wait_until(lambda: len(pacs.arrived) >= 2, seconds=240, what="the results of both plugins in the PACS")
        sockets = [str(path) for path in Path(tempfile.gettempdir()).glob("isocenter-*/grpc*") if path.is_socket()]
        assert sockets
        peak = Path(f"/proc/{node.process.pid}/status").read_text().partition("VmHWM:")[2].split()[0]
        yield Aftermath(
            folder=folder,
            canary=canary,
            seen=frozenset(Path(line) for line in (scratch / "seen").read_text().splitlines()),
            sockets=as_nobody("/usr/bin/python3", "-c", CALL, *sockets),
            bombs=answers,
            story=node.explain(str(study[0].StudyInstanceUID)),
            megabytes=int(peak) // 1024,
        )


def test_another_user_reads_nothing_of_a_node_at_work(aftermath: Aftermath) -> None:
    folder, found = aftermath.folder, aftermath.seen
    assert aftermath.canary in found
    written_by_test = {aftermath.canary, *(folder / "node").glob("*.toml"), folder / "node" / "serve.log"}
    foreign = {path for path in found if folder not in path.parents and not path.name.startswith("isocenter")}
    assert found - foreign <= written_by_test
    assert (folder / "node/ledger.db").exists()
    assert any((folder / "node/spool").rglob("*.*"))


def test_another_user_does_not_reach_triton_which_would_load_its_code(aftermath: Aftermath) -> None:
    assert set(aftermath.sockets.split()) == {"refused"}


def test_bombs_and_silent_connections_keep_no_study_from_its_results(aftermath: Aftermath) -> None:
    assert "object.delivered" in aftermath.story
    assert aftermath.megabytes < MOST_MEGABYTES
    assert None not in aftermath.bombs, "each was answered"


def test_a_plugin_of_the_node_reads_neither_its_configuration_nor_its_ledger(aftermath: Aftermath) -> None:
    assert "it could read nothing" in aftermath.story
