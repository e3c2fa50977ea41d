"""A Part 10 file is read whatever its bytes are, or is not understood."""

from contextlib import suppress
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.errors import NotUnderstood
from node.images.part10 import file_header, parse
from node.testing import ct_series


def test_a_file_header_names_the_instance_that_follows() -> None:
    head = file_header(sop_class_uid="1.2.3", sop_instance_uid="1.2.4", transfer_syntax_uid="1.2.840.10008.1.2")
    read = parse(BytesIO(head + b"\x08\x00\x60\x00\x02\x00\x00\x00CT"), pixels=True)
    assert read.Modality == "CT"
    meta = read.file_meta
    assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) == ("1.2.3", "1.2.4")
    assert len(head) % 2 == 0


@given(
    syntax=st.sampled_from(
        ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.3"]
    ),
    content=st.binary(max_size=200),
    pixels=st.booleans(),
)
@settings(max_examples=300, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_any_bytes_are_either_read_or_not_understood(syntax: str, content: bytes, pixels: bool) -> None:
    head = file_header(sop_class_uid="1.2.3", sop_instance_uid="1.2.4", transfer_syntax_uid=syntax)
    with suppress(NotUnderstood):
        parse(BytesIO(head + content), pixels=pixels)


@pytest.mark.parametrize("size", range(0, 400, 3))
@pytest.mark.filterwarnings("ignore")
def test_an_instance_cut_short_is_read_or_not_understood(size: int) -> None:
    whole = BytesIO()
    ct_series(slices=1, rows=4, columns=4)[0].save_as(whole, enforce_file_format=True)
    with suppress(NotUnderstood):
        parse(BytesIO(whole.getvalue()[: -size or None]), pixels=True)
