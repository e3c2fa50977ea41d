"""Instances that are not kept: each is refused with a reason, and the association goes on."""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
)

from node.receive import StoreScp
from node.receive.c_store import CANNOT_UNDERSTAND, MISMATCH, OUT_OF_RESOURCES, SUCCESS
from node.receive.incoming import IncomingInstance
from node.records import Refusal
from node.spool import Spool
from node.testing import ct_series, mr_series
from tests.reception import (
    OpenReception,
    Reception,
    encoded,
    images,
    store_bytes,
    store_in,
)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom", "ignore::UserWarning:pynetdicom")


# What is not good is refused with a reason.


def test_no_instance_is_accepted_below_the_disk_mark(open_reception: OpenReception) -> None:
    reception = open_reception(free_mark=2**60)
    assert reception.send(*ct_series(slices=2)) == [OUT_OF_RESOURCES] * 2
    assert list(reception.spool.packs.iterdir()) == []
    assert reception.rows() == []
    assert len(reception.reasons()) == 2
    assert "MiB are free under the spool" in reception.reasons()[0]
    reception.spool.free_mark = 0
    assert reception.send(*ct_series(slices=2)) == [SUCCESS] * 2


def test_a_disk_failure_is_reported_and_the_association_continues_in_another_pack(
    reception: Reception, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = ct_series(slices=3)

    def fail(_fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with reception.association() as association:
        assert store_in(association, first) == SUCCESS
        with monkeypatch.context() as disk:
            disk.setattr(os, "fdatasync", fail)
            assert store_in(association, second) == OUT_OF_RESOURCES
        assert store_in(association, third) == SUCCESS
    reception.all_closed()
    reception.arrivals.record()
    assert sorted(reception.rows()) == sorted(str(image.SOPInstanceUID) for image in (first, third))
    assert reception.reasons() == ["the spool cannot be written: Input/output error"]
    assert len(list(reception.spool.packs.iterdir())) == 2


def changed(image: Dataset, **values: Any) -> Dataset:
    for keyword, value in values.items():
        if value is None:
            delattr(image, keyword)
        else:
            setattr(image, keyword, value)
    return image


@pytest.mark.parametrize(
    ("keyword", "value", "reason"),
    [
        ("StudyInstanceUID", None, "the data set has no StudyInstanceUID"),
        ("StudyInstanceUID", "", "the data set has no StudyInstanceUID"),
        ("SeriesInstanceUID", None, "the data set has no SeriesInstanceUID"),
        ("SOPInstanceUID", None, "the data set has no SOPInstanceUID"),
        ("SOPClassUID", None, "the data set has no SOPClassUID"),
        ("StudyInstanceUID", "../../etc", "the data set's StudyInstanceUID is no UID"),
        ("StudyInstanceUID", "..", "the data set's StudyInstanceUID is no UID"),
        ("StudyInstanceUID", ".", "the data set's StudyInstanceUID is no UID"),
        ("SeriesInstanceUID", "1." * 40, "the data set's SeriesInstanceUID is no UID"),
        ("SeriesInstanceUID", "1.2\\1.3", "the data set's SeriesInstanceUID is no UID"),
        ("SOPInstanceUID", "1.2.3", "the data set is instance 1.2.3, the request another"),
    ],
)
def test_a_data_set_with_missing_or_wrong_identifiers_is_refused_and_the_association_continues(
    reception: Reception, keyword: str, value: str | None, reason: str
) -> None:
    bad, good = ct_series(slices=2)
    uid = str(bad.SOPInstanceUID)
    study = "" if keyword == "StudyInstanceUID" else str(bad.StudyInstanceUID)
    changed(bad, **{keyword: value})
    with reception.association() as association:
        assert store_bytes(association, encoded(bad), instance=uid) == CANNOT_UNDERSTAND
        assert store_in(association, good) == SUCCESS
    reception.all_closed()
    reception.arrivals.record()
    assert reception.rows() == [str(good.SOPInstanceUID)]
    (refusal,) = reception.ledger.queries.refusals()
    assert (refusal.reason, refusal.sop_instance_uid, refusal.study_uid) == (reason, uid, study)
    assert (refusal.calling, refusal.peer) == ("CT1", "127.0.0.1")


def test_a_data_set_of_another_sop_class_is_a_mismatch(reception: Reception) -> None:
    (mr,) = mr_series(slices=1)
    with reception.association() as association:
        uid = str(mr.SOPInstanceUID)
        assert store_bytes(association, encoded(mr), sop_class=CTImageStorage, instance=uid) == MISMATCH
    reception.arrivals.record()
    assert reception.reasons() == [f"the data set is of SOP class {MRImageStorage}, the request of {CTImageStorage}"]


@pytest.mark.parametrize(
    ("syntax", "body"),
    [
        (ExplicitVRLittleEndian, b"\xff" * 100),
        (ExplicitVRLittleEndian, b"\x08\x00\x16\x00UI\xff\xff1.2"),
        (ExplicitVRLittleEndian, b"\x08\x00\x16\x00US\x03\x001.2"),
        (ExplicitVRLittleEndian, b""),
        (ImplicitVRLittleEndian, b"GET / HTTP/1.1\r\n\r\n"),
        (DeflatedExplicitVRLittleEndian, b"this is not deflated at all"),
    ],
)
def test_garbage_is_refused_and_the_association_continues(reception: Reception, syntax: Any, body: bytes) -> None:
    (good,) = images(syntax)
    with reception.association(syntax=syntax) as association:
        assert store_bytes(association, body) == CANNOT_UNDERSTAND
        assert store_in(association, good) == SUCCESS
    reception.all_closed()
    reception.arrivals.record()
    assert reception.rows() == [str(good.SOPInstanceUID)]
    (reason,) = reception.reasons()
    assert reason


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("rows", [8, 1024])
def test_pixel_data_that_state_more_than_came_are_refused(reception: Reception, syntax: Any, rows: int) -> None:
    """An image of 1024 rows is written in pieces while it comes."""
    (image,) = ct_series(slices=1, rows=rows, columns=rows, transfer_syntax=syntax)
    body = encoded(image)
    with reception.association(syntax=syntax) as association:
        assert store_bytes(association, body[:-2], instance=str(image.SOPInstanceUID)) == CANNOT_UNDERSTAND
        assert store_bytes(association, body, instance=str(image.SOPInstanceUID)) == SUCCESS
    reception.all_closed()
    reception.arrivals.record()
    size = 2 * rows * rows
    assert reception.reasons() == [
        f"the pixel data state {size} bytes, and {size - 2} came; the sender's copy is damaged"
    ]
    assert reception.rows() == [str(image.SOPInstanceUID)]


class NoAssociation:
    """Stands for an association."""


def received(body: bytes, **values: Any) -> IncomingInstance:
    values = {
        "sop_class_uid": str(CTImageStorage),
        "sop_instance_uid": "1.2.3.4",
        "transfer_syntax_uid": str(ExplicitVRLittleEndian),
        "association": NoAssociation(),
        "calling": "CT1",
        "peer": "127.0.0.1",
        **values,
    }
    return IncomingInstance(parts=[body], **values)


@dataclass
class RowsInMemory:
    """Stands for Arrivals."""

    put: Callable[[Any], None]
    check_ledger: Callable[[], None] = lambda: None


def stored(spool: Spool, instance: IncomingInstance, **changed: Any) -> tuple[int, list[Any]]:
    rows: list[Any] = []
    return StoreScp(spool, RowsInMemory(rows.append, **changed)).finish(instance), rows  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_in_a_data_set_ends_in_a_row(spool: Spool, data: st.DataObject) -> None:
    """Success with an arrival, or a failure with a refusal; never an error without a row."""
    syntax = data.draw(st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]))
    (image,) = images(syntax)
    body = bytearray(encoded(image)[: data.draw(st.integers(0, 1200), "length")])
    for _ in range(data.draw(st.integers(0, 6), "flips") if body else 0):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    instance = received(bytes(body), sop_instance_uid=str(image.SOPInstanceUID), transfer_syntax_uid=str(syntax))
    status, rows = stored(spool, instance)
    assert len(rows) == 1
    assert isinstance(rows[0], Refusal) == (status != SUCCESS)
    assert status in (SUCCESS, MISMATCH, CANNOT_UNDERSTAND)


@pytest.mark.parametrize("values", [{"sop_instance_uid": ""}, {"sop_class_uid": ""}, {"sop_instance_uid": "x/../y"}])
def test_a_request_without_a_valid_sop_class_or_instance_is_refused(spool: Spool, values: dict[str, str]) -> None:
    (image,) = ct_series(slices=1)
    status, rows = stored(spool, received(encoded(image), **values))
    assert status in (CANNOT_UNDERSTAND, MISMATCH)
    (row,) = rows
    assert isinstance(row, Refusal)
    assert row.reason


def test_an_internal_error_is_a_refusal_too(spool: Spool) -> None:
    (image,) = ct_series(slices=1)

    def broken() -> None:
        raise ZeroDivisionError

    instance = received(encoded(image), sop_instance_uid=str(image.SOPInstanceUID))
    status, rows = stored(spool, instance, check_ledger=broken)
    assert status == OUT_OF_RESOURCES
    assert rows[0].reason == "the node failed on it: ZeroDivisionError"
