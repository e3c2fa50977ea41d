"""What a header says of the acquisition, and which kernels are sharp."""

import pytest
from pydicom.dataset import Dataset

from node.images.acquisition import Acquisition
from node.testing import enhanced_ct, mr_series


@pytest.mark.parametrize(
    ("kernel", "sharp"),
    [
        ("B30f", False), ("B70f", True), (["Br40d", "3"], False), ("Bl57d", True), ("STANDARD", False), ("LUNG", True),
        ("BONEPLUS", True), ("FC08", False), ("FC52", True), ("B", False), ("YB", True), ("PHANTOM", None), ("", None),
    ],
)  # fmt: skip
def test_kernels_are_sharp_or_smooth_by_their_names(kernel: str | list[str], *, sharp: bool | None) -> None:
    header = Dataset()
    header.ConvolutionKernel = kernel
    assert Acquisition.of(header).sharp is sharp


def test_a_header_is_told_in_words() -> None:
    header = Dataset()
    header.KVP, header.SliceThickness, header.ConvolutionKernel, header.ContrastBolusAgent = 120, 1.25, "B70f", "Iodine"
    assert Acquisition.of(header).in_words() == "120 kV, slices of 1.25 mm, kernel B70f, contrast medium: Iodine"


def test_functional_groups_and_field_strength_are_read() -> None:
    assert Acquisition.of(enhanced_ct()).kilovolts == 120
    header = mr_series()[0]
    header.MagneticFieldStrength = 3
    assert Acquisition.of(header).in_words().startswith("3 T, ")
