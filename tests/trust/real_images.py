"""Real images of ../shared/data, named by what they show, and their wrapping as DICOM of any modality."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from node import UnsuitableSeries, testing
from node.images.series import Series
from node.training.pictures import ONLY_MAKING, Pictures
from tests.conftest import DATA

LARGEST = 256
"""Rows and columns of a volume at most; larger ones lose every second."""
VOLUMES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "head MR": (
        ("head/MR_T1_IXI012-HH_2mm.nii.gz", "MR"),
        ("head/MR_T1c_VS-SEG-001_1.6x1.6x3mm.nii.gz", "MR"),
        ("head/MR_T1_axial_pyradiomics_brain1.nii.gz", "MR"),
    ),
    "brain T1": (("head/MR_T1_stroke_cstar_brain.nii.gz", "MR"),),
    "brain T2": (("head/MR_T2_stroke_cstar_brain.nii.gz", "MR"),),
    "brain FLAIR": (("head/MR_FLAIR_stroke_cstar_brain.nii.gz", "MR"),),
    "chest CT": (("chest/CT_LIDC-IDRI-0314_1.56x1.56x3mm.nii.gz", "CT"),),
    "liver CT": (("abdomen/CT_CRLM-CT-1004_256.nii.gz", "CT"),),
    "cut abdomen CT": (("abdomen/CT_abdomen_totalseg_sm_3mm.nii.gz", "CT"),),
    "pelvis CT": (
        ("pelvis_extremity/CT_pelvis_lower_abdomen_totalseg_3mm.nii.gz", "CT"),
        ("pelvis_extremity/STS_002_CT.nii.gz", "CT"),
    ),
    "heart CT": (("heart/CT_heart_crop_totalseg_1.5mm.nii.gz", "CT"),),
    "abdomen MR": (
        ("abdomen/MR_T2_CMB-CRC-MSB-06489_scan1.nii.gz", "MR"),
        ("abdomen/MR_ADC_CMB-CRC-MSB-06489_scan1.nii.gz", "MR"),
    ),
    "breast MR": (("breast/MR_DCE_phase0_UCSF-BR-06.nii.gz", "MR"),),
    "thigh MR": (("pelvis_extremity/MR_T1_thigh_STS_001_full.nii.gz", "MR"),),
    "heart MR": (("heart/MR_cine_SAX_ED_SC-N-40.nii.gz", "MR"),),
    "pelvis PET": (("pelvis_extremity/STS_002_PET.nii.gz", "PT"),),
}
"""In open3d, by what they show."""
WHOLE_PET, CHEST, HEAD = "open3d/pet/FDG_PET_STS_001_dicom", "dicom/CT/chest_cmb_crc_100", "dicom/MR/T1_sag_brain_35"
FOLDERS = {"whole PET": WHOLE_PET, "chest CT": CHEST, "head MR": HEAD}
PLANES = (
    "chest_frontal", "fundus", "skin_lesion", "skin_normal_crop", "mammogram", "dental_panoramic", "bone_xray_other",
    "pelvis_xray_other", "ultrasound_breast", "ultrasound_other_carotid", "ultrasound_other_fetal", "histology_he",
    "other_endoscopy", "other_blood_smear",
)  # fmt: skip
"""Folders of open2d; each is named for what its images show."""
KG, BQ_PER_SUV = 80.0, 2.57e3
"""Of the headers that testing.pet_series makes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RealImage:
    """A real image: values (slice, row, column) in LPS order, HU or SUV where `modality` has them; or one plane.

    A plane is uint8, (row, column) or (row, column, 3), and has no spacing.
    """

    name: str
    shows: str
    modality: str
    array: NDArray[Any]
    spacing: tuple[float, float, float] | None = None

    @property
    def is_volume(self) -> bool:
        """Whether it is a volume, not a plane."""
        return self.spacing is not None


def volumes(wanted: Collection[str] = (*VOLUMES, *FOLDERS)) -> Iterator[RealImage]:
    """Yield the volumes that are here, of what is wanted."""
    for shows, files in VOLUMES.items():
        for file, modality in files if shows in wanted else ():
            if (DATA / "open3d" / file).exists():
                yield _nifti(file, shows, modality)
    for shows, folder in FOLDERS.items():
        if shows in wanted and (DATA / folder).exists():
            yield _of_folder(folder, shows)


def planes(each: int = 1) -> Iterator[RealImage]:
    """Yield so many planes of each class, evenly chosen, of those that no guard was made with."""
    pictures = Pictures(DATA / "open2d")
    for shows in PLANES:
        files = pictures.files(shows, making=shows in ONLY_MAKING)
        for index in np.linspace(0, len(files) - 1, min(each, len(files))).round().astype(int):
            array = np.asarray(Image.open(files[index]))
            yield RealImage(name=files[index].name, shows=shows, modality="", array=array)


def series() -> Iterator[tuple[str, Series]]:
    """Yield every stack of ../shared/data/dicom, by the name of its folder."""
    for folder in sorted({path.parent for path in (DATA / "dicom").rglob("*") if path.is_file()}):
        try:
            found = testing.stacks([path for path in sorted(folder.iterdir()) if path.is_file() and _is_part10(path)])
        except Exception:  # noqa: BLE001, S112 - files that are made to be unreadable are for other tests
            continue
        for number, stack in enumerate(found):
            yield f"{folder.relative_to(DATA / 'dicom')}#{number}", stack


