"""Accepts connections: it judges their addresses at once, and bounds how many wait to become associations.

A connection costs a thread, and may become an association or stay silent. Only addresses that may call get one. Those
that have sent no association request yet have a pool of their own, so that they take no place of an association: where
the pool is full, the oldest gives way to the newest, and none stays longer than `REQUEST_SECONDS`.
"""

import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pynetdicom.transport import ThreadedAssociationServer

from node.receive.access import KnownPeers, Rejection
from node.receive.pdu import TITLES_END, a_associate_rj, titles
from node.receive.refusal_log import RefusalLog
from node.tls import ServerTls, sentence

MOST_WAITING = 32
"""Connections without an association request, in each process."""
REQUEST_SECONDS = 30.0
"""How long a connection may take to send its whole association request (ARTIM timer, PS3.8 section 9.1.5)."""
STRANGER_SECONDS = 2.0
"""How long a connection from an address that may not call is kept: its request has to come, and the answer be read."""

Peer = tuple[str, int]
"""Address and port of the other side."""


@dataclass(frozen=True, slots=True)
class WaitingConnection:
    """A connection that has sent no association request yet."""

    connection: socket.socket
    accepted_at: float

    def end(self) -> None:
        """Close it in both directions; its thread then ends."""
        with suppress(OSError):  # an SSLSocket's own `shutdown` would have it go on without TLS
            socket.socket.shutdown(self.connection, socket.SHUT_RDWR)


@dataclass(slots=True)
class Stranger:
    """A connection from an address that may not call. It has no thread, and nothing that it sends is read.

    It is kept for a moment: a peer reads its rejection after it has sent its request, and the kernel resets a
    connection that is closed with something unread, so that the peer might lose the answer.
    """

    connection: socket.socket
    address: str
    rejection: Rejection
    refusals: RefusalLog
    accepted_at: float
    is_answered: bool = False

    def answer(self) -> bool:
        """Reject the association once its request comes; return False when the connection is closed."""
        try:
            if time.monotonic() - self.accepted_at > STRANGER_SECONDS:
                self.close()
                return False
            if not self.is_answered and (
                request := self.connection.recv(TITLES_END, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            ):
                rejection = self.rejection
                self._tell(request)
                self.connection.send(a_associate_rj(rejection.result, rejection.source, rejection.diagnostic))
                self.connection.shutdown(socket.SHUT_WR)
                self.is_answered = True
        except BlockingIOError:
            return True
        except OSError:
            self.close()
            return False
        return True

    def close(self) -> None:
        """Close the connection, and tell of it where it has had no answer."""
        if not self.is_answered:
            self._tell(b"")
        self.connection.close()

    def _tell(self, request: bytes) -> None:
        calling, called = titles(request)
        reason = self.rejection.sentence
        self.refusals.report("rejected", address=self.address, calling=calling, called=called, reason=reason)


class AssociationAcceptor(ThreadedAssociationServer):
    """Accepts associations from a socket that is listening already; other processes may accept from it too.

    Parameters
    ----------
    peers
        Who may call.
    refusals
        Where connections that are refused or ended are logged.
    most_waiting
        How many connections may be open that have sent no association request.
    request_seconds
        How long each of them may take.
    tls
        What is needed to speak TLS; without, connections are plain. The handshake belongs to the time of the request.
    """

    def __init__(
        self,
        *arguments: Any,
        listening: socket.socket,
        peers: KnownPeers,
        refusals: RefusalLog,
        most_waiting: int = MOST_WAITING,
        request_seconds: float = REQUEST_SECONDS,
        tls: ServerTls | None = None,
        **named: Any,
    ) -> None:
        self._listening = listening
        self._peers, self._refusals = peers, refusals
        self._most_waiting, self._request_seconds = most_waiting, request_seconds
        self._tls, self._tls_context = tls, tls.context() if tls else None
        self._waiting: dict[Peer, WaitingConnection] = {}  # the oldest first
        self._strangers: list[Stranger] = []
        super().__init__(*arguments, **named)

    def server_bind(self) -> None:
        """Use the given socket."""
        if self.socket is not None:
            self.socket.close()
        self.socket = self._listening
        self.server_address = self.socket.getsockname()

    def server_activate(self) -> None:
        """Do nothing: the socket is listening already."""

    def server_close(self) -> None:
        """Close the socket in this process; other processes go on with it."""
        self._listening.close()
        for stranger in self._strangers:
            stranger.close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin an association where the address may call; reject the connection where it may not."""
        peer: Peer = client_address[:2]
        rejection = self._peers.rejection_of_address(str(peer[0]))
        if rejection is not None and self._tls is not None:  # it could not read an answer without a handshake
            self._refusals.report("rejected", address=str(peer[0]), reason=rejection.sentence)
            request.close()
            return
        if rejection is not None:
            self._strangers.append(Stranger(request, str(peer[0]), rejection, self._refusals, time.monotonic()))
            return
        while len(self._waiting) >= self._most_waiting:
            self._end(next(iter(self._waiting)), "others wait too, and it has sent no association request")
        if self._tls_context is not None:
            request = self._tls_context.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
        self._waiting[peer] = WaitingConnection(request, time.monotonic())
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Begin an association in a thread of its own, after the handshake of TLS."""
        if self._tls is None or self._shakes_hands(self._tls, request, client_address[:2]):
            super().process_request_thread(request, client_address)

    def _shakes_hands(self, tls: ServerTls, connection: ssl.SSLSocket, peer: Peer) -> bool:
        """Return whether a peer may go on after its handshake; else it is told of, and its connection closed."""
        try:
            connection.settimeout(self._request_seconds)
            connection.do_handshake()
            reason = tls.refusal(connection)
        except OSError as error:
            reason = sentence(error)
        if reason is None:
            return True
        if self._waiting.pop(peer, None) is not None:  # else its time was over, which has been told
            self._refusals.report("tls_failed", address=str(peer[0]), reason=reason)
        connection.close()
        return False

    def service_actions(self) -> None:
        """End connections that have waited too long, and close those that were rejected a moment ago."""
        super().service_actions()
        for stranger in self._strangers[: -self._most_waiting]:
            stranger.close()
        self._strangers = [stranger for stranger in self._strangers[-self._most_waiting :] if stranger.answer()]
        until = time.monotonic() - self._request_seconds
        for peer, waiting in [*self._waiting.items()]:
            if waiting.accepted_at < until:
                self._end(peer, f"it has sent no whole association request in {self._request_seconds:g} s")

    def has_begun(self, peer: Peer) -> None:
        """Take a connection out of the pool: its association request has come, or it is closed."""
        self._waiting.pop(peer, None)

    def _end(self, peer: Peer, reason: str) -> None:
        waiting = self._waiting.pop(peer, None)
        if waiting is not None:
            self._refusals.report("ended", address=peer[0], reason=reason)
            waiting.end()
