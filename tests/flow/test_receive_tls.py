"""TLS at the receiver: real peers get in, all else is refused with a sentence, and silent peers shut nobody out."""

import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from structlog.testing import capture_logs

from node.app import Node
from node.errors import ConfigError
from node.receive import KnownPeers, Receiver, StoreScp
from node.receive.refusal_log import RefusalLog
from node.records import Address, FailedAssociation
from node.settings import Settings
from node.spool import Spool
from node.testing import ct_series
from node.tls import DAY_SECONDS, ServerTls, expiring, expiry, shows
from node.triton import Servers
from tests.certificates import NEEDS, Authority, Pair
from tests.fast_path import ObservedReceiver
from tests.peers import SYSTEM_PATH, free_port, missing
from tests.reception import wait_for
from tests.wire import associate

pytestmark = [
    pytest.mark.skipif(bool(missing(NEEDS)), reason=missing(NEEDS)),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

REQUEST = associate({1: ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")})
ASSOCIATE_AC = 2


@dataclass
class TlsDoor:
    """A receiver with TLS, and the rows of what it refused."""

    scp: Receiver
    observed: ObservedReceiver
    rows: list[FailedAssociation]
    authority: Authority
    server: ServerTls
    sender: Pair
    revoked: Pair

    @property
    def port(self) -> int:
        return self.scp.port

    def told(self) -> list[str]:
        self.scp.refusals.record_now()
        return [row.reason for row in self.rows]


def opened(folder: Path, tls: ServerTls | None, **further: float) -> tuple[Receiver, ObservedReceiver]:
    observed = ObservedReceiver(Spool(folder, synced=False), None, [])  # type: ignore[arg-type]
    rows: list[FailedAssociation] = []
    observed.scp = Receiver(
        address=Address("ISOCENTER", "127.0.0.1", 0),
        peers=KnownPeers.parse("ISOCENTER", ()),
        store=StoreScp(observed.spool, observed),  # type: ignore[arg-type]
        associations=10,
        idle_seconds=20,
        poll_seconds=0.02,
        tls=tls,
        refusals=RefusalLog(write=rows.extend),
        **further,  # type: ignore[arg-type]
    )
    observed.scp.start()
    return observed.scp, observed


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsDoor]:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority.make(folder / "hospital")
    own, sender, revoked = (authority.sign(name) for name in ("node", "CT1", "CT2"))
    server = ServerTls(
        certificate=own.certificate,
        key=own.key,
        authorities=authority.certificate,
        revoked=authority.revoke(revoked),
        names=("CT1", "CT2", "CT3", "CT4"),
    )
    scp, observed = opened(folder / "spool", server)
    rows: list[FailedAssociation] = []
    scp.refusals.write = rows.extend
    yield TlsDoor(scp, observed, rows, authority, server, sender, revoked)
    scp.stop()


def client(door: TlsDoor, pair: Pair | None, *, most: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(door.authority.certificate)
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    if most is not None:
        context.minimum_version = context.maximum_version = most
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


def answer(port: int, context: ssl.SSLContext | None) -> bytes:
    """Send an association request, and return the first byte of the answer; nothing where there is none."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=20)
    try:
        with plain if context is None else context.wrap_socket(plain, server_hostname="localhost") as connection:
            connection.sendall(REQUEST)
            return connection.recv(1)
    except OSError:
        return b""
    finally:
        plain.close()


@pytest.mark.parametrize("most", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_sender_with_a_certificate_of_the_authority_is_let_in(door: TlsDoor, most: ssl.TLSVersion) -> None:
    assert answer(door.port, client(door, door.sender, most=most)) == bytes([ASSOCIATE_AC])


def elsewhere(door: TlsDoor) -> ssl.SSLContext:
    """Return a context with a certificate of another authority."""
    folder = door.authority.folder.parent / "elsewhere"
    other = Authority(folder) if folder.exists() else Authority.make(folder)
    return client(door, other.sign("CT1"))


REFUSED: dict[str, tuple[Callable[[TlsDoor], ssl.SSLContext | None], str]] = {
    "unknown authority": (elsewhere, "certificate of the peer was issued by an authority that is not trusted"),
    "expired": (lambda door: client(door, door.authority.sign("CT3", days=-1)), "certificate of the peer has expired"),
    "revoked": (lambda door: client(door, door.revoked), "certificate of the peer is revoked"),
    "wrong name": (lambda door: client(door, door.authority.sign("CT9")), "CT9, localhost is not in receive.tls.names"),
    "no certificate": (lambda door: client(door, None), "the peer has shown no certificate"),
    "TLS 1.1": (
        lambda door: client(door, door.sender, most=ssl.TLSVersion.TLSv1_1),
        "peer has no TLS 1.2 or later",
    ),
    "plain": (lambda _door: None, "the peer does not speak TLS"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_whatever_may_not_come_in_by_tls_is_told_in_a_sentence(door: TlsDoor, name: str) -> None:
    peer, sentence = REFUSED[name]
    with capture_logs() as logs:
        assert answer(door.port, peer(door)) != bytes([ASSOCIATE_AC])
        wait_for(lambda: any(sentence in reason for reason in door.told()), f"a row that says: {sentence}")
    assert any(line["event"] == "association.tls_failed" and sentence in line["reason"] for line in logs)
    assert answer(door.port, client(door, door.sender)) == bytes([ASSOCIATE_AC])


def test_tls_on_the_plain_port_is_told_in_a_sentence(door: TlsDoor, tmp_path: Path) -> None:
    scp, _ = opened(tmp_path / "spool", None)
    rows: list[FailedAssociation] = []
    scp.refusals.write = rows.extend
    assert answer(scp.port, client(door, door.sender)) == b""

    def told() -> bool:
        scp.refusals.record_now()
        return any("speaks TLS on a port without TLS" in row.reason for row in rows)

    wait_for(told, "a row")
    scp.stop()


def test_peers_that_are_silent_before_their_handshake_shut_nobody_out(door: TlsDoor, tmp_path: Path) -> None:
    scp, _ = opened(tmp_path / "spool", door.server, most_waiting=4)
    silent = [socket.create_connection(("127.0.0.1", scp.port), timeout=20) for _ in range(12)]
    assert answer(scp.port, client(door, door.sender)) == bytes([ASSOCIATE_AC])
    assert silent[0].recv(1) == b""
    for connection in silent:
        connection.close()
    scp.stop()


@pytest.mark.skipif(bool(missing("storescu")), reason=missing("storescu"))
def test_dcmtk_sends_by_tls_and_every_pixel_is_kept(door: TlsDoor, tmp_path: Path) -> None:
    images: list[Dataset] = [*ct_series(slices=2), *ct_series(slices=1, rows=700, columns=700)]
    files = [tmp_path / f"{number}.dcm" for number in range(len(images))]
    for image, file in zip(images, files, strict=True):
        image.save_as(file, enforce_file_format=True)
    done = subprocess.run(
        [shutil.which("storescu", path=SYSTEM_PATH) or "storescu", "+tls", door.sender.key, door.sender.certificate,
         "+cf", door.authority.certificate, "-aec", "ISOCENTER", "localhost", str(door.port), *files],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    wait_for(lambda: len(door.observed.rows) >= len(images), "the rows")
    kept = [dcmread(BytesIO(values[-1])).PixelData for values in door.observed.kept()]
    assert kept == [image.PixelData for image in images]


NODE = """\
plugins = []
[receive]
address = "ISOCENTER@127.0.0.1:{plain}"
processes = 1
[receive.tls]
certificate = "node.pem"
key = "node.key"
authorities = "{authority}"
port = {tls}
[spool]
path = "spool"
free_mark_mb = 0
[ledger]
url = "sqlite:///ledger.db"
[triton]
urls = ["127.0.0.1:1"]
"""


def test_receiver_processes_speak_tls_beside_the_plain_port_and_take_in_a_new_certificate(
    door: TlsDoor, tmp_path: Path
) -> None:
    plain, port, config = free_port(), free_port(), tmp_path / "isocenter.toml"
    config.write_text(NODE.format(plain=plain, tls=port, authority=door.authority.certificate))
    (tmp_path / "routes.toml").write_text("")

    def install(pair: Pair) -> None:
        for path, source in (("node.pem", pair.certificate), ("node.key", pair.key)):
            (tmp_path / path).write_bytes(source.read_bytes())
            (tmp_path / path).chmod(0o600)

    install(Pair(door.server.certificate, door.server.key))
    settings = Settings.read(config)
    node = Node(settings, ("receive",), reread=lambda: Settings.read(config))
    with Servers(settings.triton, tmp_path / "triton.log", needed=False) as servers:
        node.start(servers)
        try:
            assert answer(port, client(door, door.sender)) == bytes([ASSOCIATE_AC])
            assert answer(plain, None) == bytes([ASSOCIATE_AC])
            install(door.authority.sign("renewed"))
            (tmp_path / "node.key").chmod(0o644)
            assert "every user of this machine may read" in node.reload()
            (tmp_path / "node.key").chmod(0o600)
            node.reload()
            wait_for(lambda: shows("127.0.0.1", port, tmp_path / "node.pem"), "the new certificate")
            assert answer(port, client(door, door.sender)) == bytes([ASSOCIATE_AC])
        finally:
            node.stop()


def test_a_certificate_that_ends_soon_is_told_of(door: TlsDoor) -> None:
    now = time.time()
    assert expiring([door.server.certificate]) == []
    assert "expires in 20 days" in str(expiry(door.server.certificate, now + 80 * DAY_SECONDS))
    assert "has expired" in str(expiry(door.server.certificate, now + 101 * DAY_SECONDS))


def test_a_private_key_that_all_may_read_is_refused(door: TlsDoor, tmp_path: Path) -> None:
    key = tmp_path / "open.key"
    key.write_bytes(door.server.key.read_bytes())
    key.chmod(0o644)
    with pytest.raises(ConfigError, match="every user of this machine may read this private key"):
        replace(door.server, key=key).context()
