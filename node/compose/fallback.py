"""Replacements for objects that a destination does not take, made from files in the spool, the same at every run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.codes import DCM
from node.compose.conversions import CONVERSIONS, ReferencedImage, names_segmentations, without_segmentations
from node.compose.finish import count_series
from node.compose.gsps import presentation_states
from node.compose.identity import Identity
from node.compose.job_objects import PART_NUMBERS
from node.compose.pdf import summary_document
from node.compose.sc import summary_capture
from node.compose.source_images import copy_element, copy_patient_and_study
from node.compose.stored_objects import StoredPage, store_object, stored_pages
from node.compose.stored_outlines import read_stored_outlines
from node.errors import Refused
from node.images.frame import Frame
from node.images.series import Series
from node.images.stacks import group_into_stacks
from node.ledger.fallbacks import Fallbacks
from node.ledger.instances import Instances
from node.profiles import FIRST_SERIES_NUMBER, PICTURES, SOP_CLASSES, Kind, Profile
from node.records import Declined, DeliveryState, ResultObject
from node.spool import Spool

LAST_NUMBER = PART_NUMBERS - 1
"""Last of the Series Numbers of a run of a job; no other object is likely to have it."""
REPORTS: tuple[Kind, ...] = ("SR", "COMPREHENSIVE", "ENHANCED")
OUTLINED: tuple[Kind, ...] = ("SEG", "LABELMAP", *REPORTS)
"""Kinds that hold outlines."""
NOT_SENT = (DeliveryState.UNSUPPORTED, DeliveryState.REPLACED, DeliveryState.PARKED)
SUPPLANTED = "it names a Segmentation, which {destination} does not take; a report without it in its place"


Images = Callable[[str], Sequence[Series]]
"""Gives the stacks of a study by its UID."""


def fall_back(fallbacks: Fallbacks, instances: Instances, spool: Spool, destination: str, profile: Profile) -> int:
    """Queue replacements for the objects that a destination refused by SOP class; return the number replaced.

    The chain of the profile is tried from its best kind on. Pictures that the job has composed already are taken; other
    objects are made from the job's stored objects, or from its summary page. At the end of the chain the delivery is
    parked with a sentence for a person. A report that refers to a refused Segmentation is replaced by a report without
    it; if it still waits, it is never sent.
    """
    replaced = 0
    images = partial(_stacks, instances, spool)
    for refused in fallbacks.declined(destination):
        sent = refused.delivery
        _replace_reports(fallbacks, spool, refused)
        kind = SOP_CLASSES.get(sent.object.sop_class_uid)
        chain = profile.after(kind) if kind else ()
        for other in chain:
            if objects := _composed(other, refused) or _made(other, refused, spool, profile, images):
                fallbacks.replace(refused, objects, f"{sent.reason}; {other} in its place")
                replaced += 1
                break
        else:
            tried = f", nor is there {' or '.join(chain)} in its place" if chain else ""
            mend = f"enable its SOP class there, or change destinations.{destination}.objects, and requeue"
            fallbacks.park(refused, f"{sent.reason}{tried}; {mend}")
    return replaced


def _stacks(instances: Instances, spool: Spool, study_uid: str) -> Sequence[Series]:
    rows = instances.of(study_uid)
    return group_into_stacks(spool.part10(place, instance.note) for instance, place in rows).series


def _kind(stored: ResultObject) -> Kind | None:
    return SOP_CLASSES.get(stored.sop_class_uid)


def _replace_reports(fallbacks: Fallbacks, spool: Spool, refused: Declined) -> None:
    """Replace reports that refer to a refused Segmentation: viewers look for it, and some then show nothing."""
    if _kind(refused.delivery.object) != "SEG":
        return
    for sent in refused.beside:
        path = spool.path / sent.object.path
        if _kind(sent.object) not in REPORTS or sent.state in NOT_SENT or not path.is_file():
            continue
        report = dcmread(path)
        if names_segmentations(report):
            follows = sent.state is not DeliveryState.WAITING
            stored = store_object(spool, without_segmentations(report, follows=follows))
            fallbacks.supplant(sent, [stored], SUPPLANTED.format(destination=sent.destination))


def _composed(kind: Kind, refused: Declined) -> list[ResultObject]:
    """Return the objects of a kind that the job has composed already.

    Only pictures: a report or Segmentation of another form has to be made from the refused object itself.
    """
    return [stored for stored in refused.objects if _kind(stored) == kind] if kind in PICTURES else []


def _made(kind: Kind, refused: Declined, spool: Spool, profile: Profile, images: Images) -> list[ResultObject]:
    """Return objects of a kind made from the refused object or its job's stored files, none if they are gone."""
    source = spool.path / refused.delivery.object.path
    if not source.is_file():
        return []
    if kind in CONVERSIONS:
        return [store_object(spool, CONVERSIONS[kind](dcmread(source)))]
    runs = [
        replace(page, identity=_for_profile(page.identity, profile))
        for page in stored_pages(spool, refused.delivery.study_uid, refused.job_id)
    ]
    if kind == "GSPS":
        states = [state for run in runs[:1] for state in _presentation_states(run, refused, spool, images)]
        return [store_object(spool, state) for state in states]
    header = dcmread(source, stop_before_pixels=True)
    return [store_object(spool, FROM_PAGE[kind](run.png, _source_images(run, header), run.identity)) for run in runs]


