"""Real associations: what is acknowledged is durable and has its row, however the association ends."""

import socket
import struct
import threading
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ

from node.receive.c_store import SUCCESS
from node.records import Instance
from node.testing import ct_series
from tests.reception import (
    WAIT_SECONDS,
    OpenReception,
    Reception,
    context_of,
    encoded,
    images,
    request,
    store_in,
    wait_for,
)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom", "ignore::UserWarning:pynetdicom")


SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    JPEGLSLossless,
    JPEG2000Lossless,
    RLELossless,
]


# What is good is kept.


def test_an_echo_is_answered(reception: Reception) -> None:
    with reception.association() as association:
        assert association.send_c_echo().Status == SUCCESS


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_an_instance_is_stored_byte_for_byte_as_it_was_sent(reception: Reception, syntax: Any) -> None:
    sent = images(syntax, slices=2)
    assert reception.send(*sent, syntax=syntax) == [SUCCESS, SUCCESS]
    rows = {
        row.sop_instance_uid: (row, place)
        for row, place in reception.ledger.instances.of(str(sent[0].StudyInstanceUID))
    }
    assert len(rows) == 2
    for image in sent:
        row, place = rows[str(image.SOPInstanceUID)]
        kept = reception.spool.part10(place).read()
        assert kept.endswith(encoded(image))
        (length,) = struct.unpack("<I", kept[140:144])
        assert len(kept) == 144 + length + len(encoded(image))
        meta = dcmread(BytesIO(kept)).file_meta
        assert (meta.TransferSyntaxUID, meta.MediaStorageSOPInstanceUID) == (syntax, image.SOPInstanceUID)
        assert row.transfer_syntax_uid == syntax


def test_the_row_names_the_instance_and_its_sender(reception: Reception, clock: Callable[[], float]) -> None:
    (image,) = ct_series(slices=1)
    reception.send(image)
    ((row, _),) = reception.ledger.instances.of(str(image.StudyInstanceUID))
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


def test_the_row_has_the_priority_of_the_instance(reception: Reception) -> None:
    (image,) = ct_series(slices=1)
    image.RequestAttributesSequence = [Dataset()]
    image.RequestAttributesSequence[0].RequestedProcedurePriority = "STAT"
    reception.send(image)
    ((row, _),) = reception.ledger.instances.of(str(image.StudyInstanceUID))
    assert row.urgency == 20


def test_an_instance_is_durable_before_success_is_sent(reception: Reception) -> None:
    """When the response comes, the pack has the whole record, and no row is written yet."""
    (image,) = ct_series(slices=1)
    with reception.association() as association:
        assert store_in(association, image) == SUCCESS
        (pack,) = reception.spool.packs.iterdir()
        assert encoded(image) in pack.read_bytes()
        assert reception.rows() == []
        assert reception.open_packs() == [pack.name]


def test_the_end_of_an_association_closes_its_pack_and_is_reported(reception: Reception) -> None:
    with reception.association() as association:
        store_in(association, ct_series(slices=1)[0])
        assert reception.closed == []
    reception.all_closed()
    wait_for(lambda: reception.closed == [True])


def test_rows_of_an_association_that_is_over_wait_for_no_others(open_reception: OpenReception) -> None:
    reception = open_reception(group_seconds=3600.0)
    with reception.association() as association:
        assert store_in(association, *ct_series(slices=1)) == SUCCESS
    writing = threading.Thread(target=reception.arrivals.record, daemon=True)
    writing.start()
    reception.all_closed()
    assert reception.rows() == [], "a group gathers"
    reception.arrivals.record_soon()
    writing.join(WAIT_SECONDS)
    assert len(reception.rows()) == 1


def test_an_association_without_instances_leaves_no_pack(reception: Reception) -> None:
    with reception.association() as association:
        association.send_c_echo()
    assert list(reception.spool.packs.iterdir()) == []


