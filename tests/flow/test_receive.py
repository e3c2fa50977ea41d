"""Associations against the real mouth: what is acknowledged is durable and has its row, what is not says why."""

import errno
import os
import socket
import sqlite3
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
)
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import Verification
from sqlalchemy import event as engine_event

from node.errors import ConfigError
from node.ledger import Ledger
from node.receive import Arrivals, KnownPeers, Receiver, StoreScp, try_port
from node.receive.arrivals import GROUP_SIZE, PATIENCE_SECONDS
from node.receive.c_store import CANNOT_UNDERSTAND, MISMATCH, OUT_OF_RESOURCES, SUCCESS
from node.receive.incoming import IncomingInstance
from node.records import Address, Instance, Refusal
from node.spool import PACK_LIMIT, Spool
from node.testing import ct_series, mr_series

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom", "ignore::UserWarning:pynetdicom")

PATIENCE = 20
SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    JPEGLSLossless,
    JPEG2000Lossless,
    RLELossless,
]


def wait_for(true: Callable[[], bool], what: str = "it") -> None:
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until, f"{what} did not happen"
        time.sleep(0.01)


def encoded(image: Dataset) -> bytes:
    """The bytes of a data set as a C-STORE carries them: its file without preamble and meta information."""
    out = BytesIO()
    image.save_as(out, enforce_file_format=True)
    content = out.getvalue()
    (length,) = struct.unpack("<I", content[140:144])  # the group length is the first element of the meta information
    return content[144 + length :]


def images(syntax: str, slices: int = 1) -> list[Dataset]:
    """A small CT series in a transfer syntax; the encoders need images of some size."""
    if (UID(syntax).is_compressed and not UID(syntax).is_deflated) or syntax == ExplicitVRBigEndian:
        return ct_series(slices=slices, transfer_syntax=syntax)
    plain = ct_series(slices=slices)
    for image in plain:
        image.file_meta.TransferSyntaxUID = UID(syntax)
    return plain


@dataclass
class Mouth:
    """A receiver with all that is behind it, and what a modality does to it."""

    spool: Spool
    ledger: Ledger
    arrivals: Arrivals
    receiver: Receiver
    closed: list[bool] = field(default_factory=list)

    @contextmanager
    def association(
        self, *, syntax: str = ExplicitVRLittleEndian, called: str = "ISOCENTER", calling: str = "CT1"
    ) -> Iterator[Association]:
        modality = AE(calling)
        modality.add_requested_context(Verification)
        modality.add_requested_context(CTImageStorage, syntax)
        modality.add_requested_context(MRImageStorage, syntax)
        modality.dimse_timeout = modality.acse_timeout = modality.network_timeout = PATIENCE
        association = modality.associate("127.0.0.1", self.receiver.port, ae_title=called)
        yield association
        if association.is_established:
            association.release()

    def send(self, *sent: Dataset, syntax: str = ExplicitVRLittleEndian) -> list[int]:
        """Send over one association, have the rows written, and return the statuses."""
        with self.association(syntax=syntax) as association:
            statuses = [store_in(association, image) for image in sent]
        self.all_closed()
        self.arrivals.record()
        return statuses

    def all_closed(self) -> None:
        wait_for(lambda: not self.open_packs(), "the end of the association")

    def open_packs(self) -> list[str]:
        return [path.name for path in self.spool.packs.iterdir() if self.spool.is_open(path.name)]

    def rows(self) -> list[str]:
        with sqlite3.connect(self.ledger._engine.url.database or "") as connection:
            return [row[0] for row in connection.execute("SELECT sop_instance_uid FROM instance")]

    def reasons(self) -> list[str]:
        return [refusal.reason for refusal in self.ledger.refusals()]


def store_in(association: Association, image: Dataset) -> int:
    return store_bytes(
        association, encoded(image), sop_class=str(image.SOPClassUID), instance=str(image.SOPInstanceUID)
    )


