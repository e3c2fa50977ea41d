"""One suite for every Triton: the shipped fake, and a real server with a small Python-backend repository."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from node.arena import SHARED_MEMORY, Arena, ArenaPool
from node.errors import ConfigError, ModelRefused, TritonUnavailable
from node.triton.client import GrpcTriton, Triton
from node.triton.fake import FakeTriton
from node.triton.server import SOCKET, SOCKET_NUMBER, LocalServer
from node.triton.server_connection import MESSAGE_BYTES
from node.triton.shared_memory import Tensor
from node.triton.tensors import exact_cast, fit_input
from tests.peers import free_port, wait_until

pytest.importorskip("pytriton", reason="nvidia-pytriton is not installed")

Array = NDArray[Any]
IMAGE = 'input [{name: "image" data_type: TYPE_INT16 dims: [-1, -1, 3]}]\n'
MASK = 'output [{name: "image" data_type: TYPE_INT16 dims: [-1, -1, 3]}]\n'
TEXT = """
input [{name: "text" data_type: TYPE_STRING dims: [-1]}]
output [{name: "text" data_type: TYPE_STRING dims: [-1]}]
"""
CHOICE = """
input [{name: "image" data_type: TYPE_FP32 dims: [-1]}]
input [{name: "scale" data_type: TYPE_FP32 dims: [1] optional: true}]
output [{name: "image" data_type: TYPE_FP32 dims: [-1]}]
"""
MODEL = """
import time
import numpy as np
import triton_python_backend_utils as pb

def objects(texts):
    return np.array(texts, dtype=np.object_)

class TritonPythonModel:
    def execute(self, requests):
        return [pb.InferenceResponse([pb.Tensor(n, a) for n, a in self.answer(r).items()]) for r in requests]

    def take(self, request, name):
        tensor = pb.get_input_tensor_by_name(request, name)
        return None if tensor is None else tensor.as_numpy()

    def scaled(self, request, scale):
        return self.take(request, "image") * (np.float32(1) if scale is None else scale)

    def answer(self, request):
