"""Encapsulated PDF (PS3.3 A.45.1): the summary page as a document, for viewers that show nothing else."""

from collections.abc import Iterator, Sequence
from io import BytesIO

from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage

from node.codes import DCM
from node.compose.ascii_text import concept, plain
from node.compose.case import Case
from node.compose.finish import count_series, finish
from node.compose.identity import Identity
from node.compose.object_references import instance_reference
from node.compose.summary_page import draw_summary_page
from node.images.series import Series

PAGE_WIDTH = 8.27 - 2 * 0.4
"""Inches: an A4 page without its margins."""
QUALITY = 92
"""JPEG quality of the page in the document; letters stay sharp."""


def compose_pdf(case: Case, made: Sequence[Dataset]) -> Iterator[Dataset]:
    """Yield the summary page as a document."""
    yield summary_document(draw_summary_page(case), case.study_series[0], case.identity, number=count_series(made))


def summary_document(page: bytes, series: Series, identity: Identity, *, number: int) -> Dataset:
    """Return a page (a PNG) as a document of one page about a series."""
    built = Dataset()
    built.SOPClassUID = EncapsulatedPDFStorage
    built.SOPInstanceUID = identity.uid("pdf")
    built.ConversionType = "WSD"
    built.AcquisitionDateTime = None
    built.BurnedInAnnotation = "YES"
    built.RecognizableVisualFeatures = "NO"
    built.DocumentTitle = identity.content_description()
    built.ConceptNameCodeSequence = [concept(DCM.ImagingMeasurementReport)]
    built.SourceInstanceSequence = [instance_reference(header) for header in series.identities]
    built.MIMETypeOfEncapsulatedDocument = "application/pdf"
    content = _pdf(page, identity)
    built.EncapsulatedDocumentLength = len(content)
    built.EncapsulatedDocument = content + b"\0" * (len(content) % 2)
    return finish(built, series.header, identity, kind="PDF", modality="DOC", number=number)


def _pdf(page: bytes, identity: Identity) -> bytes:
    out = BytesIO()
    at = identity.at.timetuple()  # Pillow would take the time of writing, and the bytes would differ at every run
    with Image.open(BytesIO(page)) as picture:
        resolution = picture.width / PAGE_WIDTH
        picture.convert("RGB").save(
            out,
            "PDF",
            resolution=resolution,
            quality=QUALITY,
            title=plain(identity.algorithm),
            creationDate=at,
            modDate=at,
        )
    return out.getvalue()
