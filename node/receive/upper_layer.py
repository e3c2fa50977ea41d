"""P-DATA of C-STORE straight from the socket to the spool, inside pynetdicom's upper-layer thread.

pynetdicom negotiates, releases, aborts, and serves every other message. Its own way of a data set, from PDU through
three objects and two threads that look whether anything has come each millisecond, takes several times as long as
receiving and writing it. Here the upper layer waits for the socket itself, and of a C-STORE request whose command is
in order the fragments are taken where they lie in one buffer, written, and answered.

Whatever is out of the ordinary is given to pynetdicom PDV by PDV as if it had read it, with what came before of the
same message, so that its answer is pynetdicom's. Three things are answered otherwise, on purpose: a message that
begins in the PDU in which another ends is not lost; a message other than C-STORE is bounded; and a peer that stops in
the middle of a PDU is met by the idle time-out.

This leans on private names of pynetdicom; tests/flow/test_fast_receive.py compares each of its answers.
"""

import errno
import os
import select
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import structlog
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_items import PresentationDataValueItem
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AssociationSocket

from node.receive.header_fields import UI
from node.receive.store import Draft, Received

if TYPE_CHECKING:
    from pynetdicom.pdu_primitives import _PDUPrimitiveType

log = structlog.get_logger()

LONGEST_PDU = 1 << 20
"""What no PDU is longer than, not even a request with 128 contexts: a length field of four bytes can promise 4 GiB."""
BUFFER = LONGEST_PDU + 6
"""Bytes an association holds at most: a whole PDU always fits."""
HELD = 128 * 1024
"""An instance up to so large is written in one piece when it is whole; a larger one piece by piece as it comes."""
LONGEST_COMMAND = 4096
"""A command set of C-STORE has some 300 bytes; a longer one is none of ours."""
LONGEST_MESSAGE = 16 * 2**20
"""What a message other than C-STORE may have: a request to commit to 100,000 instances."""
SMALLEST_ANSWER = 1024
"""Peers that take shorter PDUs are answered by pynetdicom, which divides the answer."""
LOOK_SECONDS = 0.5
"""How long timers may wait to be looked at."""

P_DATA, KNOWN_PDUS = 4, range(1, 8)
PDU = struct.Struct(">BxI")
PDV = struct.Struct(">IBB")
PDV_OVERHEAD = 4
COMMAND, LAST = 1, 2
"""Bits of the message control header (PS3.8 annex E.2)."""

ELEMENT = struct.Struct("<HHI")
US = struct.Struct("<H")
C_STORE_RQ, C_STORE_RSP, NO_DATA_SET = map(US.pack, (0x0001, 0x8001, 0x0101))
COMMAND_ELEMENTS = {
    0x0000: 4,  # Command Group Length
    0x0002: None,  # Affected SOP Class UID
    0x0100: 2,  # Command Field
    0x0110: 2,  # Message ID
    0x0700: 2,  # Priority
    0x0800: 2,  # Command Data Set Type
    0x1000: None,  # Affected SOP Instance UID
}
"""Elements of a C-STORE request and their lengths (PS3.7 table 9.3-1), all of which must be there, and no other."""
PRIORITIES = frozenset(map(US.pack, range(3)))


@runtime_checkable
class Store(Protocol):
    """What is done with a received instance, while it is received and when it is whole."""

    def take(self, received: Received) -> int:
        """Return the status of one instance, when it is durable or refused."""

    def begin(self, received: Received) -> Draft:
        """Begin to write one that is too large to be held."""

    def drop(self, draft: Draft) -> None:
        """Forget one that was begun."""

    def close(self, association: Association) -> None:
        """Let go of what is held for an association that is over."""