"""
MODELS = {  # name → (inputs and outputs, body of `answer`)
    "double": (IMAGE + MASK, '        return {"image": 2 * self.take(request, "image")}\n'),
    "raises": (IMAGE + MASK, '        raise ValueError("the lung is upside down")\n'),
    "twice": (
        IMAGE + MASK,
        '        image = self.take(request, "image")\n        return {"image": np.concatenate([image, image])}\n',
    ),
    "sleeps": (IMAGE + MASK, '        time.sleep(3)\n        return {"image": self.take(request, "image")}\n'),
    "broken": (IMAGE + MASK, "        return {]\n"),
    "words": (
        TEXT,
        '        return {"text": objects([t.decode().upper().encode() for t in self.take(request, "text")])}\n',
    ),
    "not_text": (
        TEXT,
        '        return {"text": objects([b"\\xff"])}\n',
    ),
    "choosy": (
        CHOICE,
        '        scale = self.take(request, "scale")\n        return {"image": self.scaled(request, scale)}\n',
    ),
}


def write_repository(folder: Path) -> Path:
    for name, (tensors, body) in MODELS.items():
        version = folder / name / "1"
        version.mkdir(parents=True)
        (folder / name / "config.pbtxt").write_text(f'backend: "python"\nmax_batch_size: 0\n{tensors}')
        (version / "model.py").write_text(MODEL + body)
    return folder


def double(image: Array) -> Mapping[str, Array]:
    return {"image": 2 * image}


def raises(image: Array) -> Mapping[str, Array]:
    raise ValueError("the lung is upside down")


def words(text: Array) -> Mapping[str, Array]:
    return {"text": np.char.upper(text)}


@dataclass(frozen=True)
class Carrier:
    """As `node.images.series.Volume`: an array with its affine."""

    array: Array
    affine: Array


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_repository(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def address(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with LocalServer(repository, tmp_path_factory.mktemp("log") / "triton.log") as server:
        yield server.address


@pytest.fixture
def real(address: str) -> Iterator[GrpcTriton]:
    triton = GrpcTriton([address], deadline_seconds=30)
    yield triton
    triton.close()


@pytest.fixture
def shared() -> Iterator[Arena]:
    """An arena."""
    pool = ArenaPool(64 << 20)
    with pool.lend(8 << 20, lambda: True) as name:
        yield Arena(name)
    pool.close()


@pytest.fixture
def sharing(address: str, shared: Arena) -> Iterator[GrpcTriton]:
    triton = GrpcTriton([address], deadline_seconds=30, arena=shared, shared_from=1)
    yield triton
    triton.close()


@pytest.fixture(params=["fake", "real", "real with shared memory"])
def triton(request: pytest.FixtureRequest) -> Triton:
    if request.param == "fake":
        return FakeTriton({"double": double, "raises": raises, "words": words})
    real: Triton = request.getfixturevalue("sharing" if request.param == "real with shared memory" else "real")
    return real


@pytest.fixture
def image() -> Array:
    return np.arange(-12, 12, dtype=np.int16).reshape(4, 2, 3)


# Every Triton


def test_a_model_answers_with_arrays_by_name(triton: Triton, image: Array) -> None:
    triton.prepare(["double"], 30)
    answer = triton.infer("double", image=image)
    assert answer.keys() == {"image"}
    assert answer["image"].dtype == np.int16
    np.testing.assert_array_equal(answer["image"], 2 * image)


def test_what_carries_an_array_is_sent_as_its_array(triton: Triton, image: Array) -> None:
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


# The fake alone


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


# The real one alone


def test_a_model_with_a_syntax_error_is_refused_in_one_sentence(real: GrpcTriton) -> None:
    with pytest.raises(ModelRefused, match=r"model broken at .*SyntaxError") as refusal:
        real.prepare(["broken"], 30)
    assert "\n" not in str(refusal.value)


def test_a_model_that_does_not_load_leaves_the_others_alone(real: GrpcTriton, image: Array) -> None:
    with pytest.raises(ModelRefused):
        real.prepare(["broken"], 30)
    real.prepare(["double"], 30)
    assert real.infer("double", image=image)
    assert not next(model for model in real.models() if model.name == "broken").ready


def test_an_answer_after_the_deadline_waits_for_the_clock(address: str, image: Array) -> None:
    hurried = GrpcTriton([address], deadline_seconds=0.5)
    hurried.prepare(["sleeps"], 30)
    with pytest.raises(TritonUnavailable, match=r"model sleeps at .* did not answer in time"):
        hurried.infer("sleeps", image=image)


def test_no_server_waits_for_the_clock() -> None:
    nobody = GrpcTriton([f"127.0.0.1:{free_port()}"])
    with pytest.raises(TritonUnavailable, match=r"127\.0\.0\.1:\d+ cannot be reached"):
        nobody.prepare(["double"], 5)
    with pytest.raises(TritonUnavailable):
        nobody.infer("double", image=np.zeros((1, 1, 3), np.int16))
    with pytest.raises(TritonUnavailable):
        nobody.models()


def test_the_next_server_is_asked_when_one_is_unavailable(address: str, image: Array) -> None:
    triton = GrpcTriton([f"127.0.0.1:{free_port()}", address])
    triton.prepare(["double"], 30)
    np.testing.assert_array_equal(triton.infer("double", image=image)["image"], 2 * image)


def test_the_next_server_is_not_asked_when_one_refuses(address: str) -> None:
    triton = GrpcTriton([address, f"127.0.0.1:{free_port()}"])
    with pytest.raises(ModelRefused, match="has no model nothing"):
        triton.prepare(["nothing"], 30)


def test_no_url_is_a_mistake_of_the_configuration() -> None:
    with pytest.raises(ConfigError, match="urls"):
        GrpcTriton([])


def test_one_model_may_be_asked_for_by_several_at_once(repository: Path, tmp_path: Path) -> None:
    with LocalServer(repository, tmp_path / "log") as server, ThreadPoolExecutor(4) as threads:
        preparing = [threads.submit(GrpcTriton([server.address]).prepare, ["double", "words"], 60) for _ in range(4)]
        for each in preparing:
            each.result()


def test_a_server_that_was_restarted_is_asked_to_load_again(repository: Path, tmp_path: Path, image: Array) -> None:
    folder = tmp_path / "t"
    triton = GrpcTriton([f"unix:{folder / SOCKET}:{SOCKET_NUMBER}"])
    for _ in range(2):
        with LocalServer(repository, tmp_path / "log", folder=folder):
            np.testing.assert_array_equal(triton.infer("double", image=image)["image"], 2 * image)


def test_a_model_that_is_unloaded_in_the_moment_it_is_asked_is_asked_again_later(
    repository: Path, tmp_path: Path, image: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is asked to end unloads its models first: a job that has just been sent must not be parked."""
    with LocalServer(repository, tmp_path / "log") as server:
        triton = GrpcTriton([server.address])
        triton.infer("double", image=image)
        other = GrpcTriton([server.address])
        other.unload("double")
        wait_until(
            lambda: not any(model.ready for model in other.models() if model.name == "double"), what="the unloading"
        )
        with monkeypatch.context() as late:
            late.setattr("node.triton.server_connection.ServerConnection._ready", lambda *_: True)
            with pytest.raises(TritonUnavailable, match="has just been unloaded"):
                triton.infer("double", image=image)
        np.testing.assert_array_equal(GrpcTriton([server.address]).infer("double", image=image)["image"], 2 * image)


def test_the_next_server_takes_over_when_one_ends(repository: Path, tmp_path: Path, address: str, image: Array) -> None:
    with LocalServer(repository, tmp_path / "log") as server:
        triton = GrpcTriton([server.address, address])
        triton.infer("double", image=image)
    np.testing.assert_array_equal(triton.infer("double", image=image)["image"], 2 * image)


