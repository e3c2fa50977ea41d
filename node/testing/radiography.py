"""Projection radiographs: computed, digital, and mammograms."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
)

from node.testing.data_set import assign, code_item, encoded, new_image, pattern, set_pixels, set_sop_class


def radiograph(
    *,
    rows: int = 64,
    columns: int = 48,
    array: NDArray[Any] | None = None,
    photometric: str = "MONOCHROME2",
    seed: str = "phantom",
    series: str = "cr",
    patient_name: str = "PHANTOM^CHEST",
    character_set: str | Sequence[str] = "ISO_IR 192",
    transfer_syntax: str = ExplicitVRLittleEndian,
) -> Dataset:
    """Return one computed radiograph, posterior to anterior; `array` is (row, column), 0 to 4095."""
    if array is None:
        array = pattern(1, rows, columns)[0] + 1024
    image = new_image(
        ComputedRadiographyImageStorage,
        modality="CR",
        description="Phantom PA",
        seed=seed,
        series=series,
        patient_name=patient_name,
        character_set=character_set,
    )
    image.ImageType = ["ORIGINAL", "PRIMARY"]
    image.ViewPosition = "PA"
    image.PatientOrientation = ["L", "F"]
    image.KVP, image.PlateID, image.CassetteOrientation, image.CassetteSize = 120, "1", "PORTRAIT", "35CMX43CM"
    image.ImagerPixelSpacing = [0.2, 0.2]
    image.WindowCenter, image.WindowWidth = 2048, 4096
    set_pixels(image, np.asarray(array, dtype=np.uint16), bits_stored=12, photometric=photometric)
    return encoded(image, transfer_syntax)


def digital_radiograph(*, series: str = "dx", **options: Any) -> Dataset:
    """Return one digital radiograph of the chest (PS3.3 A.26), with the arguments of `radiograph`."""
    image = radiograph(series=series, **options)
    _as_digital(image, DigitalXRayImageStorageForPresentation, modality="DX", side="U")
    image.AnatomicRegionSequence = [code_item("51185008", "SCT", "Thoracic structure")]
    image.ViewCodeSequence = [code_item("399348003", "SCT", "postero-anterior")]
    return image


def mammogram(*, series: str = "mg", **options: Any) -> Dataset:
    """Return one mammogram, left and mediolateral oblique (PS3.3 A.27), with the arguments of `radiograph`."""
    image = radiograph(series=series, **options)
    _as_digital(image, DigitalMammographyXRayImageStorageForPresentation, modality="MG", side="L")
    view = code_item("399368009", "SCT", "medio-lateral oblique")
    del image.ViewPosition
    return assign(
        image,
        BodyPartExamined="BREAST",
        PatientOrientation=["A", "FR"],
        PositionerType="MAMMOGRAPHIC",
        OrganExposed="BREAST",
        PartialView="NO",
        AnatomicRegionSequence=[code_item("76752008", "SCT", "Breast")],
        ViewCodeSequence=[assign(view, ViewModifierCodeSequence=[])],
    )


def _as_digital(image: Dataset, sop_class: UID, *, modality: str, side: str) -> None:
    """Turn a computed radiograph into a digital radiograph (PS3.3 C.8.11)."""
    set_sop_class(image, sop_class)
    for keyword in ("PlateID", "CassetteOrientation", "CassetteSize"):
        delattr(image, keyword)
    assign(
        image,
        Modality=modality,
        PresentationIntentType="FOR PRESENTATION",
        PositionerType="",
        ImageType=["ORIGINAL", "PRIMARY"],
        ImageLaterality=side,
        BurnedInAnnotation="NO",
        PixelIntensityRelationship="LOG",
        PixelIntensityRelationshipSign=-1,
        RescaleIntercept=0,
        RescaleSlope=1,
        RescaleType="US",
        PresentationLUTShape="INVERSE" if image.PhotometricInterpretation == "MONOCHROME1" else "IDENTITY",
        DetectorType="DIRECT",
        AcquisitionContextSequence=[],
    )
