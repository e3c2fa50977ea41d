"""Encapsulated PDF (PS3.3 A.45.1): the summary as a document, for whoever shows nothing else."""

from io import BytesIO

from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage

from node.codes import DCM
from node.compose.ascii_text import LO, concept, plain
from node.compose.finish import finish
from node.compose.identity import Identity
from node.compose.object_references import instance
from node.images.series import Series

PAGE_WIDTH = 8.27 - 2 * 0.4
"""Inches: an A4 page without its margins."""
QUALITY = 92
"""Of the JPEG image in the document: letters stay crisp."""


def document(page: bytes, series: Series, identity: Identity, *, number: int) -> Dataset:
    """Return the page (a PNG) as a document of one page."""
    built = Dataset()
    built.SOPClassUID = EncapsulatedPDFStorage
    built.SOPInstanceUID = identity.uid("pdf")
    built.ConversionType = "WSD"
    built.AcquisitionDateTime = None
    built.BurnedInAnnotation = "YES"
    built.RecognizableVisualFeatures = "NO"
    built.DocumentTitle = plain(f"{identity.algorithm}: research use, unverified", LO)
    built.ConceptNameCodeSequence = [concept(DCM.ImagingMeasurementReport)]
    built.SourceInstanceSequence = [instance(header) for header in series.identities]
    built.MIMETypeOfEncapsulatedDocument = "application/pdf"
    content = _pdf(page, identity)
    built.EncapsulatedDocumentLength = len(content)
    built.EncapsulatedDocument = content + b"\0" * (len(content) % 2)
    return finish(built, series.header, identity, kind="PDF", modality="DOC", number=number)


def _pdf(page: bytes, identity: Identity) -> bytes:
    out = BytesIO()
    at = identity.at.timetuple()  # Pillow's own would be the time of writing, and the bytes others at every run
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