@dataclass(frozen=True, slots=True)
class Request:
    """A C-STORE request as its command set tells it, of the presentation context it came on."""

    context_id: int
    transfer_syntax_uid: str
    sop_class: bytes
    sop_instance: bytes
    message_id: bytes

    def answer(self, status: int) -> bytes:
        """Return the P-DATA-TF PDU of the response (PS3.7 table 9.3-2, PS3.8 table 9-22)."""
        elements = (
            (0x0002, self.sop_class),
            (0x0100, C_STORE_RSP),
            (0x0120, self.message_id),
            (0x0800, NO_DATA_SET),
            (0x0900, US.pack(status)),
            (0x1000, self.sop_instance),
        )
        body = b"".join(ELEMENT.pack(0, element, len(value)) + value for element, value in elements)
        command = ELEMENT.pack(0, 0, 4) + struct.pack("<I", len(body)) + body
        size = len(command)
        return PDU.pack(P_DATA, size + 6) + PDV.pack(size + 2, self.context_id, COMMAND | LAST) + command


def read_command(command: bytes) -> dict[int, bytes] | None:
    """Return the elements of a C-STORE request's command set, or None where it is another or in any way unusual."""
    found: dict[int, bytes] = {}
    offset, last = 0, -1
    while offset < len(command):
        if offset + ELEMENT.size > len(command):
            return None
        group, element, length = ELEMENT.unpack_from(command, offset)
        start = offset + ELEMENT.size
        offset = start + length
        wanted = COMMAND_ELEMENTS.get(element, 0)
        if group or element <= last or wanted not in (None, length) or offset > len(command):
            return None
        found[element] = command[start:offset]
        last = element
    return found if found.keys() == COMMAND_ELEMENTS.keys() and _is_store(found) else None


def _is_store(command: dict[int, bytes]) -> bool:
    if command[0x0100] != C_STORE_RQ or command[0x0700] not in PRIORITIES or command[0x0800] == NO_DATA_SET:
        return False
    sop_class, sop_instance = command[0x0002], command[0x1000]
    even = not (len(sop_class) % 2 or len(sop_instance) % 2)
    return even and UI.fullmatch(sop_class) is not None and UI.fullmatch(sop_instance) is not None


class Connection(AssociationSocket):
    """A connection that can be given back what was read too early, and takes no PDU that is too long to be one."""

    _early = b""

    def give_back(self, content: bytes) -> None:
        """Have these bytes read next."""
        self._early = content + self._early

    @property
    def has_early(self) -> bool:
        """Whether anything was given back."""
        return bool(self._early)

    @property
    def ready(self) -> bool:
        """Whether there is anything to read."""
        return self.has_early or bool(super().ready)

    def fill(self, room: memoryview, awaited: int) -> int:
        """Read what there is into `room`, or wait for as much as is awaited; return how much, 0 when it is over.

        BlockingIOError where nothing is there, or for as long as the association may be idle; OSError, as of `recv`.
        """
        if self._early:
            early, self._early = self._early[: len(room)], self._early[len(room) :]
            room[: len(early)] = early
            return len(early)
        if self.socket is None:
            return 0
        how = socket.MSG_WAITALL if awaited else socket.MSG_DONTWAIT
        if awaited:
            self.acknowledge()
        return self.socket.recv_into(room, min(awaited, len(room)), how)

    def acknowledge(self) -> None:
        """Tell the peer at once what has arrived: one that waits for that (RFC 896) sends the rest 40 ms earlier."""
        if self.socket is not None:
            with suppress(OSError):
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def send(self, bytestream: bytes) -> None:
        """Send all, as pynetdicom's does, without an event that tells of it."""
        try:
            self.socket.sendall(bytestream)  # type: ignore[union-attr]
        except (OSError, AttributeError):
            self.event_queue.put("Evt17")

    def recv(self, nr_bytes: int) -> bytearray:
        """Read so many bytes, fewer where the connection ends before; OSError where no PDU can be so long."""
        if nr_bytes > LONGEST_PDU:
            raise OSError(errno.EMSGSIZE, f"a PDU of {nr_bytes} bytes")
        early, self._early = self._early[:nr_bytes], self._early[nr_bytes:]
        return bytearray(early) + super().recv(nr_bytes - len(early))


