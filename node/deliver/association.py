"""Associations that this node opens, for C-STORE, C-ECHO, Storage Commitment and Query/Retrieve."""

import socket
import ssl
import threading
import time
from collections.abc import Sequence
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from node.errors import ConfigError, DestinationUnavailable
from node.images.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.negotiation import put_right
from node.records import Address
from node.tls import ClientTls, sentence

PAUSE_SECONDS = 0.5
"""How long an association's thread may take to pause; a thread that is about to end never does."""
NEARLY = 0.95
"""A wait that took this part of its limit has used it up: clocks differ a little."""


class OpenAssociation:
    """A context in which an association is open; at its end it is released, or aborted after an exception.

    `seconds` limits each wait for the peer. The association is established, or has no context accepted.

    Raises
    ------
    DestinationUnavailable
        At the beginning: the association was rejected or aborted, or could not be opened.
    """

    def __init__(
        self,
        address: Address,
        calling: str,
        contexts: list[PresentationContext],
        seconds: float,
        handlers: Sequence[evt.EventHandlerType] = (),
    ) -> None:
        self._address = address
        self._contexts = contexts
        self._seconds = seconds
        self._connected = False
        self._tls_failures: list[OSError] = []
        self._handlers = [(evt.EVT_CONN_OPEN, self._on_connection_open), *handlers]
        entity = AE(calling)
        entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = seconds
        self._entity = entity

    def __enter__(self) -> Association:
        address, begun = self._address, time.monotonic()
        tls = None if address.tls is None else (self._context(address.tls), address.host)
        try:
            association = self._entity.associate(
                address.host,
                address.port,
                contexts=self._contexts,
                ae_title=address.ae_title,
                max_pdu=0,
                evt_handlers=self._handlers,
                tls_args=tls,
            )
        except (OSError, UnicodeError) as error:
            raise DestinationUnavailable(f"{address}: the host is not known here: {error}") from error
        self._association = association
        if association.is_established or association.rejected_contexts:
            return association
        waited = time.monotonic() - begun
        raise DestinationUnavailable(f"{address}: {self._failure(association, waited)}")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not self._association.is_established:
            return
        if kind in (None, GeneratorExit):  # every request has its response
            self._association.release()
        else:
            self._association.abort()

    def _context(self, tls: ClientTls) -> ssl.SSLContext:
        try:
            context = tls.context()
        except ConfigError as error:
            raise DestinationUnavailable(f"{self._address}: {error}") from error
        context.sslsocket_class = noting_socket(self._tls_failures)
        return context

    def _on_connection_open(self, event: evt.Event) -> None:
        self._connected = True
        _on_connection_open(event, self._seconds)

    def _failure(self, association: Association, waited: float) -> str:
        """Return why no association was opened, after so many seconds; pynetdicom calls all but a rejection aborted."""
        if association.is_rejected:
            response = association.acceptor.primitive
            return f"the association was rejected: {response.reason_str if response else 'no reason given'}"
        if self._tls_failures:
            return sentence(self._tls_failures[0])
        in_vain = waited >= self._seconds * NEARLY
        if not self._connected:
            return f"no connection in {self._seconds:g} s" if in_vain else "nothing listens there"
        if in_vain:
            return f"it took the connection, and did not answer the association request in {self._seconds:g} s"
        return "it took the connection, and aborted the association or hung up"


class QuickAckSocket(socket.socket):
    """A connection on which neither side waits 40 ms for a delayed acknowledgement (RFC 896, RFC 1122 4.2.3.2).

    What is sent goes at once, and what has come is acknowledged before more is read: dcmtk, also in Orthanc, sends a
    response in two short writes.
    """

    @classmethod
    def of(cls, plain: socket.socket) -> "QuickAckSocket":
        """Return a connection that replaces `plain`, which is detached."""
        seconds = plain.gettimeout()
        connection = cls(fileno=plain.detach())
        connection.settimeout(seconds)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Receive as a socket does, after acknowledging what has come."""
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return super().recv(bufsize, flags)


def noting_socket(failures: list[OSError]) -> type[ssl.SSLSocket]:
    """Return a class of connections over TLS that note what went wrong, which pynetdicom does not tell.

    With TLS 1.3, a peer says after the handshake that it does not take our certificate: the first read fails then.
    """

    class NotingSocket(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 (as its base has it)
            try:
                super().do_handshake(block)
            except OSError as error:
                failures.append(error)
                raise

        def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            try:
                return super().recv(buflen, flags)
            except ssl.SSLError as error:
                failures.append(error)
                raise

    return NotingSocket


class ReactorCheckpoint(threading.Event):
    """The event at which pynetdicom's association thread pauses while a request is sent; `clear` waits for the pause.

    pynetdicom looks at a flag that is up for a moment in each round of the association's thread, paused or not. In such
    a moment a request is sent while that thread is about to look for messages; the thread then takes a response that
    comes at once for a message that nobody awaits, and it is lost.
    """

    def __init__(self, pause_seconds: float = PAUSE_SECONDS) -> None:
        super().__init__()
        self._pause_seconds = pause_seconds
        self._paused = threading.Event()
        self.set()

    def clear(self) -> None:
        """Make the association's thread pause, and return when it has, or when it is not running any more."""
        self._paused.clear()
        super().clear()
        self._paused.wait(self._pause_seconds)

    def wait(self, timeout: float | None = None) -> bool:
        """Pause until the event is set."""
        if not self.is_set():
            self._paused.set()
        return super().wait(timeout)


def _on_connection_open(event: evt.Event, seconds: float) -> None:
    event.assoc._reactor_checkpoint = ReactorCheckpoint()  # noqa: SLF001
    upper_layer: Any = event.assoc.dul
    decode = upper_layer._decode_pdu  # noqa: SLF001
    upper_layer._decode_pdu = lambda pdu: decode(put_right(pdu))  # noqa: SLF001
    connection = event.assoc.dul.socket
    if connection is not None and isinstance(connection.socket, ssl.SSLSocket):
        connection.socket.settimeout(seconds)  # a record of TLS alone, such as a ticket, makes it ready to be read
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    elif connection is not None and connection.socket is not None:
        connection.socket = QuickAckSocket.of(connection.socket)
