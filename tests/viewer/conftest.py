"""The real chest CT with what the node makes of it in a real PACS, and a real viewer that shows it."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from node import Measurement, Region, Result, Series, codes
from node.compose import Case, Identity, compose, write_object
from node.host import find_plugins
from node.images.part10 import Part10
from node.images.stacks import group_into_stacks
from node.infer import PREPARE_SECONDS, run
from node.profiles import DEFAULT_KINDS
from node.settings import Settings
from node.triton import GrpcTriton, Servers
from tests.peers import DICOM, ROOT, Orthanc, free_port, missing, orthanc, write_config
from tests.viewer import ohif
from tests.viewer.site import OHIF, site
from tests.viewer.study import DIAMETER, NODULE, NODULE_SLICE, Study

CHEST = DICOM / "CT" / "chest_cmb_crc_100"
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
SHOTS = ROOT / ".viewer" / "shots"
"""Where the screenshots are left."""
FURTHER = ("LABELMAP", "GSPS", "SC", "PDF", "RTSTRUCT")
"""Kinds of objects beside those that a job makes anyhow."""


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
    """The chest CT in the PACS, with objects of every kind of what `ct_lung` and a reader with a ruler found in it."""
    paths = sorted(CHEST.glob("*.dcm"))
    (series,) = group_into_stacks(tuple(map(Part10.of_file, paths))).series
    inputs = {"ct": series}
    results = [*analysed(inputs, tmp_path_factory.mktemp("analysed")), *nodule(series)]
    identity = Identity(
        study_uid=series.study_uid, revision=1, plugin="ct_lung", version="1.0.0", title="CT lung", manufacturer="",
        models=(), at=datetime(2026, 1, 2, tzinfo=UTC), first_series_number=3000, device_uid="2.25.1",
    )  # fmt: skip
    objects = compose(Case(inputs=inputs, results=results, identity=identity), kinds=[*DEFAULT_KINDS, *FURTHER])
    written = [BytesIO() for _ in objects]
    for dataset, out in zip(objects, written, strict=True):
        write_object(dataset, out)
    store(pacs, [*(path.read_bytes() for path in paths), *(out.getvalue() for out in written)])
    images = sorted(map(dcmread, paths), key=lambda image: float(image.ImagePositionPatient[2]))
    return Study(images=images, objects=objects)


def analysed(inputs: Mapping[str, Series], folder: Path) -> tuple[Result, ...]:
    """Return what the plugin finds, with a Triton of its own."""
    settings = Settings.read(write_config(folder, port=free_port(), pacs="NOWHERE@127.0.0.1:1"))
    plugin = find_plugins(settings.plugins)["ct_lung"]
    with Servers(settings.triton, folder / "triton.log") as servers:
        triton = GrpcTriton(servers.urls, deadline_seconds=settings.triton.deadline_seconds)
        triton.prepare(plugin.manifest.models, PREPARE_SECONDS)
        try:
            return run(plugin, inputs, triton)
        finally:
            triton.close()


def nodule(series: Series) -> tuple[Result, ...]:
    """Return a nodule in the left lung, read off the images by eye, with its diameter."""
    left, right, top, bottom = NODULE
    x, y = (left + right) / 2, (top + bottom) / 2
    points = np.array([(x, top), (x, bottom), (left, y), (right, y)])
    region = Region(
        kind="ellipse", points=points, label="Nodule 1", type=codes.SCT.Nodule, image=series.frames[NODULE_SLICE],
        site=codes.SCT.Lung, laterality=codes.SCT.Left,
    )  # fmt: skip
    return region, Measurement(name=codes.SCT.Diameter, value=DIAMETER, unit=codes.UCUM.Millimeter, of=region)


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
            body = answer.read()
            assert answer.status == 200, body
