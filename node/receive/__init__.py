"""Receive: associations come in, their instances become durable in packs, and get their rows."""

from node.receive.access import KnownPeers
from node.receive.arrivals import Arrivals
from node.receive.commitment_scp import CommitmentScp
from node.receive.processes import Receivers
from node.receive.refusal_log import RefusalLog
from node.receive.scp import Receiver, try_port
from node.receive.stand_in_pacs import stand_in_pacs
from node.receive.store import StoreScp

__all__ = [
    "Arrivals",
    "CommitmentScp",
    "KnownPeers",
    "Receiver",
    "Receivers",
    "RefusalLog",
    "StoreScp",
    "stand_in_pacs",
    "try_port",
]