class Doorbell(threading.Event):
    """The event that pynetdicom's association waits for each millisecond, made to wait until it is rung as well."""

    def __init__(self) -> None:
        super().__init__()
        self._rung = threading.Event()
        self.set()

    def ring(self) -> None:
        """Say that there may be something to do."""
        self._rung.set()

    def set(self) -> None:
        """Let the association go on, and look at once."""
        super().set()
        self._rung.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is rung, or time for timers to be looked at, and until it is set."""
        self._rung.wait(LOOK_SECONDS)
        self._rung.clear()
        return super().wait(timeout)


class UpperLayer(DULServiceProvider):
    """pynetdicom's upper layer, which waits for its socket and takes C-STORE requests itself."""

    def __init__(self, association: Association, store: Store, doorbell: Doorbell) -> None:
        super().__init__(association)
        self._store = store
        self._doorbell = doorbell
        self._bell = os.eventfd(0, os.EFD_NONBLOCK)
        self._bell_lock = threading.Lock()
        self._poll = select.poll()
        self._poll.register(self._bell, select.POLLIN)
        self._watched = -1
        self._buffer = bytearray()
        self._view = memoryview(self._buffer)
        self._start = self._end = 0  # of what is in the buffer and not yet taken
        self._pdu_end = 0  # of the P-DATA-TF PDU whose values are being taken
        self._awaited = 0  # bytes that the PDU lacks which has begun
        self._fragments: list[tuple[int, int, bytes]] = []  # of a command set: context, control header, content
        self._request: Request | None = None
        self._parts: list[memoryview] = []
        self._held = 0
        self._draft: Draft | None = None
        self._foreign = 0  # bytes given to pynetdicom of one message

    def run_reactor(self) -> None:
        """Run until the association is over."""
        try:
            super().run_reactor()
        finally:
            self._forget()
            self._store.close(self.assoc)
            self.to_user_queue.put(None)  # an association that waits for its request waits no longer
            self._doorbell.ring()
            with self._bell_lock:
                os.close(self._bell)
                self._bell = -1

    def send_pdu(self, primitive: "_PDUPrimitiveType") -> None:
        """Have something sent."""
        super().send_pdu(primitive)
        self._ring()

    def kill_dul(self) -> None:
        """End soon."""
        super().kill_dul()
        self._ring()

    def _ring(self) -> None:
        with self._bell_lock:
            if self._bell >= 0:
                os.eventfd_write(self._bell, 1)

    def _is_transport_event(self) -> bool:
        """Wait for the socket, or for anything that the local side wants; return whether anything came."""
        if not self.event_queue.empty():
            return False
        if not (self.to_user_queue.empty() and self.assoc.dimse.msg_queue.empty()):
            self._doorbell.ring()
        state = self.state_machine.current_state
        if state == "Sta6":
            return self._receive()
        if state in ("Sta1", "Sta13"):  # it is about to end
            return bool(super()._is_transport_event())
        return self._wait() and bool(super()._is_transport_event())

    def _wait(self) -> bool:
        """Return whether the socket can be read, after a while at most."""
        connection = self.socket
        if connection is None or connection.socket is None:
            return False
        if self._connection.has_early:
            return True
        if self._watched < 0:
            self._watched = connection.socket.fileno()
            self._poll.register(self._watched, select.POLLIN)
        ready = dict(self._poll.poll(LOOK_SECONDS * 1000))
        if self._bell in ready:
            with suppress(BlockingIOError):
                os.eventfd_read(self._bell)
        return self._watched in ready

    def _receive(self) -> bool:
        """Take what comes until pynetdicom has something to do; return whether anything came."""
        came = False
        while True:
            self._take_whole()
            if self.event_queue.queue or self.to_provider_queue.queue or self._kill_thread:
                return came
            count = self._fill()
            if count < 0:
                self._connection.acknowledge()
                if not self._wait():
                    return came
            if count == 0:
                self.event_queue.put("Evt17")
                return True
            if count > 0:
                came = True
                self._idle_timer.restart()

    def _fill(self) -> int:
        """Read what the socket has; return how much, 0 when it is over, and -1 when nothing is there."""
        if not self._buffer:
            self._buffer = bytearray(BUFFER)
            self._view = memoryview(self._buffer)
        if self._start == self._end and not self._parts:
            self._start = self._end = self._pdu_end = 0
        elif self._end == len(self._buffer) or self._held > HELD:
            self._make_room()
        try:
            count = self._connection.fill(self._view[self._end :], self._awaited)
        except BlockingIOError:
            return -1
        except OSError:
            return 0
        self._end += count
        return count

    def _make_room(self) -> None:
        """Write what is held of an instance, and move what is not yet taken to the front of the buffer."""
        if self._parts and self._request is not None:
            if self._draft is None:
                self._draft = self._store.begin(self._received())
            else:
                self._draft.write(*self._parts)
            self._parts, self._held = [], 0
        rest = self._end - self._start
        self._view[:rest] = self._view[self._start : self._end]
        self._pdu_end -= self._start
        self._start, self._end = 0, rest

    def _take_whole(self) -> None:
        """Take all PDUs that are whole, until one of them is pynetdicom's to act on."""
        events = self.event_queue.queue  # its `empty` takes a lock, for each value
        self._awaited = 0
        while not events:
            if self._start < self._pdu_end:
                self._take_value()
                continue
            left = self._end - self._start
            if left < PDU.size:
                return
            kind, length = PDU.unpack_from(self._buffer, self._start)
            if left < PDU.size + length and kind in KNOWN_PDUS and length <= LONGEST_PDU:
                self._awaited = PDU.size + length - left
                return
            if kind == P_DATA and length <= LONGEST_PDU and self._is_sound(self._start + PDU.size, length):
                self._start += PDU.size
                self._pdu_end = self._start + length
            else:
                self._give_back()
                return

    def _is_sound(self, offset: int, length: int) -> bool:
        """Return whether a P-DATA-TF PDU is full of values, each with its message control header."""
        end = offset + length
        while offset + PDV.size <= end:
            size, _, _ = PDV.unpack_from(self._buffer, offset)
            if size < PDV.size - PDV_OVERHEAD:
                return False
            offset += PDV_OVERHEAD + size
        return offset == end

    def _give_back(self) -> None:
        """Have pynetdicom read the next PDU, with what came before of the message that it may go on with."""
        self._replay()
        self._connection.give_back(bytes(self._view[self._start : self._end]))
        self._start = self._end = self._pdu_end = 0
        self._read_pdu_data()

    def _take_value(self) -> None:
        """Take one presentation data value (PS3.8 section 9.3.5.1)."""
        length, context_id, control = PDV.unpack_from(self._buffer, self._start)
        content = self._view[self._start + PDV.size : self._start + PDV_OVERHEAD + length]
        self._start += PDV_OVERHEAD + length
        if self.assoc.dimse.message is not None:
            self._hand_over(context_id, control, content)
        elif self._request is not None and not control & COMMAND:
            self._take_data(content, last=bool(control & LAST))
        elif self._request is None and control & COMMAND:
            self._take_command(context_id, control, content)
        else:
            self._replay()
            self._hand_over(context_id, control, content)

    def _take_command(self, context_id: int, control: int, content: memoryview) -> None:
        self._fragments.append((context_id, control, bytes(content)))
        command = b"".join(fragment for _, _, fragment in self._fragments)
        if control & LAST:
            self._request = self._read_request(context_id, command)
        if len(command) > LONGEST_COMMAND or (control & LAST and self._request is None):
            self._replay()

    def _read_request(self, context_id: int, command: bytes) -> Request | None:
        """Return the C-STORE request that a command set is, or None where it is pynetdicom's."""
        context = self._contexts.get(context_id)
        found = read_command(command) if context is not None else None
        if found is None or context is None or found[0x0002].rstrip(b"\0") != context[0]:
            return None
        return Request(
            context_id=context_id,
            transfer_syntax_uid=context[1],
            sop_class=found[0x0002],
            sop_instance=found[0x1000],
            message_id=found[0x0110],
        )

    @cached_property
    def _contexts(self) -> dict[int, tuple[bytes, str]]:
        """Abstract and transfer syntax of the presentation contexts on which C-STORE requests are taken, by their ID.

        pynetdicom copies and checks what it is asked for, each time.
        """
        if 0 < (self.assoc.requestor.maximum_length or 0) < SMALLEST_ANSWER:
            return {}
        accepted = self.assoc._accepted_cx.items()  # noqa: SLF001
        return {number: (str(one.abstract_syntax).encode(), str(one.transfer_syntax[0])) for number, one in accepted}

    @cached_property
    def _sender(self) -> tuple[str, str]:
        """AE title and address of the peer."""
        return self.assoc.requestor.ae_title, str(self.assoc.requestor.address)

    def _take_data(self, content: memoryview, *, last: bool) -> None:
        self._parts.append(content)
        self._held += len(content)
        if not last or self._request is None:
            return
        request, received = self._request, self._received()
        status = self._store.take(received)
        self._draft = None
        self._forget()
        self._connection.send(request.answer(status))

    def _received(self) -> Received:
        """Return what has come of an instance and is not yet written."""
        request = self._request
        if request is None:
            raise TypeError("a data set has a request")
        return Received(
            sop_class_uid=request.sop_class.rstrip(b"\0").decode(),
            sop_instance_uid=request.sop_instance.rstrip(b"\0").decode(),
            transfer_syntax_uid=request.transfer_syntax_uid,
            parts=tuple(self._parts),
            association=self.assoc,
            calling=self._sender[0],
            peer=self._sender[1],
            draft=self._draft,
        )

    def _forget(self) -> None:
        """Begin anew with the next message."""
        if self._draft is not None:
            self._store.drop(self._draft)
        self._fragments, self._request, self._parts, self._held, self._draft = [], None, [], 0, None

    def _replay(self) -> None:
        """Give pynetdicom what has come of a message; end the association where that is no longer held."""
        if self._draft is not None:
            log.warning("association.aborted", reason="a message within an instance")
            self.event_queue.put("Evt19")
        else:
            for fragment in self._fragments:
                self._hand_over(*fragment)
            for content in self._parts:
                self._hand_over(self._fragments[-1][0], 0, content)
        self._forget()

    def _hand_over(self, context_id: int, control: int, content: bytes | memoryview) -> None:
        """Give pynetdicom one value, as if it had read it."""
        self._foreign = len(content) + (self._foreign if self.assoc.dimse.message is not None else 0)
        if self._foreign > LONGEST_MESSAGE:
            log.warning("association.aborted", reason=f"a message of more than {LONGEST_MESSAGE} bytes")
            self.event_queue.put("Evt19")
            return
        value = PresentationDataValueItem()
        value.presentation_context_id = context_id
        value.presentation_data_value = bytes((control,)) + bytes(content)
        pdu = P_DATA_TF()
        pdu.presentation_data_value_items = [value]
        self._recv_pdu.put(pdu)
        self.event_queue.put("Evt10")

    @property
    def _connection(self) -> Connection:
        if not isinstance(self.socket, Connection):
            raise TypeError("an upper layer of ours has a connection of ours")
        return self.socket


class Contexts(list[PresentationContext]):
    """The presentation contexts of a server: only read, and so not copied for each of its associations.

    They are hundreds, of dozens of transfer syntaxes each, and a copy took as long as receiving fifty slices.
    """

    def __deepcopy__(self, _memo: dict[int, object]) -> list[PresentationContext]:
        return list(self)


def hasten(association: Association, store: Store) -> None:
    """Give an association that is not yet begun an upper layer that takes C-STORE requests itself.

    The kernel ends a read or write at which the peer stands still for as long as the association may be idle.
    """
    stock = association.dul
    if stock.socket is None or stock.socket.socket is None:
        raise TypeError("an association has a connection before it begins")
    connection = stock.socket.socket
    seconds = association.network_timeout
    if seconds is not None:
        timeout = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    doorbell = association._reactor_checkpoint = Doorbell()  # noqa: SLF001
    upper = association.dul = UpperLayer(association, store, doorbell)
    upper.artim_timer, upper._idle_timer = stock.artim_timer, stock._idle_timer  # noqa: SLF001
    upper.socket = Connection(association, client_socket=connection)