def test_each_association_and_each_study_has_a_pack_of_its_own(reception: Reception) -> None:
    study, other = ct_series(slices=2, seed="a"), ct_series(slices=2, seed="b")
    with reception.association() as first, reception.association() as second:
        for association, image in ((first, study[0]), (second, study[1]), (first, other[0]), (second, other[1])):
            assert store_in(association, image) == SUCCESS
        assert len(reception.open_packs()) == 2, "the pack of the study before is closed"
    reception.all_closed()
    reception.arrivals.record()
    assert len(reception.ledger.instances.packs(str(study[0].StudyInstanceUID))) == 2
    assert len(list(reception.spool.packs.iterdir())) == 4
    assert len(reception.rows()) == 4


def test_a_large_pack_is_followed_by_another(open_reception: OpenReception) -> None:
    reception = open_reception(pack_limit=1000)
    reception.send(*ct_series(slices=3))
    assert len(list(reception.spool.packs.iterdir())) == 3
    assert len(reception.rows()) == 3


def test_associations_store_side_by_side(reception: Reception) -> None:
    statuses: list[int] = []

    def modality(number: int) -> None:
        with reception.association(calling=f"CT{number}") as association:
            series = ct_series(slices=10, rows=16, columns=16, seed=str(number))
            statuses.extend(store_in(association, image) for image in series)

    threads = [threading.Thread(target=modality, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reception.all_closed()
    reception.arrivals.record()
    assert statuses == [SUCCESS] * 40
    assert len(reception.rows()) == 40


def test_a_data_set_on_disk_is_read_as_a_file(reception: Reception, tmp_path: Path) -> None:
    """An instance in the spool is an ordinary DICOM file."""
    (image,) = ct_series(slices=1)
    reception.send(image)
    ((_, place),) = reception.ledger.instances.of(str(image.StudyInstanceUID))
    path = tmp_path / "out.dcm"
    path.write_bytes(reception.spool.part10(place).read())
    assert dcmread(path) == image


# When something ends badly.


def test_acknowledged_instances_survive_an_abort(reception: Reception) -> None:
    sent = ct_series(slices=3)
    with reception.association() as association:
        for image in sent:
            store_in(association, image)
        association.abort()
    reception.all_closed()
    wait_for(lambda: reception.closed == [True])
    reception.arrivals.record()
    assert len(reception.rows()) == 3


@pytest.mark.parametrize("end", ["abort", "silence"])
def test_an_association_that_is_lost_amid_an_instance_leaves_a_whole_pack(reception: Reception, end: str) -> None:
    first, second = ct_series(slices=2, rows=256, columns=256)
    with reception.association() as association:
        assert store_in(association, first) == SUCCESS
        message = C_STORE_RQ()
        message.primitive_to_message(
            request(encoded(second), sop_class=str(second.SOPClassUID), instance=str(second.SOPInstanceUID))
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
    reception.all_closed()
    recovered = [arrival.instance.sop_instance_uid for arrival in reception.spool.unwritten({})]
    assert recovered == [str(first.SOPInstanceUID)]
    reception.arrivals.record()
    assert reception.rows() == recovered
    assert reception.send(second) == [SUCCESS], "as before"


def socket_of(association: Association) -> socket.socket:
    assert association.dul.socket is not None
    assert association.dul.socket.socket is not None
    return association.dul.socket.socket


def test_a_silent_association_is_ended(open_reception: OpenReception) -> None:
    reception = open_reception(idle_seconds=0.3)
    with reception.association() as association:
        assert store_in(association, ct_series(slices=1)[0]) == SUCCESS
        reception.all_closed()
        wait_for(lambda: not association.is_established)


def test_stopping_ends_open_associations_and_keeps_acknowledged_instances(reception: Reception) -> None:
    with reception.association() as association:
        assert store_in(association, ct_series(slices=1)[0]) == SUCCESS
        reception.receiver.stop()
        wait_for(lambda: not association.is_established, "the end of the association")
    reception.all_closed()
    with reception.association() as late:
        assert not late.is_established
    reception.arrivals.record()
    assert len(reception.rows()) == 1
