"""The Image Library of a report (PS3.16 TID 1600): every image that was analysed, in a group for each series."""

from highdicom import sr
from highdicom.sr import RelationshipTypeValues as Relationship
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from node.codes import DCM, SCT
from node.compose.ascii_text import concept
from node.compose.case import Case
from node.images.series import Series

MODALITIES = {code.value: code for code in (getattr(codes.cid29, name) for name in codes.cid29.dir())}
"""Modality (0008,0060) → code of the acquisition modality (PS3.16 CID 29)."""


def image_library(case: Case) -> sr.ContainerContentItem:
    """Return the Image Library."""
    library = sr.ContainerContentItem(concept(DCM.ImageLibrary), relationship_type=Relationship.CONTAINS)
    library.ContentSequence = sr.ContentSequence([_group(series) for series in case.inputs.values()])
    return library


def _group(series: Series) -> sr.ContainerContentItem:
    group = sr.ContainerContentItem(concept(DCM.ImageLibraryGroup), relationship_type=Relationship.CONTAINS)
    group.ContentSequence = sr.ContentSequence()
    context = Relationship.HAS_ACQ_CONTEXT
    if modality := MODALITIES.get(series.modality):
        group.ContentSequence.append(sr.CodeContentItem(concept(DCM.Modality), concept(modality), context))
    if series.frame_of_reference_uid:
        name = concept(DCM.FrameOfReferenceUID)
        group.ContentSequence.append(sr.UIDRefContentItem(name, series.frame_of_reference_uid, context))
    source = concept(SCT.Source)
    group.ContentSequence.extend(_entry(header, source) for header in series.identities)
    return group


def _entry(header: Dataset, name: sr.CodedConcept) -> sr.ImageContentItem:
    return sr.ImageContentItem(
        name=name,
        referenced_sop_class_uid=header.SOPClassUID,
        referenced_sop_instance_uid=header.SOPInstanceUID,
        relationship_type=Relationship.CONTAINS,
    )
