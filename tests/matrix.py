"""Every kind of object composed of every kind of image, for the tests of objects."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from node.codes import DCM, SCT, UCUM
from node.compose import KINDS, Case, Identity, compose_by_kind, write_object
from node.images.part10 import Part10
from node.images.series import Series
from node.images.stacks import group_into_stacks
from node.infer.geometry import check
from node.results import (
    Comparison,
    Deformation,
    DerivedSeries,
    Finding,
    Heatmap,
    KeyImages,
    Measurement,
    Region,
    Registration,
    Result,
    Segment,
    Segmentation,
)
from node.testing import (
    ct_series,
    digital_radiograph,
    enhanced_ct,
    enhanced_mr,
    fundus_photograph,
    mammogram,
    mr_series,
    pet_series,
    radiograph,
    slide,
    uid,
    ultrasound,
)
from node.testing import write as write_images

OBLIQUE = (0.9396926, 0.3420201, 0.0, -0.2961981, 0.8137977, 0.5)
JAPANESE = {"patient_id": "7", "patient_name": "Yamada^Tarou=山田^太郎", "character_set": ["", "ISO 2022 IR 87"]}

IMAGES: Mapping[str, Callable[[str], list[Dataset]]] = {
    "CT": lambda seed: ct_series(seed=seed),
    "CT oblique": lambda seed: ct_series(seed=seed, orientation=OBLIQUE),
    "CT, 山田": lambda seed: ct_series(seed=seed, slices=4, **JAPANESE),
    "enhanced CT": lambda seed: [enhanced_ct(seed=seed)],
    "MR": lambda seed: mr_series(seed=seed),
    "enhanced MR": lambda seed: [enhanced_mr(seed=seed)],
    "PT": lambda seed: pet_series(seed=seed),
    "CR": lambda seed: [radiograph(seed=seed)],
    "DX": lambda seed: [digital_radiograph(seed=seed, photometric="MONOCHROME1")],
    "MG": lambda seed: [mammogram(seed=seed)],
    "US cine": lambda seed: [ultrasound(seed=seed)],
    "OP colour": lambda seed: [fundus_photograph(seed=seed)],
    "SM tiled": lambda seed: [slide(seed=seed)],
}
ALL = frozenset(IMAGES)
PLACED = frozenset({"CT", "CT oblique", "CT, 山田", "enhanced CT", "MR", "enhanced MR", "PT"})
"""Images with a position in the patient."""

SEGMENTED = ALL - {"SM tiled"}

MATRIX = {
    "SEG": SEGMENTED,
    "LABELMAP": SEGMENTED,
    "FRACTIONAL": SEGMENTED,
    "SR": ALL,
    "PM": PLACED,
    "DERIVED": ALL - {"OP colour"},
    "REG": PLACED,
    "DEFORMABLE": PLACED,
    "KO": ALL,
    "GSPS": ALL,
    "SC": ALL,
    "PDF": ALL,
    "RTSTRUCT": PLACED,
    "MGCAD": frozenset({"MG"}),
}
"""Kind of object → images that it is composed of; a heat map on images outside `PLACED` becomes SC.

