"""PDUs of the DICOM upper layer as bytes (PS3.8 section 9.3), and its states and events (PS3.8 section 9.2).

States and events have pynetdicom's names; they are the row and column names of PS3.8 table 9-10.
"""

import struct

A_ASSOCIATE_RQ_TYPE, A_ASSOCIATE_RJ_TYPE, P_DATA_TF_TYPE, A_ABORT_TYPE = 0x01, 0x03, 0x04, 0x07
PDU_TYPES = range(A_ASSOCIATE_RQ_TYPE, A_ABORT_TYPE + 1)
"""PDU types (PS3.8 tables 9-11, 9-22 and 9-26); there are seven, without a gap."""
PDU_HEADER = struct.Struct(">BxI")
"""PDU type, a reserved byte, PDU length: the number of bytes that follow."""
LONGEST_PDU = 1 << 20
"""Upper limit of a PDU length. A request with 128 presentation contexts is shorter; the field could announce 4 GiB."""

PDV_HEADER = struct.Struct(">IBB")
"""Item length, presentation context ID, message control header (PS3.8 table 9-23)."""
PDV_LENGTH_SIZE = 4
"""The item length counts the bytes after itself."""
COMMAND, LAST = 0x01, 0x02
"""Bits of the message control header: a fragment of the command set, and the last fragment (PS3.8 annex E.2)."""

STA1_IDLE = "Sta1"
STA6_DATA_TRANSFER = "Sta6"
STA13_AWAITING_CLOSE = "Sta13"
"""States of the upper layer protocol machine (PS3.8 tables 9-1, 9-3 and 9-5)."""

EVT10_P_DATA_TF = "Evt10"
EVT17_CONNECTION_CLOSED = "Evt17"
EVT19_INVALID_PDU = "Evt19"
"""Events: a P-DATA-TF PDU came, the transport connection is closed, an unrecognised or invalid PDU came."""


TITLES_END = 42
"""So many bytes of an association request have both AE titles (PS3.8 table 9-11)."""


def titles(request: bytes | bytearray) -> tuple[str, str]:
    """Return calling and called AE title of an association request, or of its beginning; empty where it has none."""
    if len(request) < TITLES_END or request[0] != A_ASSOCIATE_RQ_TYPE:
        return "", ""
    calling, called = request[26:TITLES_END], request[10:26]
    return calling.decode("latin-1").strip("\0 "), called.decode("latin-1").strip("\0 ")


def abort_reason(pdu: bytes | bytearray) -> str:
    """Return a sentence for an A-ABORT PDU that came (PS3.8 table 9-26)."""
    source, reason = pdu[8:10] if len(pdu) >= 10 else (0, 0)
    by = "the sender" if source == 0 else f"the sender's network software, for reason {reason}"
    return f"aborted by {by} (A-ABORT)"


def a_associate_rj(result: int, source: int, reason: int) -> bytes:
    """Return an A-ASSOCIATE-RJ PDU (PS3.8 table 9-21)."""
    return PDU_HEADER.pack(A_ASSOCIATE_RJ_TYPE, 4) + bytes((0, result, source, reason))


def p_data_tf(context_id: int, control: int, fragment: bytes) -> bytes:
    """Return a P-DATA-TF PDU with one presentation data value (PS3.8 table 9-22)."""
    length = len(fragment) + PDV_HEADER.size
    header = PDU_HEADER.pack(P_DATA_TF_TYPE, length)
    return header + PDV_HEADER.pack(length - PDV_LENGTH_SIZE, context_id, control) + fragment
