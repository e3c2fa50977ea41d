"""Composed objects in the spool: written once they are finished, read again when a later revision names them."""

from collections.abc import Iterable
from datetime import datetime
from functools import partial

from pydicom import dcmread
from pydicom.dataset import Dataset

from node.codes import DCM
from node.compose.finish import write
from node.compose.identity import Identity
from node.faults import fault
from node.host import Manifest
from node.records import Job, ResultObject
from node.spool import Spool

FAMILIES = {
    "artificial intelligence": DCM.ArtificialIntelligence,
    "morphological operations": DCM.MorphologicalOperations,
    "histogram analysis": DCM.HistogramAnalysis,
}
"""A manifest's words for the kinds of algorithm (PS3.16 CID 7162)."""
JOB_NUMBERS, PART_NUMBERS = 100, 10
FIRST_SERIES_NUMBER = 3000
"""Series Numbers of results begin here; each job of a study has a hundred of them, each of its runs ten."""


def identify(job: Job, manifest: Manifest, *, models: tuple[str, ...], device_uid: str, part: int) -> Identity:
    """Return the identity of one run of a job."""
    return Identity(
        study_uid=job.study_uid,
        revision=job.revision,
        plugin=manifest.name,
        version=manifest.version,
        title=manifest.title,
        manufacturer=manifest.manufacturer,
        models=models,
        at=datetime.fromtimestamp(job.planned_at).astimezone(),
        first_series_number=FIRST_SERIES_NUMBER + JOB_NUMBERS * job.ordinal + PART_NUMBERS * part,
        device_uid=device_uid,
        part=part,
        family=FAMILIES[manifest.family],
    )


def keep(spool: Spool, made: Dataset) -> ResultObject:
    """Store a finished object durably in the spool, and return the row it will have."""
    uid = str(made.SOPInstanceUID)
    path = spool.keep(str(made.StudyInstanceUID), f"{uid}.dcm", partial(write, made))
    fault("compose.kept")
    return ResultObject(
        sop_instance_uid=uid,
        sop_class_uid=str(made.SOPClassUID),
        series_uid=str(made.SeriesInstanceUID),
        kind=str(made.Modality),
        transfer_syntax_uid=str(made.file_meta.TransferSyntaxUID),
        path=path,
    )


def reports(spool: Spool, paths: Iterable[str]) -> list[Dataset]:
    """Return the structured reports among kept objects: what a new report can name as its predecessors."""
    kept = [dcmread(spool.path / path) for path in paths if (spool.path / path).is_file()]
    return [one for one in kept if one.Modality == "SR"]
