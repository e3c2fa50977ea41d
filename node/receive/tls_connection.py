"""The connection of an association over TLS."""

import select
import ssl
import time

from pynetdicom.association import Association

from node.receive.connection import Connection
from node.receive.pdu import EVT17_CONNECTION_CLOSED

LONGEST_WAIT = 3600.0
"""How long a read or write waits for the peer where the association has no limit."""


class TlsConnection(Connection):
    """A connection over TLS, after its handshake.

    The kernel's time-outs and flags do not reach through TLS. So the socket never blocks, and whoever must wait polls
    it, for `seconds` at most. Bytes that TLS has decrypted and nobody has read count as unread: a poll would not tell.
    """

    def __init__(self, association: Association, connection: ssl.SSLSocket, seconds: float | None) -> None:
        connection.settimeout(0)
        super().__init__(association, client_socket=connection)
        self._tls = connection
        self._seconds = LONGEST_WAIT if seconds is None else seconds

    @property
    def has_unread(self) -> bool:
        """Whether there are bytes that no poll tells of."""
        return super().has_unread or (self.socket is not None and self._tls.pending() > 0)

    def read_into(self, free: memoryview, expected: int) -> int:
        """See `Connection.read_into`."""
        if self._unread or self.socket is None:
            return super().read_into(free, expected)
        if not expected:
            return self._read(free)
        free, count, until = free[:expected], 0, time.monotonic() + self._seconds
        while count < len(free):
            try:
                received = self._read(free[count:])
            except BlockingIOError:
                self.acknowledge()
                if self._wait(select.POLLIN, until):
                    continue
                if count:
                    return count
                raise
            if received == 0:
                break
            count += received
        return count

    def send(self, bytestream: bytes) -> None:
        """See `Connection.send`."""
        rest, until = memoryview(bytestream), time.monotonic() + self._seconds
        while rest:
            try:
                rest = rest[self._tls.send(rest) :]
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError) as error:
                awaited = select.POLLOUT if isinstance(error, ssl.SSLWantWriteError) else select.POLLIN
                if not self._wait(awaited, until):
                    self.event_queue.put(EVT17_CONNECTION_CLOSED)
                    return
            except OSError:
                self.event_queue.put(EVT17_CONNECTION_CLOSED)
                return

    def _received(self, count: int) -> bytearray:
        content, found = bytearray(count), 0
        while found < count and (more := self.read_into(memoryview(content)[found:], count - found)):
            found += more
        return content[:found]

    def _read(self, free: memoryview) -> int:
        """Read what has arrived, one record of TLS at most; BlockingIOError where nothing has."""
        try:
            return self._tls.recv_into(free)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise BlockingIOError from error

    def _wait(self, awaited: int, until: float) -> bool:
        """Wait until the socket can be read or written; return False where the time is over."""
        left = until - time.monotonic()
        if left <= 0 or self._tls.fileno() < 0:
            return False
        poll = select.poll()
        poll.register(self._tls, awaited)
        return bool(poll.poll(left * 1000))
