"""What stands for an object that a destination does not take, made of what lies in the spool: the same at every run."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.codes import DCM
from node.compose.conversions import FORMS, Referenced, alone, names_segmentations
from node.compose.gsps import presentation_states
from node.compose.identity import Identity
from node.compose.pdf import document
from node.compose.sc import summary
from node.compose.source_images import carry, copy_element
from node.compose.stored_objects import PART_NUMBERS, Page, keep, pages
from node.compose.stored_outlines import recall
from node.errors import Refused
from node.images.frame import Frame
from node.images.part10 import Part10
from node.images.series import Series
from node.profiles import FIRST_SERIES_NUMBER, SOP_CLASSES, Kind, Profile
from node.records import Declined, Delivery, DeliveryState, Instance, Place, ResultObject
from node.spool import Spool

LAST_NUMBER = PART_NUMBERS - 1
"""Among the series of a job's run: where nothing else is likely to be."""
REPORTS: tuple[Kind, ...] = ("SR", "COMPREHENSIVE", "ENHANCED")
OUTLINED: tuple[Kind, ...] = ("SEG", "LABELMAP", *REPORTS)
"""Kinds that say where something is."""
GOES_NOT = (DeliveryState.UNSUPPORTED, DeliveryState.REPLACED, DeliveryState.PARKED)
SUPPLANTED = "it names a Segmentation, which {destination} does not take; a report without it in its place"


class Assembled(Protocol):
    """The stacks of a study."""

    @property
    def series(self) -> Sequence[Series]:
        """The stacks."""


Assemble = Callable[[Iterable[Part10]], Assembled]
Images = Callable[[str], Sequence[Series]]
"""Gives the stacks of a study that is named by its UID."""


class Declining(Protocol):
    """The part of the ledger that knows what destinations refused by SOP class, and of which images it told."""

    def instances(self, study_uid: str) -> list[tuple[Instance, Place]]:
        """Return every instance of a study with its place in the spool."""

    def declined(self, destination: str) -> list[Declined]:
        """Return what a destination refused and has nothing in its place of."""

    def replace(self, refused: Declined, objects: Sequence[ResultObject], reason: str) -> None:
        """Put objects in the place of a refused one."""

    def supplant(self, sent: Delivery, objects: Sequence[ResultObject], reason: str) -> None:
        """Queue objects that go instead of one that waits, or beside it."""

    def park_declined(self, refused: Declined, reason: str) -> None:
        """Stop at the end of the chain."""


def fall_back(ledger: Declining, spool: Spool, destination: str, profile: Profile, assemble: Assemble) -> int:
    """Find something else for all that a destination does not take; return for how much it was found.

    What the job has composed already is taken as it is; what it has not is made of its objects, or of its page. Where
    the chain ends, the delivery is parked with a sentence for a person. A report that names what is not taken is
    replaced by one that does not, before it goes if it has not gone yet.
    """
    found = 0
    images = partial(_stacks, ledger, spool, assemble)
    for refused in ledger.declined(destination):
        sent = refused.delivery
        _supplant_reports(ledger, spool, refused)
        kind = SOP_CLASSES.get(sent.object.sop_class_uid)
        chain = profile.after(kind) if kind else ()
        for other in chain:
            if objects := _composed(other, refused) or _made(other, refused, spool, profile, images):
                ledger.replace(refused, objects, f"{sent.reason}; {other} in its place")
                found += 1
                break
        else:
            tried = f", nor is there {' or '.join(chain)} in its place" if chain else ""
            mend = f"enable its SOP class there, or change destinations.{destination}.objects, and requeue"
            ledger.park_declined(refused, f"{sent.reason}{tried}; {mend}")
    return found


def _stacks(ledger: Declining, spool: Spool, assemble: Assemble, study_uid: str) -> Sequence[Series]:
    return assemble(spool.part10(place, one.note) for one, place in ledger.instances(study_uid)).series


