"""The series of several roles show one body, or there is no answer: the pixels decide, not the header."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from pydicom.dataset import Dataset

from node import NotSuitable, testing
from node.infer.one_body import CoarseSeries, coarse_of, difference, local_likeness
from tests.conftest import DATA
from tests.studies import mr_tumour

HEADS = DATA / "open3d" / "head"
ROLES = ("t1c", "t1", "t2", "flair")
PLUGINS = Path(__file__).parents[2] / "plugins"


def contrasts() -> dict[str, list[Dataset]]:
    """Return the four series of one phantom of a head."""
    return {role: mr_tumour.series(role) for role in ROLES}


def labels(**inputs: np.ndarray) -> Mapping[str, np.ndarray]:
    return {"labels": np.zeros(np.asarray(inputs["t1c"]).shape, np.uint8)}


def answered(images: Mapping[str, Sequence[Dataset]]) -> tuple:
    return testing.run_plugin(PLUGINS / "mr_tumour", images, {"mr_tumour": labels})


def test_four_contrasts_of_one_head_are_answered() -> None:
    assert not [result for result in answered(contrasts()) if isinstance(result, NotSuitable)]


def test_a_contrast_of_something_else_in_the_place_of_the_head_is_refused() -> None:
    images = contrasts()
    random = np.random.default_rng(1)
    for image in images["t2"]:
        shape = int(image.Rows), int(image.Columns)
        blocks = random.integers(0, 2000, (-(-shape[0] // 8), -(-shape[1] // 8)))
        image.PixelData = np.kron(blocks, np.ones((8, 8)))[: shape[0], : shape[1]].astype(np.int16).tobytes()
    (result,) = answered(images)
    assert isinstance(result, NotSuitable)
    assert result.reason.startswith(
        "the images of t1c and t2 do not show one body: their mean squared local correlation"
    )


def test_a_contrast_of_another_place_is_refused() -> None:
    images = contrasts()
    for image in images["flair"]:
        x, y, z = map(float, image.ImagePositionPatient)
        image.ImagePositionPatient = [x, y, z + 120]
    (result,) = answered(images)
    assert isinstance(result, NotSuitable)
    assert "the images of t1c and flair do not show one body: one shows" in result.reason


def test_two_modalities_must_have_one_frame_of_reference(tmp_path: Path) -> None:
    pet = testing.pet_series(slices=6)
    ct = testing.ct_series(slices=6)
    (first,) = testing.stacks(testing.write(pet, tmp_path / "pet"))
    for images, frame, words in ((ct, "", "differ or are absent"), (ct, "1.2.3", "differ or are absent")):
        for image in images:
            image.FrameOfReferenceUID = frame
        (second,) = testing.stacks(testing.write(images, tmp_path / f"ct{frame}"))
        assert words in difference(first, second)


def real(name: str) -> CoarseSeries:
    """Return a real head in voxels of about 4 mm, its axes as slice, row and column."""
    image = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(HEADS / f"MR_{name}.nii.gz")), "LPS")
    factors = [max(1, round(4 / width)) for width in image.GetSpacing()]
    image = SimpleITK.BinShrink(SimpleITK.Cast(image, SimpleITK.sitkFloat32), factors)
    affine = np.zeros((4, 4))
    affine[[2, 1, 0], [0, 1, 2]] = image.GetSpacing()[::-1]
    affine[:3, 3], affine[3, 3] = image.GetOrigin(), 1
    return CoarseSeries(SimpleITK.GetArrayFromImage(image), affine)


def middle(head: CoarseSeries) -> np.ndarray:
    """Return the middle of what is bright in a head, mm."""
    where = np.argwhere(head.values > np.percentile(head.values, 60)).mean(0)
    return (head.affine @ [*where, 1])[:3]


@pytest.mark.skipif(not HEADS.is_dir(), reason="the real volumes of ../shared/data are not here")
def test_contrasts_of_one_real_head_are_alike_and_those_of_two_heads_are_not() -> None:
    heads = {name: real(f"{name}_stroke_cstar_brain") for name in ("T1", "T2", "FLAIR")}
    others = [real(name) for name in ("T1_IXI012-HH_2mm", "T1c_VS-SEG-001_1.6x1.6x3mm", "T1_axial_pyradiomics_brain1")]
    for here, there in (("T1", "T2"), ("T1", "FLAIR"), ("T2", "FLAIR")):
        assert (local_likeness(heads[here], heads[there]) or 0) > 0.4
    for number, other in enumerate(others):
        for head in (*heads.values(), *others[:number]):
            moved = head.affine.copy()
            moved[:3, 3] += middle(other) - middle(head)
            assert (local_likeness(other, CoarseSeries(head.values, moved)) or 0) < 0.2


def test_what_has_no_structure_is_not_compared(tmp_path: Path) -> None:
    images = testing.mr_series(array=np.full((20, 40, 40), 100, np.int16), spacing=(4.0, 4.0, 4.0))
    (series,) = testing.stacks(testing.write(images, tmp_path))
    assert local_likeness(coarse_of(series), coarse_of(series)) is None
