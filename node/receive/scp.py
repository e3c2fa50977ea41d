"""The SCP for Storage, Verification and Storage Commitment: its socket, its associations, who is accepted."""

import errno
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import structlog
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import from a table
    StorageCommitmentPushModel,
    Verification,
)

from node.errors import ConfigError
from node.images.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.receive.acceptor import MOST_WAITING, REQUEST_SECONDS, AssociationAcceptor
from node.receive.access import LOCAL_LIMIT_EXCEEDED, SENDER_LIMIT_EXCEEDED, KnownPeers, Rejection
from node.receive.c_store import SUCCESS
from node.receive.incoming import IncomingInstance, Store
from node.receive.p_data import ReceiveLimits
from node.receive.refusal_log import RefusalLog
from node.receive.storage_classes import StorageClasses, other_contexts, storage_contexts
from node.receive.upper_layer import SharedContexts, UpperLayer, install_upper_layer, is_released
from node.records import Address
from node.tls import ServerTls

log = structlog.get_logger()

MAXIMUM_PDU = 131072
"""Maximum length received that the node negotiates. Peers that follow it send 1.5 times as fast as with 16 KB."""
ABORT_SECONDS = 2.0
"""How long the node waits for its A-ABORT PDUs to be sent when it stops."""
BACKLOG = 128
"""Connections that wait in the kernel until a process accepts them."""
SWITCH_SECONDS = 0.0005
"""Python's thread switch interval. With its default of 5 ms, receiving waits at each of a dozen system calls for a
thread that computes: writing a group of rows delayed receiving by many times its own duration."""
RELEASE_POLL_SECONDS = 0.05
"""How often `stop` looks whether all associations have ended."""


class StorageCommitment(Protocol):
    """Handles the two messages of the Storage Commitment Push Model (PS3.4 annex J)."""

    def on_action(self, event: evt.Event) -> tuple[int, None]:
        """Return the status of an N-ACTION request, by which a sender asks the node to commit."""

    def on_report(self, event: evt.Event) -> tuple[int, None]:
        """Return the status of an N-EVENT-REPORT request, by which a destination answers the node's own request."""


