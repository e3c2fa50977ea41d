"""Composed objects in the spool: written once they are finished, read again when a later revision names them."""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset

from node.codes import DCM, Code
from node.compose.finish import write
from node.compose.identity import Identity
from node.faults import fault
from node.host import Manifest
from node.images.series import Series
from node.profiles import PROFILES, Profile
from node.records import Job, ResultObject
from node.spool import Spool

FAMILIES = {
    "artificial intelligence": DCM.ArtificialIntelligence,
    "morphological operations": DCM.MorphologicalOperations,
    "histogram analysis": DCM.HistogramAnalysis,
}
"""A manifest's words for the kinds of algorithm (PS3.16 CID 7162)."""
JOB_NUMBERS, PART_NUMBERS = 100, 10
"""Series Numbers of results begin at the profile's; each job of a study has a hundred of them, each of its runs ten."""


def identify(
    job: Job,
    manifest: Manifest,
    version: Callable[[str], str],
    *,
    device_uid: str,
    part: int,
    profile: Profile = PROFILES["orthanc"],
) -> Identity:
    """Return the identity of one run of a job, as objects for destinations of a profile have it.

    `version` tells which version of a model served.
    """
    return Identity(
        study_uid=job.study_uid,
        revision=job.revision,
        plugin=manifest.name,
        version=manifest.version,
        title=manifest.title,
        manufacturer=manifest.manufacturer,
        models=tuple(f"{model} {version(model)}" for model in manifest.model_names),
        at=datetime.fromtimestamp(job.planned_at).astimezone(),
        first_series_number=profile.first_series_number + JOB_NUMBERS * job.ordinal + PART_NUMBERS * part,
        device_uid=device_uid,
        part=part,
        family=FAMILIES[manifest.family],
        shape=profile.shape,
        named=profile.series_description,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What is kept of one run of a job for what may be made of it later.

    Parameters
    ----------
    png
        The picture of its results.
    images
        The images that it is about: SOP Class and SOP Instance UID of each.
    """

    png: bytes
    identity: Identity
    images: tuple[tuple[str, str], ...]


def keep_page(spool: Spool, job: Job, part: int, png: bytes, identity: Identity, images: Series) -> None:
    """Store the picture of one run of a job, and what an object that is made of it later must be called and name."""
    name = f"job-{job.id}-{part}"
    about = {
        "identity": asdict(identity),
        "images": [(str(one.SOPClassUID), str(one.SOPInstanceUID)) for one in images.identities],
    }
    spool.keep(job.study_uid, f"{name}.png", png)
    spool.keep(job.study_uid, f"{name}.json", json.dumps(about, default=str).encode())


def pages(spool: Spool, study_uid: str, job_id: int) -> Iterator[Page]:
    """Return what is kept of a job and still there, in the order of its runs."""
    for part in itertools.count():
        picture = spool.objects / study_uid / f"job-{job_id}-{part}.png"
        about = picture.with_suffix(".json")
        if not (picture.is_file() and about.is_file()):
            return
        told = json.loads(about.read_bytes())
        images = tuple((sop_class, uid) for sop_class, uid in told["images"])
        yield Page(png=picture.read_bytes(), identity=_identity(told["identity"]), images=images)


def _identity(values: dict[str, Any]) -> Identity:
    parsed = {
        "models": tuple(values["models"]),
        "at": datetime.fromisoformat(values["at"]),
        "family": Code(*values["family"]),
    }
    return Identity(**(values | parsed))


def reports(spool: Spool, paths: Iterable[str]) -> list[Dataset]:
    """Return the structured reports among kept objects: what a new report can name as its predecessors."""
    kept = [dcmread(spool.path / path) for path in paths if (spool.path / path).is_file()]
    return [one for one in kept if one.Modality == "SR"]
