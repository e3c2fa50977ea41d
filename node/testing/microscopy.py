"""Whole-slide images."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import VLWholeSlideMicroscopyImageStorage

from node.testing.color import color_image, color_pattern
from node.testing.data_set import assign, code_item, item, uid


def slide(
    *,
    tiles: tuple[int, int] = (2, 2),
    rows: int = 24,
    columns: int = 32,
    spacing: float = 0.01,
    array: NDArray[np.uint8] | None = None,
    seed: str = "phantom",
) -> Dataset:
    """Return one whole-slide image in colour (PS3.3 A.32.8), tiled, all tiles of the same size (TILED_FULL).

    Parameters
    ----------
    tiles
        Number of tiles down and across.
    rows, columns
        Size of one tile.
    spacing
        mm from pixel to pixel.
    array
        The whole slide, (row, column, 3), red, green and blue.
    """
    frames = tiles[0] * tiles[1]
    values = color_pattern(frames, rows, columns)
    if array is not None:
        tiled = array.reshape(tiles[0], rows, tiles[1], columns, 3)
        values = np.ascontiguousarray(tiled.swapaxes(1, 2)).reshape(frames, rows, columns, 3)
    image = color_image(VLWholeSlideMicroscopyImageStorage, "SM", values, seed=seed, series="sm")
    del image.BodyPartExamined, image.PatientOrientation
    dimension = uid(seed, "sm", "dimensions")
    kind = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    return assign(
        image,
        ImageType=kind,
        SeriesDescription="Phantom slide",
        NumberOfFrames=frames,
        SoftwareVersions="1",
        DeviceSerialNumber="1",
        AcquisitionDateTime=f"{image.StudyDate}101500",
        AcquisitionDuration=10.0,
        AcquisitionContextSequence=[],
        FrameOfReferenceUID=uid(seed, "sm", "frame of reference"),
        PositionReferenceIndicator="SLIDE_CORNER",
        DimensionOrganizationType="TILED_FULL",
        DimensionOrganizationSequence=[item(DimensionOrganizationUID=dimension)],
        TotalPixelMatrixRows=tiles[0] * rows,
        TotalPixelMatrixColumns=tiles[1] * columns,
        TotalPixelMatrixFocalPlanes=1,
        TotalPixelMatrixOriginSequence=[item(XOffsetInSlideCoordinateSystem=10, YOffsetInSlideCoordinateSystem=20)],
        ImageOrientationSlide=[0, -1, 0, -1, 0, 0],
        ImagedVolumeWidth=tiles[1] * columns * spacing,
        ImagedVolumeHeight=tiles[0] * rows * spacing,
        ImagedVolumeDepth=1.0,
        BurnedInAnnotation="NO",
        SpecimenLabelInImage="NO",
        FocusMethod="AUTO",
        ExtendedDepthOfField="NO",
        VolumetricProperties="VOLUME",
        ContainerIdentifier="S1",
        IssuerOfTheContainerIdentifierSequence=[],
        ContainerTypeCodeSequence=[code_item("433466003", "SCT", "Microscope slide")],
        SpecimenDescriptionSequence=[
            item(
                SpecimenIdentifier="S1",
                IssuerOfTheSpecimenIdentifierSequence=[],
                SpecimenUID=uid(seed, "specimen"),
                SpecimenPreparationSequence=[],
            )
        ],
        NumberOfOpticalPaths=1,
        OpticalPathSequence=[
            item(
                OpticalPathIdentifier="1",
                IlluminationTypeCodeSequence=[code_item("111744", "DCM", "Brightfield illumination")],
                IlluminationColorCodeSequence=[code_item("414298005", "SCT", "Full Spectrum")],
                ICCProfile=_srgb_profile(),
            )
        ],
        SharedFunctionalGroupsSequence=[
            item(
                PixelMeasuresSequence=[item(PixelSpacing=[spacing, spacing], SliceThickness=0.001)],
                WholeSlideMicroscopyImageFrameTypeSequence=[item(FrameType=kind)],
                OpticalPathIdentificationSequence=[item(OpticalPathIdentifier="1")],
            )
        ],
    )


def _srgb_profile() -> bytes:
    """Return the ICC profile that comes with highdicom, without importing highdicom."""
    spec = find_spec("highdicom")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("highdicom is not installed")
    return (Path(spec.origin).parent / "_icc_profiles" / "sRGB_v4_ICC_preference.icc").read_bytes()
