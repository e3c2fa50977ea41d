"""Context that reports share: language, observer, algorithm, procedures; and comments."""

from highdicom import sr
from highdicom.sr import RelationshipTypeValues as Relationship
from pydicom.sr.codedict import codes

from node.codes import DCM, LN, Code
from node.compose.ascii_text import LO, concept, plain
from node.compose.case import Case
from node.compose.identity import MANUFACTURER, MODEL_NAME, Identity

PROCEDURES = {
    "CT": LN.CTUnspecifiedBodyRegion,
    "MR": LN.MRIUnspecifiedBodyRegion,
    "PT": LN.PETUnspecifiedBodyRegion,
    "NM": LN.NMUnspecifiedBodyRegion,
    "CR": LN.XRUnspecifiedBodyRegion,
    "DX": LN.XRUnspecifiedBodyRegion,
}
"""Modality → Procedure Reported (PS3.16 CID 100); for other modalities it is "imaging procedure"."""

LANGUAGE = sr.CodedConcept("en-US", "RFC5646", "English (United States)")
"""Language of the report (PS3.16 TID 1204)."""


def observer_context(identity: Identity) -> sr.ObserverContext:
    """Return the observer: this node (PS3.16 TID 1004).

    Its name says what stands behind the answers, and the title: TID 1500 has no place for words before it.
    """
    return sr.ObserverContext(
        observer_type=concept(DCM.Device),
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=identity.device_uid,
            name=plain(f"{identity.notices[0].rstrip('.')}: {identity.title or identity.plugin}"),
            manufacturer_name=MANUFACTURER,
            model_name=MODEL_NAME,
            serial_number=identity.device_uid,
        ),
    )


def algorithm_identification(identity: Identity) -> sr.AlgorithmIdentification:
    """Return name, version and parameters of the algorithm (PS3.16 TID 4019)."""
    return sr.AlgorithmIdentification(
        name=identity.algorithm,
        version=plain(identity.version, LO),
        parameters=[f"{name}: {value}" for name, value in identity.parameters.items()],
        family=concept(identity.family),
        manufacturer=plain(identity.manufacturer, LO) or None,
    )


def procedures_reported(case: Case) -> list[Code]:
    """Return the procedures that the inputs were acquired by, each once."""
    modalities = (series.modality for series in case.inputs.values())
    return list(dict.fromkeys(PROCEDURES.get(modality, codes.cid100.ImagingProcedure) for modality in modalities))


def comment(text: str) -> sr.TextContentItem:
    """Return a Comment."""
    return sr.TextContentItem(concept(DCM.Comment), plain(text), Relationship.CONTAINS)
