"""Association requests and responses that pynetdicom does not read are put right first (PS3.8 section 9.3)."""

import struct
from collections.abc import Callable

import pytest
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ

from node.negotiation import BLANK, DEFAULT_LENGTH, put_right
from tests.wire import RELEASE, associate

CT, LITTLE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2"
REQUEST = associate({1: (CT, LITTLE)})
CALLED, CALLING = slice(10, 26), slice(26, 42)


def item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(content)) + content


def pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxI", kind, len(body)) + body


def with_items(change: Callable[[bytes], bytes], kind: int = 1) -> bytes:
    """Return the request with its variable items changed."""
    return pdu(kind, REQUEST[6:74] + change(REQUEST[74:]))


def with_title(where: slice, title: bytes) -> bytes:
    changed = bytearray(REQUEST)
    changed[where] = title.ljust(16)
    return bytes(changed)


def user_information(items: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Return the items with the content of the user information changed; it is the last."""
    begin = items.rindex(b"\x50\x00" + struct.pack(">H", len(items) - items.rindex(b"\x50\x00") - 4))
    return items[:begin] + item(0x50, change(items[begin + 4 :]))


def read(content: bytes) -> A_ASSOCIATE_RQ:
    request = A_ASSOCIATE_RQ()
    request.decode(bytes(put_right(bytearray(content))))
    request.to_primitive()
    return request


@pytest.mark.parametrize(
    "content",
    [
        with_items(lambda items: items + item(0x60, b"of a later edition")),
        with_items(lambda items: item(0x99, b"") + items),
        with_items(lambda items: user_information(items, lambda inner: inner + item(0x90, b"new"))),
        with_items(lambda items: user_information(items, lambda inner: item(0x5A, b"") + inner)),
    ],
    ids=["item 60H", "item 99H", "user sub-item 90H", "user sub-item 5AH"],
)
def test_items_of_unknown_types_are_ignored(content: bytes) -> None:
    assert put_right(bytearray(content)) == REQUEST
    assert [str(context.abstract_syntax) for context in read(content).presentation_context] == [CT]


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        (b"CT1\0\0\0", "CT1"),
        (b"\0CT1", "CT1"),
        (b"CT\\1", "CT?1"),
        ("CT-Köln".encode("latin-1"), "CT-K?ln"),
        (b"CT\n1", "CT?1"),
        (b"", BLANK),
        (b"\0" * 16, BLANK),
    ],
)
def test_a_title_that_breaks_the_rules_is_read_all_the_same(title: bytes, expected: str) -> None:
    assert read(with_title(CALLING, title)).calling_ae_title == expected
    assert read(with_title(CALLED, title)).called_ae_title == expected


def test_a_version_name_of_seventeen_characters_loses_its_last() -> None:
    long = item(0x55, b"VERSION_12345.678")
    content = with_items(lambda items: user_information(items, lambda inner: inner + long))
    assert read(content).user_information.implementation_version_name == "VERSION_12345.67"  # type: ignore[union-attr]


def test_a_response_without_user_information_has_the_default_length() -> None:
    items = item(0x10, b"1.2.840.10008.3.1.1.1") + item(0x21, b"\1\0\0\0" + item(0x40, LITTLE.encode()))
    response = A_ASSOCIATE_AC()
    response.decode(bytes(put_right(bytearray(pdu(2, REQUEST[6:74] + items)))))
    assert response.user_information is not None
    assert response.user_information.maximum_length == DEFAULT_LENGTH


def test_what_is_right_stays_as_it_is() -> None:
    assert put_right(bytearray(REQUEST)) == REQUEST
    assert put_right(bytearray(RELEASE)) == RELEASE


def test_lengths_that_do_not_add_up_are_left_to_the_reader() -> None:
    short = with_items(lambda items: items[:-1])
    assert put_right(bytearray(short)) == short
    inner = with_items(lambda items: user_information(items, lambda content: content[:-1]))
    assert put_right(bytearray(inner)) == inner
