"""A real server that lacks a model, fails, restarts or is away; and the next server, which takes over."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from node.errors import ConfigError, ModelRefused, TritonUnavailable
from node.triton.client import GrpcTriton
from node.triton.server import SOCKET, SOCKET_NUMBER, LocalServer
from tests.peers import free_port, wait_until
from tests.triton_repository import Array

pytest.importorskip("pytriton", reason="nvidia-pytriton is not installed")


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


def test_an_answer_after_the_deadline_is_a_transient_error(address: str, image: Array) -> None:
    hurried = GrpcTriton([address], deadline_seconds=0.5)
    hurried.prepare(["sleeps"], 30)
    with pytest.raises(TritonUnavailable, match=r"model sleeps at .* did not answer in time"):
        hurried.infer("sleeps", image=image)


def test_no_server_is_a_transient_error() -> None:
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


def test_a_client_without_urls_is_a_config_error() -> None:
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