def _is_part10(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


@cache
def _nifti(file: str, shows: str, modality: str) -> RealImage:
    image = SimpleITK.ReadImage(str(DATA / "open3d" / file))
    image = SimpleITK.DICOMOrient(image, "LPS")
    across, down, apart = image.GetSpacing()
    array = SimpleITK.GetArrayFromImage(image)
    return _small(RealImage(name=file, shows=shows, modality=modality, array=array, spacing=(apart, down, across)))


@cache
def _of_folder(name: str, shows: str) -> RealImage:
    """Return the longest stack of a folder in LPS order."""
    stack = max(testing.stacks(DATA / name), key=lambda stack: len(stack.frames))
    volume = stack.volume()
    image = SimpleITK.GetImageFromArray(volume.array.astype(np.float32))
    steps = volume.affine[:3, [2, 1, 0]]
    lengths = np.linalg.norm(steps, axis=0)
    image.SetSpacing(lengths.tolist())
    image.SetDirection((steps / lengths).flatten().tolist())
    image = SimpleITK.DICOMOrient(image, "LPS")
    across, down, apart = image.GetSpacing()
    array = SimpleITK.GetArrayFromImage(image)
    if stack.modality == "PT":
        array = array * (KG * 1000 / (BQ_OF_PET * 0.5**0.41))
    found = RealImage(name=name, shows=shows, modality=stack.modality, array=array, spacing=(apart, down, across))
    return _small(found)


BQ_OF_PET = 388777472.0 * KG / 71.0
"""Activity and weight in the header of the whole PET: 71 kg, 45 minutes."""


def _small(image: RealImage) -> RealImage:
    if image.spacing is None or max(image.array.shape[1:]) <= LARGEST:
        return image
    apart, down, across = image.spacing
    small = image.array[:, ::2, ::2]
    return RealImage(
        name=image.name, shows=image.shows, modality=image.modality, array=small, spacing=(apart, 2 * down, 2 * across)
    )


def wrapped(image: RealImage, modality: str, *, part: str, seed: str = "trust") -> list[Dataset]:
    """Return an image as DICOM of a modality, without the mark of synthetic images: it is not one.

    Raises
    ------
    UnsuitableSeries
        A volume is to be a plane, or the other way round.
    """
    make = AS_VOLUME.get(modality) if image.is_volume else AS_PLANE.get(modality)
    if make is None:
        raise UnsuitableSeries(f"{image.name} is not to be wrapped as {modality}")
    images = make(image, seed)
    for image in images:
        image.remove_private_tags()
        image.PatientID, image.BodyPartExamined = "TRUST", part
    return images


def _volume(make: Callable[..., list[Dataset]], array: NDArray[Any], image: RealImage, seed: str) -> list[Dataset]:
    return make(array=array, spacing=image.spacing, seed=seed, description="", patient_id="TRUST")


def _as_ct(image: RealImage, seed: str) -> list[Dataset]:
    return _volume(testing.ct_series, np.rint(image.array.clip(-1024, 3071)).astype(np.int16), image, seed)


def _as_mr(image: RealImage, seed: str) -> list[Dataset]:
    low, high = float(image.array.min()), float(np.percentile(image.array, 99.9))
    signal = ((image.array.astype(np.float32) - low) * (3000 / max(high - low, 1e-6))).clip(0, 4095)
    images = _volume(testing.mr_series, np.rint(signal).astype(np.int16), image, seed)
    if image.shows == "heart MR":
        for image in images:
            image.TriggerTime, image.NominalInterval = 0.0, 900.0
    return images


def _as_pt(image: RealImage, seed: str) -> list[Dataset]:
    images = _volume(testing.pet_series, image.array.clip(0).astype(np.float64) * BQ_PER_SUV, image, seed)
    for image in images:
        image.PatientWeight, image.PatientSize, image.PatientSex = KG, 1.8, "M"
    return images


def _grey(image: RealImage) -> NDArray[np.uint8]:
    array = image.array
    return np.asarray(array if array.ndim == 2 else array.mean(2), np.uint8)


def _colour(image: RealImage) -> NDArray[np.uint8]:
    array = image.array
    return np.asarray(array if array.ndim == 3 else np.repeat(array[..., None], 3, 2), np.uint8)


def _as_slide(image: RealImage, seed: str) -> list[Dataset]:
    array = _colour(image)
    rows, columns = (max(size // 64, 1) for size in array.shape[:2])
    padded = np.pad(array, ((0, max(64 - array.shape[0], 0)), (0, max(64 - array.shape[1], 0)), (0, 0)), "edge")
    whole = np.ascontiguousarray(padded[: rows * 64, : columns * 64])
    return [testing.slide(tiles=(rows, columns), rows=64, columns=64, spacing=0.001, array=whole, seed=seed)]


def _as_ultrasound(image: RealImage, seed: str) -> list[Dataset]:
    made = testing.ultrasound(array=_grey(image)[None], seed=seed)
    made.ImageType = ["ORIGINAL", "PRIMARY"]
    return [made]


def _radiograph(make: Callable[..., Dataset]) -> Callable[[RealImage, str], list[Dataset]]:
    return lambda image, seed: [make(array=_grey(image).astype(np.uint16) * 16, seed=seed)]


AS_VOLUME: Mapping[str, Callable[[RealImage, str], list[Dataset]]] = {"CT": _as_ct, "MR": _as_mr, "PT": _as_pt}
AS_PLANE: Mapping[str, Callable[[RealImage, str], list[Dataset]]] = {
    "CR": _radiograph(testing.radiograph),
    "MG": _radiograph(testing.mammogram),
    "US": _as_ultrasound,
    "OP": lambda image, seed: [testing.fundus_photograph(array=_colour(image), seed=seed)],
    "XC": lambda image, seed: [testing.photograph(array=_colour(image), seed=seed)],
    "SM": _as_slide,
}
"""What makes DICOM of a modality from volumes, and from planes."""
__all__: Sequence[str] = ("RealImage", "planes", "series", "volumes", "wrapped")
