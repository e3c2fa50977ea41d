"""Softcopy Presentation State (PS3.3 A.33.1, A.33.2): outlines drawn on the images, for viewers that show no SEG."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from importlib.resources import files
from typing import Any

from highdicom.color import CIELabColor
from highdicom.pr import GraphicObject, TextObject
from pydicom.dataset import Dataset
from pydicom.uid import ColorSoftcopyPresentationStateStorage, GrayscaleSoftcopyPresentationStateStorage

from node.compose.ascii_text import LO, ST, plain
from node.compose.finish import finish
from node.compose.identity import Identity
from node.compose.object_references import images
from node.compose.outlines import Mark, Shape, Thing
from node.compose.source_images import body_part, copy_element, functional_groups
from node.images.contours import Loop, contours
from node.images.frame import Frame
from node.images.series import Series

WINDOW = ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction", "VOILUTSequence")
RESCALE_TYPES = {"OD", "HU", "US", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT"}
"""Rescale Types that the standard knows (PS3.3 C.11.1.1.2); PET scanners write their own."""
ABOVE = 2.0
"""Pixels between the top of an outline and its label."""

Drawn = tuple[Frame, Mark, list[Shape]]
"""All that is on one frame of one thing."""


def presentation_states(
    series: Series, drawn: Sequence[Drawn], identity: Identity, *, name: str, number: int
) -> list[Dataset]:
    """Return a presentation state of the frames of a series that have something on them, or more.

    One presentation state has one rescale for all its images (PS3.3 C.11.1): there is one for each that occurs. They
    are of one series. Images in colour have Color Softcopy Presentation States.

    Parameters
    ----------
    drawn
        What is on the frames of the series, frame by frame.
    name
        Names the series among those of the job.
    number
        How many series of the job come before it.
    """
    groups = _grouped(drawn, lambda one: (one[0].slope, one[0].intercept))
    return [
        _state(series, group, identity, name=name, instance=instance, number=number)
        for instance, group in enumerate(groups, 1)
    ]


def drawn_on(series: Series, things: Sequence[Thing]) -> Iterator[Drawn]:
    """Return what is on which frame of a series, frame by frame."""
    by_frame: dict[tuple[str, int], dict[int, list[Shape]]] = defaultdict(lambda: defaultdict(list))
    for index, thing in enumerate(things):
        if thing.series is series:
            for shape in thing.shapes(_all_contours):
                by_frame[shape.frame.sop_instance_uid, shape.frame.number][index].append(shape)
    for frame in series.frames:
        for index, shapes in by_frame.get((frame.sop_instance_uid, frame.number), {}).items():
            yield frame, things[index], shapes


def _all_contours(mask: Any) -> list[Loop]:
    outer, holes = contours(mask)
    return [*outer, *holes]


def _grouped(drawn: Iterable[Drawn], key: Any) -> list[list[Drawn]]:
    groups: dict[Hashable, list[Drawn]] = {}
    for one in drawn:
        groups.setdefault(key(one), []).append(one)
    return list(groups.values())


def _state(
    series: Series, drawn: Sequence[Drawn], identity: Identity, *, name: str, instance: int, number: int
) -> Dataset:
    frames = _frames(drawn)
    header = frames[0].header
    color = header.get("SamplesPerPixel") == 3 or header.get("PhotometricInterpretation") == "PALETTE COLOR"
    built = Dataset()
    built.SOPClassUID = ColorSoftcopyPresentationStateStorage if color else GrayscaleSoftcopyPresentationStateStorage
    built.SOPInstanceUID = identity.uid("gsps", name, str(instance))
    built.ContentLabel = "AI_FINDINGS"
    built.ContentDescription = plain(f"{identity.algorithm}: research use, unverified", LO)
    built.ContentCreatorName = None
    built.PresentationCreationDate, built.PresentationCreationTime = identity.moment(header)
    shown = Dataset()
    shown.SeriesInstanceUID = series.series_uid
    shown.ReferencedImageSequence = images(frames)
    built.ReferencedSeriesSequence = [shown]
    built.DisplayedAreaSelectionSequence = list(_areas(frames))
    _annotate(built, drawn)
    if color:
        built.ICCProfile = (files("highdicom") / "_icc_profiles" / "sRGB_v4_ICC_preference.icc").read_bytes()
    else:
        _show_grey(built, frames)
    body_part(header, built)
    return finish(
        built,
        header,
        identity,
        kind="PR",
        number=number,
        series=f"gsps {name}",
        instance=instance,
    )


def _frames(drawn: Iterable[Drawn]) -> list[Frame]:
    return list({(frame.sop_instance_uid, frame.number): frame for frame, _, _ in drawn}.values())


def _areas(frames: Sequence[Frame]) -> Iterator[Dataset]:
    """Return the whole image as the area to display, for each size of image; it counts pixels from 1 (C.10.4)."""
    sizes: dict[tuple[int, int], list[Frame]] = {}
    for frame in frames:
        sizes.setdefault((int(frame.header.Columns), int(frame.header.Rows)), []).append(frame)
    for (columns, rows), of_size in sizes.items():
        area = Dataset()
        if len(sizes) > 1:
            area.ReferencedImageSequence = images(of_size)
        area.DisplayedAreaTopLeftHandCorner = [1, 1]
        area.DisplayedAreaBottomRightHandCorner = [columns, rows]
        area.PresentationSizeMode = "SCALE TO FIT"
        first = of_size[0].header
        spacing = of_size[0].spacing or first.get("ImagerPixelSpacing")
        if spacing:
            area.PresentationPixelSpacing = [float(part) for part in spacing]
        else:
            area.PresentationPixelAspectRatio = first.get("PixelAspectRatio") or [1, 1]
        yield area


def _annotate(built: Dataset, drawn: Sequence[Drawn]) -> None:
    """Draw each thing in a layer of its own: a layer has one colour (PS3.3 C.10.5, C.10.7)."""
    layers: dict[str, str] = {}
    built.GraphicAnnotationSequence = []
    built.GraphicLayerSequence = []
    for frame, thing, shapes in drawn:
        if thing.tracking_uid not in layers:
            layers[thing.tracking_uid] = f"AI_{len(layers) + 1}"
            built.GraphicLayerSequence.append(_layer(thing, layers[thing.tracking_uid], len(layers)))
        annotation = Dataset()
        annotation.ReferencedImageSequence = images([frame])
        annotation.GraphicLayer = layers[thing.tracking_uid]
        annotation.GraphicObjectSequence = [_graphic(shape, thing) for shape in shapes]
        annotation.TextObjectSequence = [_label(thing, shapes)]
        built.GraphicAnnotationSequence.append(annotation)


def _layer(thing: Mark, name: str, order: int) -> Dataset:
    layer = Dataset()
    layer.GraphicLayer = name
    layer.GraphicLayerOrder = order
    layer.GraphicLayerRecommendedDisplayCIELabValue = list(CIELabColor.from_rgb(*thing.color).value)
    layer.GraphicLayerDescription = plain(f"{thing.label}: research use", LO)
    return layer


def _graphic(shape: Shape, thing: Mark) -> GraphicObject:
    return GraphicObject(shape.kind, shape.points, "PIXEL", tracking_id=thing.label, tracking_uid=thing.tracking_uid)


def _label(thing: Mark, shapes: Sequence[Shape]) -> TextObject:
    """Return the label at the topmost point of what is drawn."""
    points = max((shape.points for shape in shapes), key=len)
    column, row = points[points[:, 1].argmin()]
    return TextObject(
        plain(f"{thing.label} (AI, research)", ST),
        "PIXEL",
        anchor_point=(float(column), max(float(row) - ABOVE, 0.0)),
        anchor_point_visible=False,
        tracking_id=thing.label,
        tracking_uid=thing.tracking_uid,
    )


def _show_grey(built: Dataset, frames: Sequence[Frame]) -> None:
    """Keep rescale, windows and polarity of the images: a presentation state replaces them (PS3.4 N.2)."""
    first = frames[0]
    header = first.header
    if header.get("ModalityLUTSequence"):
        copy_element(header, built, "ModalityLUTSequence")
    elif (first.slope, first.intercept) != (1, 0) or "RescaleSlope" in header:
        built.RescaleSlope, built.RescaleIntercept = first.slope, first.intercept
        given = str(header.get("RescaleType") or ("HU" if header.get("Modality") == "CT" else "US"))
        built.RescaleType = given if given in RESCALE_TYPES else "US"
    windows: dict[str, tuple[Dataset, list[Frame]]] = {}
    for frame in frames:
        window = _window(frame)
        windows.setdefault(window.to_json(), (window, []))[1].append(frame)
    shown = [(window, of_window) for window, of_window in windows.values() if len(window)]
    for window, of_window in shown:
        if len(of_window) < len(frames):
            window.ReferencedImageSequence = images(of_window)
    if shown:
        built.SoftcopyVOILUTSequence = [window for window, _ in shown]
    inverse = header.get("PhotometricInterpretation") == "MONOCHROME1"
    built.PresentationLUTShape = "INVERSE" if inverse else "IDENTITY"


def _window(frame: Frame) -> Dataset:
    """Return the window of a frame, or its table of values where it has no window."""
    window = Dataset()
    for holder in (frame.header, *functional_groups(frame.header, frame.number - 1, "FrameVOILUTSequence")):
        given = [keyword for keyword in WINDOW if holder.get(keyword)]
        if ("WindowCenter" in given and "WindowWidth" in given) or "VOILUTSequence" in given:
            for keyword in given:
                copy_element(holder, window, keyword)
            break
    return window
