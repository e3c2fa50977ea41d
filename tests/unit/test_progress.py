"""Bars in a terminal, and nothing of them elsewhere."""

from collections.abc import Iterator
from io import StringIO

import pytest

from node.progress import ERASE, Progress, awaited, bar


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def now() -> list[float]:
    """A clock that is set by hand."""
    return [0.0]


def by_hand(doing: str, stream: StringIO, now: list[float], *, shown: bool | None = None) -> Progress:
    """Return a bar that is drawn where a test asks for it."""
    return Progress(doing, stream=stream, shown=shown, clock=lambda: now[0], every=1e6)


def test_a_bar_says_how_much_is_done_or_that_something_moves() -> None:
    assert bar("sending", 5, 20, 12.3) == "sending [#####---------------] 5/20, 12 s"
    assert bar("sending", 21, 20, 1) == "sending [####################] 21/20, 1 s"
    moving = [bar("loading", 0, 0, seconds / 5) for seconds in range(31)]
    assert moving[0] == "loading [#####---------------] 0 s"
    assert moving[15] == "loading [---------------#####] 3 s"
    assert moving[30] == "loading [#####---------------] 6 s"


def test_a_bar_comes_after_a_second_and_is_gone_at_the_end(now: list[float]) -> None:
    terminal = Terminal()
    with by_hand("loading", terminal, now) as progress:
        progress.draw()
        assert terminal.getvalue() == ""
        now[0] = 2
        progress.draw()
        assert terminal.getvalue().startswith(f"{ERASE}loading [")
        progress.say(lambda: terminal.write("a line\n"))
        assert terminal.getvalue().endswith(f" 2 s{ERASE}a line\n")
        progress.begin("asking", 4)
        now[0] = 4
        progress.step()
        progress.draw()
    assert terminal.getvalue().endswith(f"asking [#####---------------] 1/4, 2 s{ERASE}")
    progress.draw()
    assert terminal.getvalue().endswith(ERASE)


def test_a_line_is_never_longer_than_the_terminal_is_wide(now: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    terminal = Terminal()
    with by_hand("x" * 50, terminal, now) as progress:
        now[0] = 2
        progress.draw()
    assert terminal.getvalue() == f"{ERASE}{'x' * 29}{ERASE}"


@pytest.mark.parametrize("shown", [None, False])
def test_where_there_is_no_terminal_nothing_is_drawn(now: list[float], shown: bool | None) -> None:
    stream = StringIO() if shown is None else Terminal()
    with by_hand("loading", stream, now, shown=shown) as progress:
        now[0] = 9
        progress.draw()
        progress.say(lambda: stream.write("a line\n"))
    assert stream.getvalue() == "a line\n"


def test_the_bar_is_there_while_an_item_is_awaited_and_out_of_the_way_of_who_prints_it(now: list[float]) -> None:
    terminal = Terminal()
    progress = by_hand("checking", terminal, now)

    def items() -> Iterator[int]:
        for number in range(2):
            now[0] += 2
            progress.draw()
            yield number

    for number in awaited(items(), progress):
        assert terminal.getvalue().endswith(ERASE)
        terminal.write(f"{number}\n")
    lines = terminal.getvalue().replace(ERASE, "|").splitlines()
    assert [line.rpartition("|")[2] for line in lines] == ["0", "1"]
    assert terminal.getvalue().count("checking") == 2