def request(body: bytes, *, sop_class: str, instance: str) -> C_STORE:
    made = C_STORE()
    made.MessageID, made.Priority = 1, 2
    made.AffectedSOPClassUID, made.AffectedSOPInstanceUID = sop_class, instance
    made.DataSet = BytesIO(body) if body else None
    return made


def context_of(association: Association, sop_class: str) -> int:
    (accepted,) = [one for one in association.accepted_contexts if one.abstract_syntax == sop_class]
    assert accepted.context_id is not None
    return accepted.context_id


def store_bytes(
    association: Association, body: bytes, *, sop_class: str = CTImageStorage, instance: str = "1.2.3.4"
) -> int:
    """Send exactly these bytes, whatever they are; pynetdicom's own SCU would read them first."""
    association._reactor_checkpoint.clear()
    while not association._is_paused:
        time.sleep(0.001)
    association.dimse.send_msg(
        request(body, sop_class=sop_class, instance=instance), context_of(association, sop_class)
    )
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    assert isinstance(answer, C_STORE)
    assert answer.Status is not None
    return int(answer.Status)


Open = Callable[..., Mouth]


@pytest.fixture
def open_mouth(spool: Spool, ledger: Ledger, clock: Callable[[], float]) -> Iterator[Open]:
    opened: list[Mouth] = []

    def made(
        *,
        accept_from: Sequence[str] = (),
        free_mark: int = 0,
        associations: int = 10,
        idle_seconds: float = PATIENCE,
        pack_limit: int = PACK_LIMIT,
        group_seconds: float = 0.0,
        group_size: int = GROUP_SIZE,
    ) -> Mouth:
        spool.free_mark = free_mark
        waiting = Arrivals(
            ledger, spool, wake=lambda: None, clock=clock, group_seconds=group_seconds, group_size=group_size
        )
        closed: list[bool] = []
        receiver = Receiver(
            address=Address("ISOCENTER", "127.0.0.1", 0),
            peers=KnownPeers.parse("ISOCENTER", accept_from),
            store=StoreScp(spool, waiting, closed=lambda: closed.append(True), clock=clock, pack_limit=pack_limit),
            associations=associations,
            idle_seconds=idle_seconds,
            poll_seconds=0.02,
        )
        receiver.start()
        opened.append(Mouth(spool, ledger, waiting, receiver, closed))
        return opened[-1]

    yield made
    for mouth in opened:
        mouth.receiver.stop()


@pytest.fixture
def mouth(open_mouth: Open) -> Mouth:
    return open_mouth()


# What is good is kept.


def test_an_echo_is_answered(mouth: Mouth) -> None:
    with mouth.association() as association:
        assert association.send_c_echo().Status == SUCCESS


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_an_instance_is_stored_byte_for_byte_as_it_was_sent(mouth: Mouth, syntax: Any) -> None:
    sent = images(syntax, slices=2)
    assert mouth.send(*sent, syntax=syntax) == [SUCCESS, SUCCESS]
    rows = {row.sop_instance_uid: (row, place) for row, place in mouth.ledger.instances(str(sent[0].StudyInstanceUID))}
    assert len(rows) == 2
    for image in sent:
        row, place = rows[str(image.SOPInstanceUID)]
        kept = mouth.spool.part10(place).read()
        assert kept.endswith(encoded(image))
        (length,) = struct.unpack("<I", kept[140:144])
        assert len(kept) == 144 + length + len(encoded(image))
        meta = dcmread(BytesIO(kept)).file_meta
        assert (meta.TransferSyntaxUID, meta.MediaStorageSOPInstanceUID) == (syntax, image.SOPInstanceUID)
        assert row.transfer_syntax_uid == syntax


def test_the_row_says_what_it_is_and_who_sent_it(mouth: Mouth, clock: Callable[[], float]) -> None:
    (image,) = ct_series(slices=1)
    mouth.send(image)
    ((row, _),) = mouth.ledger.instances(str(image.StudyInstanceUID))
    assert row == Instance(
        sop_instance_uid=str(image.SOPInstanceUID),
        sop_class_uid=str(image.SOPClassUID),
        study_uid=str(image.StudyInstanceUID),
        series_uid=str(image.SeriesInstanceUID),
        modality="CT",
        transfer_syntax_uid=str(ExplicitVRLittleEndian),
        calling="CT1",
        peer="127.0.0.1",
        received_at=clock(),
        checksum=row.checksum,
        note=row.note,
    )
    assert row.checksum
    assert row.note


