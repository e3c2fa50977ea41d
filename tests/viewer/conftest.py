"""The real chest CT with what the node makes of it in a real PACS, and a real viewer that shows it."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest
from pydicom import dcmread

from tests.peers import DICOM, ROOT, Orthanc, free_port, isocenter, missing, orthanc, write_config
from tests.viewer import ohif
from tests.viewer.site import OHIF, site
from tests.viewer.study import Study

CHEST = DICOM / "CT" / "chest_cmb_crc_100"
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
SHOTS = ROOT / ".viewer" / "shots"
"""Where the screenshots are left."""


@pytest.fixture(scope="session")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    absent = [
        missing("Orthanc"),
        "" if DICOMWEB.exists() else "not installed: orthanc-dicomweb",
        "" if Path(ohif.CHROMIUM).exists() else "not installed: chromium",
        "" if (OHIF / "index.html").exists() else "OHIF is not here: tests/viewer/fetch_ohif.sh fetches it from npm",
        "" if CHEST.exists() else "the real chest CT of ../shared/data is not here",
    ]
    if any(absent):
        pytest.skip("; ".join(reason for reason in absent if reason))
    with orthanc(tmp_path_factory.mktemp("orthanc"), plugins=[DICOMWEB]) as peer:
        yield peer


@pytest.fixture(scope="session")
def study(pacs: Orthanc, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The chest CT in the PACS, with the objects that `ct_lung` leads to."""
    folder = tmp_path_factory.mktemp("composed")
    config = write_config(folder, port=free_port(), pacs="NOWHERE@127.0.0.1:1")
    tried = isocenter("plugin", "try", "ct_lung", str(CHEST), "--out", str(folder / "out"), "--config", str(config))
    assert tried.returncode == 0, tried.stdout + tried.stderr
    images, objects = sorted(CHEST.glob("*.dcm")), sorted((folder / "out").rglob("*.dcm"))
    store(pacs, [path.read_bytes() for path in (*images, *objects)])
    read = [dcmread(path) for path in images]
    return Study(
        images=sorted(read, key=lambda image: float(image.ImagePositionPatient[2])),
        objects=[dcmread(path) for path in objects],
    )


@pytest.fixture(scope="session")
def address(pacs: Orthanc) -> Iterator[str]:
    with site(pacs.http_port) as url:
        yield url


@pytest.fixture(scope="session")
def browser(pacs: Orthanc) -> Iterator[ohif.Browser]:
    with ohif.chromium() as running:
        yield running


@pytest.fixture
def viewer(browser: ohif.Browser, address: str) -> Iterator[ohif.Viewer]:
    with ohif.viewer(browser, address) as shown:
        yield shown


@pytest.fixture(scope="session")
def shots() -> Path:
    """An empty folder for screenshots, which stays."""
    shutil.rmtree(SHOTS, ignore_errors=True)
    SHOTS.mkdir(parents=True)
    return SHOTS


def store(pacs: Orthanc, files: Sequence[bytes]) -> None:
    """Put files into the PACS; how the node delivers them is another test."""
    with closing(HTTPConnection("127.0.0.1", pacs.http_port, timeout=60)) as connection:
        for content in files:
            connection.request("POST", "/instances", content)
            answer = connection.getresponse()
            told = answer.read()
            assert answer.status == 200, told
