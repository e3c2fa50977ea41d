"""Key Object Selection (PS3.3 A.35.4) of template TID 2010: the images that a reader should look at first."""

from collections.abc import Iterator, Sequence

from highdicom import sr
from highdicom.sr import RelationshipTypeValues as Relationship
from pydicom.dataset import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from node.codes import DCM
from node.compose.ascii_text import concept, plain
from node.compose.case import Case
from node.compose.content_items import container
from node.compose.finish import count_series, finish
from node.compose.object_references import by_study, image_references
from node.compose.sr.context import LANGUAGE, observer_context
from node.results import KeyImages


def compose_ko(case: Case, made: Sequence[Dataset]) -> Iterator[Dataset]:
    """Yield a Key Object Selection for each choice of key images; it may also name images of priors."""
    for order, result in enumerate(case.results_of(KeyImages)):
        built = _selection(case, result)
        built.SOPInstanceUID = case.identity.uid("ko", str(order))
        yield finish(built, case.header, case.identity, kind="KO", number=count_series(made))


def _selection(case: Case, result: KeyImages) -> Dataset:
    stands_behind, research_use = case.identity.notices
    description = plain(" ".join((stands_behind, result.description, research_use)))
    content = [
        sr.CodeContentItem(concept(DCM.LanguageOfContentItemAndDescendants), LANGUAGE, Relationship.HAS_CONCEPT_MOD),
        *observer_context(case.identity),
        sr.TextContentItem(concept(DCM.KeyObjectDescription), description, Relationship.CONTAINS),
        *(_image_item(reference) for reference in image_references(result.images)),
    ]
    built = container(result.title, content, template="2010")
    built.SOPClassUID = KeyObjectSelectionDocumentStorage
    built.ReferencedPerformedProcedureStepSequence = []
    built.CurrentRequestedProcedureEvidenceSequence = by_study(frame.header for frame in result.images)
    return built


def _image_item(reference: Dataset) -> Dataset:
    """Return an IMAGE item; TID 2010 gives it no concept name."""
    item = Dataset()
    item.RelationshipType = "CONTAINS"
    item.ValueType = "IMAGE"
    item.ReferencedSOPSequence = [reference]
    return item
