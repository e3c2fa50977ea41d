"""C-STORE as bytes: the command set of a request, the PDU of its response (PS3.7 section 9.3.1), status codes."""

import struct
from dataclasses import dataclass

from node.receive.header_fields import UI
from node.receive.pdu import COMMAND, LAST, p_data_tf

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
"""Status codes of C-STORE (PS3.4 table B.2-1)."""

ELEMENT_HEADER = struct.Struct("<HHI")
"""Group, element, length: command sets are in implicit VR little endian (PS3.7 section 6.3.1)."""
US = struct.Struct("<H")
C_STORE_RQ, C_STORE_RSP, NO_DATA_SET = map(US.pack, (0x0001, 0x8001, 0x0101))
"""Command Field of request and response; Command Data Set Type of a message without data set (PS3.7 annex E.1)."""
REQUEST_ELEMENTS = {
    0x0000: 4,  # Command Group Length
    0x0002: None,  # Affected SOP Class UID
    0x0100: 2,  # Command Field
    0x0110: 2,  # Message ID
    0x0700: 2,  # Priority
    0x0800: 2,  # Command Data Set Type
    0x1000: None,  # Affected SOP Instance UID
}
"""Lengths of the elements of a C-STORE request by element number (PS3.7 table 9.3-1).

All of them must be there. A request with any other element, such as the Move Originator, is left to pynetdicom.
"""
PRIORITIES = frozenset(map(US.pack, range(3)))


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """A C-STORE request: its presentation context, and values of its command set as they were encoded."""

    context_id: int
    sop_class: bytes
    sop_instance: bytes
    message_id: bytes

    def response(self, status: int) -> bytes:
        """Return the P-DATA-TF PDU of the response (PS3.7 table 9.3-2)."""
        elements = (
            (0x0002, self.sop_class),
            (0x0100, C_STORE_RSP),
            (0x0120, self.message_id),  # Message ID Being Responded To
            (0x0800, NO_DATA_SET),
            (0x0900, US.pack(status)),
            (0x1000, self.sop_instance),
        )
        body = b"".join(ELEMENT_HEADER.pack(0, element, len(value)) + value for element, value in elements)
        command_set = ELEMENT_HEADER.pack(0, 0, 4) + struct.pack("<I", len(body)) + body
        return p_data_tf(self.context_id, COMMAND | LAST, command_set)


def read_command_set(command_set: bytes) -> dict[int, bytes] | None:
    """Return the values of a C-STORE request by element number; None for another message or an unusual request."""
    found: dict[int, bytes] = {}
    offset, last = 0, -1
    while offset < len(command_set):
        if offset + ELEMENT_HEADER.size > len(command_set):
            return None
        group, element, length = ELEMENT_HEADER.unpack_from(command_set, offset)
        start = offset + ELEMENT_HEADER.size
        offset = start + length
        expected = REQUEST_ELEMENTS.get(element, 0)
        if group or element <= last or expected not in (None, length) or offset > len(command_set):
            return None
        found[element] = command_set[start:offset]
        last = element
    return found if found.keys() == REQUEST_ELEMENTS.keys() and _is_store_request(found) else None


def _is_store_request(values: dict[int, bytes]) -> bool:
    if values[0x0100] != C_STORE_RQ or values[0x0700] not in PRIORITIES or values[0x0800] == NO_DATA_SET:
        return False
    uids = values[0x0002], values[0x1000]
    return all(len(uid) % 2 == 0 and UI.fullmatch(uid) for uid in uids)