def _supplant_reports(ledger: Declining, spool: Spool, refused: Declined) -> None:
    """Have reports without the Segmentation go where it does not: viewers would look for it, and some show nothing."""
    if SOP_CLASSES.get(refused.delivery.object.sop_class_uid) != "SEG":
        return
    for sent in refused.beside:
        path = spool.path / sent.object.path
        if SOP_CLASSES.get(sent.object.sop_class_uid) not in REPORTS or sent.state in GOES_NOT or not path.is_file():
            continue
        report = dcmread(path)
        if names_segmentations(report):
            there = sent.state is not DeliveryState.WAITING
            made = keep(spool, alone(report, follows=there))
            ledger.supplant(sent, [made], SUPPLANTED.format(destination=sent.destination))


def _composed(kind: Kind, refused: Declined) -> list[ResultObject]:
    """Return what the job has of a kind already; a form of the object itself is made of just that one."""
    if kind not in ("GSPS", "SC", "PDF"):
        return []
    return [made for made in refused.objects if SOP_CLASSES.get(made.sop_class_uid) == kind]


def _made(kind: Kind, refused: Declined, spool: Spool, profile: Profile, images: Images) -> list[ResultObject]:
    source = spool.path / refused.delivery.object.path
    if not source.is_file():
        return []
    if kind in FORMS:
        return [keep(spool, FORMS[kind](dcmread(source)))]
    runs = [
        replace(run, identity=_for(profile, run.identity))
        for run in pages(spool, refused.delivery.study_uid, refused.job_id)
    ]
    if kind == "GSPS":
        return [keep(spool, made) for run in runs[:1] for made in _presentation_states(run, refused, spool, images)]
    about = dcmread(source, stop_before_pixels=True)
    return [keep(spool, PICTURES[kind](run.png, _images(run, about), run.identity)) for run in runs]


def _for(profile: Profile, identity: Identity) -> Identity:
    """Return what an object is called at a destination of a profile."""
    number = identity.first_series_number - FIRST_SERIES_NUMBER + profile.first_series_number
    named = profile.series_description
    return replace(identity, first_series_number=number, shape=profile.shape, named=named)


def _presentation_states(run: Page, refused: Declined, spool: Spool, images: Images) -> list[Dataset]:
    """Return presentation states of all that the job's objects for the destination outline; none where that is nothing.

    Nor are there any where an image cannot be read again.
    """
    paths = [
        spool.path / one.object.path for one in refused.beside if SOP_CLASSES.get(one.object.sop_class_uid) in OUTLINED
    ]
    objects = [dcmread(path) for path in paths if path.is_file()]
    made: list[Dataset] = []
    try:
        for series in images(refused.delivery.study_uid):
            frames = {(frame.sop_instance_uid, frame.number): frame for frame in series.frames}
            if drawn := recall(objects, frames):
                number = LAST_NUMBER - 2 - len({one.SeriesInstanceUID for one in made})
                made += presentation_states(series, drawn, run.identity, name=series.key, number=number)
    except Refused:
        return []
    return made


def _no_pixels(frames: Sequence[Frame], into: NDArray[Any] | None = None) -> tuple[NDArray[Any], ...]:  # noqa: ARG001
    return ()


def _images(run: Page, about: Dataset) -> Series:
    """Return the images of a run as far as an object knows them: the first says who and when."""
    headers = []
    for sop_class, uid in run.images:
        header = Dataset()
        header.SOPClassUID, header.SOPInstanceUID = sop_class, uid
        headers.append(header)
    carry(about, headers[0])
    for keyword in ("BodyPartExamined", "Laterality"):
        copy_element(about, headers[0], keyword)
    for contributor in about.get("ContributingEquipmentSequence") or ():
        if contributor.PurposeOfReferenceCodeSequence[0].CodeValue == DCM.AcquisitionEquipment.value:
            headers[0].update({element.tag: element for element in contributor})
            del headers[0].PurposeOfReferenceCodeSequence
    return Series(key="", frames=tuple(Frame(image=Referenced(header)) for header in headers), read=_no_pixels)


PICTURES: Mapping[Kind, Callable[[bytes, Series, Identity], Dataset]] = {
    "SC": lambda page, images, identity: summary(page, images.header, identity, number=LAST_NUMBER - 1),
    "PDF": lambda page, images, identity: document(page, images, identity, number=LAST_NUMBER),
}
"""What is made of the job's page."""
