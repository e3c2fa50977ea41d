"""Priors in a real PACS are found by C-FIND, sent by C-MOVE and compared with; they are not analysed themselves."""

import socket
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from node import testing
from node.compose.object_references import by_study
from node.deliver import QueryRetrieveScu, readable
from node.deliver.storescu import store
from node.errors import DestinationUnavailable
from node.infer.prior_search import Subject
from node.records import Address, StudyState
from tests.peers import Orthanc, Served, free_port, missing, orthanc, serve, storescu, wait_until

SR = "1.2.840.10008.5.1.4.1.1.88.34"
PLUGIN = """\
name = "with_prior"
version = "1"
title = "With its prior"
kind = "A"
[series.ct]
when.Modality = "CT"
[series.prior]
prior_of = "ct"
"""
CODE = """\
from node import Measurement, codes

def run(ct, prior, triton):
    value = float(prior.volume().array.mean()) if prior else -1.0
    return Measurement(name=codes.SCT.Volume, value=value, unit=codes.UCUM.NoUnits)
"""
ROUTES = """\
[[route]]
name = "every CT"
when.Modality = "CT"
plugins = ["with_prior"]
to = ["PACS"]
"""


def study(seed: str, date: str, level: int, patient_id: str = "P*1") -> list[Dataset]:
    array = np.full((12, 16, 16), level, np.int16)
    images = testing.ct_series(array=array, seed=seed, patient_id=patient_id)
    for image in images:
        image.StudyDate = date
    return images


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture
def pacs(tmp_path: Path, port: int) -> Iterator[Orthanc]:
    if reason := missing("Orthanc", "storescu"):
        pytest.skip(reason)
    known = {"isocenter": Address("ISOCENTER", "127.0.0.1", port)}
    with orthanc(tmp_path / "orthanc", modalities=known) as peer:
        yield peer


@pytest.fixture
def node(tmp_path: Path, pacs: Orthanc, port: int) -> Iterator[Served]:
    folder = tmp_path / "plugins" / "with_prior"
    folder.mkdir(parents=True)
    (folder / "plugin.toml").write_text(PLUGIN)
    (folder / "plugin.py").write_text(CODE)
    environment = {"ISOCENTER_PLUGINS": f'["{tmp_path / "plugins"}"]', "ISOCENTER_PRIORS__ASK": "PACS"}
    with serve(
        tmp_path / "node", pacs=pacs.address, port=port, quiet=1, routes=ROUTES, environment=environment
    ) as node:
        yield node


def hand(pacs: Orthanc, images: list[Dataset], folder: Path) -> None:
    """Store images in the PACS."""
    testing.write(images, folder)
    objects = readable(folder).objects
    assert all(not result.reason for result in store(Address.parse(pacs.address), "CT1", objects, seconds=30))


def test_a_prior_comes_from_the_pacs_is_named_in_the_report_and_starts_no_analysis(
    pacs: Orthanc, node: Served, tmp_path: Path
) -> None:
    older, before = study("older", "20220101", 100), study("before", "20230101", 200)
    others = [study("another", "20230601", 300, patient_id="PX1"), study("later", "20250101", 400)]
    for number, images in enumerate((older, before, *others)):
        hand(pacs, images, tmp_path / f"kept{number}")
    there = len(pacs.instances())
    now = study("now", "20240102", 500)
    sent = storescu(node.port, testing.write(now, tmp_path / "now"))
    assert sent.returncode == 0, sent.stdout
    wait_until(lambda: len(pacs.instances()) > there, seconds=120, what="the report")
    (report,) = (dataset for dataset in pacs.objects() if dataset.SOPClassUID == SR)
    assert 200.0 in [float(element.value) for element in report.iterall() if element.keyword == "NumericValue"]
    assert report.CurrentRequestedProcedureEvidenceSequence[0].StudyInstanceUID == now[0].StudyInstanceUID
    (other,) = report.PertinentOtherEvidenceSequence
    (wanted,) = by_study(before)
    assert other.StudyInstanceUID == wanted.StudyInstanceUID
    named = other.ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert len(named) == len(before)
    story = node.explain(now[0].StudyInstanceUID)
    assert f"prior is series {before[0].SeriesInstanceUID} of study {before[0].StudyInstanceUID}" in story
    assert "P*1" not in story
    ledger = node.ledger()
    kept = ledger.studies.find(before[0].StudyInstanceUID)
    assert kept
    assert kept.state is StudyState.PRIOR
    assert ledger.jobs.of(before[0].StudyInstanceUID) == []
    assert {row.originator for row, _ in ledger.instances.of(before[0].StudyInstanceUID)} == {"ISOCENTER"}
    assert all(ledger.studies.find(images[0].StudyInstanceUID) is None for images in (older, *others)), (
        "nothing else was sent"
    )
    assert node.run("requeue", "--study", before[0].StudyInstanceUID).returncode == 0
    wait_until(lambda: ledger.jobs.of(before[0].StudyInstanceUID), what="the analysis that a person asked for")
    ledger.close()


def test_a_pacs_that_does_not_answer_costs_the_prior_and_no_more_time_than_is_allowed(tmp_path: Path) -> None:
    with closing(socket.socket()) as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        address = Address("PACS", "127.0.0.1", mute.getsockname()[1])
        archive = QueryRetrieveScu(name="PACS", address=address, calling="ISOCENTER", move_destination="ISOCENTER")
        subject = Subject(patient_id="P", issuer="", born="", at="20240102000000")
        with pytest.raises(DestinationUnavailable):
            archive.studies(subject, "CT", until=time.monotonic() + 0.5)


def test_a_pacs_that_cannot_send_or_does_not_let_us_ask_says_so(tmp_path: Path) -> None:
    if reason := missing("Orthanc"):
        pytest.skip(reason)
    nobody = {"isocenter": Address("ISOCENTER", "127.0.0.1", free_port())}
    with orthanc(tmp_path / "orthanc", modalities=nobody) as pacs:
        hand(pacs, study("before", "20230101", 200), tmp_path / "kept")
        archive = QueryRetrieveScu(
            name="PACS", address=Address.parse(pacs.address), calling="ISOCENTER", move_destination="ISOCENTER"
        )
        subject = Subject.of(study("now", "20240102", 0)[0])
        until = time.monotonic() + 60
        (found,) = archive.studies(subject, "CT", until=until)
        (series,) = archive.series(found.StudyInstanceUID, "CT", until=until)
        with pytest.raises(DestinationUnavailable, match="did not send series"):
            archive.send(found.StudyInstanceUID, series.SeriesInstanceUID, until=until)
        with pytest.raises(DestinationUnavailable, match="must let our AE title"):
            replace(archive, calling="STRANGER").studies(subject, "CT", until=until)
