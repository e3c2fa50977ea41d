"""Parametric Map (PS3.3 A.75): numbers on the grid of the images they were computed from."""

from collections.abc import Iterator, Sequence

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID

from node.compose.ascii_text import LO, concept, plain
from node.compose.case import Case
from node.compose.display import stored_range
from node.compose.finish import finish_in_series
from node.compose.identity import MANUFACTURER, MODEL_NAME, SOFTWARE_VERSIONS
from node.compose.object_references import instance_reference
from node.compose.sc import heatmap_capture
from node.compose.source_images import (
    copy_body_and_compression,
    copy_body_part,
    is_close,
    is_same_direction,
    set_dimension_uid,
    stand_in_uid,
    stand_ins,
)
from node.errors import BrokenResult, UnsuitableSeries
from node.images.frame import Frame
from node.images.series import Series
from node.images.stack_geometry import part_of_spacing
from node.results import Heatmap

POSITION_TOLERANCE = 1e-3
"""mm, and never more than a part of a pixel: a decimal string has 16 characters, a copied position differs by less."""


def compose_pm(case: Case, made: Sequence[Dataset]) -> Iterator[Dataset]:
    """Yield a Parametric Map for each heat map; a Secondary Capture if its images can have no Parametric Map."""
    for order, result in enumerate(case.results_of(Heatmap)):
        case.check_in_study(result.source)
        if not takes_parametric_map(result.source):
            yield heatmap_capture(result, case.identity, order=order, made=made)
            continue
        built = _parametric_map(case, result)
        built.SOPInstanceUID = case.identity.uid("pm", str(order))
        set_dimension_uid(built, case.identity.uid("dimensions", "pm", str(order)))
        header = result.source.header
        series = f"maps on {result.source.key}"
        yield finish_in_series(built, header, case.identity, made, kind="PM", modality="OT", series=series)


def takes_parametric_map(series: Series) -> bool:
    """Return whether a Parametric Map can lie on a series: it has a frame of reference and is an even stack."""
    try:
        return bool(series.frame_of_reference_uid) and series.affine() is not None
    except UnsuitableSeries:
        return False


def _parametric_map(case: Case, result: Heatmap) -> Dataset:
    """Return the map with a frame for each frame of its images; its stored values are those of the plugin.

    Raises
    ------
    BrokenResult
        A frame would not lie on the image that it names, or a code is invalid.
    """
    identity = case.identity
    try:
        built = hd.pm.ParametricMap(
            source_images=stand_ins(result.source),
            pixel_array=result.array,
            series_instance_uid=identity.uid("series"),
            series_number=1,
            sop_instance_uid=identity.uid("pm"),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=MODEL_NAME,
            software_versions=SOFTWARE_VERSIONS,
            device_serial_number=identity.device_uid,
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[_mapping(result)],
            voi_lut_transformations=[_window(result)],
            content_label="AI_HEATMAP",
            content_description=identity.content_description(result.label),
            content_qualification="RESEARCH",
        )
    except (TypeError, ValueError) as error:
        raise BrokenResult(f"plugin {identity.plugin} made a heat map that DICOM cannot hold: {error}") from error
    _refer_to_images(built, result.source)
    if "PixelData" in built:
        built["PixelData"].VR = "OB" if result.array.itemsize == 1 else "OW"
    copy_body_and_compression(result.source.header, built)
    copy_body_part(result.source.header, built)
    return built


def _mapping(result: Heatmap) -> hd.pm.RealWorldValueMapping:
    floating = result.array.dtype.kind == "f"
    low, high = result.array.min(), result.array.max()
    return hd.pm.RealWorldValueMapping(
        lut_label="AI",
        lut_explanation=plain(result.label, LO),
        unit=concept(result.unit),
        value_range=(float(low), float(high)) if floating else (int(low), int(high)),
        slope=result.slope,
        intercept=result.intercept,
        quantity_definition=concept(result.name),
    )


def _window(result: Heatmap) -> hd.VOILUTTransformation:
    low, high = stored_range(result)
    width = max(high - low, float(np.finfo(np.float32).eps))
    return hd.VOILUTTransformation(voi_lut_function="LINEAR_EXACT", window_center=(low + high) / 2, window_width=width)


def _refer_to_images(built: Dataset, series: Series) -> None:
    """Replace the stand-ins by the true images, and check that each frame lies on its image.

    Viewers draw a frame on the image that it names and read no positions: a wrong name would be a wrong slice that
    nobody notices.
    """
    by_uid = {stand_in_uid(index): frame for index, frame in enumerate(series.frames)}
    shared = built.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    references: list[tuple[Dataset, Frame]] = []
    for number, group in enumerate(built.PerFrameFunctionalGroupsSequence, 1):
        named = [reference for item in group.DerivationImageSequence for reference in item.SourceImageSequence]
        if len(named) != 1:
            raise BrokenResult(
                f"frame {number} of the heat map lies on {len(named)} images of series {series.key}, not on one: "
                "the images are not one even stack"
            )
        frame = by_uid[named[0].ReferencedSOPInstanceUID]
        position = group.PlanePositionSequence[0].ImagePositionPatient
        if not (
            is_close(position, frame.position, part_of_spacing(POSITION_TOLERANCE, frame.spacing or (1.0,)))
            and is_same_direction(shared.ImageOrientationPatient, frame.orientation)
        ):
            raise BrokenResult(
                f"frame {number} of the heat map does not lie on instance {frame.sop_instance_uid}, which it would "
                f"name: the images of series {series.key} are not one even stack"
            )
        references.append((named[0], frame))
    # only now: in highdicom's data sets several frames can share the item of the image they lie on
    for reference, frame in references:
        _set_reference(reference, frame)
    instances = [instance_reference(header) for header in series.identities]
    built.SourceImageSequence = instances
    built.ReferencedSeriesSequence[0].ReferencedInstanceSequence = instances


def _set_reference(reference: Dataset, frame: Frame) -> None:
    reference.ReferencedSOPClassUID = UID(frame.sop_class_uid)
    reference.ReferencedSOPInstanceUID = UID(frame.sop_instance_uid)
    if frame.multi_frame:
        reference.ReferencedFrameNumber = frame.number
