"""Secondary Capture (PS3.3 A.8.1): the summary page as a picture, and heat maps in colour, for plain viewers."""

from collections.abc import Iterator, Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from node.compose.annotated_image import ALERT, INK
from node.compose.ascii_text import plain
from node.compose.case import Case
from node.compose.display import (
    blend_heat,
    heat_colors,
    relative_heat,
    select_window,
    stored_range,
    to_grey,
    to_rgb,
)
from node.compose.finish import count_series, finish, finish_in_series
from node.compose.fonts import draw_text, wrap_text
from node.compose.identity import RESEARCH_USE, Identity
from node.compose.image_names import name_in_series
from node.compose.overlays import overlays_on, stored_image
from node.compose.source_images import copy_body_part, copy_element
from node.compose.summary_page import draw_summary_page
from node.results import Heatmap

SMALLEST = 512
"""Least length in pixels of the longest side of a heat map's picture; the text on a smaller one could not be read."""
LEGEND = 28
"""Height in pixels of a line of text above or below the picture."""
NOTICE = 18
"""Height in pixels of the letters that say what stands behind the picture."""


def compose_sc(case: Case, made: Sequence[Dataset]) -> Iterator[Dataset]:
    """Yield the summary page, and a picture of each heat map."""
    yield summary_capture(draw_summary_page(case), case.header, case.identity, number=count_series(made))
    for order, result in enumerate(case.results_of(Heatmap)):
        case.check_in_study(result.source)
        yield heatmap_capture(result, case.identity, order=order, made=made)


def summary_capture(page: bytes, header: Dataset, identity: Identity, *, number: int) -> Dataset:
    """Return a page (a PNG) as an image in true colour, in the study of `header`."""
    with Image.open(BytesIO(page)) as picture:
        built = _capture(np.asarray(picture.convert("RGB")), header, identity)
    built.SOPInstanceUID = identity.uid("sc", "summary")
    return finish(built, header, identity, kind="SC", modality="OT", number=number)


def heatmap_capture(result: Heatmap, identity: Identity, *, order: int, made: Sequence[Dataset]) -> Dataset:
    """Return a picture of the image on which a heat map is highest, with its colours and a legend.

    The pictures of one series of images share a series.

    The tiles of a slide are shown as one image, see `TileMatrix`.

    Parameters
    ----------
    order
        Index of the heat map among the heat maps of the case.
    made
        Objects that the job has before.
    """
    (result,) = overlays_on(result.source, [result]).heatmaps
    planes = result.array if result.slope > 0 else -result.array.astype(np.float64)
    index = int(planes.max(axis=(1, 2)).argmax())
    frame = result.source.frames[index]
    stored = stored_image(result.source, index)
    shown = select_window(stored, result.source, frame, set())
    grey = to_rgb(to_grey(stored, frame, shown, result.source.modality))
    pixels = _with_legend(blend_heat(grey, relative_heat(result, index)), result, index, identity)
    built = _capture(pixels, frame.header, identity)
    copy_element(frame.header, built, "PatientOrientation")
    built.SOPInstanceUID = heatmap_uid(identity, order)
    series = f"pictures of {result.source.key}"
    return finish_in_series(built, frame.header, identity, made, kind="SC heat map", modality="OT", series=series)


def heatmap_uid(identity: Identity, order: int) -> str:
    """Return the SOP Instance UID of the picture of a heat map, by its index among the heat maps of the case."""
    return identity.uid("sc", f"overlay {order}")


def _with_legend(pixels: NDArray[np.uint8], result: Heatmap, index: int, identity: Identity) -> NDArray[np.uint8]:
    """Return a picture below what stands behind it, and above its colour scale, its quantity and its research use."""
    factor = max(1, -(-SMALLEST // max(pixels.shape[:2])))
    pixels = pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    width, ink = max(pixels.shape[1], SMALLEST), ALERT if identity.is_demonstration else INK
    notice = wrap_text(identity.notices[0], NOTICE, width - 8)
    top = LEGEND * len(notice)
    height = top + pixels.shape[0]
    page = Image.new("RGB", (width, height + 3 * LEGEND))
    page.paste(Image.fromarray(pixels), (0, top))
    scale = heat_colors(np.linspace(0, 1, page.width))[None].repeat(LEGEND // 2, axis=0)
    page.paste(Image.fromarray(scale.round().astype(np.uint8)), (0, height))
    low, high = (value * result.slope + result.intercept for value in stored_range(result))
    unit = "" if result.unit.value == "1" else f" {plain(result.unit.value)}"
    name = name_in_series(result.source, index) if len(result.array) > 1 else ""
    lines = (
        f"{plain(result.label)}: {low:.4g} to {high:.4g}{unit}{f', {name}' if name else ''}",
        RESEARCH_USE.split(":")[0] + ", not for diagnosis",
    )
    draw = ImageDraw.Draw(page)
    for number, line in enumerate(notice):
        draw_text(draw, (4, LEGEND * (number + 0.75)), line, NOTICE, ink)
    for number, line in enumerate(lines):
        draw.text((4, height + LEGEND * (number + 0.6)), line, INK, ImageFont.load_default(15))
    return np.asarray(page)


def _capture(pixels: NDArray[np.uint8], header: Dataset, identity: Identity) -> Dataset:
    """Return an image of pixels (row, column, 3): red, green, blue."""
    built = Dataset()
    built.SOPClassUID = SecondaryCaptureImageStorage
    built.ImageType = ["DERIVED", "SECONDARY"]
    built.ConversionType = "WSD"
    built.BurnedInAnnotation = "YES"
    built.RecognizableVisualFeatures = "NO"
    built.PatientOrientation = None
    built.DerivationDescription = plain(" ".join((f"{identity.algorithm}.", *identity.notices)))
    copy_body_part(header, built)
    for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        copy_element(header, built, keyword)
    built.SamplesPerPixel, built.PhotometricInterpretation, built.PlanarConfiguration = 3, "RGB", 0
    built.Rows, built.Columns = pixels.shape[:2]
    built.BitsAllocated, built.BitsStored, built.HighBit, built.PixelRepresentation = 8, 8, 7, 0
    content = pixels.tobytes()
    built.PixelData = content + b"\0" * (len(content) % 2)
    built["PixelData"].VR = "OB"
    return built
