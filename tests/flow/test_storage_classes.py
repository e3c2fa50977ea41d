"""Which Storage SOP classes are accepted: by default also retired and well-known private classes."""

import pytest
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import PatientRootQueryRetrieveInformationModelFind, Verification
from structlog.testing import capture_logs

from node.receive.c_store import SUCCESS
from node.receive.storage_classes import MOST_OTHERS, PRIVATE, RETIRED, StorageClasses, other_contexts
from node.testing import ct_series
from tests.reception import WAIT_SECONDS, OpenReception, Reception

ULTRASOUND, CSA, UNHEARD_OF = "1.2.840.10008.5.1.4.1.1.6", "1.3.12.2.1107.5.9.1", "1.2.276.0.7230010.3.1.0.9"


def taken(reception: Reception, *proposed: str, maximum_length: int = 16382) -> dict[str, list[int]]:
    """Send one instance of each class that is accepted; return the status of each, none where it was refused."""
    modality = AE("US1")
    modality.maximum_pdu_size = maximum_length
    for uid in proposed:
        modality.add_requested_context(uid, ExplicitVRLittleEndian)
    modality.dimse_timeout = modality.acse_timeout = modality.network_timeout = WAIT_SECONDS
    association = modality.associate("127.0.0.1", reception.receiver.port, ae_title="ISOCENTER")
    accepted = {str(context.abstract_syntax) for context in association.accepted_contexts}
    statuses: dict[str, list[int]] = {uid: [] for uid in proposed}
    for number, uid in enumerate(proposed):
        if uid in accepted and uid != Verification:
            (image,) = ct_series(slices=1, seed=f"{uid}/{number}")
            image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = UID(uid)
            statuses[uid] = [association.send_c_store(image).Status]
    if association.is_established:
        association.release()
    return statuses


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        ("standard", [True, False, False, False]),
        ("known", [True, True, True, False]),
        ("any", [True, True, True, True]),
    ],
)
@pytest.mark.parametrize("maximum_length", [16382, 128], ids=["fast path", "pynetdicom's own"])
def test_an_instance_of_each_class_that_the_setting_takes_is_stored(
    open_reception: OpenReception, classes: StorageClasses, expected: list[bool], maximum_length: int
) -> None:
    reception = open_reception(storage_classes=classes)
    proposed = [CTImageStorage, ULTRASOUND, CSA, UNHEARD_OF]
    statuses = taken(reception, *proposed, maximum_length=maximum_length)
    assert [statuses[uid] == [SUCCESS] for uid in proposed] == expected
    reception.all_closed()
    reception.arrivals.record()
    assert len(reception.rows()) == sum(expected)


def test_every_retired_and_private_class_is_taken(reception: Reception) -> None:
    statuses = taken(reception, *RETIRED, *PRIVATE)
    assert [uid for uid, status in statuses.items() if status != [SUCCESS]] == []
    assert all(UID(uid).is_retired and UID(uid).type == "SOP Class" for uid in RETIRED)
    assert all(UID(uid).is_private and UID(uid).is_valid for uid in PRIVATE)


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_other_services_are_not_accepted_as_storage() -> None:
    assert other_contexts([PatientRootQueryRetrieveInformationModelFind, Verification, "1.2.x", ""]) == []


def test_a_sender_that_proposes_ever_new_classes_fills_no_memory() -> None:
    proposed = [f"1.2.276.0.7230010.3.1.0.7.{number}" for number in range(MOST_OTHERS + 50)]
    assert len(other_contexts(proposed)) <= MOST_OTHERS
    assert len(other_contexts(proposed[:10])) == 10, "those that were taken before are taken again"


def test_a_refused_context_is_logged_with_the_setting_that_decides(reception: Reception) -> None:
    with capture_logs() as logs:
        taken(reception, CTImageStorage, UNHEARD_OF)
    (refused,) = (entry for entry in logs if entry["event"] == "association.contexts_refused")
    assert (refused["calling"], refused["address"]) == ("US1", "127.0.0.1")
    assert refused["reason"] == f"not taken: {UNHEARD_OF}; receive.storage_classes says which SOP classes are"
