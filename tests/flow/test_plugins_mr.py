"""Plugins on several series or several phases of MR, on a real Triton: on phantoms, and on real images."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from node import Finding, NotSuitable, Segmentation, Summary, Triton, testing
from node.images.part10 import Part10
from node.images.series import Series
from node.images.stacks import group_into_stacks
from node.training.phantoms import tumour
from tests.flow.test_plugins import answered_with, measured, plugins, present, real
from tests.studies import mr_cardiac, mr_tumour


def series_in(images: Sequence[Dataset], folder: Path) -> list[Series]:
    """Write images to `folder/images`, and return their stacks."""
    return list(group_into_stacks(Part10.of_file(file) for file in testing.write(images, folder / "images")).series)


def four(images: Sequence[Dataset], folder: Path) -> dict[str, Series]:
    """Return the series of a head by their roles."""
    roles = {protocol.description: role for role, protocol in mr_tumour.PROTOCOLS.items()}
    return {roles[series.header.SeriesDescription]: series for series in series_in(images, folder)}


def test_a_tumour_is_outlined_on_t1_after_contrast_medium_and_measured(triton: Triton, tmp_path: Path) -> None:
    inputs = four(mr_tumour.images(), tmp_path)
    results = answered_with(triton, "mr_tumour", inputs, tmp_path)
    (outlines,) = (result for result in results if isinstance(result, Segmentation))
    assert outlines.source is inputs["t1c"]
    truth = tumour.parts(mr_tumour.truth("t1c"))
    for number, least in ((tumour.ENHANCING, 0.75), (tumour.OEDEMA, 0.8), (tumour.NECROSIS, 0.6)):
        here, there = truth == number, outlines.labels.array == number
        dice = 2 * int((here & there).sum()) / int(here.sum() + there.sum())
        assert dice > least
    whole = measured(results)["", "Volume of enhancing tumour, oedema and necrotic core"]
    assert whole == pytest.approx((truth > 0).sum() * 3.0 * 3.2 * 3.2 / 1000, rel=0.25)


def test_a_head_without_a_tumour_has_none(triton: Triton, tmp_path: Path) -> None:
    images = [image for role in mr_tumour.PROTOCOLS for image in mr_tumour.series(role, diseased=False)]
    finding, summary = answered_with(triton, "mr_tumour", four(images, tmp_path), tmp_path)
    assert summary == Summary("No tumour of 2 ml or more found", glance="no tumour found")
    assert isinstance(finding, Finding)
    assert not finding.present


def test_a_real_brain_is_not_refused(triton: Triton, tmp_path: Path) -> None:
    """For want of a study with four contrasts one real T1 stands for each: whether anything is found is not judged."""
    series = real("MR/T1_sag_brain_35", tmp_path)
    inputs = dict.fromkeys(plugins()["mr_tumour"].roles, series)
    results = answered_with(triton, "mr_tumour", inputs, tmp_path)
    assert not any(isinstance(result, NotSuitable) for result in results)
    assert "Neoplasm" in present(results)


def test_a_heart_is_outlined_at_both_ends_of_its_beat_and_measured(triton: Triton, tmp_path: Path) -> None:
    phases = series_in(mr_cardiac.images(), tmp_path)
    results = answered_with(triton, "mr_cardiac", plugins()["mr_cardiac"].named(phases), tmp_path)
    heart = mr_cardiac.HEART
    large, small = (f(heart.millilitres(phase) for phase in mr_cardiac.PHASES) for f in (max, min))
    found = {name: value for (_, name), value in measured(results).items()}
    assert found["Left Ventricular End Diastolic Volume"] == pytest.approx(large, rel=0.15)
    assert found["Left ventricular ejection fraction by MR"] == pytest.approx(100 * (1 - small / large), abs=8)
    assert found["Left Ventricle Mass"] == pytest.approx(1.05 * heart.muscle_ml, rel=0.2)
    outlines = [result for result in results if isinstance(result, Segmentation)]
    assert [float(outline.source.header.TriggerTime) for outline in outlines if outline.source] in (
        [0.0, 270.0],
        [0.0, 360.0],
    )


def test_a_real_brain_is_no_heartbeat(triton: Triton, tmp_path: Path) -> None:
    inputs = plugins()["mr_cardiac"].named([real("MR/T1_sag_brain_35", tmp_path)])
    (result,) = answered_with(triton, "mr_cardiac", inputs, tmp_path)
    assert result == NotSuitable("phases of a heartbeat are needed, at least 8; there are 1")
