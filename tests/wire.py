"""PDUs made by hand, independent of the node's own, and a peer that sends exactly these bytes."""

import socket
import struct
from collections.abc import Mapping, Sequence

from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification
from pynetdicom.presentation import build_context

COMMAND, LAST = 1, 2
RELEASE = bytes.fromhex("05000000000400000000")
ABORT = bytes.fromhex("07000000000400000000")


def associate(contexts: Mapping[int, tuple[str, str]], *, calling: str = "WIRE", longest: int = 16382) -> bytes:
    """Return an A-ASSOCIATE-RQ that proposes (abstract syntax, transfer syntax) by context."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = calling, "ISOCENTER"
    proposed = []
    for number, syntaxes in contexts.items():
        proposed.append(build_context(*syntaxes))
        proposed[-1].context_id = number
    primitive.presentation_context_definition_list = proposed
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received, implementation.implementation_class_uid = longest, "1.2.3.4"
    primitive.user_information = [length, implementation]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    return bytes(pdu.encode())


def command(elements: Mapping[int, bytes]) -> bytes:
    """Return a command set, in implicit VR little endian (PS3.7 section 6.3.1)."""
    body = b"".join(struct.pack("<HHI", 0, element, len(value)) + value for element, value in elements.items())
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def uid(text: str) -> bytes:
    """Return a UID as a command set encodes it."""
    return text.encode() + b"\0" * (len(text) % 2)


def us(number: int) -> bytes:
    return struct.pack("<H", number)


def store_rq(sop_class: str, instance: str, *, message: int = 1, **others: bytes) -> dict[int, bytes]:
    """Return the elements of a C-STORE-RQ; `others` by name replace some of them."""
    named = {"field": us(1), "priority": us(0), "data_set": us(1)} | others
    return {
        0x0002: uid(sop_class),
        0x0100: named["field"],
        0x0110: us(message),
        0x0700: named["priority"],
        0x0800: named["data_set"],
        0x1000: uid(instance),
    }


def echo_rq(message: int = 1) -> dict[int, bytes]:
    """Return the elements of a C-ECHO-RQ."""
    return {0x0002: uid("1.2.840.10008.1.1"), 0x0100: us(0x30), 0x0110: us(message), 0x0800: us(0x0101)}


def pdv(context: int, control: int, content: bytes) -> bytes:
    """Return one presentation data value."""
    return struct.pack(">IBB", len(content) + 2, context, control) + content


def p_data(*values: bytes) -> bytes:
    """Return a P-DATA-TF PDU."""
    body = b"".join(values)
    return struct.pack(">BxI", 4, len(body)) + body


class Peer:
    """A connection on which an association was requested; `accepted` is the response."""

    def __init__(self, port: int, request: bytes, *, seconds: float = 20) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=seconds)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(request)
        self.accepted = self.pdu()

    def send(self, *chunks: bytes) -> None:
        """Send each chunk by a write of its own."""
        for chunk in chunks:
            self.socket.sendall(chunk)

    def pdu(self) -> bytes:
        """Return the next PDU; only its first bytes, where the connection ends or nothing comes for `seconds`."""
        head = self._read(6)
        return head + self._read(struct.unpack(">xxI", head)[0]) if len(head) == 6 else head

    def rest(self) -> list[bytes]:
        """Return all PDUs up to the end of the connection."""
        found = []
        while pdu := self.pdu():
            found.append(pdu)
        return found

    def close(self, *, reset: bool = False) -> None:
        if reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _read(self, count: int) -> bytes:
        content = b""
        try:
            while len(content) < count and (more := self.socket.recv(count - len(content))):
                content += more
        except OSError:
            pass
        return content


def split(content: bytes, sizes: Sequence[int]) -> list[bytes]:
    """Return content in pieces of these sizes, which are repeated to its end."""
    pieces, number = [], 0
    while content:
        size = sizes[number % len(sizes)] if sizes else len(content)
        pieces.append(content[:size])
        content, number = content[size:], number + 1
    return pieces
