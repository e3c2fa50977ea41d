"""Key Object Selection (PS3.3 A.35.4) of template TID 2010: the images a reader should look at first."""

from collections.abc import Mapping

from highdicom import sr
from highdicom.sr import RelationshipTypeValues as Relationship
from pydicom.dataset import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from node.codes import DCM
from node.compose.ascii_text import concept, plain
from node.compose.content_items import container
from node.compose.finish import finish
from node.compose.identity import RESEARCH_USE, Identity
from node.compose.object_references import by_study, images
from node.compose.sr.groups import LANGUAGE, observer
from node.errors import BrokenResult
from node.images.series import Series
from node.results import KeyImages


def key_objects(
    result: KeyImages, inputs: Mapping[str, Series], identity: Identity, *, order: int, number: int
) -> Dataset:
    """Return the selection; it belongs to the study of the job, and may name images of others."""
    here = [series for series in inputs.values() if series.study_uid == identity.study_uid]
    if not here:
        raise BrokenResult(f"no input of plugin {identity.plugin} is of study {identity.study_uid}")
    description = plain(f"{result.description} {RESEARCH_USE}".strip())
    content = [
        sr.CodeContentItem(concept(DCM.LanguageOfContentItemAndDescendants), LANGUAGE, Relationship.HAS_CONCEPT_MOD),
        *observer(identity),
        sr.TextContentItem(concept(DCM.KeyObjectDescription), description, Relationship.CONTAINS),
        *(_image(reference) for reference in images(result.images)),
    ]
    done = container(result.title, content, template="2010")
    done.SOPClassUID = KeyObjectSelectionDocumentStorage
    done.SOPInstanceUID = identity.uid("ko", str(order))
    done.ReferencedPerformedProcedureStepSequence = []
    done.CurrentRequestedProcedureEvidenceSequence = by_study(frame.header for frame in result.images)
    return finish(done, here[0].header, identity, kind="KO", number=number)


def _image(reference: Dataset) -> Dataset:
    """Return an IMAGE item; TID 2010 gives it no concept name."""
    item = Dataset()
    item.RelationshipType = "CONTAINS"
    item.ValueType = "IMAGE"
    item.ReferencedSOPSequence = [reference]
    return item
