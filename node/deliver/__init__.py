"""The other end: objects out, by C-STORE, until they are stored; and the archive asked for earlier studies."""

from node.deliver.commitment_scu import CommitmentScu, commit_step
from node.deliver.outbox import Outbox
from node.deliver.query_retrieve import Archive
from node.deliver.send import readable, send
from node.deliver.storescu import Answer, Outcome, Parcel, echo, store

__all__ = [
    "Answer",
    "Archive",
    "CommitmentScu",
    "Outbox",
    "Outcome",
    "Parcel",
    "commit_step",
    "echo",
    "readable",
    "send",
    "store",
]
