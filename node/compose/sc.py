"""Secondary Capture (PS3.3 A.8.1): the summary as a picture, and heat maps in colour, for plain viewers."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from node.compose.annotated_image import overlays, stored_image
from node.compose.ascii_text import plain
from node.compose.display import colored, grey, heat, in_color, warmed, window
from node.compose.finish import finish
from node.compose.identity import RESEARCH_USE, Identity
from node.compose.pm import stored_range
from node.compose.source_images import body_part, copy_element
from node.images.frame import Frame
from node.results import Heatmap

SMALLEST = 512
"""Longest side of a heat map's picture in pixels, at the least: smaller, nobody could read what is written on it."""
LEGEND = 28
"""Height of a line of text below the picture, in pixels."""


def summary(page: bytes, header: Dataset, identity: Identity, *, number: int) -> Dataset:
    """Return the page (a PNG) as an image in true colour."""
    with Image.open(BytesIO(page)) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    return _capture(pixels, header, identity, name="summary", kind="SC", number=number)


def overlay(result: Heatmap, identity: Identity, *, order: int, number: int) -> Dataset:
    """Return the image on which a map has its highest value, coloured with it, and what the colours mean.

    The tiles of a slide are put together, as `patchwork` does.
    """
    (result,) = overlays(result.source, [result]).heatmaps
    planes = result.array if result.slope > 0 else -result.array.astype(np.float64)
    index = int(planes.max(axis=(1, 2)).argmax())
    frame = result.source.frames[index]
    stored = stored_image(result.source, index)
    shown = in_color(grey(stored, frame, window(stored, result.source, frame, set()), result.source.modality))
    marked = _with_legend(warmed(shown, heat(result, index)), result, index)
    name = f"overlay {order}"
    return _capture(marked, frame.header, identity, name=name, kind="SC heat map", number=number, image=frame)


def _with_legend(pixels: NDArray[np.uint8], result: Heatmap, index: int) -> NDArray[np.uint8]:
    """Return the picture above a scale of its colours, what it shows, and that nobody has checked it."""
    factor = max(1, -(-SMALLEST // max(pixels.shape[:2])))
    pixels = pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    height, width = pixels.shape[:2]
    page = Image.new("RGB", (max(width, SMALLEST), height + 3 * LEGEND))
    page.paste(Image.fromarray(pixels), (0, 0))
    scale = colored(np.linspace(0, 1, page.width))[None].repeat(LEGEND // 2, axis=0)
    page.paste(Image.fromarray(scale.round().astype(np.uint8)), (0, height))
    low, high = (value * result.slope + result.intercept for value in stored_range(result))
    unit = "" if result.unit.value == "1" else f" {plain(result.unit.value)}"
    image = f", image {index + 1} of {len(result.array)}" if len(result.array) > 1 else ""
    draw = ImageDraw.Draw(page)
    for line, words in enumerate(
        (
            f"{plain(result.label)}: {low:.4g} to {high:.4g}{unit}{image}",
            RESEARCH_USE.split(":")[0] + ", not for diagnosis",
        )
    ):
        draw.text((4, height + LEGEND * (line + 0.6)), words, (230, 232, 235), ImageFont.load_default(15))
    return np.asarray(page)


def _capture(
    pixels: NDArray[np.uint8],
    header: Dataset,
    identity: Identity,
    *,
    name: str,
    kind: str,
    number: int,
    image: Frame | None = None,
) -> Dataset:
    """Return (row, column, 3) red, green, blue as an image; `image` is the one that it shows, if it is one."""
    built = Dataset()
    built.SOPClassUID = SecondaryCaptureImageStorage
    built.SOPInstanceUID = identity.uid("sc", name)
    built.ImageType = ["DERIVED", "SECONDARY"]
    built.ConversionType = "WSD"
    built.BurnedInAnnotation = "YES"
    built.RecognizableVisualFeatures = "NO"
    built.PatientOrientation = None
    built.DerivationDescription = plain(f"{identity.algorithm}: {RESEARCH_USE}")
    body_part(header, built)
    for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        copy_element(header, built, keyword)
    if image is not None:
        copy_element(header, built, "PatientOrientation")
    built.SamplesPerPixel, built.PhotometricInterpretation, built.PlanarConfiguration = 3, "RGB", 0
    built.Rows, built.Columns = pixels.shape[:2]
    built.BitsAllocated, built.BitsStored, built.HighBit, built.PixelRepresentation = 8, 8, 7, 0
    content = pixels.tobytes()
    built.PixelData = content + b"\0" * (len(content) % 2)
    built["PixelData"].VR = "OB"
    return finish(built, header, identity, kind=kind, modality="OT", number=number)
