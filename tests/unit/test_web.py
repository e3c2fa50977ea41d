"""The page and its JSON: what they show, and whom they answer."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from node.errors import ConfigError
from node.ledger import Ledger
from node.operation_records import Identifiers
from node.records import Plan
from node.settings import Settings
from node.web import create
from node.web.study_pages import page
from node.web.study_pages import wanted as wanted_of_url

HOSTILE = "<script>alert(1)</script>\x1b[31m"
PAGES = ("/", "/queue", "/studies", "/studies/1.2.1")


@pytest.fixture
def browser(
    tmp_path: Path, routed: Callable[..., int], wanted: Callable[..., Plan], ledger: Ledger
) -> Iterator[TestClient]:
    """A browser on this machine. The node has three studies, a parked and a waiting job with reasons from outside."""
    for number in (1, 2, 3):
        routed(wanted(), study=f"1.2.{number}", number=number)
        ledger.studies.identify(f"1.2.{number}", Identifiers(patient_id=HOSTILE, accession_number=f"A{number}"))
    parked, waiting = ledger.jobs.claim(lease_seconds=60), ledger.jobs.claim(lease_seconds=60)
    assert parked is not None
    assert waiting is not None
    ledger.jobs.park(parked, HOSTILE)
    ledger.jobs.postpone(waiting, seconds=60, reason=HOSTILE, attempts=1)
    settings = Settings.model_validate({"spool": {"path": tmp_path / "spool", "free_mark_mb": 0}})
    with TestClient(create(settings, ledger), base_url="http://127.0.0.1:8080") as client:
        yield client


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield opened
    opened.close()


@pytest.mark.parametrize("path", PAGES)
def test_what_a_header_holds_is_text_on_every_page(browser: TestClient, path: str) -> None:
    answer = browser.get(path)
    assert answer.status_code == 200
    assert "<script" not in answer.text
    assert "\x1b" not in answer.text
    assert "&lt;script&gt;" in answer.text


def test_a_name_that_is_not_this_machine_is_refused_on_every_route(browser: TestClient) -> None:
    paths = [*PAGES, "/alive", "/ready", "/metrics", "/api/v1/studies", "/api/v1/openapi.json", "/static/page.css"]
    for path in paths:
        assert browser.get(path).status_code in {200, 503}, path
        for host in ("evil.example", "evil.example:8080", "127.0.0.1.evil.example:8080", ""):
            assert browser.get(path, headers={"host": host}).status_code == 421, (path, host)


def test_no_answer_lets_a_browser_run_a_script_or_keep_a_copy(browser: TestClient) -> None:
    for path in (*PAGES, "/nothing", "/static/page.css"):
        headers = browser.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'")
        assert headers["cache-control"] == "no-store"


def test_no_route_changes_anything(browser: TestClient) -> None:
    described = browser.get("/api/v1/openapi.json").json()["paths"]
    assert described
    assert {method for path in described.values() for method in path} == {"get"}
    assert browser.post("/studies").status_code == 405


def test_pages_of_studies_have_each_study_once(browser: TestClient, ledger: Ledger) -> None:
    first = page(ledger, wanted_of_url(), size=2)
    second = page(ledger, wanted_of_url(after=first.after), size=2)
    assert sorted(row["study"] for row in first.studies + second.studies) == ["1.2.1", "1.2.2", "1.2.3"]
    assert second.after == ""
    answer = browser.get("/api/v1/studies", params={"after": first.after}).json()
    assert [row["study"] for row in answer["studies"]] == [row["study"] for row in second.studies]


def test_a_search_finds_what_the_command_finds(browser: TestClient) -> None:
    found = browser.get("/api/v1/studies", params={"accession": "A2"}).json()["studies"]
    assert [row["study"] for row in found] == ["1.2.2"]
    for mistake in ({"date": "yesterday"}, {"state": "odd"}, {"after": "odd"}):
        assert browser.get("/api/v1/studies", params=mistake).status_code == 422


def test_a_study_that_never_came_is_not_found(browser: TestClient) -> None:
    for path in ("/studies/9.9", "/api/v1/studies/9.9", "/studies/..%2f..%2fetc%2fpasswd", "/static/..%2fapp.py"):
        assert browser.get(path).status_code == 404


def test_a_node_without_processes_is_alive_and_not_ready(browser: TestClient) -> None:
    assert browser.get("/alive").status_code == 200
    ready = browser.get("/ready")
    assert (ready.status_code, ready.json()) == (503, {"missing_roles": ["work", "receive", "deliver"]})


def test_metrics_tell_how_long_the_oldest_of_each_stage_waits(browser: TestClient) -> None:
    text = browser.get("/metrics").text
    for queue in browser.get("/api/v1/status").json()["queues"]:
        assert f'isocenter_oldest_waiting_seconds{{stage="{queue["stage"]}"}}' in text
    assert "isocenter_needs_person 1.0" in text


@pytest.mark.parametrize(
    "address", ["0.0.0.0:8080", "10.0.0.5:8080", ":8080", "127.0.0.1", "127.0.0.1:0", "localhost:x"]
)
def test_the_page_listens_on_this_machine_only(tmp_path: Path, address: str) -> None:
    file = tmp_path / "isocenter.toml"
    file.write_text(f'[web]\naddress = "{address}"\n')
    with pytest.raises(ConfigError, match="no login"):
        Settings.read(file)
