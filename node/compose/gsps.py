"""Softcopy Presentation State (PS3.3 A.33.1, A.33.2): outlines drawn on the images, for viewers that show no SEG."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from typing import Any

from highdicom.color import CIELabColor
from highdicom.pr import GraphicObject, TextObject
from pydicom.dataset import Dataset
from pydicom.uid import ColorSoftcopyPresentationStateStorage, GrayscaleSoftcopyPresentationStateStorage

from node.compose.ascii_text import LO, ST, plain
from node.compose.case import Case
from node.compose.finish import count_series, finish
from node.compose.identity import Identity
from node.compose.object_references import image_references
from node.compose.outlines import Annotation, Drawable, Drawing, Shape, drawables
from node.compose.source_images import copy_body_part, copy_element, functional_groups
from node.images.contours import Loop, contours
from node.images.frame import Frame
from node.images.series import Series

WINDOW = ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction", "VOILUTSequence")
RESCALE_TYPES = {"OD", "HU", "US", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT"}
"""Rescale Types of the standard (PS3.3 C.11.1.1.2); PET scanners write others."""
ABOVE = 2.0
"""Pixels between the top of an outline and its label."""


def compose_gsps(case: Case, made: Sequence[Dataset]) -> Iterator[Dataset]:
    """Yield presentation states for each series on which something can be drawn."""
    drawn = drawables(case)
    for order, series in enumerate(case.study_series):
        drawings = list(_drawings_on(series, drawn))
        yield from presentation_states(series, drawings, case.identity, name=str(order), number=count_series(made))


def presentation_states(
    series: Series, drawings: Sequence[Drawing], identity: Identity, *, name: str, number: int
) -> list[Dataset]:
    """Return presentation states of the frames of a series that have a drawing.

    All images of a presentation state have the same rescale (PS3.3 C.11.1), so there is one presentation state for each
    rescale that occurs. They are in one series. Colour images have Color Softcopy Presentation States.

    Parameters
    ----------
    drawings
        In the order of the frames of the series.
    name
        Distinguishes the series of these presentation states from others of the job.
    number
        Number of series that the job has before.
    """
    by_rescale: dict[tuple[float, float], list[Drawing]] = {}
    for drawing in drawings:
        by_rescale.setdefault((drawing[0].slope, drawing[0].intercept), []).append(drawing)
    states: list[Dataset] = []
    for instance, group in enumerate(by_rescale.values(), 1):
        built = _state(series, group, identity)
        built.SOPInstanceUID = identity.uid("gsps", name, str(instance))
        header = group[0][0].header
        states.append(
            finish(built, header, identity, kind="PR", number=number, series=f"gsps {name}", instance=instance)
        )
    return states


def _drawings_on(series: Series, drawn: Sequence[Drawable]) -> Iterator[Drawing]:
    """Yield what is drawn on a series, frame by frame."""
    by_frame: dict[tuple[str, int], dict[int, list[Shape]]] = defaultdict(lambda: defaultdict(list))
    for index, drawable in enumerate(drawn):
        if drawable.series is series:
            for shape in drawable.shapes(_all_contours):
                by_frame[shape.frame.sop_instance_uid, shape.frame.number][index].append(shape)
    for frame in series.frames:
        for index, shapes in by_frame.get((frame.sop_instance_uid, frame.number), {}).items():
            yield frame, drawn[index], shapes


def _all_contours(mask: Any) -> list[Loop]:
    outer, holes = contours(mask)
    return [*outer, *holes]


def _state(series: Series, drawings: Sequence[Drawing], identity: Identity) -> Dataset:
    frames = _frames(drawings)
    header = frames[0].header
    color = header.get("SamplesPerPixel") == 3 or header.get("PhotometricInterpretation") == "PALETTE COLOR"
    built = Dataset()
    built.SOPClassUID = ColorSoftcopyPresentationStateStorage if color else GrayscaleSoftcopyPresentationStateStorage
    built.ContentLabel = "AI_FINDINGS"
    built.ContentDescription = identity.content_description()
    built.ContentCreatorName = None
    built.PresentationCreationDate, built.PresentationCreationTime = identity.moment(header)
    shown = Dataset()
    shown.SeriesInstanceUID = series.series_uid
    shown.ReferencedImageSequence = image_references(frames)
    built.ReferencedSeriesSequence = [shown]
    built.DisplayedAreaSelectionSequence = list(_displayed_areas(frames))
    _annotate(built, drawings, identity)
    if color:
        built.ICCProfile = (files("highdicom") / "_icc_profiles" / "sRGB_v4_ICC_preference.icc").read_bytes()
    else:
        _keep_grey_display(built, frames)
    copy_body_part(header, built)
    return built


def _frames(drawings: Iterable[Drawing]) -> list[Frame]:
    return list({(frame.sop_instance_uid, frame.number): frame for frame, _, _ in drawings}.values())


def _displayed_areas(frames: Sequence[Frame]) -> Iterator[Dataset]:
    """Yield the whole image as displayed area, for each size of image; pixels count from 1 (PS3.3 C.10.4)."""
    sizes: dict[tuple[int, int], list[Frame]] = {}
    for frame in frames:
        sizes.setdefault((int(frame.header.Columns), int(frame.header.Rows)), []).append(frame)
    for (columns, rows), of_size in sizes.items():
        area = Dataset()
        if len(sizes) > 1:
            area.ReferencedImageSequence = image_references(of_size)
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


def _annotate(built: Dataset, drawings: Sequence[Drawing], identity: Identity) -> None:
    """Draw each segment and region in a layer of its own, since a layer has one colour (PS3.3 C.10.5, C.10.7)."""
    layers: dict[str, str] = {}
    built.GraphicAnnotationSequence = []
    built.GraphicLayerSequence = []
    for frame, annotation, shapes in drawings:
        if annotation.tracking_uid not in layers:
            layers[annotation.tracking_uid] = f"AI_{len(layers) + 1}"
            built.GraphicLayerSequence.append(_layer(annotation, layers[annotation.tracking_uid], len(layers)))
        item = Dataset()
        item.ReferencedImageSequence = image_references([frame])
        item.GraphicLayer = layers[annotation.tracking_uid]
        item.GraphicObjectSequence = [_graphic(shape, annotation) for shape in shapes]
        item.TextObjectSequence = [_label(annotation, shapes, identity)]
        built.GraphicAnnotationSequence.append(item)


def _layer(annotation: Annotation, name: str, order: int) -> Dataset:
    layer = Dataset()
    layer.GraphicLayer = name
    layer.GraphicLayerOrder = order
    layer.GraphicLayerRecommendedDisplayCIELabValue = list(CIELabColor.from_rgb(*annotation.color).value)
    layer.GraphicLayerDescription = plain(f"{annotation.label}: research use", LO)
    return layer


def _graphic(shape: Shape, annotation: Annotation) -> GraphicObject:
    return GraphicObject(
        shape.kind, shape.points, "PIXEL", tracking_id=annotation.label, tracking_uid=annotation.tracking_uid
    )


def _label(annotation: Annotation, shapes: Sequence[Shape], identity: Identity) -> TextObject:
    """Return the label, at the topmost point of the longest shape."""
    points = max((shape.points for shape in shapes), key=len)
    column, row = points[points[:, 1].argmin()]
    return TextObject(
        plain(identity.warned(f"{annotation.label} (AI, {identity.in_short})"), ST),
        "PIXEL",
        anchor_point=(float(column), max(float(row) - ABOVE, 0.0)),
        anchor_point_visible=False,
        tracking_id=annotation.label,
        tracking_uid=annotation.tracking_uid,
    )


def _keep_grey_display(built: Dataset, frames: Sequence[Frame]) -> None:
    """Copy rescale, windows and polarity of the images: those of a presentation state replace them (PS3.4 N.2)."""
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
            window.ReferencedImageSequence = image_references(of_window)
    if shown:
        built.SoftcopyVOILUTSequence = [window for window, _ in shown]
    inverse = header.get("PhotometricInterpretation") == "MONOCHROME1"
    built.PresentationLUTShape = "INVERSE" if inverse else "IDENTITY"


def _window(frame: Frame) -> Dataset:
    """Return the window of a frame, or its VOI LUT if it has no window."""
    window = Dataset()
    for holder in (frame.header, *functional_groups(frame.header, frame.number - 1, "FrameVOILUTSequence")):
        given = [keyword for keyword in WINDOW if holder.get(keyword)]
        if ("WindowCenter" in given and "WindowWidth" in given) or "VOILUTSequence" in given:
            for keyword in given:
                copy_element(holder, window, keyword)
            break
    return window
