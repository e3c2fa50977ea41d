"""Which server a job asks first, which models give way, and what becomes of jobs when a server goes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from node.errors import ModelRefused, TritonUnavailable
from node.host import Kind, Manifest, Plugin
from node.infer.job import Order, Performed, attempt
from node.ledger import Ledger
from node.records import Plan
from node.triton.client import GrpcTriton
from node.triton.fleet import Fleet
from node.triton.model_memory import ModelMemory
from node.triton.server import LocalServer
from node.triton.server_connection import REST_SECONDS
from tests.fleets import ON_THE_WAY, Models, ask, background, fleet, loaded, make_models
from tests.peers import ROOT, free_port, wait_until

pytest.importorskip("pytriton", reason="nvidia-pytriton is not installed")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return make_models(tmp_path_factory.mktemp("fleet"))


@pytest.fixture(scope="module")
def address(models: Models) -> Iterator[str]:
    with LocalServer(models.folder, models.folder.with_name("triton.log")) as server:
        yield server.address


@pytest.fixture
def triton(address: str, models: Models) -> Iterator[GrpcTriton]:
    client = GrpcTriton([address], deadline_seconds=120)
    yield client
    models.gate.unlink(missing_ok=True)
    for name in client.last_used():
        client.unload(name)
    client.close()


# Versions


def test_a_pinned_version_answers_and_is_named(triton: GrpcTriton) -> None:
    triton.prepare(["twice:1"], 60)
    assert ask(triton, "twice", 5) == 5
    assert triton.version("twice") == "1"
    triton.prepare(["twice"], 60)
    assert ask(triton, "twice", 5) == 10
    assert triton.version("twice") == "2"


def test_a_pinned_version_that_is_not_served_is_refused_with_the_one_that_is(triton: GrpcTriton) -> None:
    with pytest.raises(ModelRefused, match=r"newest serves version 2 at .*asks for version 1"):
        triton.prepare(["newest:1"], 60)


# The response cache


def test_a_model_whose_answers_would_be_kept_is_never_asked(triton: GrpcTriton, models: Models) -> None:
    before = models.asked()
    with pytest.raises(ModelRefused, match=r"response cache.*not for patients' data"):
        triton.prepare(["keeps"], 60)
    with pytest.raises(ModelRefused, match="response cache"):
        ask(triton, "keeps")
    assert models.asked() == before


# Urgent first, cancelled


def test_of_requests_that_wait_the_urgent_one_goes_first(address: str, triton: GrpcTriton, models: Models) -> None:
    before = shut_gate(models, triton, "queue")
    threads = background(lambda: ask(triton, "queue", 1))
    wait_until(lambda: len(models.asked()) == before + 1, what="the first request")
    for number, priority in ((2, -10), (3, 0), (4, 20)):
        threads += background(lambda n=number, p=priority: ask(GrpcTriton([address], 120, p), "queue", n))
    time.sleep(ON_THE_WAY)
    models.gate.unlink()
    for thread in threads:
        thread.join()
    assert models.asked()[before:] == ["1", "4", "3", "2"]


def test_requests_of_a_job_that_is_killed_are_cancelled_and_those_that_wait_never_begin(
    address: str, triton: GrpcTriton, models: Models
) -> None:
    before = shut_gate(models, triton, "queue")
    jobs = [job(address, 1)]
    wait_until(lambda: len(models.asked()) == before + 1, what="the first request")
    jobs.append(job(address, 2))
    time.sleep(ON_THE_WAY)
    for process in reversed(jobs):
        process.kill()
        process.wait()
        time.sleep(0.2)
    wait_until(lambda: len(models.asked()) == before + 2, what="that the first is cancelled")
    models.gate.unlink()
    ask(triton, "queue", 3)
    assert models.asked()[before:] == ["1", "1 cancelled", "3"]


JOB = """
import sys
import numpy as np
from node.triton import GrpcTriton