def test_a_server_that_loads_none_on_request_serves_what_is_ready(
    repository: Path, tmp_path: Path, image: Array
) -> None:
    with LocalServer(repository, tmp_path / "log", control_mode="none") as server:
        triton = GrpcTriton([server.address])
        triton.prepare(["double"], 30)
        assert triton.infer("double", image=image)
        with pytest.raises(ModelRefused, match=r"model broken is not ready at .*SyntaxError.*restart"):
            triton.prepare(["broken"], 30)


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


# Shared memory


def answered_in(shared: Arena, triton: GrpcTriton, image: Array, model: str = "double") -> bool:
    """Whether an answer, which must be right, was written into the arena by the server itself."""
    answer = triton.infer(model, image=image)["image"]
    np.testing.assert_array_equal(answer, np.concatenate([image, image]) if model == "twice" else 2 * image)
    return shared.offset(answer) is not None


def test_an_array_in_the_arena_goes_there_and_back_without_a_copy(
    address: str, shared: Arena, image: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    sharing = GrpcTriton([address], arena=shared, shared_from=1, message_bytes=2**16)  # no message has room for arrays
    here = shared.allocate(image.shape, image.dtype)
    assert here is not None
    here[...] = image
    monkeypatch.setattr(shared, "allocate", lambda *_: None)  # nor has the arena room for a copy
    with pytest.raises(ModelRefused, match="gRPC carries"):
        sharing.infer("double", image=np.zeros((1, 20000, 3), np.int16))
    np.testing.assert_array_equal(sharing.infer("double", image=here)["image"], 2 * image)


def test_an_answer_is_written_into_the_arena(sharing: GrpcTriton, shared: Arena, image: Array) -> None:
    assert answered_in(shared, sharing, image)
    assert answered_in(shared, sharing, image[::-1, ::-1])


def test_an_answer_stays_when_others_follow(sharing: GrpcTriton, shared: Arena, image: Array) -> None:
    first = sharing.infer("double", image=image)["image"][1:]
    for _ in range(20):
        sharing.infer("double", image=image + 1)
    np.testing.assert_array_equal(first, 2 * image[1:])


def test_an_answer_larger_than_its_place_comes_in_the_message(sharing: GrpcTriton, shared: Arena, image: Array) -> None:
    assert not answered_in(shared, sharing, image, "twice")
    assert answered_in(shared, sharing, image)


def test_a_full_arena_leaves_arrays_to_the_message(sharing: GrpcTriton, shared: Arena, image: Array) -> None:
    full = shared.allocate((shared.size,), np.uint8)
    assert full is not None
    assert not answered_in(shared, sharing, image)
    del full
    assert answered_in(shared, sharing, image)


def test_a_server_that_does_not_reach_the_arena_gets_arrays_in_the_message(
    sharing: GrpcTriton, shared: Arena, image: Array
) -> None:
    (SHARED_MEMORY / shared.name).unlink()
    assert not answered_in(shared, sharing, image)


def test_a_server_that_was_restarted_has_the_arena_again(
    repository: Path, tmp_path: Path, image: Array, shared: Arena
) -> None:
    folder = tmp_path / "t"
    triton = GrpcTriton([f"unix:{folder / SOCKET}:{SOCKET_NUMBER}"], arena=shared, shared_from=1)
    with LocalServer(repository, tmp_path / "log", folder=folder):
        assert answered_in(shared, triton, image)
    with LocalServer(repository, tmp_path / "log", folder=folder):
        answered_in(shared, triton, image)  # it learns by it that the server has forgotten
        assert answered_in(shared, triton, image)


def test_an_arena_is_abandoned_that_a_late_answer_may_still_be_written_into(
    address: str, shared: Arena, image: Array
) -> None:
    hurried = GrpcTriton([address], deadline_seconds=0.5, arena=shared, shared_from=1)
    hurried.prepare(["sleeps"], 30)
    with pytest.raises(TritonUnavailable):
        hurried.infer("sleeps", image=image)
    assert shared.abandoned
    assert not (SHARED_MEMORY / shared.name).exists()


def test_what_a_server_has_mapped_of_a_job_that_was_killed_is_let_go_by_the_next(
    address: str, sharing: GrpcTriton, shared: Arena, image: Array
) -> None:
    assert answered_in(shared, sharing, image)
    (SHARED_MEMORY / shared.name).unlink()  # as its owner does when the job has died
    pool = ArenaPool(64 << 20)
    with pool.lend(8 << 20, lambda: True) as name:
        following = GrpcTriton([address], deadline_seconds=30, arena=Arena(name))
        following.infer("double", image=image)
        assert name in mapped(following)
        assert shared.name not in mapped(following)
    assert pool.close() == [name]
    following.let_go([name])
    assert name not in mapped(following)
    following.close()


def mapped(triton: GrpcTriton) -> set[str]:
    return set(triton._servers[0].client.get_system_shared_memory_status().regions)
