"""Parametric Map (PS3.3 A.75): numbers on the grid of the images they were computed from."""

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset

from node.compose.ascii_text import LO, concept, plain
from node.compose.finish import finish
from node.compose.identity import MANUFACTURER, MODEL_NAME, SOFTWARE_VERSIONS, Identity
from node.compose.seg import describe_images, organise, refer
from node.compose.source_images import body_part, stand_ins
from node.errors import BrokenResult, UnsuitableSeries
from node.images.series import Series
from node.results import Heatmap


def mappable(series: Series) -> bool:
    """Say whether a Parametric Map can lie on a series: it must have a frame of reference, and be an even stack."""
    try:
        return bool(series.frame_of_reference_uid) and series.affine() is not None
    except UnsuitableSeries:
        return False


def parametric_map(result: Heatmap, identity: Identity, *, order: int, number: int) -> Dataset:
    """Return the map, a frame for every frame of its images; stored values are those of the plugin.

    Parameters
    ----------
    result
        Of a series that is `mappable`.
    order
        Place of the result among the heat maps of the job.
    number
        How many series of the job come before it.

    Raises
    ------
    BrokenResult
        A frame would not lie on the image that it names, or a code is none.
    """
    try:
        built = hd.pm.ParametricMap(
            source_images=stand_ins(result.source),
            pixel_array=result.array,
            series_instance_uid=identity.uid("series"),
            series_number=1,
            sop_instance_uid=identity.uid("pm", str(order)),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=MODEL_NAME,
            software_versions=SOFTWARE_VERSIONS,
            device_serial_number=identity.device_uid,
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[_mapping(result)],
            voi_lut_transformations=[_window(result)],
            content_label="AI_HEATMAP",
            content_description=plain(f"{result.label}: research use, unverified", LO),
            content_qualification="RESEARCH",
        )
    except (TypeError, ValueError) as error:
        raise BrokenResult(f"plugin {identity.plugin} made a heat map that DICOM cannot hold: {error}") from error
    refer(built, result.source)
    organise(built, identity.uid("dimensions", "pm", str(order)))
    if "PixelData" in built:
        built["PixelData"].VR = "OB" if result.array.itemsize == 1 else "OW"
    describe_images(built, result.source.header)
    body_part(result.source.header, built)
    return finish(built, result.source.header, identity, kind="PM", modality="OT", number=number)


def stored_range(result: Heatmap) -> tuple[float, float]:
    """Return the lowest and highest stored value to show: of the window, else those there are."""
    if result.window is None:
        return float(result.array.min()), float(result.array.max())
    low, high = sorted((value - result.intercept) / result.slope for value in result.window)
    return low, high


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
