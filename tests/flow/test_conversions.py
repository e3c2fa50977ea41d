"""Stored objects are converted for destinations that do not take them, and say the same."""

import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.codes import SCT, UCUM
from node.compose import compose, write_object
from node.compose.content_items import walk
from node.compose.conversions import (
    as_comprehensive,
    as_enhanced,
    labelmap_as_binary,
    without_segmentations,
)
from node.compose.gsps import presentation_states
from node.compose.stored_outlines import read_stored_outlines
from node.images.series import Series
from node.results import Finding, Measurement, Region, Result
from tests.liver_case import (
    groups_of,
    liver_case,
    liver_identity,
    liver_images,
    liver_results,
    read_back,
    text_of,
    without_uids,
)
from tests.peers import SYSTEM_PATH, missing

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom", "ignore::UserWarning:pynetdicom")


@pytest.fixture
def series(tmp_path: Path) -> Series:
    return liver_images(tmp_path)


def test_a_report_that_replaces_an_earlier_report_also_replaces_its_substitute(series: Series, tmp_path: Path) -> None:
    earlier = compose(liver_case(series, liver_results(series)))
    later = compose(
        liver_case(series, liver_results(series), identity=replace(liver_identity(), revision=2), predecessors=earlier)
    )
    for change in (partial(without_segmentations, follows=False), as_comprehensive, as_enhanced):
        (first,), (second,) = ([dataset for dataset in made if dataset.Modality == "SR"] for made in (earlier, later))
        first, second = (change(read_back(tmp_path, report)) for report in (first, second))
        (study,) = second.PredecessorDocumentsSequence
        (reference,) = study.ReferencedSeriesSequence
        assert reference.SeriesInstanceUID == first.SeriesInstanceUID
        assert reference.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID
        assert reference.ReferencedSOPSequence[0].ReferencedSOPClassUID == first.SOPClassUID


def test_a_report_without_segmentations_does_not_show_how_they_were_divided(series: Series, tmp_path: Path) -> None:
    whole, cut = (
        next(
            dataset
            for dataset in compose(liver_case(series, liver_results(series), most_frames=most))
            if dataset.Modality == "SR"
        )
        for most in (None, 2)
    )
    assert len(groups_of(cut)) > len(groups_of(whole))
    assert text_of(without_segmentations(read_back(tmp_path, cut), follows=False)) == text_of(
        without_segmentations(read_back(tmp_path, whole), follows=False)
    )


def test_regions_are_drawn_as_a_report_has_them(series: Series, tmp_path: Path) -> None:
    results = [*liver_results(series), *_regions(series)]
    (report,) = compose(liver_case(series, results), kinds=("SR",))
    (expected,) = compose(liver_case(series, results[2:]), kinds=("GSPS",))
    frames = {(frame.sop_instance_uid, frame.number): frame for frame in series.frames}
    outlines = [
        outline
        for outline in read_stored_outlines([read_back(tmp_path, report)], frames)
        if outline[1].label not in ("Liver", "Cyst")
    ]
    (made,) = presentation_states(series, outlines, liver_identity(), name="0", number=0)
    assert without_uids(made.GraphicAnnotationSequence) == without_uids(expected.GraphicAnnotationSequence)


def test_a_label_map_is_converted_to_the_binary_segmentation_of_the_same_results(
    series: Series, tmp_path: Path
) -> None:
    labelmap, seg = (_written(tmp_path, series, kind) for kind in ("LABELMAP", "SEG"))
    write_object(labelmap_as_binary(labelmap), tmp_path / "made.dcm")
    made = dcmread(tmp_path / "made.dcm")
    own = {"SOPInstanceUID", "SeriesInstanceUID", "SeriesDescription", "ContentDescription"}
    for element in seg:
        if element.keyword in own or element.keyword.startswith("Dimension"):
            continue
        assert made[element.tag] == element, element.keyword
    assert {element.tag for element in made} - {element.tag for element in seg} == set()
    theirs, ours = (
        hd.seg.Segmentation.from_dataset(dataset).get_volume(combine_segments=True) for dataset in (seg, made)
    )
    assert (theirs.array == ours.array).all()
    assert np.allclose(theirs.affine, ours.affine)


@pytest.mark.skipif(bool(missing("dsrdump")), reason=missing("dsrdump"))
@pytest.mark.parametrize("change", [as_comprehensive, as_enhanced])
def test_dsrdump_reads_the_simpler_reports_which_describe_coordinates_in_words(
    series: Series, tmp_path: Path, change: Callable[[Dataset], Dataset]
) -> None:
    for name, report in enumerate(_reports(series)):
        path = tmp_path / f"{name}.dcm"
        write_object(report, path)
        write_object(change(dcmread(path)), path)
        read = subprocess.run(["dsrdump", path], capture_output=True, text=True, check=False, env={"PATH": SYSTEM_PATH})
        assert read.returncode == 0, read.stderr
        assert "E: " not in read.stderr
        assert "SCOORD3D" not in read.stdout
    words = [item for item in walk(dcmread(tmp_path / "0.dcm")) if "in the patient" in str(item.get("TextValue"))]
    assert len(words) == 1


def _regions(series: Series) -> list[Result]:
    image, spot = series.frames[4], np.add(series.frames[2].position or (), (4.0, 5.0, 0.0))
    box = Region(
        kind="box", points=[[3, 2], [20, 18]], label="Box", type=SCT.Cyst, image=image, score=0.5, threshold=0.2
    )
    return [
        box,
        Measurement(name=SCT.Diameter, value=8, unit=UCUM.Millimeter, of=box),
        Finding(name=SCT.Calcified, score=0.25, threshold=0.2, of=box),
        Region(kind="ellipse", points=[[2, 9], [12, 9], [7, 5], [7, 13]], label="Oval", type=SCT.Cyst, image=image),
        Region(
            kind="point3d",
            points=[spot],
            label="Spot",
            type=SCT.Cyst,
            frame_of_reference_uid=series.frame_of_reference_uid,
        ),
    ]


def _reports(series: Series) -> list[Dataset]:
    where = np.array([series.frames[3].position or ()])
    point = Region(
        kind="point3d",
        points=where,
        label="Spot",
        type=SCT.Cyst,
        frame_of_reference_uid=series.frame_of_reference_uid,
    )
    made = compose(liver_case(series, [*liver_results(series), point]))
    return [dataset for dataset in made if dataset.Modality == "SR"]


def _written(folder: Path, series: Series, kind: str) -> Dataset:
    made = compose(liver_case(series, liver_results(series)), kinds=(kind,))
    write_object(made[0], folder / f"{kind}.dcm")
    return dcmread(folder / f"{kind}.dcm")
