"""pynetdicom's upper layer, made to wait for its socket and to read C-STORE requests itself.

pynetdicom negotiates, releases and aborts associations, and serves every message but C-STORE. Its two threads look
every millisecond whether anything has come; here they wait for the socket and for each other.

This uses private names of pynetdicom; tests/flow/test_fast_receive.py compares each answer with that of pynetdicom.
"""

import os
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu import A_ABORT_RQ
from pynetdicom.pdu_primitives import A_ABORT, A_P_ABORT, A_RELEASE
from pynetdicom.presentation import PresentationContext
from pynetdicom.timer import Timer

from node.negotiation import put_right
from node.receive.connection import Connection
from node.receive.incoming import Store
from node.receive.p_data import PDataReader, ReceiveLimits
from node.receive.pdu import (
    A_ABORT_TYPE,
    EVT17_CONNECTION_CLOSED,
    STA1_IDLE,
    STA6_DATA_TRANSFER,
    STA13_AWAITING_CLOSE,
    abort_reason,
    titles,
)
from node.receive.tls_connection import TlsConnection
from node.tls import HANDSHAKE

if TYPE_CHECKING:
    from pynetdicom.pdu_primitives import _PDUPrimitiveType

UNREADABLE = (AssertionError, AttributeError, LookupError, TypeError, ValueError, struct.error)
"""What pynetdicom raises at a PDU that breaks the rules."""
Failed = Callable[[Association, str, str, str], None]
"""Is told of an association that was aborted: calling and called AE title, and why."""
NO_PDU = "what came does not follow the rules of an association (PS3.8 section 9.2)"
SPEAKS_TLS = "the peer speaks TLS on a port without TLS; switch it off there, or on here (receive.tls)"
TIMER_SECONDS = 0.5
"""How often pynetdicom's timers are looked at while nothing comes."""