print("up", flush=True)
GrpcTriton([sys.argv[1]]).infer("queue", x=np.array([int(sys.argv[2])], np.int16))
"""


def job(address: str, number: int) -> subprocess.Popen[str]:
    """Start a process that asks, and return it when it is about to."""
    command = [sys.executable, "-c", JOB, address, str(number)]
    started = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert started.stdout
    assert started.stdout.readline() == "up\n"
    return started


def test_a_request_that_is_late_is_cancelled(address: str, triton: GrpcTriton, models: Models) -> None:
    before = shut_gate(models, triton, "plain")
    with pytest.raises(TritonUnavailable, match="did not answer in time"):
        ask(GrpcTriton([address], deadline_seconds=2), "plain", 1)
    wait_until(lambda: len(models.asked()) == before + 2, what="that it is cancelled")
    assert models.asked()[before:] == ["1", "1 cancelled"]


def shut_gate(models: Models, triton: GrpcTriton, model: str) -> int:
    """Have a model at hand that lets nobody through; return how much was asked before."""
    triton.prepare([model], 60)
    models.gate.touch()
    return len(models.asked())


# Memory


def test_a_job_that_asks_no_model_asks_no_server_for_room(tmp_path: Path) -> None:
    """A node whose plugins have no models starts no server of its own, and there is none to ask."""
    memory = ModelMemory(repository=tmp_path, limit=1)
    servers = Fleet(urls=lambda: [""], models=(), memory=memory, deadline_seconds=60)
    with servers.lend([]) as (urls, _):
        assert urls == ("",)


def test_the_least_recently_used_model_gives_way_and_no_model_of_a_running_job(
    address: str, triton: GrpcTriton, models: Models
) -> None:
    servers = fleet(models, lambda: [address], processes=2.5)
    triton.prepare(["plain", "other"], 60)
    ask(triton, "plain")
    ask(triton, "other")
    with servers.lend(["third"]):
        triton.prepare(["third"], 60)
        ask(triton, "third")
        assert triton.last_used().keys() == {"other", "third"}
        with servers.lend(["other"]), servers.lend(["plain"]):
            assert triton.last_used().keys() == {"other", "third"}
    with servers.lend(["other"]), servers.lend(["plain"]):
        assert triton.last_used().keys() == {"other"}


# Which server


def test_the_server_with_the_fewest_jobs_is_asked_first_and_one_that_is_away_last(address: str, models: Models) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    servers = fleet(models, lambda: [nowhere, address], wanted=["plain"])
    lend_first, lend_second, lend_third = (servers.lend(["plain"]) for _ in range(3))
    with lend_first as (first, alone), lend_second as (second, _), lend_third as (again, behind_the_first):
        assert (first[0], second[0], again[0]) == (nowhere, address, nowhere)
        assert behind_the_first == 2 * alone
    servers.start()
    loaded(servers)
    with servers.lend(["plain"]) as (first, _), servers.lend(["plain"]) as (second, _):
        assert first == second == (address, nowhere)
    assert "plain" in GrpcTriton([address]).last_used()


def test_a_node_that_stops_loads_no_more_models(address: str, triton: GrpcTriton, models: Models) -> None:
    servers = replace(fleet(models, lambda: [address], wanted=["unasked", "nothing"]), stopping=lambda: True)
    servers.start()
    servers.watch()
    time.sleep(ON_THE_WAY)
    assert "unasked" not in triton.last_used()
    with pytest.raises(ModelRefused, match="has no model nothing"):
        replace(servers, stopping=lambda: False).start()


def test_a_server_that_failed_a_job_is_asked_last_until_it_lives(address: str, models: Models) -> None:
    servers = fleet(models, lambda: [address, "127.0.0.1:1"], wanted=["plain"])
    with pytest.raises(TritonUnavailable), servers.lend(["plain"]):
        raise TritonUnavailable("it broke off")
    with servers.lend(["plain"]) as (urls, _):
        assert urls == ("127.0.0.1:1", address)
    servers.watch()
    with servers.lend(["plain"]) as (urls, _):
        assert urls == (address, "127.0.0.1:1")


def test_a_server_that_was_unavailable_is_not_asked_again_at_once(
    address: str, triton: GrpcTriton, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = GrpcTriton([f"127.0.0.1:{free_port()}", address])
    ask(both, "plain")
    asked = []
    monkeypatch.setattr(both._servers[0], "infer", lambda *_: asked.append(1))
    ask(both, "plain")
    assert not asked
    monkeypatch.setattr("node.triton.client.time.monotonic", lambda now=time.monotonic: now() + REST_SECONDS)
    with pytest.raises(TypeError):  # what stands for it there answers nothing
        ask(both, "plain")
    assert asked


# Jobs, while servers come and go


@pytest.fixture
def ledger_url(tmp_path: Path) -> str:
    """What is tested here is not the ledger."""
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def clock() -> Callable[[], float]:
    """Jobs that wait for a server are due again by real time."""
    return time.time


JOBS = 50


def test_jobs_outlive_servers_that_are_killed_restarted_and_replaced(
    models: Models, tmp_path: Path, ledger: Ledger, routed: Callable[..., int], wanted: Callable[..., Plan]
) -> None:
    for number in range(JOBS):
        routed(wanted(), study=f"1.2.{number + 1}")
    manifest = Manifest(
        name="spleen",
        version="1",
        title="Spleen",
        kind=Kind.DETERMINISTIC,
        models=["plain"],
        series={"ct": {"when": {}}},
    )
    plugin = Plugin(manifest=manifest, folder=tmp_path)
    first, second = (LocalServer(models.folder, tmp_path / f"{name}.log") for name in "ab")
    urls = [first.start()]
    servers = fleet(models, lambda: tuple(urls), wanted=["plain"])
    answers: dict[int, int] = {}

    def perform(order: Order, renew: Callable[[], bool]) -> Performed:
        with servers.lend(order.plugin.manifest.models) as (there, deadline):
            triton = GrpcTriton(there, deadline)
            triton.prepare(order.plugin.manifest.models, 60)
            answers[order.job.id] = ask(triton, "plain", order.job.id)
            triton.close()
        return Performed(objects=(), remarks=(), timing={})

    def work() -> None:
        while len(answers) + len(ledger.queries.parked()) < JOBS or ledger.jobs.next_due() is not None:
            servers.watch()
            attempt(
                ledger.jobs,
                ledger.instances,
                {"spleen": plugin},
                perform,
                lambda *_: None,
                attempts=1,
                device_uid="2.25.1",
            )
            time.sleep(0.02)

    workers = background(work, work)
    try:
        wait_until(lambda: len(answers) > 5, what="the first jobs")
        models.gate.touch()
        kill(first)
        models.gate.unlink()
        wait_until(lambda: not first.alive, what="the end of the server")
        urls[:] = [first.start()]
        wait_until(lambda: len(answers) > 20, what="jobs after the restart")
        urls.append(second.start())
        first.stop()
        urls[:] = [second.address]
        for worker in workers:
            worker.join(240)
    finally:
        first.stop()
        second.stop()
    assert ledger.queries.parked() == []
    assert len(answers) == JOBS
    assert all(answer == number for number, answer in answers.items())


def kill(server: LocalServer) -> None:
    """End the server as a crash would, and not its keeper."""
    assert server._keeper
    children = Path(f"/proc/{server._keeper.pid}/task/{server._keeper.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
