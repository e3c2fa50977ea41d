"""Guards of volumes accept what their plugin is for, and refuse other regions, modalities, phantoms and distortions."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from pydicom.dataset import Dataset

from node import testing
from node.host import read_plugin
from node.infer.guards import volume_for
from tests.bench.volumes import (
    CANNOT_TELL,
    CHANGES,
    OPEN3D,
    QUALITY,
    RIGHT,
    Case,
    asked,
    axes_of,
    changed,
    quality_phantom,
    real,
)
from tests.studies import ct_denoise, ct_head_bleed, ct_liver, ct_lung_nodule, mr_brain, mr_to_ct, mr_tumour

PLUGINS = Path(__file__).parents[2] / "plugins"
STUDIES: Mapping[str, Callable[[], Sequence[Dataset]]] = {
    "chest": ct_lung_nodule.images,
    "abdomen": ct_liver.images,
    "head": ct_head_bleed.images,
    "section": ct_denoise.images,
    "brain": mr_brain.images,
    "head of two kinds": mr_to_ct.images,
    "T1": lambda: mr_tumour.series("t1"),
    "T1 enhanced": lambda: mr_tumour.series("t1c"),
    "T2": lambda: mr_tumour.series("t2"),
    "FLAIR": lambda: mr_tumour.series("flair"),
}
"""Phantoms that plugins are tested with."""
ACCEPTED: Mapping[str, tuple[str, ...]] = {
    "patient_ct": ("chest", "abdomen", "section"),
    "chest_ct": ("chest",),
    "liver_ct": ("abdomen",),
    "head_ct": ("head",),
    "head_mr": ("brain", "head of two kinds", "T1", "T1 enhanced", "T2", "FLAIR"),
    "head_mr_t1": ("brain", "head of two kinds", "T1", "T1 enhanced"),
}
SYMMETRIC = {("head", "upside down"), *((name, "upside down") for name in ("T1", "T1 enhanced", "T2", "FLAIR"))}
"""Phantoms that are the same when they stand on their heads."""


@cache
def phantom(name: str) -> Case:
    """Return a phantom as a guard gets it."""
    with TemporaryDirectory() as folder:
        (series,) = testing.stacks(testing.write(STUDIES[name](), Path(folder)))
        return Case(name=name, **volume_for(series))


@pytest.mark.parametrize("guard", ACCEPTED)
def test_a_guard_accepts_the_phantoms_of_its_plugin_and_no_other(guard: str) -> None:
    accepted = tuple(name for name in STUDIES if asked(guard, phantom(name))[0])
    assert accepted == ACCEPTED[guard]


@pytest.mark.parametrize("guard", ["chest_ct", "liver_ct", "head_ct", "head_mr"])
def test_a_right_volume_that_is_turned_cut_inverted_or_emptied_is_refused(guard: str) -> None:
    name = ACCEPTED[guard][0]
    accepted = {change for change in CHANGES if asked(guard, changed(phantom(name), change))[0]}
    assert accepted <= CANNOT_TELL.get(guard, frozenset()) | {
        change for phantom_name, change in SYMMETRIC if phantom_name == name
    }


@pytest.mark.parametrize("guard", ACCEPTED)
def test_phantoms_of_quality_control_are_refused(guard: str) -> None:
    assert not [kind for kind in QUALITY if asked(guard, quality_phantom(kind))[0]]


@pytest.mark.parametrize("guard", ACCEPTED)
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 300), (5, 1, 2)])
def test_a_guard_answers_whatever_the_shape(guard: str, shape: tuple[int, int, int]) -> None:
    for value in (0.0, 40.0, np.nan):
        suitable, reason = asked(guard, Case(name="", volume=np.full(shape, value, np.float32), affine=np.eye(4)))
        assert not suitable
        assert reason


def test_contrast_medium_in_a_head_is_seen() -> None:
    head = phantom("head")
    volume = head.volume.copy()
    volume[6:12, 120:136, 124:132] = 220.0
    suitable, reason = asked("head_ct", replace(head, volume=volume))
    assert not suitable
    assert "contrast medium" in reason


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"EchoTime": "120"}, "the echo time of 120 ms is that of T2 or FLAIR, not of T1"),
        ({}, "neither echo time nor repetition time"),
        ({"RepetitionTime": "9000", "InversionTime": "2500"}, "a repetition time of 9000 ms"),
        ({"RepetitionTime": "2400", "InversionTime": "1000"}, ""),
    ],
)
def test_times_of_the_header_distinguish_t1_from_flair(header: Mapping[str, str], words: str) -> None:
    suitable, reason = asked("head_mr_t1", phantom("brain"), json.dumps(header))
    assert suitable == (not words)
    assert words in reason


@pytest.mark.parametrize("guard", RIGHT)
def test_real_volumes_of_the_region_are_accepted_and_others_refused(guard: str) -> None:
    if not OPEN3D.is_dir():
        pytest.skip("the real volumes of ../shared/data are not here")
    accepted = {case.name for case in real_volumes() if asked(guard, case)[0]}
    right = {case.name for case in real_volumes() if any(part in case.name for part in RIGHT[guard])}
    assert accepted == right


@cache
def real_volumes() -> tuple[Case, ...]:
    """Return the real volumes, of several phases of one patient the first."""
    return tuple(case for case in real() if not any(part in case.name for part in ("phase1", "phase2", "SAX_ES")))


TURNS = ("upside down", "front to back", "mirrored", "turned about z", "turned about x", "inverted", "upper half")


@pytest.mark.parametrize("part", RIGHT["chest_ct"])
def test_a_real_chest_is_refused_however_it_is_turned(part: str) -> None:
    chest = real_volume(part)
    assert asked("chest_ct", chest)[0]
    assert [change for change in TURNS if asked("chest_ct", changed(chest, change))[0]] == []


@pytest.mark.parametrize("part", RIGHT["chest_ct"])
def test_a_real_chest_is_accepted_prone_and_in_the_size_of_a_child(part: str) -> None:
    chest = real_volume(part)
    right_left, front_back, _ = axes_of(chest.affine)
    prone = replace(chest, volume=np.flip(chest.volume, (right_left, front_back)), affine=chest.affine.copy())
    for axis in (right_left, front_back):
        prone.affine[:3, 3] += prone.affine[:3, axis] * (chest.volume.shape[axis] - 1)
        prone.affine[:3, axis] *= -1
    child = replace(chest, affine=np.diag([0.7, 0.7, 0.7, 1]) @ chest.affine)
    assert [asked("chest_ct", case) for case in (prone, child)] == [(True, "")] * 2


def real_volume(part: str) -> Case:
    """Return a real volume by what stands in its name; skip without the data."""
    found = next((case for case in real_volumes() if part in case.name), None) if OPEN3D.is_dir() else None
    if found is None:
        pytest.skip("the real volumes of ../shared/data are not here")
    return found


@pytest.mark.parametrize(
    ("plugin", "guards"),
    [
        ("ct_lung_nodule", {"ct": "chest_ct", "prior": "chest_ct"}),
        ("ct_body", {"ct": "chest_ct"}),
        ("ct_lung", {"ct": "chest_ct"}),
        ("ct_liver", {"ct": "liver_ct"}),
        ("ct_head_bleed", {"ct": "head_ct"}),
        ("ct_denoise", {"ct": "patient_ct"}),
        ("mr_brain", {"mr": "head_mr_t1"}),
        ("mr_to_ct", {"mr": "head_mr_t1"}),
        ("mr_superres", {"mr": "head_mr"}),
        ("mr_tumour", {"t1c": "head_mr_t1", "t1": "head_mr_t1", "t2": "head_mr", "flair": "head_mr"}),
    ],
)
def test_plugins_of_a_region_name_its_guard(plugin: str, guards: Mapping[str, str]) -> None:
    assert read_plugin(PLUGINS / plugin).manifest.guards == guards
