"""Arrays in memory that is lent from job to job: they never overlap, and a budget limits the memory."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node import arena
from node.arena import HEADROOM, SHARED_MEMORY, Arena, ArenaPool
from node.errors import ModelRefused

MEBIBYTE = 1 << 20


@pytest.fixture
def arenas() -> Iterator[ArenaPool]:
    made = ArenaPool(16 * MEBIBYTE)
    yield made
    made.close()


def go_on() -> bool:
    return True


@settings(max_examples=30, deadline=None)
@given(moves=st.lists(st.tuples(st.integers(1, MEBIBYTE), st.booleans()), max_size=30))
def test_arrays_that_live_never_overlap(moves: list[tuple[int, bool]]) -> None:
    arenas = ArenaPool(4 * MEBIBYTE)
    with arenas.lend(2 * MEBIBYTE, go_on) as name:
        lent, kept = Arena(name), []
        for number, (size, keep) in enumerate(moves):
            array = lent.allocate((size,), np.uint8)
            if array is None:
                kept = kept[1:]
                continue
            array[...] = number
            if keep:
                kept.append((number, array[size // 3 :].reshape(1, -1)))  # a view keeps the memory too
        assert all((array == number).all() for number, array in kept)
    arenas.close()


def test_memory_is_free_again_when_its_array_is_deleted(arenas: ArenaPool) -> None:
    with arenas.lend(2 * MEBIBYTE, go_on) as name:
        lent = Arena(name)
        whole = (int(2 * MEBIBYTE * HEADROOM),)
        for _ in range(3):
            array = lent.empty(whole, np.uint8)
            assert lent.offset(array) == 0
            other = lent.empty(whole, np.uint8)  # no room: memory of this process
            assert lent.offset(other) is None
            del array, other


def test_an_arena_goes_from_job_to_job_and_grows(arenas: ArenaPool) -> None:
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


def test_an_arena_is_prepared_while_a_study_is_received(arenas: ArenaPool) -> None:
    for size in (MEBIBYTE, 2 * MEBIBYTE, 4 * MEBIBYTE):
        arenas.prepare(size)
    (name,) = arenas.close()
    arenas.prepare(100)
    assert arenas.close() == []
    assert not (SHARED_MEMORY / name).exists()


def test_jobs_wait_for_room_in_the_budget(arenas: ArenaPool) -> None:
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


def test_a_job_larger_than_the_budget_runs_alone_with_all_of_it(arenas: ArenaPool) -> None:
    with arenas.lend(1000 * MEBIBYTE, go_on) as name:
        assert Arena(name).size == 16 * MEBIBYTE


def test_a_job_that_is_ended_waits_no_longer() -> None:
    arenas = ArenaPool(16 * MEBIBYTE, beat_seconds=0.01)
    with arenas.lend(8 * MEBIBYTE, go_on), arenas.lend(8 * MEBIBYTE, lambda: False):
        pass
    arenas.close()


def test_there_is_no_arena_without_a_budget_or_room(monkeypatch: pytest.MonkeyPatch, arenas: ArenaPool) -> None:
    with ArenaPool(0).lend(8 * MEBIBYTE, go_on) as name:
        assert name == ""
    monkeypatch.setattr(arena, "create_arena", refuse)
    with arenas.lend(8 * MEBIBYTE, go_on) as name:
        assert name == ""


def refuse(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def test_an_abandoned_arena_is_not_lent_again_and_that_of_a_refused_job_is(arenas: ArenaPool) -> None:
    with pytest.raises(ModelRefused), arenas.lend(MEBIBYTE, go_on) as first:
        raise ModelRefused("no")
    with arenas.lend(MEBIBYTE, go_on) as second:
        assert second == first
        Arena(second).abandon()
    with arenas.lend(MEBIBYTE, go_on) as third:
        assert third != first
