"""Deliver: objects go out by C-STORE until they are stored and committed; archives are asked for earlier studies."""

from node.deliver.commitment_scu import CommitmentScu, commitment_step
from node.deliver.outbox import Availability, Outbox
from node.deliver.query_retrieve import QueryRetrieveScu
from node.deliver.send import readable, send, send_at_once, unpacked
from node.deliver.storescu import OutgoingObject, StoreOutcome, StoreResult, echo, store

__all__ = [
    "Availability",
    "CommitmentScu",
    "Outbox",
    "OutgoingObject",
    "QueryRetrieveScu",
    "StoreOutcome",
    "StoreResult",
    "commitment_step",
    "echo",
    "readable",
    "send",
    "send_at_once",
    "store",
    "unpacked",
]
