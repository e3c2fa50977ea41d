"""What the node reads of a header without pydicom is what pydicom reads."""

from collections.abc import Iterator
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from node.errors import NotUnderstood
from node.images.part10 import file_header, parse
from node.receive.header_fields import inflated, pick, values_of_whole, walked
from tests.fast_path import BODIES, CONTEXTS
from tests.peers import DICOM

pytestmark = pytest.mark.filterwarnings("ignore")


def headers() -> Iterator[tuple[str, bytes]]:
    yield from ((CONTEXTS[number][1], body) for number, body in BODIES.items())
    for path in sorted(DICOM.rglob("*.dcm"))[::5] if DICOM.exists() else []:
        content = path.read_bytes()
        if content[128:132] == b"DICM" and len(content) < 3_000_000:
            meta = read_file_meta_info(path)
            start = 144 + int.from_bytes(content[140:144], "little")
            yield str(meta.get("TransferSyntaxUID", "")), content[start:]


def test_picked_fields_equal_those_that_pydicom_reads() -> None:
    """Of real data sets of every kind, where they are."""
    picked = 0
    for syntax, body in headers():
        head = file_header(sop_class_uid="1.2", sop_instance_uid="1.2", transfer_syntax_uid=syntax)
        plain = inflated(body, whole=True) if syntax == DeflatedExplicitVRLittleEndian else body
        found = pick(walked(plain, syntax), whole=True)
        if found is not None:
            picked += 1
            header = parse(BytesIO(head + body), pixels=False)
            read = {keyword: str(header.get(keyword)) for keyword in found}
            assert found == read
            assert "Modality" in found or not header.get("Modality")
    assert picked >= 3


def test_a_null_within_the_character_set_is_left_to_pydicom_which_refuses_it() -> None:
    syntax, body = CONTEXTS[1][1], bytearray(BODIES[1])
    assert body[:6] == b"\x08\0\x05\0CS"
    body[8] = 0
    assert pick(walked(bytes(body), syntax), whole=True) is None
    with pytest.raises(NotUnderstood, match="null"):
        values_of_whole(bytes(body), syntax)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_fields_that_pydicom_refuses_are_not_picked(data: st.DataObject) -> None:
    number = data.draw(st.sampled_from([1, 7]))
    body = bytearray(BODIES[number])
    for _ in range(data.draw(st.integers(0, 5))):
        body[data.draw(st.integers(0, 900))] = data.draw(st.integers(0, 255))
    syntax = CONTEXTS[number][1]
    found = pick(walked(bytes(body), syntax), whole=True)
    if found is not None:
        head = file_header(sop_class_uid="1.2", sop_instance_uid="1.2", transfer_syntax_uid=syntax)
        header = parse(BytesIO(head + body), pixels=False)
        assert found == {keyword: str(header.get(keyword)) for keyword in found}
