"""TLS to destinations: dcmtk's storescp is called, and each fault is a sentence that says who must act."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from node.cli import app
from node.deliver import echo
from node.errors import DestinationUnavailable
from node.records import Address
from node.testing import ct_series
from node.tls import ClientTls
from tests.certificates import NEEDS, Authority, Pair
from tests.peers import SYSTEM_PATH, free_port, listens, missing, wait_until

pytestmark = [
    pytest.mark.skipif(bool(missing(NEEDS, "storescp")), reason=missing(NEEDS, "storescp")),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@dataclass
class Destination:
    """A storescp with TLS, and what calls it rightly."""

    address: Address
    authority: Authority
    other: Authority
    node: Pair
    folder: Path


@contextmanager
def storescp(port: int, folder: Path, pair: Pair, authority: Authority) -> Iterator[None]:
    folder.mkdir()
    program = shutil.which("storescp", path=SYSTEM_PATH) or "storescp"
    words = [program, "+tls", pair.key, pair.certificate, "+cf", authority.certificate, "-od", folder, str(port)]
    with subprocess.Popen([*map(str, words)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: listens(port), what="storescp")
            yield
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def destination(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Destination]:
    folder = tmp_path_factory.mktemp("tls")
    authority, other = Authority.make(folder / "hospital"), Authority.make(folder / "elsewhere")
    node, port = authority.sign("node"), free_port()
    tls = ClientTls(authorities=authority.certificate, certificate=node.certificate, key=node.key)
    with storescp(port, folder / "received", authority.sign("PACS"), authority):
        yield Destination(Address("PACS", "127.0.0.1", port, tls), authority, other, node, folder / "received")


def test_a_destination_answers_by_tls(destination: Destination) -> None:
    echo(destination.address, "NODE", seconds=20)


def test_send_sends_by_tls(destination: Destination, tmp_path: Path) -> None:
    (image,) = ct_series(slices=1, rows=512, columns=512)
    image.save_as(tmp_path / "image.dcm", enforce_file_format=True)
    tls = destination.address.tls
    assert tls is not None
    words = ["send", tmp_path / "image.dcm", destination.address, "--tls", "--tls-authorities", tls.authorities,
             "--tls-certificate", tls.certificate, "--tls-key", tls.key]  # fmt: skip
    done = CliRunner().invoke(app, [*map(str, words)])
    assert done.exit_code == 0, done.output
    assert any(image.SOPInstanceUID in file.name for file in destination.folder.iterdir())


def test_each_fault_of_tls_is_a_sentence(destination: Destination) -> None:
    address, right = destination.address, destination.address.tls
    assert right is not None
    foreign = destination.other.sign("node")
    faults = {
        "TLS: the certificate of the peer was issued by an authority that is not trusted": replace(
            right, authorities=destination.other.certificate
        ),
        "TLS: the peer does not trust the authority of our certificate": replace(
            right, certificate=foreign.certificate, key=foreign.key
        ),
        "TLS: the peer wants a certificate of ours": replace(right, certificate=None, key=None),
        "cannot be read: No such file or directory": replace(right, authorities=Path("/nowhere.pem")),
    }
    for said, tls in faults.items():
        with pytest.raises(DestinationUnavailable, match=said):
            echo(replace(address, tls=tls), "NODE", seconds=20)
    with pytest.raises(DestinationUnavailable, match=r"hung up|aborted"):
        echo(replace(address, tls=None), "NODE", seconds=20)


def test_a_destination_whose_certificate_has_expired_or_another_host_is_not_trusted(
    destination: Destination, tmp_path: Path
) -> None:
    port = free_port()
    old = destination.authority.sign("OLD", days=-1)
    with (
        storescp(port, tmp_path / "received", old, destination.authority),
        pytest.raises(DestinationUnavailable, match="the certificate of the peer has expired"),
    ):
        echo(replace(destination.address, port=port), "NODE", seconds=20)
    with pytest.raises(DestinationUnavailable, match=r"has another .* than it was called by"):
        echo(replace(destination.address, host="127.0.0.2"), "NODE", seconds=20)


def test_tls_to_a_plain_destination_is_told(destination: Destination, tmp_path: Path) -> None:
    port = free_port()
    program = shutil.which("storescp", path=SYSTEM_PATH) or "storescp"
    with subprocess.Popen([program, "-od", str(tmp_path), str(port)]) as process:
        try:
            wait_until(lambda: listens(port), what="storescp")
            with pytest.raises(DestinationUnavailable, match=r"TLS: the peer (does not speak TLS|hung up)"):
                echo(replace(destination.address, port=port), "NODE", seconds=5)
        finally:
            process.terminate()
