"""Association requests and responses as peers write them, made such that pynetdicom reads them (PS3.8 section 9.3).

PS3.8 section 9.3.1 says that items of unknown types are ignored; pynetdicom aborts the association. It also aborts, or
fails, at titles and names that break a rule although their meaning is plain. This module corrects such a PDU before it
is read: requests that the node receives, and responses to its own requests.
"""

import struct
from collections.abc import Iterator

A_ASSOCIATE_RQ, A_ASSOCIATE_AC = 0x01, 0x02
"""PDU types (PS3.8 tables 9-11 and 9-17)."""
HEADER = struct.Struct(">BxI")
ITEM = struct.Struct(">BxH")
"""PDU type and length; item type and length."""
TITLES = (slice(10, 26), slice(26, 42))
"""Called and calling AE title in both PDUs; in a response they are reserved and not tested."""
ITEMS_FROM = 74

PRESENTATION_CONTEXTS, USER_INFORMATION, MAXIMUM_LENGTH, VERSION_NAME = (0x20, 0x21), 0x50, 0x51, 0x55
KNOWN_ITEMS = (0x10, *PRESENTATION_CONTEXTS, USER_INFORMATION)
SUB_ITEMS = {0x20: (4, (0x30, 0x40)), 0x21: (4, (0x40,)), USER_INFORMATION: (0, tuple(range(0x51, 0x5A)))}
"""Known items, and for those that have sub-items: where these begin, and which are known (PS3.8 section 9.3, annex D;
PS3.7 annex D.3.3)."""
DEFAULT_LENGTH = 16384
"""Maximum length received of a peer that names none; PS3.8 annex D.1 has all peers name one."""
LONGEST_NAME = 16
BLANK = "(blank)"
"""Stands for an AE title of spaces alone, which PS3.8 tables 9-11 and 9-17 forbid."""

Items = list[tuple[int, bytes]]


def put_right(pdu: bytearray) -> bytearray:
    """Return an association request or response without what pynetdicom does not read; any other PDU as it is.

    Items and sub-items of unknown types are left out. In AE titles, NUL is a space, and what no title may hold is
    `?`; one of spaces alone is `BLANK`. An implementation version name ends with its sixteenth character. Where the
    maximum length is not named, it is `DEFAULT_LENGTH`.
    """
    if len(pdu) < ITEMS_FROM or pdu[0] not in (A_ASSOCIATE_RQ, A_ASSOCIATE_AC):
        return pdu
    items = _items(bytes(pdu[ITEMS_FROM:]))
    if items is None:  # its lengths do not add up: the association is aborted
        return pdu
    head = pdu[:ITEMS_FROM]
    for title in TITLES:
        head[title] = _title(bytes(head[title]))
    known = [(kind, _known_sub_items(kind, content)) for kind, content in items if kind in KNOWN_ITEMS]
    if all(kind != USER_INFORMATION for kind, _ in known):
        known.append((USER_INFORMATION, _known_sub_items(USER_INFORMATION, b"")))
    body = bytes(head[HEADER.size :]) + _encoded(known)
    return bytearray(HEADER.pack(pdu[0], len(body)) + body)


def _title(title: bytes) -> bytes:
    text = title.replace(b"\0", b" ").decode("latin-1")
    plain = "".join(letter if " " <= letter <= "~" and letter != "\\" else "?" for letter in text)
    return (plain if plain.strip() else BLANK).ljust(LONGEST_NAME).encode("ascii")


def _known_sub_items(kind: int, content: bytes) -> bytes:
    """Return the content of an item without sub-items of unknown types; as it is where its lengths do not add up."""
    begin, known = SUB_ITEMS.get(kind, (len(content), ()))
    items = _items(content[begin:])
    if items is None:
        return content
    kept = [(number, _name(value) if number == VERSION_NAME else value) for number, value in items if number in known]
    if kind == USER_INFORMATION and all(number != MAXIMUM_LENGTH for number, _ in kept):
        kept.insert(0, (MAXIMUM_LENGTH, DEFAULT_LENGTH.to_bytes(4, "big")))
    return content[:begin] + _encoded([item for item in kept if item[1] or item[0] != VERSION_NAME])


def _name(name: bytes) -> bytes:
    """Return an implementation version name that may be printed (PS3.7 annex D.3.3.2)."""
    plain = name.strip(b"\0 ")[:LONGEST_NAME]
    return bytes(byte if 0x20 <= byte < 0x7F else ord("?") for byte in plain)


def _items(content: bytes) -> Items | None:
    """Return type and content of each item; None where their lengths do not add up to the whole."""
    found = [*_walk(content)]
    return found if sum(ITEM.size + len(value) for _, value in found) == len(content) else None


def _walk(content: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + ITEM.size <= len(content):
        kind, length = ITEM.unpack_from(content, offset)
        if offset + ITEM.size + length > len(content):
            return
        yield kind, content[offset + ITEM.size : offset + ITEM.size + length]
        offset += ITEM.size + length


def _encoded(items: Items) -> bytes:
    return b"".join(ITEM.pack(kind, len(content)) + content for kind, content in items)