class ReactorWakeup(threading.Event):
    """The checkpoint that the association's thread passes every millisecond; here it also waits to be woken there."""

    def __init__(self) -> None:
        super().__init__()
        self._woken = threading.Event()
        self.set()

    def wake(self) -> None:
        """Say that there may be something to do."""
        self._woken.set()

    def set(self) -> None:
        """Let the association's thread go on, at once."""
        super().set()
        self._woken.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait to be woken, or for `TIMER_SECONDS`; then until the event is set."""
        self._woken.wait(TIMER_SECONDS)
        self._woken.clear()
        return super().wait(timeout)


class IdleTimer(Timer):
    """The idle timer of an association, which a few bytes now and then do not restart.

    A peer that sends a byte a second would else keep its place for ever. The timer is restarted by so many bytes, by
    the end of a message, and by whatever comes before and after the transfer of data.

    Parameters
    ----------
    is_under_way
        Returns whether enough came since the timer was started.
    """

    def __init__(self, timeout: float | None, is_under_way: Callable[[], bool]) -> None:
        super().__init__(timeout)
        self._is_under_way = is_under_way

    def restart(self) -> None:
        """Start again where enough came."""
        if self._is_under_way():
            super().restart()


class UpperLayer(DULServiceProvider):
    """pynetdicom's upper layer, which waits for its socket, and reads P-DATA by a `PDataReader`."""

    def __init__(
        self, association: Association, store: Store, limits: ReceiveLimits, failed: Failed, wakeup: ReactorWakeup
    ) -> None:
        super().__init__(association)
        self._store = store
        self._failed = failed
        self._titles = ("", "")
        self._because = ""
        self._reader = PDataReader(self, store, limits, self.end_because)
        self._idle_timer = IdleTimer(association.network_timeout, self._is_under_way)
        self._least_bytes = limits.least_bytes_per_second * (association.network_timeout or 0)
        self._counted = (0, 0)
        self._wakeup = wakeup
        self._local_event = os.eventfd(0, os.EFD_NONBLOCK)
        self._local_event_lock = threading.Lock()
        self._poll = select.poll()
        self._poll.register(self._local_event, select.POLLIN)
        self._polled_socket = -1
        self.released = False

    def run_reactor(self) -> None:
        """Run until the association is over."""
        try:
            super().run_reactor()
        finally:
            self._reader.cut()
            self._store.close(self.assoc, released=self.released)
            self._tell_failure()
            self.to_user_queue.put(None)  # an association that waits for its request waits no longer
            self._wakeup.wake()
            with self._local_event_lock:
                os.close(self._local_event)
                self._local_event = -1

    def send_pdu(self, primitive: "_PDUPrimitiveType") -> None:
        """Have a primitive sent; the response to A-RELEASE is the end of an association in good order."""
        if isinstance(primitive, A_RELEASE):
            self.released = True
        elif isinstance(primitive, A_ABORT | A_P_ABORT):
            idle = (
                f"nothing came for {self._idle_timer.timeout:g} s" if self.idle_timer_expired() else "the node ended it"
            )
            self.end_because(idle)
        super().send_pdu(primitive)
        self._interrupt_wait()

    def kill_dul(self) -> None:
        """Have the thread end soon."""
        super().kill_dul()
        self._interrupt_wait()

    def end_because(self, reason: str) -> None:
        """Say why the association is about to end; the first reason counts."""
        self._because = self._because or reason

    def _tell_failure(self) -> None:
        """Tell of an association that was aborted, and not of one rejected, nor of a connection without a request."""
        requested = any(self._titles) or self.assoc.requestor.primitive is not None
        if self.released or self.assoc.is_rejected or not (requested or self._because):
            return
        self._failed(self.assoc, *self._titles, self._because or "the connection was closed without a release")

    def _decode_pdu(self, bytestream: bytearray) -> Any:
        """Decode a PDU, and keep why one cannot be read: the association is aborted then."""
        if any(found := titles(bytestream)):
            self._titles = found
        if bytestream[0] == A_ABORT_TYPE:
            self.end_because(abort_reason(bytestream))
        try:
            return super()._decode_pdu(put_right(bytestream))
        except UNREADABLE as error:
            self.end_because(f"a PDU of type {bytestream[0]} is invalid: {error}")
            raise

    def _send(self, pdu: Any) -> None:
        if isinstance(pdu, A_ABORT_RQ):
            self.end_because(SPEAKS_TLS if self._speaks_tls() else NO_PDU)
        super()._send(pdu)

    def _speaks_tls(self) -> bool:
        return isinstance(self.socket, Connection) and self.socket.beginning.startswith(HANDSHAKE)

    def _is_under_way(self) -> bool:
        """Return whether the peer has sent enough since this was last so."""
        counted = (self._reader.received, self._reader.messages)
        enough = (
            self.state_machine.current_state != STA6_DATA_TRANSFER
            or counted[0] - self._counted[0] >= self._least_bytes
            or counted[1] != self._counted[1]
        )
        if enough:
            self._counted = counted
        return enough

    def _interrupt_wait(self) -> None:
        with self._local_event_lock:
            if self._local_event >= 0:
                os.eventfd_write(self._local_event, 1)

    def _is_transport_event(self) -> bool:
        """Wait for the socket, or for anything that the local side wants; return whether anything came."""
        if not self.event_queue.empty():
            return False
        if not (self.to_user_queue.empty() and self.assoc.dimse.msg_queue.empty()):
            self._wakeup.wake()
        state = self.state_machine.current_state
        if state == STA6_DATA_TRANSFER:
            return self._receive()
        if state in (STA1_IDLE, STA13_AWAITING_CLOSE):  # the thread is about to end
            return bool(super()._is_transport_event())
        return self._wait() and bool(super()._is_transport_event())

    def _wait(self) -> bool:
        """Wait for the socket, for `TIMER_SECONDS` at most, and return whether it can be read."""
        connection = self.socket
        if connection is None or connection.socket is None:
            return False
        if self._reader.connection.has_unread:
            return True
        if self._polled_socket < 0:
            self._polled_socket = connection.socket.fileno()
            self._poll.register(self._polled_socket, select.POLLIN)
        ready = dict(self._poll.poll(TIMER_SECONDS * 1000))
        if self._local_event in ready:
            with suppress(BlockingIOError):
                os.eventfd_read(self._local_event)
        return self._polled_socket in ready

    def _receive(self) -> bool:
        """Handle what comes until pynetdicom has something to do; return whether anything came."""
        reader, came = self._reader, False
        while True:
            reader.handle()
            if self.event_queue.queue or self.to_provider_queue.queue or self._kill_thread:
                return came
            count = reader.fill()
            if count < 0:
                reader.connection.acknowledge()
                if not self._wait():
                    return came
            if count == 0:
                self.event_queue.put(EVT17_CONNECTION_CLOSED)
                return True
            if count > 0:
                came = True
                self._idle_timer.restart()


def is_released(association: Association) -> bool:
    """Return whether the peer has asked to release an association."""
    return isinstance(association.dul, UpperLayer) and association.dul.released


class SharedContexts(list[PresentationContext]):
    """The presentation contexts that a server supports, not copied for each association: they are only read.

    They are hundreds, with dozens of transfer syntaxes each; a copy takes as long as receiving fifty slices.
    """

    def __deepcopy__(self, _memo: dict[int, object]) -> list[PresentationContext]:
        return list(self)


def install_upper_layer(association: Association, store: Store, limits: ReceiveLimits, failed: Failed) -> None:
    """Replace the upper layer of an association that has its connection and has not begun.

    The kernel ends a read or write during which the peer stands still for as long as the association may be idle.
    """
    stock = association.dul
    if stock.socket is None or stock.socket.socket is None:
        raise TypeError("an association has a connection before it begins")
    connection = stock.socket.socket
    seconds = association.network_timeout
    if seconds is not None and not isinstance(connection, ssl.SSLSocket):
        timeout = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    wakeup = association._reactor_checkpoint = ReactorWakeup()  # noqa: SLF001
    upper_layer = association.dul = UpperLayer(association, store, limits, failed, wakeup)
    upper_layer.artim_timer = stock.artim_timer
    upper_layer.socket = (
        TlsConnection(association, connection, seconds)
        if isinstance(connection, ssl.SSLSocket)
        else Connection(association, client_socket=connection)
    )
