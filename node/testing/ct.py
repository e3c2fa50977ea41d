"""CT series, one instance for each slice."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from node.testing.data_set import AXIAL, Orientation, encoded, new_image, pattern, set_pixels, set_plane


def ct_series(
    *,
    slices: int = 8,
    rows: int = 32,
    columns: int = 32,
    spacing: tuple[float, float, float] = (2.5, 0.8, 0.8),
    orientation: Orientation = AXIAL,
    origin: tuple[float, float, float] = (-120.0, -110.0, -50.0),
    array: NDArray[Any] | None = None,
    seed: str = "phantom",
    series: str = "1",
    study_uid: str | None = None,
    series_uid: str | None = None,
    patient_name: str = "PHANTOM^CHEST",
    patient_id: str = "PHANTOM",
    description: str = "Phantom 2.5 mm",
    transfer_syntax: str = ExplicitVRLittleEndian,
    character_set: str | Sequence[str] = "ISO_IR 192",
) -> list[Dataset]:
    """Return a CT series, one data set per slice, in the order of the positions.

    Parameters
    ----------
    spacing
        mm: from slice to slice, row to row, column to column.
    orientation, origin
        Image Orientation (Patient), and the position of the first slice, LPS in mm. The slices follow along row ×
        column direction.
    array
        (slice, row, column), whole HU that fit in int16; without it, a pattern that differs along every axis.
    seed, series
        UIDs are derived from them: another seed gives another study, another series gives another series of the study.
    transfer_syntax
        Compression uses pydicom's encoders: RLE, JPEG-LS lossless, JPEG 2000 lossless.
    """
    if array is None:
        array = pattern(slices, rows, columns)
    values = np.asarray(array, dtype=np.int16)
    normal = np.cross(orientation[:3], orientation[3:])
    images = []
    for index, plane in enumerate(values):
        image = new_image(
            CTImageStorage,
            modality="CT",
            description=description,
            seed=seed,
            series=series,
            number=index + 1,
            study_uid=study_uid,
            series_uid=series_uid,
            patient_name=patient_name,
            patient_id=patient_id,
            character_set=character_set,
        )
        image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        image.AcquisitionNumber = 1
        image.AcquisitionDate, image.AcquisitionTime = image.StudyDate, "101500"
        image.KVP = 120
        image.PatientPosition = "HFS"
        image.SliceThickness = spacing[0]
        image.ConvolutionKernel = "PHANTOM"
        position = np.add(origin, normal * spacing[0] * index)
        set_plane(image, position=position, orientation=orientation, spacing=spacing[1:])
        image.RescaleIntercept, image.RescaleSlope, image.RescaleType = -1024, 1, "HU"
        image.WindowCenter, image.WindowWidth = 40, 400
        set_pixels(image, np.clip(plane.astype(np.int32) + 1024, 0, 4095).astype(np.uint16), bits_stored=12)
        images.append(encoded(image, transfer_syntax))
    return images