def test_the_row_says_how_urgent_it_is(mouth: Mouth) -> None:
    (image,) = ct_series(slices=1)
    image.RequestAttributesSequence = [Dataset()]
    image.RequestAttributesSequence[0].RequestedProcedurePriority = "STAT"
    mouth.send(image)
    ((row, _),) = mouth.ledger.instances(str(image.StudyInstanceUID))
    assert row.urgency == 20


def test_a_success_is_durable_before_it_is_said(mouth: Mouth) -> None:
    """At the moment of the answer the pack holds the whole record, though no row is written yet."""
    (image,) = ct_series(slices=1)
    with mouth.association() as association:
        assert store_in(association, image) == SUCCESS
        (pack,) = mouth.spool.packs.iterdir()
        assert encoded(image) in pack.read_bytes()
        assert mouth.rows() == []
        assert mouth.open_packs() == [pack.name]


def test_the_end_of_an_association_closes_its_pack_and_is_told(mouth: Mouth) -> None:
    with mouth.association() as association:
        store_in(association, ct_series(slices=1)[0])
        assert mouth.closed == []
    mouth.all_closed()
    wait_for(lambda: mouth.closed == [True])


def test_what_an_association_brought_waits_for_no_others_when_it_is_over(open_mouth: Open) -> None:
    mouth = open_mouth(group_seconds=3600.0)
    with mouth.association() as association:
        assert store_in(association, *ct_series(slices=1)) == SUCCESS
    writing = threading.Thread(target=mouth.arrivals.record, daemon=True)
    writing.start()
    mouth.all_closed()
    assert mouth.rows() == [], "a group gathers"
    mouth.arrivals.record_soon()
    writing.join(PATIENCE)
    assert len(mouth.rows()) == 1


def test_an_association_without_instances_leaves_no_pack(mouth: Mouth) -> None:
    with mouth.association() as association:
        association.send_c_echo()
    assert list(mouth.spool.packs.iterdir()) == []


def test_each_association_and_each_study_has_a_pack_of_its_own(mouth: Mouth) -> None:
    one, other = ct_series(slices=2, seed="a"), ct_series(slices=2, seed="b")
    with mouth.association() as first, mouth.association() as second:
        for association, image in ((first, one[0]), (second, one[1]), (first, other[0]), (second, other[1])):
            assert store_in(association, image) == SUCCESS
        assert len(mouth.open_packs()) == 2, "the pack of the study before is closed"
    mouth.all_closed()
    mouth.arrivals.record()
    assert len(mouth.ledger.packs(str(one[0].StudyInstanceUID))) == 2
    assert len(list(mouth.spool.packs.iterdir())) == 4
    assert len(mouth.rows()) == 4


def test_a_large_pack_is_followed_by_another(open_mouth: Open) -> None:
    mouth = open_mouth(pack_limit=1000)
    mouth.send(*ct_series(slices=3))
    assert len(list(mouth.spool.packs.iterdir())) == 3
    assert len(mouth.rows()) == 3


