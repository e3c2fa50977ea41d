"""The connection of an association, as the upper layer of this node reads and writes it."""

import errno
import socket
from contextlib import suppress

from pynetdicom.transport import AssociationSocket

from node.receive.pdu import EVT17_CONNECTION_CLOSED, LONGEST_PDU


class Connection(AssociationSocket):
    """pynetdicom's connection, with reads into a buffer and bytes that can be put back to be read again."""

    _unread = b""
    beginning = b""
    """The first bytes that the peer has sent, as pynetdicom read them."""

    def put_back(self, content: bytes) -> None:
        """Have these bytes read next."""
        self._unread = content + self._unread

    @property
    def has_unread(self) -> bool:
        """Whether bytes that were put back have not been read yet."""
        return bool(self._unread)

    @property
    def ready(self) -> bool:
        """Whether there is anything to read."""
        return self.has_unread or bool(super().ready)

    def read_into(self, free: memoryview, expected: int) -> int:
        """Read into `free` and return the number of bytes, 0 at the end of the connection.

        With `expected`, wait for so many bytes; without, read what has arrived.

        Raises
        ------
        BlockingIOError
            Nothing has arrived; with `expected`, not all of it while the association may be idle.
        OSError
            As of `socket.recv`.
        """
        if self._unread:
            unread, self._unread = self._unread[: len(free)], self._unread[len(free) :]
            free[: len(unread)] = unread
            return len(unread)
        if self.socket is None:
            return 0
        flags = socket.MSG_WAITALL if expected else socket.MSG_DONTWAIT
        if expected:
            self.acknowledge()
        return self.socket.recv_into(free, min(expected, len(free)), flags)

    def acknowledge(self) -> None:
        """Acknowledge at once what has arrived: a sender with Nagle's algorithm (RFC 896) waits 40 ms less."""
        if self.socket is not None:
            with suppress(OSError):
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def send(self, bytestream: bytes) -> None:
        """Send all bytes. Unlike pynetdicom's, this triggers no EVT_DATA_SENT."""
        try:
            self.socket.sendall(bytestream)  # type: ignore[union-attr]
        except (OSError, AttributeError):
            self.event_queue.put(EVT17_CONNECTION_CLOSED)

    def recv(self, nr_bytes: int) -> bytearray:
        """Read so many bytes, fewer at the end of the connection; OSError where this exceeds `LONGEST_PDU`."""
        if nr_bytes > LONGEST_PDU:
            raise OSError(errno.EMSGSIZE, f"a PDU of {nr_bytes} bytes")
        unread, self._unread = self._unread[:nr_bytes], self._unread[nr_bytes:]
        content = bytearray(unread) + self._received(nr_bytes - len(unread))
        self.beginning = self.beginning or bytes(content)
        return content

    def _received(self, count: int) -> bytearray:
        """Read so many bytes from the socket, fewer at the end of the connection."""
        return super().recv(count)
