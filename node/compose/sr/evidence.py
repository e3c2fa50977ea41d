"""What a report names outside its content tree: evidence and requests (PS3.3 C.17.2)."""

from collections.abc import Sequence

from pydicom.dataset import Dataset

from node.compose.case import Case
from node.compose.object_references import by_study
from node.compose.source_images import copy_element

REQUEST_TYPE_2 = (
    "AccessionNumber",
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
    "RequestedProcedureCodeSequence",
)
"""Type 2 attributes of a Referenced Request item."""


def add_evidence(report: Dataset, case: Case, objects: Sequence[Dataset] = ()) -> None:
    """List the images and `objects` that the tree refers to, of this study and of others (PS3.3 C.17.2.3)."""
    images = [header for series in case.inputs.values() for header in series.identities]
    evidence = [*images, *objects]
    study_uid = case.identity.study_uid
    current = [dataset for dataset in evidence if dataset.StudyInstanceUID == study_uid]
    report.CurrentRequestedProcedureEvidenceSequence = by_study(current)
    if others := [dataset for dataset in evidence if dataset.StudyInstanceUID != study_uid]:
        report.PertinentOtherEvidenceSequence = by_study(others)


def referenced_requests(header: Dataset) -> list[Dataset]:
    """Return the requests that the images answer, as Referenced Request items (PS3.3 C.17.2; Type 2 may be empty)."""
    requests = []
    for attributes in header.get("RequestAttributesSequence") or []:
        request = Dataset()
        request.StudyInstanceUID = attributes.get("StudyInstanceUID") or header.StudyInstanceUID
        request.ReferencedStudySequence = []
        for keyword in REQUEST_TYPE_2:
            setattr(request, keyword, [] if keyword.endswith("Sequence") else None)
            for holder in (header, attributes):
                copy_element(holder, request, keyword)
        for code in request.RequestedProcedureCodeSequence:
            _delete_empty(code)
        requests.append(request)
    return requests


def _delete_empty(code: Dataset) -> None:
    """Delete the empty elements of a code item, such as a scheme version without a value (PS3.3 8.8: Type 1C)."""
    for element in list(code):
        if element.is_empty:
            del code[element.tag]
