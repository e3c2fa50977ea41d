"""The DICOM Conformance Statement of a node (PS3.2 annex N), made from the tables that the node works with."""

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from string import Template

from node.commands import conformance_tables as tables
from node.deliver.commitment_scu import LINGER_SECONDS
from node.images.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.receive.acceptor import REQUEST_SECONDS
from node.receive.scp import MAXIMUM_PDU
from node.settings import Destination, Settings

STATEMENT = Path(__file__).with_name("templates") / "conformance.md"
DURABILITY = {
    "power": "on disk, also if the power fails at once",
    "process": "with the operating system: a kill of the node costs nothing, a power cut may",
}
"""Value of `receive.durability` → what Success promises."""
PARAMETERS = (
    "receive.address",
    "receive.processes",
    "receive.associations",
    "receive.idle_seconds",
    "receive.storage_classes",
    "receive.durability",
    "assemble.quiet_seconds",
    "spool.keep_days",
    "spool.free_mark_mb",
    "priors.ask",
    "priors.seconds",
)
"""Keys of the configuration that change what a peer meets."""


def statement(settings: Settings) -> str:
    """Return the conformance statement of a node with these settings, in Markdown."""
    text = Template(STATEMENT.read_text(encoding="utf-8"))
    return text.substitute(_of_the_product() | _of_the_node(settings) | _tables(settings))


def _of_the_product() -> dict[str, object]:
    return {
        "version": version("isocenter"),
        "pydicom": version("pydicom"),
        "pynetdicom": version("pynetdicom"),
        "implementation_class": IMPLEMENTATION_CLASS_UID,
        "implementation_version": IMPLEMENTATION_VERSION_NAME,
        "maximum_pdu": MAXIMUM_PDU,
        "request_seconds": f"{REQUEST_SECONDS:g}",
        "linger_seconds": f"{LINGER_SECONDS:g}",
    }


def _of_the_node(settings: Settings) -> dict[str, object]:
    receive = settings.receive
    return {
        "ae_title": receive.address.ae_title,
        "port": receive.listening.port,
        "interface": receive.listening.host,
        "durability": DURABILITY[receive.durability],
        "idle_seconds": f"{receive.idle_seconds:g}",
        "associations": f"{receive.associations} in each of {receive.processes} processes",
        "storage_classes": receive.storage_classes,
        "quiet_seconds": f"{settings.assemble.quiet_seconds:g}",
        "keep_days": f"{settings.spool.keep_days:g}",
        "accepted": ", ".join(f"`{caller}`" for caller in receive.accept_from) or "this machine alone",
        "tls": _tls(settings),
        "parameters": "\n".join(_parameters(settings)),
        "destinations": _destinations(settings),
    }


def _tls(settings: Settings) -> str:
    """Say where the node speaks TLS."""
    names = [name for name, destination in settings.destinations.items() if destination.tls is not None]
    calls = f"it calls {', '.join(names)} by TLS" if names else "it calls no destination by TLS"
    tls = settings.receive.tls
    if tls is None:
        return f"this node is not called by TLS, and {calls}."
    return f"this node is called by TLS on port {tls.port or settings.receive.listening.port}, and {calls}."


def _parameters(settings: Settings) -> Iterator[str]:
    for key in PARAMETERS:
        group, _, name = key.partition(".")
        value = getattr(getattr(settings, group), name)
        yield f"| `{key}` | {'–' if value == '' else value} |"


def _destinations(settings: Settings) -> str:
    if not settings.destinations:
        return "None is configured."
    head = ("name", "address", "calling AE title", "objects", "transfer syntax", "commitment", "time limit in s")
    return tables.table(
        head, [_row(name, destination, settings) for name, destination in settings.destinations.items()]
    )


def _row(name: str, destination: Destination, settings: Settings) -> tuple[object, ...]:
    return (
        name,
        destination.address,
        settings.calling_title(destination),
        ", ".join(destination.wants.objects),
        destination.transfer_syntax,
        "asked for" if destination.commitment else "not asked for",
        f"{destination.timeout_seconds:g}",
    )


def _tables(settings: Settings) -> dict[str, object]:
    made = (
        tables.accepted_contexts,
        tables.coding_schemes,
        tables.commitment_statuses,
        tables.concept_names,
        tables.copied,
        tables.created,
        tables.failure_reasons,
        tables.fallbacks,
        tables.initiated,
        tables.object_definitions,
        tables.query_keys,
        tables.rejections,
        tables.root_templates,
        tables.services,
        tables.store_scp_statuses,
        tables.store_scu_statuses,
        tables.templates,
        tables.transfer_syntaxes,
    )
    classes = tables.storage_sop_classes(settings.receive.storage_classes)
    return {"storage_sop_classes": classes, **{function.__name__: function() for function in made}}
