"""A study of every modality at once, from storescu to `isocenter serve` to Orthanc: what each plugin made of it.

`pytest -s` prints the table of studies, objects and measurements.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from node import testing
from node.commands.demo import through
from node.host import find_plugins
from node.ledger import Ledger
from node.records import JobState
from tests.peers import ROOT, Orthanc, serve, storescu, wait_until

pytest.importorskip("pytriton", reason="nvidia-pytriton is not installed")

ROUTES = ROOT / "config" / "routes.example.toml"
EXPECTED: Mapping[str, Mapping[str, str]] = {
    "ct_denoise": {"ct_denoise": "CT"},
    "ct_head_bleed": {"ct_head_bleed": "SR KO OT"},
    "ct_liver": {"ct_liver": "SEG SR"},
    "ct_lung_nodule": {"ct_lung": "SEG SR", "ct_body": "SEG SR", "ct_lung_nodule": "SEG SR KO"},
    "cxr_findings": {"cxr_findings": "SR OT", "cxr_quality": "SR"},
    "mg_lesion": {"mg_lesion": "SR"},
    "mr_brain": {"mr_brain": "SEG SR"},
    "mr_cardiac": {"mr_cardiac": "SEG SR"},
    "mr_superres": {"mr_superres": "MR"},
    "mr_to_ct": {"mr_to_ct": "MR"},
    "mr_tumour": {"mr_tumour": "SEG SR KO"},
    "op_retina": {"op_retina": "SEG SR OT"},
    "pt_lesion": {"pt_lesion": "SEG SR"},
    "register_prior": {"register_prior": "REG CT SR"},
    "sm_breast": {"sm_breast": "SR KO OT"},
    "us_lesion": {"us_lesion": "SR KO"},
    "xc_skin": {"xc_skin": "SEG SR OT"},
}
"""Modalities of the objects, by the study (a module of tests/studies) and the plugin that makes them."""
IDENTIFIERS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")


@cache
def titles() -> Mapping[str, str]:
    """Return the names of plugins by what their objects call them."""
    return {plugin.manifest.title: name for name, plugin in find_plugins([ROOT / "plugins"]).items()}


def maker(made: Dataset) -> str:
    """Return the plugin that an object names as the last of its contributors (PS3.3 C.12.1.5)."""
    return titles()[made.ContributingEquipmentSequence[-1].ManufacturerModelName]


def measurements(report: Dataset) -> Iterator[str]:
    """Yield what a report measures, in the order of its content (PS3.3 C.18.1)."""
    for item in report.get("ContentSequence", ()):
        if item.ValueType == "NUM" and item.MeasuredValueSequence:
            (value,) = item.MeasuredValueSequence
            unit = value.MeasurementUnitsCodeSequence[0]
            symbol = unit.get("CodeValue", unit.CodeMeaning)
            yield f"{item.ConceptNameCodeSequence[0].CodeMeaning} {value.NumericValue} {symbol}"
        yield from measurements(item)


def table(made: Mapping[str, Mapping[str, Sequence[Dataset]]]) -> str:
    """Return studies, the objects that each plugin made of them, and the first measurements of each."""
    lines = ["| study | plugin | objects | measurements |", "|---|---|---|---|"]
    for study, plugins in made.items():
        for plugin, objects in sorted(plugins.items()):
            counts = [composed.Modality for composed in objects]
            named = ", ".join(f"{counts.count(name)} {name}" for name in sorted(set(counts)))
            values = [line for composed in objects if composed.Modality == "SR" for line in measurements(composed)]
            more = f"; {len(values) - 3} more" if len(values) > 3 else ""
            lines.append(f"| {study} | {plugin} | {named} | {'; '.join(values[:3])}{more} |")
    return "\n".join(lines)


def patient(name: str, images: Sequence[Dataset]) -> Sequence[Dataset]:
    """Make images those of a patient who is called as their plugin: phantoms of two may have the same UIDs."""
    for image in images:
        for keyword in IDENTIFIERS:
            if keyword in image:
                setattr(image, keyword, testing.uid("every modality", name, image[keyword].value))
        image.file_meta.MediaStorageSOPInstanceUID = testing.marked(image).SOPInstanceUID
        image.PatientID = name
    return images


def sent(port: int, studies: Mapping[str, Sequence[Path]]) -> None:
    """Send all studies at once, each over an association of its own."""
    with ThreadPoolExecutor(len(studies)) as senders:
        done = list(senders.map(lambda files: storescu(port, files), studies.values()))
    assert not any(item.returncode for item in done)


def recorded(ledger: Ledger, studies: Iterable[Sequence[Dataset]]) -> bool:
    """Return whether the ledger has a row of each image, late as rows are."""
    return all(len(ledger.instances.of(images[0].StudyInstanceUID)) == len(images) for images in studies)


def test_a_study_of_every_modality_at_once_ends_with_every_object_in_the_pacs(tmp_path: Path, pacs: Orthanc) -> None:
    modules = {name: import_module(f"tests.studies.{name}") for name in EXPECTED}
    images = {name: patient(name, module.images()) for name, module in modules.items()}
    studies = {name: testing.write(study, tmp_path / name) for name, study in images.items()}
    priors = {name: patient(name, module.prior()) for name, module in modules.items() if hasattr(module, "prior")}
    earlier = {name: testing.write(study, tmp_path / f"{name} before") for name, study in priors.items()}
    with serve(tmp_path / "node", pacs=pacs.address, quiet=10.0, routes=ROUTES.read_text()) as node:
        ledger = node.ledger()
        sent(node.port, earlier)
        wait_until(lambda: recorded(ledger, priors.values()) and through(ledger), seconds=300, what="the priors' end")
        sent(node.port, studies)
        uids = {study[0].StudyInstanceUID: name for name, study in images.items()}
        wait_until(lambda: recorded(ledger, images.values()), what="a row of each image")
        wait_until(lambda: through(ledger), seconds=900, what="the end of all jobs")
        jobs = {name: {job.plugin: job for job in ledger.jobs.of(uid)} for uid, name in uids.items()}
        made: dict[str, dict[str, list[Dataset]]] = {name: defaultdict(list) for name in EXPECTED}
        for composed in pacs.objects():
            if composed.StudyInstanceUID in uids:
                made[uids[composed.StudyInstanceUID]][maker(composed)].append(composed)
    print(f"\n{table(made)}")  # noqa: T201 (with -s)
    for name, plugins in EXPECTED.items():
        for plugin, modalities in plugins.items():
            job = jobs[name][plugin]
            assert job.state is JobState.DONE, f"{plugin} of {name}: {job.state}, {job.reason}"
            assert {composed.Modality for composed in made[name][plugin]} >= set(modalities.split()), (
                f"{plugin} of {name}"
            )
    uptake = {
        line
        for composed in made["pt_lesion"]["pt_lesion"]
        if composed.Modality == "SR"
        for line in measurements(composed)
    }
    assert {"Metabolic Volume 16.46 cm3", "Mean Attenuation Coefficient 400.0 [hnsf'U]"} <= uptake
