"""The query by which Kubernetes scales workers, on a PostgreSQL ledger."""

from collections.abc import Callable

import psycopg
import pytest
import yaml

from node.ledger import Ledger, conninfo
from node.records import Plan
from tests.peers import ROOT


@pytest.mark.parametrize("ledger_url", ["postgres"], indirect=True)
def test_it_says_for_how_many_seconds_the_oldest_job_has_waited(
    ledger: Ledger, ledger_url: str, routed: Callable[..., int], wanted: Callable[..., Plan]
) -> None:
    address = conninfo(ledger_url)
    assert address is not None
    objects = yaml.safe_load_all((ROOT / "config/kubernetes/workers-scaled.yaml").read_text())
    (query,) = (
        found["spec"]["triggers"][0]["metadata"]["query"] for found in objects if found["kind"] == "ScaledObject"
    )
    with psycopg.connect(address) as connection:
        assert connection.execute(query).fetchone() == (0,)
        routed(wanted())
        connection.execute("UPDATE job SET due_at = extract(epoch FROM now()) - 90")
        row = connection.execute(query).fetchone()
        assert row is not None
        assert 90 <= row[0] < 3600