def test_associations_store_side_by_side(mouth: Mouth) -> None:
    statuses: list[int] = []

    def modality(number: int) -> None:
        with mouth.association(calling=f"CT{number}") as association:
            series = ct_series(slices=10, rows=16, columns=16, seed=str(number))
            statuses.extend(store_in(association, image) for image in series)

    threads = [threading.Thread(target=modality, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    mouth.all_closed()
    mouth.arrivals.record()
    assert statuses == [SUCCESS] * 40
    assert len(mouth.rows()) == 40


# Who may call.


@pytest.mark.parametrize(
    ("accept_from", "wanted", "diagnostic"),
    [
        ((), {"called": "OTHER"}, 7),
        (("CT2@127.0.0.1",), {}, 3),
        (("*@10.0.0.0/8",), {}, 3),
        (("CT1@127.0.0.2",), {}, 3),
    ],
    ids=["called AE title", "calling AE title", "network", "address"],
)
def test_who_may_not_call_is_rejected_in_the_words_of_the_standard(
    open_mouth: Open, accept_from: Sequence[str], wanted: dict[str, str], diagnostic: int
) -> None:
    mouth = open_mouth(accept_from=accept_from)
    with mouth.association(**wanted) as association:
        assert association.is_rejected
        answer = association.acceptor.primitive
        assert answer is not None
        assert (answer.result, answer.result_source, answer.diagnostic) == (1, 1, diagnostic)


def test_who_may_call_is_welcome_after_others_were_not(open_mouth: Open) -> None:
    mouth = open_mouth(accept_from=("CT1@127.0.0.1",))
    with mouth.association(calling="CT2") as association:
        assert association.is_rejected
    assert mouth.send(*ct_series(slices=1)) == [SUCCESS]


def test_more_associations_than_allowed_are_rejected_for_now(open_mouth: Open) -> None:
    mouth = open_mouth(associations=1)
    with mouth.association() as first:
        assert first.is_established
        with mouth.association() as second:
            assert second.is_rejected
            assert second.acceptor.primitive is not None
            assert second.acceptor.primitive.result == 2, "transient: PS3.8 table 9-21"


# What is not good is refused with a reason.


def test_below_the_disk_mark_nothing_is_taken(open_mouth: Open) -> None:
    mouth = open_mouth(free_mark=2**60)
    assert mouth.send(*ct_series(slices=2)) == [OUT_OF_RESOURCES] * 2
    assert list(mouth.spool.packs.iterdir()) == []
    assert mouth.rows() == []
    assert len(mouth.reasons()) == 2
    assert "MiB are free under the spool" in mouth.reasons()[0]
    mouth.spool.free_mark = 0
    assert mouth.send(*ct_series(slices=2)) == [SUCCESS] * 2


def test_a_disk_that_fails_is_told_and_the_association_goes_on_in_another_pack(
    mouth: Mouth, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three = ct_series(slices=3)

    def fail(_fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with mouth.association() as association:
        assert store_in(association, one) == SUCCESS
        with monkeypatch.context() as disk:
            disk.setattr(os, "fdatasync", fail)
            assert store_in(association, two) == OUT_OF_RESOURCES
        assert store_in(association, three) == SUCCESS
    mouth.all_closed()
    mouth.arrivals.record()
    assert sorted(mouth.rows()) == sorted(str(image.SOPInstanceUID) for image in (one, three))
    assert mouth.reasons() == ["the spool cannot be written: Input/output error"]
    assert len(list(mouth.spool.packs.iterdir())) == 2


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
def test_a_data_set_that_does_not_say_what_it_is_is_refused_and_the_association_lives_on(
    mouth: Mouth, keyword: str, value: str | None, reason: str
) -> None:
    bad, good = ct_series(slices=2)
    uid = str(bad.SOPInstanceUID)
    study = "" if keyword == "StudyInstanceUID" else str(bad.StudyInstanceUID)
    changed(bad, **{keyword: value})
    with mouth.association() as association:
        assert store_bytes(association, encoded(bad), instance=uid) == CANNOT_UNDERSTAND
        assert store_in(association, good) == SUCCESS
    mouth.all_closed()
    mouth.arrivals.record()
    assert mouth.rows() == [str(good.SOPInstanceUID)]
    (refusal,) = mouth.ledger.refusals()
    assert (refusal.reason, refusal.sop_instance_uid, refusal.study_uid) == (reason, uid, study)
    assert (refusal.calling, refusal.peer) == ("CT1", "127.0.0.1")


def test_a_data_set_of_another_sop_class_is_a_mismatch(mouth: Mouth) -> None:
    (mr,) = mr_series(slices=1)
    with mouth.association() as association:
        uid = str(mr.SOPInstanceUID)
        assert store_bytes(association, encoded(mr), sop_class=CTImageStorage, instance=uid) == MISMATCH
    mouth.arrivals.record()
    assert mouth.reasons() == [f"the data set is of SOP class {MRImageStorage}, the request of {CTImageStorage}"]


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
def test_garbage_is_refused_and_the_association_lives_on(mouth: Mouth, syntax: Any, body: bytes) -> None:
    (good,) = images(syntax)
    with mouth.association(syntax=syntax) as association:
        assert store_bytes(association, body) == CANNOT_UNDERSTAND
        assert store_in(association, good) == SUCCESS
    mouth.all_closed()
    mouth.arrivals.record()
    assert mouth.rows() == [str(good.SOPInstanceUID)]
    (reason,) = mouth.reasons()
    assert reason


class Somebody:
    """Stands for an association where there is none."""


def received(body: bytes, **values: Any) -> IncomingInstance:
    values = {
        "sop_class_uid": str(CTImageStorage),
        "sop_instance_uid": "1.2.3.4",
        "transfer_syntax_uid": str(ExplicitVRLittleEndian),
        "association": Somebody(),
        "calling": "CT1",
        "peer": "127.0.0.1",
        **values,
    }
    return IncomingInstance(parts=[body], **values)


@dataclass
class Seen:
    """Takes what should have a row, and is never full."""

    put: Callable[[Any], None]
    check_ledger: Callable[[], None] = lambda: None


def stored(spool: Spool, instance: IncomingInstance, **changed: Any) -> tuple[int, list[Any]]:
    rows: list[Any] = []
    return StoreScp(spool, Seen(rows.append, **changed)).finish(instance), rows  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_damaged_in_a_data_set_ends_in_a_row(spool: Spool, data: st.DataObject) -> None:
    """Success with an arrival, or a failure with a refusal, and never an error that nobody hears of."""
    syntax = data.draw(st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]))
    (image,) = images(syntax)
    body = bytearray(encoded(image)[: data.draw(st.integers(0, 1200), "length")])
    for _ in range(data.draw(st.integers(0, 6), "flips") if body else 0):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    one = received(bytes(body), sop_instance_uid=str(image.SOPInstanceUID), transfer_syntax_uid=str(syntax))
    status, rows = stored(spool, one)
    assert len(rows) == 1
    assert isinstance(rows[0], Refusal) == (status != SUCCESS)
    assert status in (SUCCESS, MISMATCH, CANNOT_UNDERSTAND)


@pytest.mark.parametrize("values", [{"sop_instance_uid": ""}, {"sop_class_uid": ""}, {"sop_instance_uid": "x/../y"}])
def test_a_request_that_does_not_say_what_it_brings_is_refused(spool: Spool, values: dict[str, str]) -> None:
    (image,) = ct_series(slices=1)
    status, rows = stored(spool, received(encoded(image), **values))
    assert status in (CANNOT_UNDERSTAND, MISMATCH)
    (row,) = rows
    assert isinstance(row, Refusal)
    assert row.reason


def test_an_error_of_our_own_is_a_refusal_too(spool: Spool) -> None:
    (image,) = ct_series(slices=1)

    def broken() -> None:
        raise ZeroDivisionError

    instance = received(encoded(image), sop_instance_uid=str(image.SOPInstanceUID))
    status, rows = stored(spool, instance, check_ledger=broken)
    assert status == OUT_OF_RESOURCES
    assert rows[0].reason == "the node failed on it: ZeroDivisionError"


# When something ends badly.


def test_an_abort_leaves_what_was_acknowledged(mouth: Mouth) -> None:
    sent = ct_series(slices=3)
    with mouth.association() as association:
        for image in sent:
            store_in(association, image)
        association.abort()
    mouth.all_closed()
    wait_for(lambda: mouth.closed == [True])
    mouth.arrivals.record()
    assert len(mouth.rows()) == 3


@pytest.mark.parametrize("end", ["abort", "silence"])
def test_an_association_that_is_lost_amid_an_instance_leaves_a_whole_pack(mouth: Mouth, end: str) -> None:
    one, two = ct_series(slices=2, rows=256, columns=256)
    with mouth.association() as association:
        assert store_in(association, one) == SUCCESS
        message = C_STORE_RQ()
        message.primitive_to_message(
            request(encoded(two), sop_class=str(two.SOPClassUID), instance=str(two.SOPInstanceUID))
        )
        fragments = list(message.encode_msg(context_of(association, CTImageStorage), 16384))
        assert len(fragments) > 4
        for fragment in fragments[:3]:
            association.dul.send_pdu(fragment)
        wait_for(association.dul.to_provider_queue.empty)
        if end == "abort":
            association.abort()
        else:
            socket_of(association).shutdown(socket.SHUT_RDWR)
    mouth.all_closed()
    recovered = [arrival.instance.sop_instance_uid for arrival in mouth.spool.unwritten({})]
    assert recovered == [str(one.SOPInstanceUID)]
    mouth.arrivals.record()
    assert mouth.rows() == recovered
    assert mouth.send(two) == [SUCCESS], "the mouth is as good as before"


def socket_of(association: Association) -> socket.socket:
    assert association.dul.socket is not None
    assert association.dul.socket.socket is not None
    return association.dul.socket.socket


def test_an_association_that_says_nothing_is_ended(open_mouth: Open) -> None:
    mouth = open_mouth(idle_seconds=0.3)
    with mouth.association() as association:
        assert store_in(association, ct_series(slices=1)[0]) == SUCCESS
        mouth.all_closed()
        wait_for(lambda: not association.is_established)


def test_stopping_ends_open_associations_and_keeps_what_was_acknowledged(mouth: Mouth) -> None:
    with mouth.association() as association:
        assert store_in(association, ct_series(slices=1)[0]) == SUCCESS
        mouth.receiver.stop()
        wait_for(lambda: not association.is_established, "the end of the association")
    mouth.all_closed()
    with mouth.association() as late:
        assert not late.is_established
    mouth.arrivals.record()
    assert len(mouth.rows()) == 1


def test_rows_that_were_never_written_are_told_by_the_packs(mouth: Mouth, clock: Callable[[], float]) -> None:
    """The process dies between answer and row: its arrivals are gone, a new one reads the packs."""
    sent = ct_series(slices=5)
    with mouth.association() as association:
        for image in sent:
            store_in(association, image)
    mouth.all_closed()
    assert mouth.rows() == []
    again = Arrivals(mouth.ledger, mouth.spool, wake=lambda: None, clock=clock)
    assert again.recover() == 5
    assert sorted(mouth.rows()) == sorted(str(image.SOPInstanceUID) for image in sent)
    rows = mouth.ledger.instances(str(sent[0].StudyInstanceUID))
    assert sorted(mouth.spool.part10(place).read()[-128:] for _, place in rows) == sorted(
        encoded(image)[-128:] for image in sent
    )
    assert again.recover() == 0, "once"
    events = [event.name for _, event in mouth.ledger.events()]
    assert "instance.repeated" not in events


def test_recovery_begins_where_the_rows_end(mouth: Mouth, clock: Callable[[], float]) -> None:
    sent = ct_series(slices=4)
    with mouth.association() as association:
        for image in sent[:2]:
            store_in(association, image)
        mouth.arrivals.record()
        for image in sent[2:]:
            store_in(association, image)
    mouth.all_closed()
    assert Arrivals(mouth.ledger, mouth.spool, wake=lambda: None, clock=clock).recover() == 2
    assert len(mouth.rows()) == 4


def test_recovery_goes_by_groups(open_mouth: Open) -> None:
    mouth = open_mouth(group_size=2)
    with mouth.association() as association:
        for image in ct_series(slices=5):
            store_in(association, image)
    mouth.all_closed()
    assert mouth.arrivals.recover() == 5
    assert len(mouth.rows()) == 5
    mouth.arrivals.record()
    assert len(mouth.rows()) == 5


@contextmanager
def locked(ledger: Ledger) -> Iterator[None]:
    """Another connection holds the database, and nobody waits long for it."""

    def impatient(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA busy_timeout = 20")

    engine_event.listen(ledger._engine, "connect", impatient)
    ledger._engine.dispose()
    holder = sqlite3.connect(ledger._engine.url.database or "", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        holder.rollback()
        holder.close()


def test_while_the_ledger_is_locked_instances_are_taken_up_to_the_patience(mouth: Mouth, clock: Any) -> None:
    one, two, three, four = ct_series(slices=4)
    with mouth.association() as association:
        with locked(mouth.ledger):
            assert store_in(association, one) == SUCCESS
            assert mouth.arrivals.record() == 1.0, "it asks to be tried again"
            clock.advance(PATIENCE_SECONDS)
            assert store_in(association, two) == SUCCESS
            assert mouth.arrivals.record() == 1.0
            clock.advance(0.1)
            assert store_in(association, three) == OUT_OF_RESOURCES
        assert mouth.rows() == []
        assert mouth.arrivals.record() is None
        assert len(mouth.rows()) == 2, "the rows follow"
        assert mouth.reasons() == ["the ledger has not been writable for 10 s"]
        assert store_in(association, four) == SUCCESS, "the mouth is open again"
    mouth.arrivals.record()
    assert len(mouth.rows()) == 3


def test_a_group_keeps_its_place_when_the_ledger_fails(open_mouth: Open) -> None:
    mouth = open_mouth(group_size=2)
    sent = ct_series(slices=5)
    with locked(mouth.ledger):
        mouth.send(*sent)
        assert mouth.rows() == []
    mouth.arrivals.record()
    assert sorted(mouth.rows()) == sorted(str(image.SOPInstanceUID) for image in sent)
    assert "instance.repeated" not in [event.name for _, event in mouth.ledger.events()]


# The port.


def test_a_port_in_use_is_told(mouth: Mouth) -> None:
    address = Address("ISOCENTER", "127.0.0.1", mouth.receiver.port)
    told = rf"receive\.address {address}: the port is in use; stop the other program or choose another port"
    with pytest.raises(ConfigError, match=told):
        try_port(address)
    second = Receiver(
        address=address, peers=mouth.receiver.peers, store=mouth.receiver.store, associations=1, idle_seconds=1
    )
    with pytest.raises(ConfigError, match=told):
        second.start()
    second.stop()


@pytest.mark.parametrize("host", ["203.0.113.1", "no.such.host.invalid"])
def test_an_interface_that_is_not_here_is_told(mouth: Mouth, host: str) -> None:
    address = Address("ISOCENTER", host, 0)
    receiver = Receiver(
        address=address, peers=mouth.receiver.peers, store=mouth.receiver.store, associations=1, idle_seconds=1
    )
    with pytest.raises(ConfigError, match=rf"receive\.address ISOCENTER@{host}:0: .+"):
        try_port(address)
    with pytest.raises(ConfigError, match=rf"receive\.address ISOCENTER@{host}:0: .+"):
        receiver.start()


def test_a_port_is_free_again_after_the_stop(mouth: Mouth) -> None:
    port = mouth.receiver.port
    with mouth.association() as association:
        association.send_c_echo()
    mouth.receiver.stop()
    try_port(Address("ISOCENTER", "127.0.0.1", port))
    mouth.receiver.stop()


def test_a_data_set_on_disk_is_read_as_a_file(mouth: Mouth, tmp_path: Path) -> None:
    """Whoever takes an instance out of the spool has an ordinary DICOM file."""
    (image,) = ct_series(slices=1)
    mouth.send(image)
    ((_, place),) = mouth.ledger.instances(str(image.StudyInstanceUID))
    path = tmp_path / "out.dcm"
    path.write_bytes(mouth.spool.part10(place).read())
    assert dcmread(path) == image
