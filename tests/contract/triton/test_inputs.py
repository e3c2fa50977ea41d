"""Inputs for a real server: shape, exact casts, text, and the size of a message."""

import numpy as np
import pytest

from node.errors import ModelRefused
from node.triton.client import GrpcTriton
from node.triton.server_connection import MESSAGE_BYTES
from node.triton.shared_memory import Tensor
from node.triton.tensors import exact_cast, fit_input
from tests.triton_repository import Array

pytest.importorskip("pytriton", reason="nvidia-pytriton is not installed")


def test_a_wrong_shape_is_refused_with_both_shapes(real: GrpcTriton) -> None:
    with pytest.raises(ModelRefused, match=r"image as INT16 of shape \(any, any, 3\).*gave int16 of shape \(4, 2, 5\)"):
        real.infer("double", image=np.zeros((4, 2, 5), np.int16))
    with pytest.raises(ModelRefused, match="shape"):
        real.infer("double", image=np.zeros((4, 3), np.int16))


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint16, np.float32, np.float64])
def test_an_input_is_cast_where_every_value_stays_what_it_was(real: GrpcTriton, dtype: type) -> None:
    image = np.arange(24).reshape(4, 2, 3).astype(dtype)
    np.testing.assert_array_equal(real.infer("double", image=image)["image"], 2 * image)


@pytest.mark.parametrize(
    "value",
    [
        np.int32(40000),
        np.uint16(65535),
        np.float32(0.5),
        np.float32(40000),
        np.float32("nan"),
        np.complex64(1),
        np.str_("1"),
    ],
    ids=repr,
)
def test_an_input_that_would_change_is_refused(real: GrpcTriton, value: np.generic) -> None:
    with pytest.raises(ModelRefused, match="takes image as INT16"):
        real.infer("double", image=np.full((1, 1, 3), value))


@pytest.mark.parametrize(
    ("array", "dtype", "fits"),
    [
        (np.array([-1], np.int16), np.uint16, False),  # the bits would fit
        (np.array([-1], np.int64), np.uint64, False),
        (np.array([2**24 + 1]), np.float32, False),
        (np.array([2**24]), np.float32, True),
        (np.array([0.1]), np.float32, False),
        (np.array([0.5, np.nan, np.inf]), np.float32, True),
        (np.array([np.inf], np.float32), np.int16, False),
        (np.array([0, 2]), np.bool_, False),
        (np.array([0, 1]), np.bool_, True),
        (np.array([True]), np.uint8, True),
        (np.zeros(0, np.int64), np.int8, True),
    ],
)
def test_a_cast_is_exact_or_is_not_made(array: Array, dtype: type, fits: bool) -> None:
    cast = exact_cast(array, np.dtype(dtype))
    assert (cast is not None) == fits
    if cast is not None:
        assert cast.dtype == dtype
        np.testing.assert_array_equal(cast, array)


def test_inputs_that_gRPC_cannot_carry_are_refused_before_they_are_sent(  # noqa: N802 - its own spelling
    address: str,
) -> None:
    short = GrpcTriton([address], message_bytes=2**17)
    with pytest.raises(ModelRefused, match="gRPC carries less than"):
        short.infer("double", image=np.zeros((100, 512, 3), np.int16))
    assert MESSAGE_BYTES == 2**31 - 1


def test_more_than_gRPCs_usual_four_megabytes_pass(real: GrpcTriton) -> None:  # noqa: N802 - its own spelling
    image = np.random.default_rng(0).integers(-1000, 1000, (40, 65536, 3), np.int16)
    np.testing.assert_array_equal(real.infer("double", image=image)["image"], 2 * image)


def test_an_optional_input_may_be_left_out_and_a_needed_one_may_not(real: GrpcTriton) -> None:
    ones = np.ones(3, np.float32)
    assert real.infer("choosy", image=ones)["image"].tolist() == [1, 1, 1]
    assert real.infer("choosy", image=ones, scale=3 * ones[:1])["image"].tolist() == [3, 3, 3]
    with pytest.raises(ModelRefused, match="takes the inputs image, scale; the plugin gave scale"):
        real.infer("choosy", scale=ones[:1])


def test_text_that_is_not_utf8_is_refused(real: GrpcTriton) -> None:
    with pytest.raises(ModelRefused, match="not_text answered text with bytes"):
        real.infer("not_text", text=np.array(["a"]))


def test_numbers_are_no_text() -> None:
    text = Tensor(name="text", datatype="BYTES", shape=(-1,), optional=False)
    with pytest.raises(ModelRefused, match="takes text as BYTES"):
        fit_input("words", text, np.zeros(3))
