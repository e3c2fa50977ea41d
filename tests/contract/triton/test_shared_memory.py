"""Arrays that travel between client and server in shared memory."""

from pathlib import Path

import numpy as np
import pytest

from node.arena import SHARED_MEMORY, Arena, ArenaPool
from node.errors import ModelRefused, TritonUnavailable
from node.triton.client import GrpcTriton
from node.triton.server import SOCKET, SOCKET_NUMBER, LocalServer
from tests.triton_repository import Array

pytest.importorskip("pytriton", reason="nvidia-pytriton is not installed")


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