@dataclass(slots=True)
class Receiver:
    """Accepts associations, from a socket of its own or from a given one, until it is stopped.

    Parameters
    ----------
    address
        AE title, interface and port; port 0 is any free port.
    associations
        How many may be open at once.
    sender_associations
        How many of them one address may have; 0: all.
    most_waiting, request_seconds
        How many connections may be open that have sent no association request, and how long.
    idle_seconds
        An association in which nothing comes for so long is aborted.
    storage_classes
        Which SOP classes of Storage are taken.
    listening
        A socket that is listening already; without it, one is opened at the address.
    tls
        What is needed to speak TLS; without, the port is plain.
    poll_seconds
        How often the acceptor's thread looks whether it has been stopped.

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
    sender_associations: int = 0
    storage_classes: StorageClasses = "known"
    commitment: StorageCommitment | None = None
    listening: socket.socket | None = None
    tls: ServerTls | None = None
    limits: ReceiveLimits = field(default_factory=ReceiveLimits)
    poll_seconds: float = 0.5
    most_waiting: int = MOST_WAITING
    request_seconds: float = REQUEST_SECONDS
    refusals: RefusalLog = field(default_factory=RefusalLog)
    _server: AssociationAcceptor | None = None

    def start(self) -> None:
        """Begin to listen."""
        sys.setswitchinterval(SWITCH_SECONDS)
        entity = self._entity()
        server = AssociationAcceptor(
            entity,
            (self.address.host, self.address.port),
            entity.ae_title,
            SharedContexts(entity.supported_contexts),
            evt_handlers=self._handlers(),
            listening=self.listening or listen(self.address),
            peers=self.peers,
            refusals=self.refusals,
            most_waiting=self.most_waiting,
            request_seconds=self.request_seconds,
            tls=self.tls,
        )
        if server.socket is not None:
            server.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        entity._servers.append(server)  # noqa: SLF001 (as its start_server does; the server's shutdown takes it out)
        serve = partial(server.serve_forever, self.poll_seconds)
        threading.Thread(target=serve, name="AcceptorServer", daemon=True).start()
        self._server = server

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1]) if self._server else self.address.port

    def stop(self, *, seconds: float = 0) -> None:
        """Accept no more associations, wait so many seconds for the open ones to end, and abort the rest.

        Every instance that was answered with Success is durable.
        """
        if self._server is not None:
            self._server.shutdown()
            until = time.monotonic() + seconds
            while time.monotonic() < until and any(
                association.is_established for association in self._server.active_associations
            ):
                time.sleep(RELEASE_POLL_SECONDS)
            _abort(self._server.ae.active_associations)
            self._server = None

    def _entity(self) -> AE:
        entity = AE(self.address.ae_title)
        entity.supported_contexts = storage_contexts(self.storage_classes)
        entity.add_supported_context(Verification)
        if self.commitment is not None:
            # Both roles: senders call as SCU, and destinations that report call as SCP (PS3.4 J.3.3).
            entity.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
        entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        entity.maximum_pdu_size = MAXIMUM_PDU
        # pynetdicom counts connections that have sent no request too; `_on_requested` counts associations.
        entity.maximum_associations = self.associations + self.most_waiting + 1
        entity.network_timeout = self.idle_seconds
        entity.dimse_timeout = self.idle_seconds
        return entity

    def _handlers(self) -> list[evt.EventHandlerType]:
        handlers: list[evt.EventHandlerType] = [
            (evt.EVT_CONN_OPEN, self._on_open),
            (evt.EVT_REQUESTED, self._on_requested),
            (evt.EVT_ACCEPTED, self._on_accepted),
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_C_ECHO, lambda _event: SUCCESS),
            (evt.EVT_CONN_CLOSE, self._on_end),
            (evt.EVT_RELEASED, self._on_end),
            (evt.EVT_ABORTED, self._on_end),
        ]
        if self.commitment is not None:
            handlers += [
                (evt.EVT_N_ACTION, self.commitment.on_action),
                (evt.EVT_N_EVENT_REPORT, self.commitment.on_report),
            ]
        return handlers

    def _on_end(self, event: evt.Event) -> None:
        self._has_begun(event.assoc)
        self.store.close(event.assoc, released=is_released(event.assoc))

    def _on_failed(self, association: Association, calling: str, called: str, reason: str) -> None:
        address = str(association.requestor.address)
        self.refusals.report("aborted", address=address, calling=calling, called=called, reason=reason)

    def _on_open(self, event: evt.Event) -> None:
        install_upper_layer(event.assoc, self.store, self.limits, self._on_failed)

    def _on_store(self, event: evt.Event) -> int:
        """Return the status of a C-STORE request that the upper layer has left to pynetdicom."""
        return self.store.finish(IncomingInstance.of(event))

    def _on_requested(self, event: evt.Event) -> None:
        self._has_begun(event.assoc)
        request, address = event.assoc.requestor.primitive, str(event.assoc.requestor.address)
        calling, called = (request.calling_ae_title, request.called_ae_title) if request else ("", "")
        rejection = self.peers.rejection(calling=calling, called=called, address=address) or self._limit(address)
        if rejection is None:
            self._take_other_classes(event.assoc)
            return
        self.refusals.report("rejected", address=address, calling=calling, called=called, reason=rejection.sentence)
        event.assoc.acse.send_reject(rejection.result, rejection.source, rejection.diagnostic)
        event.assoc.is_rejected = True
        event.assoc.kill()

    def _take_other_classes(self, association: Association) -> None:
        if self.storage_classes != "any":
            return
        proposed = (str(context.abstract_syntax) for context in association.requestor.requested_contexts)
        acceptor = association.acceptor
        acceptor.supported_contexts = [*acceptor.supported_contexts, *other_contexts(proposed)]

    def _on_accepted(self, event: evt.Event) -> None:
        """Tell which abstract syntaxes were refused: a sender often says no more than that something was not sent."""
        refused = sorted({str(context.abstract_syntax) for context in event.assoc.rejected_contexts})
        if refused:
            requestor = event.assoc.requestor
            reason = f"not taken: {', '.join(refused)}; receive.storage_classes says which SOP classes are"
            self.refusals.report(
                "contexts_refused",
                address=str(requestor.address),
                calling=requestor.ae_title,
                called=self.address.ae_title,
                reason=reason,
            )

    def _limit(self, address: str) -> Rejection | None:
        """Return why no more associations of an address are accepted for now, or None where one more is."""
        callers = [str(association.requestor.address) for association in self._active if association.is_established]
        if len(callers) >= self.associations:
            return LOCAL_LIMIT_EXCEEDED
        if self.sender_associations and callers.count(address) >= self.sender_associations:
            return SENDER_LIMIT_EXCEEDED
        return None

    def _has_begun(self, association: Association) -> None:
        if self._server is not None:
            self._server.has_begun((str(association.requestor.address), int(association.requestor.port or 0)))

    @property
    def _active(self) -> Sequence[Association]:
        return self._server.active_associations if self._server else ()


def _abort(associations: Sequence[Association]) -> None:
    """Abort established associations, and close connections on which no association is established."""
    established = [association for association in associations if association.is_established]
    for association in established:
        if isinstance(association.dul, UpperLayer):
            association.dul.end_because("the node stops")
        association.abort(block=False)
    until = time.monotonic() + ABORT_SECONDS
    for association in established:
        association.dul.join(max(until - time.monotonic(), 0.0))
    for association in associations:
        upper_layer = association.dul
        if upper_layer.is_alive() and upper_layer.socket is not None and upper_layer.socket.socket is not None:
            with suppress(OSError):
                upper_layer.socket.socket.shutdown(socket.SHUT_RDWR)


def listen(address: Address) -> socket.socket:
    """Return a listening socket that never blocks: of several processes that share it, one gets each connection.

    ConfigError where nothing can listen at the address.
    """
    listening = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted connections inherit it
    listening.settimeout(0)
    try:
        listening.bind((address.host, address.port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise ConfigError(f"receive.address {address}: {_reason(error)}") from error
    return listening


def try_port(address: Address) -> None:
    """Raise ConfigError where nothing can listen at an address."""
    listen(address).close()


def _reason(error: OSError) -> str:
    """Return why nothing can listen at an address, and what to do."""
    reasons = {
        errno.EADDRINUSE: "the port is in use; stop the other program or choose another port",
        errno.EADDRNOTAVAIL: "the interface is not one of this machine; use its own address or 0.0.0.0",
        errno.EACCES: "this user may not use the port; choose one above 1023",
    }
    return reasons.get(error.errno or 0, error.strerror or str(error))
