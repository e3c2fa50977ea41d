"""Secondary Capture (PS3.3 A.8.1): the summary as a picture, and heat maps in colour, for plain viewers."""

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from node.compose.finish import finish
from node.compose.identity import RESEARCH_USE, Identity
from node.compose.pm import stored_range
from node.compose.seg import describe_images
from node.compose.source import copy_element, functional_groups
from node.compose.text import plain
from node.results import Heatmap
from node.series import Frame

SMALLEST = 512
"""Longest side of a heat map's picture in pixels, at the least: smaller, nobody could read what is written on it."""
STRONGEST = 0.6
"""How much of the colour there is where the map is highest; where it is lowest there is none."""
LEGEND = 28
"""Height of a line of text below the picture, in pixels."""

Color = tuple[int, int, int]
HEAT: tuple[Color, ...] = ((30, 20, 90), (40, 110, 190), (60, 190, 120), (250, 220, 60), (220, 30, 30))
"""Colours of a map from its lowest to its highest value."""


def summary(page: bytes, header: Dataset, identity: Identity, *, number: int) -> Dataset:
    """Return the page (a PNG) as an image in true colour."""
    with Image.open(BytesIO(page)) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    return _capture(pixels, header, identity, name="summary", kind="SC", number=number)


def overlay(result: Heatmap, identity: Identity, *, order: int, number: int) -> Dataset:
    """Return the image on which a map has its highest value, coloured with it, and what the colours mean."""
    planes = result.array if result.slope > 0 else -result.array.astype(np.float64)
    index = int(planes.reshape(len(planes), -1).max(axis=1).argmax())
    frame = result.source.frames[index]
    grey = _grey(result.source.image(index), frame)
    low, high = stored_range(result)
    heat = np.clip((result.array[index].astype(np.float64) - low) / max(high - low, np.finfo(np.float32).eps), 0, 1)
    strength = heat[..., None] * STRONGEST
    pixels = (grey * (1 - strength) + colored(heat) * strength).round().astype(np.uint8)
    marked = _with_legend(pixels, result, index)
    name = f"overlay {order}"
    return _capture(marked, frame.header, identity, name=name, kind="SC heat map", number=number, image=frame)


def colored(heat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the colours of numbers from 0 to 1: (…, 3), red, green, blue, 0 to 255."""
    stops = np.linspace(0, 1, len(HEAT))
    return np.stack([np.interp(heat, stops, [color[part] for color in HEAT]) for part in range(3)], axis=-1)


def _grey(image: NDArray[Any], frame: Frame) -> NDArray[np.float64]:
    """Return an image as its window shows it: (row, column, 3), 0 to 255 (PS3.3 C.11.2.1.2)."""
    if image.ndim == 3:
        return image.astype(np.float64) / max(np.iinfo(image.dtype).max / 255, 1)
    low, high = np.percentile(image, (1, 99))
    for holder in (frame.header, *functional_groups(frame.header, frame.number - 1, "FrameVOILUTSequence")):
        center, width = (_first(holder.get(keyword)) for keyword in ("WindowCenter", "WindowWidth"))
        if center is not None and width is not None and width > 1:
            low, high = center - width / 2, center + width / 2
            break
    shown = np.clip((image - low) / max(high - low, 1e-6), 0, 1)
    if frame.header.get("PhotometricInterpretation") == "MONOCHROME1":
        shown = 1 - shown
    return np.repeat(shown[..., None] * 255.0, 3, axis=2)


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    return float(value if isinstance(value, int | float) else value[0])


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
    image = f", image {index + 1} of {len(result.source.frames)}" if len(result.source.frames) > 1 else ""
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
    built.Laterality = None
    built.DerivationDescription = plain(f"{identity.algorithm}: {RESEARCH_USE}")
    built.LossyImageCompression = "00"
    describe_images(built, header)
    if image is not None:
        copy_element(header, built, "PatientOrientation")
    built.SamplesPerPixel, built.PhotometricInterpretation, built.PlanarConfiguration = 3, "RGB", 0
    built.Rows, built.Columns = pixels.shape[:2]
    built.BitsAllocated, built.BitsStored, built.HighBit, built.PixelRepresentation = 8, 8, 7, 0
    content = pixels.tobytes()
    built.PixelData = content + b"\0" * (len(content) % 2)
    built["PixelData"].VR = "OB"
    return finish(built, header, identity, kind=kind, modality="OT", number=number)
