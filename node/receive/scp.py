"""The Storage, Verification and Storage Commitment SCP: associations, contexts, access."""

import errno
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import from a table
    StorageCommitmentPushModel,
    Verification,
)
from pynetdicom.transport import ThreadedAssociationServer

from node.errors import ConfigError
from node.images.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.receive import upper_layer
from node.receive.access import KnownPeers
from node.receive.upper_layer import LONGEST_PDU
from node.records import Address

log = structlog.get_logger()

MAXIMUM_PDU = 131072
"""Larger P-DATA-TF PDUs than pynetdicom's 16 KB: half again the rate, measured."""
ABORT_SECONDS = 2.0
"""How long a peer may take to be told that the association is over."""


QUEUE = 128
"""Callers that the kernel lets wait until a process takes them."""


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


class Acceptor(ThreadedAssociationServer):
    """Takes associations from a socket that listens already, perhaps in other processes too."""

    def __init__(self, *arguments: Any, listening: socket.socket, **named: Any) -> None:
        self._listening = listening
        super().__init__(*arguments, **named)

    def server_bind(self) -> None:
        """Use the socket that there is."""
        if self.socket is not None:
            self.socket.close()
        self.socket = self._listening
        self.server_address = self.socket.getsockname()

    def server_activate(self) -> None:
        """It listens already."""

    def server_close(self) -> None:
        """Let go of the socket, and not of what other processes do with it."""
        self._listening.close()


@dataclass(slots=True)
class Receiver:
    """Takes associations, from a socket of its own or from one that is given, until it is stopped.

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
    listening: socket.socket | None = None
    _server: Acceptor | None = None

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
        server = Acceptor(
            entity,
            (self.address.host, self.address.port),
            entity.ae_title,
            upper_layer.Contexts(entity.supported_contexts),
            evt_handlers=handlers,
            listening=self.listening or listen(self.address),
        )
        if server.socket is not None:
            server.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        entity._servers.append(server)  # noqa: SLF001 (as its start_server does; the server's shutdown takes it out)
        threading.Thread(target=server.serve_forever, name="AcceptorServer", daemon=True).start()
        self._server = server

    @property
    def port(self) -> int:
        """The port listened on; where port 0 was asked for, the one that was free."""
        return int(self._server.server_address[1]) if self._server else self.address.port

    def stop(self, *, seconds: float = 0) -> None:
        """Take no more associations, and end those that are open after so many seconds.

        What they had answered with Success is durable.
        """
        if self._server is not None:
            self._server.shutdown()
            until = time.monotonic() + seconds
            while any(one.is_established for one in self._server.active_associations) and time.monotonic() < until:
                time.sleep(0.05)
            _hang_up(self._server.ae.active_associations)
            self._server = None

    def _on_open(self, event: evt.Event) -> None:
        if isinstance(self.store, upper_layer.Store):
            upper_layer.hasten(event.assoc, self.store)
        else:
            _bound_pdus(event, self.idle_seconds)

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


def _hang_up(associations: Sequence[Association]) -> None:
    """Abort associations, and close the connections that have none yet or wait for the rest of a PDU."""
    open_ones = [one for one in associations if one.is_established]
    for one in open_ones:
        one.abort(block=False)
    until = time.monotonic() + ABORT_SECONDS
    for one in open_ones:
        one.dul.join(max(until - time.monotonic(), 0.0))
    for one in associations:
        if one.dul.is_alive() and one.dul.socket is not None and one.dul.socket.socket is not None:
            with suppress(OSError):
                one.dul.socket.socket.shutdown(socket.SHUT_RDWR)


def _bound_pdus(event: evt.Event, seconds: float) -> None:
    """Have the connection closed over a PDU that is too long to be one, before its bytes are taken into memory.

    And over one whose rest does not come for so many seconds: pynetdicom's own time-outs run between PDUs.
    """
    connection = event.assoc.dul.socket
    if connection is None or connection.socket is None:
        return
    connection.socket.settimeout(seconds)
    receive = connection.recv

    def receive_bounded(nr_bytes: int) -> bytearray:
        if nr_bytes > LONGEST_PDU:
            raise OSError(errno.EMSGSIZE, f"a PDU of {nr_bytes} bytes")
        return receive(nr_bytes)

    connection.recv = receive_bounded  # type: ignore[method-assign]


def listen(address: Address) -> socket.socket:
    """Return a socket that listens and never blocks: of several processes with it, one gets each caller.

    ConfigError where the address cannot be listened on.
    """
    listening = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # of those that are accepted from it, too
    listening.settimeout(0)
    try:
        listening.bind((address.host, address.port))
        listening.listen(QUEUE)
    except OSError as error:
        listening.close()
        raise ConfigError(f"receive.address {address}: {_listening(error)}") from error
    return listening


def try_port(address: Address) -> None:
    """Raise ConfigError where an address cannot be listened on."""
    listen(address).close()


def _listening(error: OSError) -> str:
    """Return why a port cannot be listened on, for the person who chose it."""
    reasons = {
        errno.EADDRINUSE: "the port is in use; stop the other program or choose another port",
        errno.EADDRNOTAVAIL: "the interface is not one of this machine; use its own address or 0.0.0.0",
        errno.EACCES: "this user may not use the port; choose one above 1023",
    }
    return reasons.get(error.errno or 0, error.strerror or str(error))