A derived ophthalmic photograph is a montage or nothing (PS3.3 C.8.17.2.1.4).
"""

ORGAN = Segment(label="Left kidney", type=SCT.Kidney, category=SCT.Organ, laterality=SCT.Left)
LESION = Segment(label="Cyst 1", type=SCT.Cyst, category=SCT.MorphologicallyAbnormalStructure, region=SCT.Kidney)
LIKELY = Segment(label="Likely tumour", type=SCT.Neoplasm, category=SCT.MorphologicallyAbnormalStructure)
DEFORMABLE = Deformation(
    vectors=np.arange(2 * 3 * 4 * 3, dtype=np.float32).reshape(2, 3, 4, 3) / 10,
    affine=np.array([[0, 0, 8.0, -100], [0, 7.0, 0, -90], [6.0, 0, 0, -40], [0, 0, 0, 1]]),
)
SHEAR = np.array([[1.1, 0.2, 0, 3], [0, 0.9, 0, -4], [0, 0.1, 1, 2], [0, 0, 0, 1]], np.float64)
SHIFT = np.array([[0, -1, 0, 5.5], [1, 0, 0, -2], [0, 0, 1, 1.25], [0, 0, 0, 1]], np.float64)


@dataclass(frozen=True, kw_only=True)
class Composed:
    """A case of one kind of image, and its objects by kind, as a receiver reads them."""

    case: Case
    objects: Mapping[str, list[Dataset]]

    @property
    def series(self) -> Series:
        return self.case.inputs["image"]

    @property
    def results(self) -> Sequence[Result]:
        return self.case.results


Matrix = Mapping[str, tuple[Composed, Path]]
"""By image: what was composed, and the folder with its `images` and the objects `made`."""


def compose_all(name: str, folder: Path) -> Composed:
    """Compose every kind of object of one kind of image, and write images and objects to a folder."""
    images = IMAGES[name](f"matrix {name}")
    series = series_in(folder / "images", images)
    inputs = {"image": series}
    if name in PLACED:
        inputs["moving"] = series_in(folder / "images" / "moving", _moving(name, images))
    results = results_of(inputs)
    check(results, inputs)
    case = Case(inputs=inputs, results=results, identity=identity_of(series))
    (folder / "made").mkdir()
    objects: dict[str, list[Dataset]] = {}
    for made_for, dataset in compose_by_kind(case, tuple(KINDS)):
        content = BytesIO()
        write_object(dataset, content)
        # kind PM gives a Secondary Capture where there can be no Parametric Map
        kind = "SC" if dataset.SOPClassUID == SecondaryCaptureImageStorage else made_for
        of_kind = objects.setdefault(kind, [])
        (folder / "made" / f"{kind}{len(of_kind)}.dcm").write_bytes(content.getvalue())
        of_kind.append(dcmread(BytesIO(content.getvalue())))
    return Composed(case=case, objects=objects)


def identity_of(series: Series) -> Identity:
    return Identity(
        study_uid=series.study_uid,
        revision=1,
        plugin="matrix",
        version="1.0.0",
        title="Test of objects",
        manufacturer="",
        models=("kidney 1",),
        at=datetime(2026, 11, 21, 9, 30, tzinfo=UTC),
        first_series_number=3001,
        device_uid="2.25.42",
    )


def _moving(name: str, images: Sequence[Dataset]) -> list[Dataset]:
    patient = JAPANESE if "山" in name else {}
    moving = ct_series(seed=f"matrix {name}", series="moving", slices=3, **patient)
    for image in moving:
        image.FrameOfReferenceUID = uid(name, "other frame of reference")
        image.StudyInstanceUID = images[0].StudyInstanceUID
    return moving


def series_in(folder: Path, images: Sequence[Dataset]) -> Series:
    folder.mkdir(parents=True)
    (series,) = group_into_stacks(Part10.of_file(path) for path in write_images(images, folder)).series
    return series


def results_of(inputs: Mapping[str, Series]) -> list[Result]:
    series = inputs["image"]
    rows, columns, frames = int(series.header.Rows), int(series.header.Columns), len(series.frames)
    row, column = np.mgrid[:rows, :columns]
    bump = np.exp(-((row - 9) ** 2 + (column - 12) ** 2) / 40)
    heat = (np.arange(1, frames + 1)[:, None, None] / frames * bump).astype(np.float32)
    middle = series.frames[frames // 2]
    mass = Region(
        kind="contour",
        points=[[4, 4], [12.5, 4], [12.5, 11], [4, 13]],
        label="Mass 1",
        type=SCT.Mass,
        image=middle,
        score=0.75,
        threshold=0.2,
        tracking_uid=uid("mass", series.study_uid),
    )
    diameter = Measurement(name=SCT.Diameter, value=8, unit=UCUM.Millimeter, of=mass)
    results: list[Result] = [
        Region(kind="point", points=[[6.5, 7.5]], label="Marker", type=SCT.Lesion, image=middle),
        mass,
        Comparison(measurement=diameter, prior=4, days=90),
        Region(kind="ellipse", points=[[2, 9], [12, 9], [7, 5], [7, 13]], label="Cyst 2", type=SCT.Cyst, image=middle),
        Region(kind="box", points=[[3, 2], [20, 18]], label="Box", type=SCT.Lesion, image=series.frames[0]),
        Finding(name=SCT.Mass, score=0.75, threshold=0.5),
        Heatmap(array=heat, source=series, name=DCM.ClassActivation, label="Where the network looked"),
        DerivedSeries(array=_smooth(series), source=series, description="Denoised", derivation=DCM.Smoothing),
        KeyImages(images=[middle], description="The largest cut"),
        Measurement(name=SCT.Volume, value=12, unit=UCUM.CubicCentimeter),
    ]
    if series.modality == "OP":
        results = [result for result in results if not isinstance(result, DerivedSeries)]
    if "TotalPixelMatrixRows" not in series.header:
        results += _segmented(series)
    if "moving" in inputs:
        results += _placed_results(series, inputs["moving"])
    return results


def _segmented(series: Series) -> list[Result]:
    labels = _labels(series)
    chance = np.outer(np.linspace(0, 1, labels.shape[1]), np.linspace(0, 0.9, labels.shape[2])).astype(np.float32)
    return [
        Segmentation(labels=series.on_pixels(labels), segments=[ORGAN, LESION]),
        Segmentation.of_masks([series.on_pixels(np.stack([chance] * len(labels)))], [LIKELY]),
        Measurement(name=SCT.Volume, value=150.25, unit=UCUM.CubicCentimeter, of=ORGAN),
    ]


def _labels(series: Series) -> np.ndarray:
    labels = np.zeros((len(series.frames), int(series.header.Rows), int(series.header.Columns)), np.uint8)
    first = min(len(labels) - 1, 1)
    labels[first:, 4:20, 6:15] = 1
    labels[first:, 9:12, 8:11] = 0
    labels[first:, 10, 9] = 1
    labels[:2, 1:3, 17:20] = 2
    return labels


def _placed_results(series: Series, moving: Series) -> list[Result]:
    counts = (_labels(series) * 100).astype(np.uint16)
    corner = (series.affine() @ (1, 3, 4, 1))[:3]
    across, down = series.affine()[:3, 2] * 5, series.affine()[:3, 1] * 4
    return [
        Heatmap(
            array=counts, source=series, name=DCM.Probability, label="Chance", unit=UCUM.Percent, slope=0.5, intercept=2
        ),
        Region(
            kind="polygon3d",
            points=[corner, corner + across, corner + across + down],
            label="Plane",
            type=SCT.Lesion,
            frame_of_reference_uid=series.frame_of_reference_uid,
        ),
        Registration(fixed=series, moving=moving, matrix=SHIFT),
        Registration(fixed=series, moving=moving, matrix=SHEAR, kind="affine"),
        Registration(fixed=series, moving=moving, matrix=SHIFT, deformation=DEFORMABLE),
    ]


def _smooth(series: Series) -> np.ndarray:
    """Return the images smoothed along their rows."""
    array = np.stack([series.image(index) for index in range(len(series.frames))])
    if array.ndim == 4:
        return array[:, :, ::-1]
    wide = np.pad(array.astype(np.float32), ((0, 0), (0, 0), (1, 1)), mode="edge")
    return (wide[..., :-2] + wide[..., 1:-1] + wide[..., 2:]) / 3


def filled(loops: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Return the pixels whose centre is inside an odd number of loops."""
    row, column = np.mgrid[: shape[0], : shape[1]] + 0.5
    inside = np.zeros(shape, bool)
    for loop in loops:
        for (x0, y0), (x1, y1) in zip(loop, np.roll(loop, -1, axis=0), strict=True):
            if y0 != y1:
                crosses = (row >= min(y0, y1)) & (row < max(y0, y1))
                inside ^= crosses & (column < x0 + (row - y0) * (x1 - x0) / (y1 - y0))
    return inside
