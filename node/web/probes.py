"""What other machines ask: `/alive`, `/ready` and `/metrics`."""

from collections.abc import Iterator

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from node.commands.status import Status, status
from node.ledger import Ledger
from node.settings import Settings


def router(settings: Settings, ledger: Ledger) -> APIRouter:
    """Return the routes; the ledger knows the processes of all roles, so the metrics are those of the whole node."""
    routes = APIRouter()

    @routes.get("/alive")
    def alive() -> dict[str, str]:
        """Say that the page answers."""
        return {"status": "alive"}

    @routes.get("/ready")
    def ready(response: Response) -> dict[str, list[str]]:
        """Answer 200 if each role has a living process, otherwise 503 with those that have none."""
        missing = status(settings, ledger).missing_roles
        response.status_code = 503 if missing else 200
        return {"missing_roles": missing}

    @routes.get("/metrics")
    def metrics() -> Response:
        """Return the state of the node in the text format of Prometheus."""
        registry = CollectorRegistry()
        registry.register(_Collector(status(settings, ledger)))
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return routes


class _Collector:
    def __init__(self, found: Status) -> None:
        self._found = found

    def collect(self) -> Iterator[Metric]:
        """Yield each metric."""
        found = self._found
        stages, names = found.queues, found.destinations
        yield _gauge(
            "oldest_waiting_seconds",
            "Seconds that the oldest has waited; 0 if nothing waits",
            "stage",
            {queue.stage: queue.oldest_seconds or 0 for queue in stages},
        )
        yield _gauge("waiting", "How many wait or run", "stage", {queue.stage: queue.count for queue in stages})
        yield _gauge(
            "destination_waiting", "Deliveries that wait", "destination", {state.name: state.waiting for state in names}
        )
        yield _gauge(
            "destination_paused", "1 if it is paused", "destination", {state.name: int(state.paused) for state in names}
        )
        missing = found.missing_roles
        yield _gauge("role_missing", "1 if no process has the role", "role", dict.fromkeys(missing, 1))
        yield GaugeMetricFamily("isocenter_needs_person", "Parked or stuck", value=len(found.needs_person))
        yield GaugeMetricFamily("isocenter_disk_free_bytes", "Free beside the spool", value=found.disk_free)
        yield GaugeMetricFamily("isocenter_disk_mark_bytes", "Below it, images are refused", value=found.disk_mark)


def _gauge(name: str, meaning: str, label: str, values: dict[str, float]) -> Metric:
    family = GaugeMetricFamily(f"isocenter_{name}", meaning, labels=[label])
    for value_of, value in values.items():
        family.add_metric([value_of], value)
    return family
