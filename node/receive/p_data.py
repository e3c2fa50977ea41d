"""P-DATA of C-STORE straight from the socket to the store, without pynetdicom's objects and queues.

pynetdicom takes a data set through three kinds of objects and two threads, which takes several times as long as
receiving and writing it. Here the fragments of a C-STORE request stay in the buffer that they were received in until
they are written.

Whatever is out of the ordinary is given to pynetdicom, one presentation data value after the other, as if pynetdicom
had read it, together with what came before of the same message: the answer is then pynetdicom's. Three cases are
answered differently on purpose:

- A message that begins in the PDU in which another message ends is not lost.
- The length of a message other than C-STORE is limited.
- A peer that stops in the middle of a PDU is ended by the idle time-out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_items import PresentationDataValueItem

from node.receive.c_store import StoreRequest, read_command_set
from node.receive.connection import Connection
from node.receive.incoming import IncomingInstance, Store
from node.receive.pdu import (
    COMMAND,
    EVT10_P_DATA_TF,
    EVT19_INVALID_PDU,
    LAST,
    LONGEST_PDU,
    P_DATA_TF_TYPE,
    PDU_HEADER,
    PDU_TYPES,
    PDV_HEADER,
    PDV_LENGTH_SIZE,
)

BUFFER_SIZE = PDU_HEADER.size + LONGEST_PDU
"""The bytes that an association holds at most: the longest PDU fits."""
LONGEST_COMMAND_SET = 4096
"""The command set of a C-STORE request has some 300 bytes. A longer one is left to pynetdicom."""
SHORTEST_PDU = 1024
"""A peer that accepts only shorter PDUs is answered by pynetdicom, which divides the response."""


@dataclass(frozen=True, slots=True)
class ReceiveLimits:
    """What one association may hold.

    Parameters
    ----------
    held_bytes
        An instance of up to so many bytes is written in one piece, when it is whole; a larger one in pieces.
    message_bytes
        The longest message other than C-STORE: an N-ACTION request to commit to 100,000 instances is shorter.
    least_bytes_per_second
        A peer that sends fewer, and no message to its end, for as long as an association may be idle, is idle. A modem
        sends more.
    """

    held_bytes: int = 128 * 1024
    message_bytes: int = 16 * 2**20
    least_bytes_per_second: int = 1024


class PDataReader:
    """Reads the PDUs of one association in state Sta6, and handles its C-STORE requests.

    `end` is told why, where the association is about to be aborted.
    """

    def __init__(
        self, upper_layer: DULServiceProvider, store: Store, limits: ReceiveLimits, end: Callable[[str], None]
    ) -> None:
        self._end_because = end
        self._upper_layer = upper_layer
        self._association = upper_layer.assoc
        self._events = upper_layer.event_queue
        self._store = store
        self._limits = limits
        self._buffer = bytearray()
        self._view = memoryview(self._buffer)
        self._start = self._end = 0  # of the bytes in the buffer that are not handled yet
        self._pdu_end = 0  # of the P-DATA-TF PDU whose values are being handled
        self._missing = 0  # bytes that the last PDU in the buffer lacks
        self._fragments: list[tuple[int, int, bytes]] = []  # of a command set: context ID, control header, content
        self._request: StoreRequest | None = None
        self._instance: IncomingInstance | None = None
        self._held = 0  # bytes in the instance's parts
        self._handed_over = 0  # bytes of one message given to pynetdicom
        self.received = 0
        """Bytes that came."""
        self.messages = 0
        """Messages that came to their end."""

    def fill(self) -> int:
        """Read what the socket has; return how many bytes, 0 at the end of the connection, -1 if there are none now."""
        if not self._buffer:
            self._buffer = bytearray(BUFFER_SIZE)
            self._view = memoryview(self._buffer)
        if self._start == self._end and not self._held:
            self._start = self._end = self._pdu_end = 0
        elif self._end == len(self._buffer) or self._held > self._limits.held_bytes:
            self._make_room()
        try:
            count = self.connection.read_into(self._view[self._end :], self._missing)
        except BlockingIOError:
            return -1
        except OSError:
            return 0
        self._end += count
        self.received += count
        return count

    def handle(self) -> None:
        """Handle all PDUs that are whole, until one of them is pynetdicom's to act on."""
        events = self._events.queue  # its `empty` takes a lock, for each value
        self._missing = 0
        while not events:
            if self._start < self._pdu_end:
                self._handle_value()
                continue
            available = self._end - self._start
            if available < PDU_HEADER.size:
                return
            kind, length = PDU_HEADER.unpack_from(self._buffer, self._start)
            if available < PDU_HEADER.size + length and kind in PDU_TYPES and length <= LONGEST_PDU:
                self._missing = PDU_HEADER.size + length - available
                return
            if (
                kind == P_DATA_TF_TYPE
                and length <= LONGEST_PDU
                and self._is_sound(self._start + PDU_HEADER.size, length)
            ):
                self._start += PDU_HEADER.size
                self._pdu_end = self._start + length
            else:
                self._leave_pdu()
                return

    def cut(self) -> None:
        """Drop the message that has begun: its end will not come."""
        if self._instance is not None:
            self._store.cut(self._instance)
        self.forget()

    def forget(self) -> None:
        """Drop the message that has begun; the next value begins another."""
        if self._instance is not None:
            self._store.drop(self._instance)
        self._fragments, self._request, self._instance, self._held = [], None, None, 0

    @property
    def connection(self) -> Connection:
        """The connection of the association."""
        connection = self._upper_layer.socket
        if not isinstance(connection, Connection):
            raise TypeError("this upper layer needs a node.receive.connection.Connection")
        return connection

    def _make_room(self) -> None:
        """Have the store take the parts of the instance, and move what is not handled to the front of the buffer."""
        if self._instance is not None and self._held:
            self._store.write(self._instance)
            self._held = 0
        rest = self._end - self._start
        self._view[:rest] = self._view[self._start : self._end]
        self._pdu_end -= self._start
        self._start, self._end = 0, rest

    def _is_sound(self, offset: int, length: int) -> bool:
        """Return whether a P-DATA-TF PDU is filled exactly by values that have a message control header each."""
        end = offset + length
        while offset + PDV_HEADER.size <= end:
            size, _, _ = PDV_HEADER.unpack_from(self._buffer, offset)
            if size < PDV_HEADER.size - PDV_LENGTH_SIZE:
                return False
            offset += PDV_LENGTH_SIZE + size
        return offset == end

    def _handle_value(self) -> None:
        """Handle one presentation data value (PS3.8 section 9.3.5.1)."""
        length, context_id, control = PDV_HEADER.unpack_from(self._buffer, self._start)
        content = self._view[self._start + PDV_HEADER.size : self._start + PDV_LENGTH_SIZE + length]
        self._start += PDV_LENGTH_SIZE + length
        if self._association.dimse.message is not None:
            self._hand_over(context_id, control, content)
        elif self._instance is not None and not control & COMMAND:
            self._handle_data(self._instance, content, last=bool(control & LAST))
        elif self._instance is None and control & COMMAND:
            self._handle_command(context_id, control, content)
        else:
            self._leave_message()
            self._hand_over(context_id, control, content)

    def _handle_command(self, context_id: int, control: int, content: memoryview) -> None:
        self._fragments.append((context_id, control, bytes(content)))
        command_set = b"".join(fragment for _, _, fragment in self._fragments)
        if control & LAST:
            self._read_request(context_id, command_set)
        if len(command_set) > LONGEST_COMMAND_SET or (control & LAST and self._instance is None):
            self._leave_message()

    def _read_request(self, context_id: int, command_set: bytes) -> None:
        """Begin an instance where a command set is an ordinary C-STORE request."""
        context = self._contexts.get(context_id)
        values = read_command_set(command_set) if context is not None else None
        if values is None or context is None or values[0x0002].rstrip(b"\0") != context[0]:
            return
        self._request = StoreRequest(
            context_id=context_id,
            sop_class=values[0x0002],
            sop_instance=values[0x1000],
            message_id=values[0x0110],
        )
        self._instance = IncomingInstance(
            sop_class_uid=values[0x0002].rstrip(b"\0").decode(),
            sop_instance_uid=values[0x1000].rstrip(b"\0").decode(),
            transfer_syntax_uid=context[1],
            association=self._association,
            calling=self._sender[0],
            peer=self._sender[1],
        )

    def _handle_data(self, instance: IncomingInstance, content: memoryview, *, last: bool) -> None:
        instance.parts.append(content)
        self._held += len(content)
        if not last or self._request is None:
            return
        self.messages += 1
        request, status = self._request, self._store.finish(instance)
        self.forget()
        self.connection.send(request.response(status))

    @cached_property
    def _contexts(self) -> dict[int, tuple[bytes, str]]:
        """Abstract and transfer syntax by presentation context ID, of the contexts whose C-STORE is handled here.

        pynetdicom copies and checks its contexts at each access.
        """
        if 0 < (self._association.requestor.maximum_length or 0) < SHORTEST_PDU:
            return {}
        accepted = self._association._accepted_cx.items()  # noqa: SLF001
        return {
            context_id: (str(context.abstract_syntax).encode(), str(context.transfer_syntax[0]))
            for context_id, context in accepted
        }

    @cached_property
    def _sender(self) -> tuple[str, str]:
        """AE title and address of the peer."""
        requestor = self._association.requestor
        return requestor.ae_title, str(requestor.address)

    def _leave_pdu(self) -> None:
        """Have pynetdicom read the next PDU from its connection, after what came of the current message."""
        self._leave_message()
        self.connection.put_back(bytes(self._view[self._start : self._end]))
        self._start = self._end = self._pdu_end = 0
        self._upper_layer._read_pdu_data()  # noqa: SLF001

    def _leave_message(self) -> None:
        """Give pynetdicom what came of a message; abort the association if parts of it are no longer held."""
        if self._instance is not None and not self._instance.is_held:
            self._end_because("a message came within an instance")
            self._events.put(EVT19_INVALID_PDU)
        else:
            for fragment in self._fragments:
                self._hand_over(*fragment)
            for content in self._instance.parts if self._instance is not None else ():
                self._hand_over(self._fragments[-1][0], 0, content)
        self.forget()

    def _hand_over(self, context_id: int, control: int, content: bytes | bytearray | memoryview) -> None:
        """Give pynetdicom one presentation data value, as if it had read it."""
        self._handed_over = len(content) + (self._handed_over if self._association.dimse.message is not None else 0)
        if self._handed_over > self._limits.message_bytes:
            self._end_because(f"a message of more than {self._limits.message_bytes} bytes came")
            self._events.put(EVT19_INVALID_PDU)
            return
        self.messages += bool(control & LAST)
        value = PresentationDataValueItem()
        value.presentation_context_id = context_id
        value.presentation_data_value = bytes((control,)) + bytes(content)
        pdu = P_DATA_TF()
        pdu.presentation_data_value_items = [value]
        self._upper_layer._recv_pdu.put(pdu)  # noqa: SLF001
        self._events.put(EVT10_P_DATA_TF)
