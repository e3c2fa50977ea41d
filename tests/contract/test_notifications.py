"""What another process has written is noticed by the steps that have something to do, and by no other."""

from collections.abc import Callable

import pytest

from node.ledger import Ledger
from node.notifications import News
from node.records import Plan, ResultObject

STEPS = ("receive", "assemble", "route", "infer", "deliver to PACS", "commit at PACS", "purge")
STUDY = "1.2.1"


@pytest.fixture
def woken() -> list[str]:
    return []


@pytest.fixture
def news(ledger: Ledger, woken: list[str]) -> News:
    heard = News(ledger.events, lambda: STEPS, lambda *names: woken.extend(names))
    heard.hear()
    return heard


def test_events_from_before_the_start_wake_nothing(
    ledger: Ledger, routed: Callable[..., int], woken: list[str]
) -> None:
    routed()
    late = News(ledger.events, lambda: STEPS, lambda *names: woken.extend(names))
    late.hear()
    assert woken == []


def test_each_step_hears_of_its_own(
    ledger: Ledger,
    news: News,
    routed: Callable[..., int],
    wanted: Callable[..., Plan],
    result: Callable[..., ResultObject],
    woken: list[str],
) -> None:
    def heard() -> set[str]:
        woken.clear()
        news.hear()
        return set(woken)

    routed(wanted())
    assert heard() == {"assemble", "route", "infer"}
    assert heard() == set(), "once"
    job = ledger.jobs.claim(lease_seconds=60)
    assert job is not None
    assert heard() == set()
    assert ledger.jobs.postpone(job, seconds=0, reason="given back", attempts=0)
    assert heard() == {"infer"}
    job = ledger.jobs.claim(lease_seconds=60)
    assert job is not None
    ledger.jobs.finish(job, [result()])
    assert heard() == {"deliver to PACS"}
    (sent,) = ledger.deliveries.claim("PACS", lease_seconds=60)
    ledger.deliveries.park(sent, "refused")
    assert heard() == set()
    ledger.queries.requeue()
    assert heard() == {"route", "infer", "deliver to PACS"}
    (sent,) = ledger.deliveries.claim("PACS", lease_seconds=60)
    ledger.deliveries.mark_delivered(sent)
    assert heard() == {"commit at PACS"}


def test_an_event_that_is_committed_after_a_later_one_is_heard(
    ledger: Ledger, news: News, woken: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers are given out before transactions are committed."""
    for _ in range(3):
        ledger.events.add(STUDY, "job.planned", "")
    every = ledger.events.names
    second = every(after=0)[1]
    monkeypatch.setattr(
        ledger.events, "names", lambda *, after: [number for number in every(after=after) if number != second]
    )
    news.hear()
    woken.clear()
    monkeypatch.undo()
    news.hear()
    assert woken == ["infer"]


def test_a_backlog_of_events_is_not_read_again_and_again(ledger: Ledger, news: News, woken: list[str]) -> None:
    for _ in range(120):
        ledger.events.add(STUDY, "study.stable", "")
    news.hear()
    assert news._after is not None
    assert len(ledger.events.names(after=news._after)) == 50
    woken.clear()
    news.hear()
    assert woken == []
