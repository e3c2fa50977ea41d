"""The Storage, Verification and Storage Commitment SCP: associations, contexts, access."""

import errno
import socket
import sys
from dataclasses import dataclass
from typing import Protocol

import structlog
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import from a table
    StorageCommitmentPushModel,
    Verification,
)
from pynetdicom.transport import ThreadedAssociationServer

from node.errors import ConfigError
from node.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.receive import fast
from node.receive.access import KnownPeers
from node.receive.fast import LONGEST_PDU
from node.records import Address

log = structlog.get_logger()

MAXIMUM_PDU = 131072
"""Larger P-DATA-TF PDUs than pynetdicom's 16 KB: half again the rate, measured."""


SWITCH_SECONDS = 0.0005
"""How long a thread that receives waits for one that computes: Python's own 5 ms, at each of a dozen system calls an
instance, had a group of rows hold up receiving for many times its own duration."""


class Store(Protocol):
    """What is done with a received instance."""

    def on_store(self, event: evt.Event) -> int:
        """Return the status of one C-STORE request."""

    def close(self, association: Association) -> None:
        """Let go of what is held for an association that is over."""


class Commitment(Protocol):
    """What is done with the two messages of Storage Commitment (PS3.4 annex J)."""

    def on_action(self, event: evt.Event) -> tuple[int, None]:
        """Return the status of one N-ACTION request: a sender asks us to commit."""

    def on_report(self, event: evt.Event) -> tuple[int, None]:
        """Return the status of one N-EVENT-REPORT request: a destination answers us."""


@dataclass(slots=True)
class Receiver:
    """Listens for associations until it is stopped.

    Raises
    ------
    ConfigError
        From `start`: the port is in use, or the interface is not this machine's.
    """

    address: Address
    peers: KnownPeers
    store: Store
    associations: int
    idle_seconds: float
    commitment: Commitment | None = None
    _server: ThreadedAssociationServer | None = None

    def start(self) -> None:
        """Begin to listen."""
        sys.setswitchinterval(SWITCH_SECONDS)
        entity = AE(self.address.ae_title)
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)
        entity.add_supported_context(Verification)
        entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        entity.maximum_pdu_size = MAXIMUM_PDU
        entity.maximum_associations = self.associations
        entity.network_timeout = self.idle_seconds
        entity.dimse_timeout = self.idle_seconds
        handlers: list[evt.EventHandlerType] = [
            (evt.EVT_CONN_OPEN, self._on_open),
            (evt.EVT_REQUESTED, self._on_requested),
            (evt.EVT_C_STORE, self.store.on_store),
            (evt.EVT_C_ECHO, lambda _event: 0x0000),
            (evt.EVT_CONN_CLOSE, lambda event: self.store.close(event.assoc)),
            (evt.EVT_RELEASED, lambda event: self.store.close(event.assoc)),
            (evt.EVT_ABORTED, lambda event: self.store.close(event.assoc)),
        ]
        if self.commitment is not None:
            # Both roles: senders call as SCU, and destinations that bring an answer call as SCP (PS3.4 J.3.3).
            entity.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
            handlers += [
                (evt.EVT_N_ACTION, self.commitment.on_action),
                (evt.EVT_N_EVENT_REPORT, self.commitment.on_report),
            ]
        try:
            server = entity.start_server((self.address.host, self.address.port), block=False, evt_handlers=handlers)
        except OSError as error:
            raise ConfigError(f"receive.address {self.address}: {_listening(error)}") from error
        if server is None or server.socket is None:
            raise TypeError("a server that does not block has a socket")
        server.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server.contexts = fast.Contexts(server.contexts)
        self._server = server

    @property
    def port(self) -> int:
        """The port listened on; where port 0 was asked for, the one that was free."""
        return int(self._server.server_address[1]) if self._server else self.address.port

    def stop(self) -> None:
        """Take no more associations and end the open ones; what they had answered with Success is durable."""
        if self._server is not None:
            self._server.shutdown()
            self._server.ae.shutdown()
            self._server = None

    def _on_open(self, event: evt.Event) -> None:
        if isinstance(self.store, fast.Store):
            fast.hasten(event.assoc, self.store)
        else:
            _bound_pdus(event)

    def _on_requested(self, event: evt.Event) -> None:
        request = event.assoc.requestor.primitive
        calling, called = (request.calling_ae_title, request.called_ae_title) if request else ("", "")
        rejection = self.peers.rejection(calling=calling, called=called, address=str(event.assoc.requestor.address))
        if rejection is None:
            return
        log.warning("association.rejected", calling=calling, reason=rejection.sentence)
        event.assoc.acse.send_reject(rejection.result, rejection.source, rejection.diagnostic)
        event.assoc.is_rejected = True
        event.assoc.kill()


def _bound_pdus(event: evt.Event) -> None:
    """Have the connection closed over a PDU that is too long to be one, before its bytes are taken into memory."""
    connection = event.assoc.dul.socket
    if connection is None:
        return
    receive = connection.recv

    def receive_bounded(nr_bytes: int) -> bytearray:
        if nr_bytes > LONGEST_PDU:
            raise OSError(errno.EMSGSIZE, f"a PDU of {nr_bytes} bytes")
        return receive(nr_bytes)

    connection.recv = receive_bounded  # type: ignore[method-assign]


def try_port(address: Address) -> None:
    """Raise ConfigError where an address cannot be listened on."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            raise ConfigError(f"receive.address {address}: {_listening(error)}") from error


def _listening(error: OSError) -> str:
    """Return why a port cannot be listened on, for the person who chose it."""
    reasons = {
        errno.EADDRINUSE: "the port is in use; stop the other program or choose another port",
        errno.EADDRNOTAVAIL: "the interface is not one of this machine; use its own address or 0.0.0.0",
        errno.EACCES: "this user may not use the port; choose one above 1023",
    }
    return reasons.get(error.errno or 0, error.strerror or str(error))
