"""What every Triton answers, the fake and the real one."""

from collections.abc import Mapping

import numpy as np
import pytest

from node.errors import ModelRefused
from node.triton.client import Triton
from node.triton.fake import FakeTriton
from tests.triton_repository import Array, Carrier, double

pytest.importorskip("pytriton", reason="nvidia-pytriton is not installed")


def test_a_model_answers_with_arrays_by_name(triton: Triton, image: Array) -> None:
    triton.prepare(["double"], 30)
    answer = triton.infer("double", image=image)
    assert answer.keys() == {"image"}
    assert answer["image"].dtype == np.int16
    np.testing.assert_array_equal(answer["image"], 2 * image)


def test_an_object_with_an_array_is_sent_as_that_array(triton: Triton, image: Array) -> None:
    answer = triton.infer("double", image=Carrier(array=image, affine=np.eye(4)))
    np.testing.assert_array_equal(answer["image"], 2 * image)


def test_an_array_that_is_not_contiguous_arrives_as_it_reads(triton: Triton, image: Array) -> None:
    turned = image[::-1, ::-1]
    np.testing.assert_array_equal(triton.infer("double", image=turned)["image"], 2 * turned)


def test_an_answer_may_be_changed(triton: Triton, image: Array) -> None:
    answer = triton.infer("double", image=image)["image"]
    answer[0] = 7
    assert answer[0, 0, 0] == 7


def test_a_missing_model_is_refused_by_name_when_asked_for(triton: Triton) -> None:
    with pytest.raises(ModelRefused, match="has no model nothing"):
        triton.prepare(["double", "nothing"], 30)


def test_a_missing_model_is_refused_by_name_when_used(triton: Triton, image: Array) -> None:
    with pytest.raises(ModelRefused, match="has no model nothing"):
        triton.infer("nothing", image=image)


def test_a_model_that_raises_is_refused_with_its_words_and_without_its_traceback(triton: Triton, image: Array) -> None:
    with pytest.raises(ModelRefused, match=r"raises.*the lung is upside down") as refusal:
        triton.infer("raises", image=image)
    assert "\n" not in str(refusal.value)
    assert "model.py" not in str(refusal.value)


def test_a_wrong_name_of_an_input_is_refused(triton: Triton, image: Array) -> None:
    with pytest.raises(ModelRefused, match="picture"):
        triton.infer("double", picture=image)


def test_text_is_str_on_both_sides(triton: Triton) -> None:
    answer = triton.infer("words", text=np.array(["häuser", "", "b"]))
    assert answer["text"].tolist() == ["HÄUSER", "", "B"]
    assert answer["text"].dtype.kind == "U"


def test_the_version_that_serves_is_known(triton: Triton) -> None:
    assert triton.version("double") == "1"


def test_the_models_are_listed(triton: Triton) -> None:
    triton.prepare(["double"], 30)
    listed = {model.name: model for model in triton.models()}
    assert {"double", "raises", "words"} <= listed.keys()
    assert listed["double"].ready
    assert listed["double"].version == "1"


def test_a_closed_triton_may_be_used_again(triton: Triton, image: Array) -> None:
    triton.infer("double", image=image)
    triton.close()
    triton.close()
    np.testing.assert_array_equal(triton.infer("double", image=image)["image"], 2 * image)


def test_the_fake_records_its_calls(image: Array) -> None:
    fake = FakeTriton({"double": double})
    fake.infer("double", image=Carrier(array=image, affine=np.eye(4)))
    assert [call.model for call in fake.calls] == ["double"]
    assert fake.calls[0].inputs["image"] is image


def test_an_assert_in_a_fakes_model_is_the_tests_own() -> None:
    def strict(image: Array) -> Mapping[str, Array]:
        assert image.ndim == 3
        return {}

    with pytest.raises(AssertionError):
        FakeTriton({"strict": strict}).infer("strict", image=np.zeros(3))
