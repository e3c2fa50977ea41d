"""A volume in a CT, and how it changed since the prior."""

from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray
from pydicom.valuerep import DA

from node import Comparison, Measurement, Result, Segment, Segmentation, Series, Triton, Volume, codes

TRACKING_UID = "2.25.1"
"""Names the structure in each report on it; where there are several, each needs a UID of its own."""
DENSE = Segment(label="Dense tissue", type=codes.SCT.Bone, category=codes.SCT.Tissue, tracking_uid=TRACKING_UID)


def run(ct: Series, prior: Series | None, triton: Triton) -> Iterator[Result]:
    """Outline and measure; where there is a prior, measure it too and yield both numbers."""
    volume, mask = outlined(ct, triton)
    yield Segmentation(labels=volume.with_array(mask), segments=[DENSE])
    measurement = Measurement(
        name=codes.SCT.Volume, value=millilitres(volume, mask), unit=codes.UCUM.CubicCentimeter, of=DENSE
    )
    if prior is None:
        yield measurement
        return
    days = (DA(ct.header.StudyDate) - DA(prior.header.StudyDate)).days
    yield Comparison(measurement=measurement, prior=millilitres(*outlined(prior, triton)), days=days)


def outlined(series: Series, triton: Triton) -> tuple[Volume, NDArray[Any]]:
    """Return the volume of a series, in HU, and the mask of the model on its grid."""
    volume = series.volume().as_int16()
    return volume, triton.infer("template", image=volume)["mask"]


def millilitres(volume: Volume, mask: NDArray[Any]) -> float:
    """Return how large a mask is."""
    return float(mask.sum()) * volume.voxel_ml
