"""Composed objects in the spool: stored when they are finished, read again for a later revision or a fallback."""

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset

from node.codes import Code
from node.compose.case import Case
from node.compose.finish import write_object
from node.compose.identity import Identity
from node.faults import fault
from node.host import Kind
from node.records import Job, ResultObject
from node.spool import Spool


def store_object(spool: Spool, made: Dataset) -> ResultObject:
    """Store a finished object durably in the spool, and return its row for the ledger."""
    uid = str(made.SOPInstanceUID)
    path = spool.keep(str(made.StudyInstanceUID), f"{uid}.dcm", partial(write_object, made))
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
class StoredPage:
    """The summary page of one run of a job, from which a fallback object may be made later.

    Parameters
    ----------
    png
        The page as a PNG.
    images
        SOP Class and SOP Instance UID of each image that it is about.
    """

    png: bytes
    identity: Identity
    images: tuple[tuple[str, str], ...]


def store_page(spool: Spool, job: Job, part: int, png: bytes, case: Case) -> None:
    """Store the summary page of one run of a job, with the identity and images that an object made of it needs."""
    name = f"job-{job.id}-{part}"
    images = case.study_series[0].identities
    about = {
        "identity": asdict(case.identity),
        "images": [(str(image.SOPClassUID), str(image.SOPInstanceUID)) for image in images],
    }
    spool.keep(job.study_uid, f"{name}.png", png)
    spool.keep(job.study_uid, f"{name}.json", json.dumps(about, default=str).encode())


def stored_pages(spool: Spool, study_uid: str, job_id: int) -> Iterator[StoredPage]:
    """Return the pages of a job that are still in the spool, in the order of its runs."""
    for part in itertools.count():
        picture = spool.objects / study_uid / f"job-{job_id}-{part}.png"
        sidecar = picture.with_suffix(".json")
        if not (picture.is_file() and sidecar.is_file()):
            return
        about = json.loads(sidecar.read_bytes())
        images = tuple((sop_class, uid) for sop_class, uid in about["images"])
        yield StoredPage(png=picture.read_bytes(), identity=_identity(about["identity"]), images=images)


def with_earlier_time(spool: Spool, identity: Identity) -> Identity:
    """Return an identity with the time of an equal run whose page lies in the spool; as it is where there is none.

    After the ledger was lost, a job is planned anew. Its objects are those that the PACS may have, byte for byte.
    """
    for sidecar in sorted((spool.objects / identity.study_uid).glob("*.json")):
        earlier = _identity(json.loads(sidecar.read_bytes())["identity"])
        if replace(earlier, at=identity.at) == identity:
            return earlier
    return identity


def _identity(values: dict[str, Any]) -> Identity:
    parsed = {
        "models": tuple(values["models"]),
        "at": datetime.fromisoformat(values["at"]),
        "family": Code(*values["family"]),
        "objects": tuple(values.get("objects", ())),  # pages of older nodes do not tell
        "kind": Kind(values.get("kind", Kind.UNVALIDATED)),
    }
    return Identity(**(values | parsed))


def stored_reports(spool: Spool, paths: Iterable[str]) -> list[Dataset]:
    """Return the structured reports among stored objects: those that a new report can name as predecessors."""
    objects = [dcmread(spool.path / path) for path in paths if (spool.path / path).is_file()]
    return [stored for stored in objects if stored.Modality == "SR"]