def _for_profile(identity: Identity, profile: Profile) -> Identity:
    """Return an identity with the numbers and descriptions of a profile."""
    return replace(
        identity,
        first_series_number=identity.first_series_number - FIRST_SERIES_NUMBER + profile.first_series_number,
        variant=profile.variant,
        description_format=profile.series_description,
    )


def _presentation_states(run: StoredPage, refused: Declined, spool: Spool, images: Images) -> list[Dataset]:
    """Return presentation states of all outlines in the job's objects for the destination.

    Empty if there are no outlines, or if an image cannot be read again.
    """
    paths = [spool.path / sent.object.path for sent in refused.beside if _kind(sent.object) in OUTLINED]
    objects = [dcmread(path) for path in paths if path.is_file()]
    states: list[Dataset] = []
    try:
        identity = replace(run.identity, objects=tuple(str(made.SOPInstanceUID) for made in objects))
        for series in images(refused.delivery.study_uid):
            frames = {(frame.sop_instance_uid, frame.number): frame for frame in series.frames}
            if drawings := read_stored_outlines(objects, frames):
                number = LAST_NUMBER - 2 - count_series(states)
                states += presentation_states(series, drawings, identity, name=series.key, number=number)
    except Refused:
        return []
    return states


def _no_pixels(frames: Sequence[Frame], into: NDArray[Any] | None = None) -> tuple[NDArray[Any], ...]:  # noqa: ARG001
    return ()


def _source_images(run: StoredPage, header: Dataset) -> Series:
    """Return the images of a run by reference; the first has patient, study and scanner of an object."""
    headers = []
    for sop_class, uid in run.images:
        image = Dataset()
        image.SOPClassUID, image.SOPInstanceUID = sop_class, uid
        headers.append(image)
    first = headers[0]
    copy_patient_and_study(header, first)
    for keyword in ("BodyPartExamined", "Laterality"):
        copy_element(header, first, keyword)
    for contributor in header.get("ContributingEquipmentSequence") or ():
        if contributor.PurposeOfReferenceCodeSequence[0].CodeValue == DCM.AcquisitionEquipment.value:
            first.update({element.tag: element for element in contributor})
            del first.PurposeOfReferenceCodeSequence
    return Series(key="", frames=tuple(Frame(image=ReferencedImage(image)) for image in headers), read=_no_pixels)


FROM_PAGE: Mapping[Kind, Callable[[bytes, Series, Identity], Dataset]] = {
    "SC": lambda page, images, identity: summary_capture(page, images.header, identity, number=LAST_NUMBER - 1),
    "PDF": lambda page, images, identity: summary_document(page, images, identity, number=LAST_NUMBER),
}
"""Kind → function that makes an object of the kind from a summary page."""
