"""Arrays in memory that is lent from job to job: they never overlap, and a budget bounds them all."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node import arena
from node.arena import ROOM, SHARED_MEMORY, Arena, Arenas
from node.errors import ModelRefused

MEBIBYTE = 1 << 20


@pytest.fixture
def arenas() -> Iterator[Arenas]:
    made = Arenas(16 * MEBIBYTE)
    yield made
    arena.use("")
    made.close()


def go_on() -> bool:
    return True


@settings(max_examples=30, deadline=None)
@given(moves=st.lists(st.tuples(st.integers(1, MEBIBYTE), st.booleans()), max_size=30))
def test_arrays_that_live_never_overlap(moves: list[tuple[int, bool]]) -> None:
    arenas = Arenas(4 * MEBIBYTE)
    with arenas.lend(2 * MEBIBYTE, go_on) as name:
        lent, kept = Arena(name), []
        for number, (size, keep) in enumerate(moves):
            array = lent.empty((size,), np.uint8)
            if array is None:
                kept = kept[1:]
                continue
            array[...] = number
            if keep:
                kept.append((number, array[size // 3 :].reshape(1, -1)))  # a view keeps its place too
        assert all((array == number).all() for number, array in kept)
    arenas.close()


def test_a_place_is_free_again_when_its_array_is_gone(arenas: Arenas) -> None:
    with arenas.lend(2 * MEBIBYTE, go_on) as name:
        arena.use(name)
        whole = (int(2 * MEBIBYTE * ROOM),)
        for _ in range(3):
            array = arena.empty(whole, np.uint8)
            lent = arena.lent()
            assert lent is not None
            assert lent.offset(array) == 0
            other = arena.empty(whole, np.uint8)  # no room: memory of our own
            assert lent.offset(other) is None
            del array, other


def test_an_arena_goes_from_job_to_job_and_grows(arenas: Arenas) -> None:
    with arenas.lend(2 * MEBIBYTE, go_on) as first:
        pass
    with arenas.lend(MEBIBYTE, go_on) as second:
        assert second == first
    with arenas.lend(4 * MEBIBYTE, go_on) as third:
        assert third != first  # a server may have the smaller one mapped by its name
        assert Arena(third).size == 6 * MEBIBYTE
    assert not (SHARED_MEMORY / first).exists()
    assert arenas.close() == [third]
    assert not (SHARED_MEMORY / third).exists()


def test_one_is_prepared_while_a_study_is_received(arenas: Arenas) -> None:
    for size in (MEBIBYTE, 2 * MEBIBYTE, 4 * MEBIBYTE):
        arenas.prepare(size)
    (name,) = arenas.close()
    arenas.prepare(100)
    assert arenas.close() == []
    assert not (SHARED_MEMORY / name).exists()


def test_jobs_wait_for_room_in_the_budget(arenas: Arenas) -> None:
    begun, order = threading.Event(), []

    def second() -> None:
        with arenas.lend(8 * MEBIBYTE, lambda: bool(begun.set()) or True):
            order.append("second")

    with arenas.lend(4 * MEBIBYTE, go_on):
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.3)
        order.append("first")
    waiting.join(10)
    assert order == ["first", "second"]


def test_a_job_larger_than_the_budget_runs_alone_with_all_of_it(arenas: Arenas) -> None:
    with arenas.lend(1000 * MEBIBYTE, go_on) as name:
        assert Arena(name).size == 16 * MEBIBYTE


def test_a_job_that_is_ended_waits_no_longer(arenas: Arenas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arena, "BEAT_SECONDS", 0.01)
    with arenas.lend(8 * MEBIBYTE, go_on), arenas.lend(8 * MEBIBYTE, lambda: False):
        pass


def test_without_a_budget_or_a_place_there_is_no_arena(monkeypatch: pytest.MonkeyPatch, arenas: Arenas) -> None:
    with Arenas(0).lend(8 * MEBIBYTE, go_on) as name:
        assert name == ""
    monkeypatch.setattr(arena, "make", refuse)
    with arenas.lend(8 * MEBIBYTE, go_on) as name:
        assert name == ""


def refuse(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def test_one_that_was_abandoned_is_not_lent_again_and_one_of_a_refused_job_is(arenas: Arenas) -> None:
    with pytest.raises(ModelRefused), arenas.lend(MEBIBYTE, go_on) as first:
        raise ModelRefused("no")
    with arenas.lend(MEBIBYTE, go_on) as second:
        assert second == first
        arena.use(second)
        arena.abandon()
    with arenas.lend(MEBIBYTE, go_on) as third:
        assert third != first
