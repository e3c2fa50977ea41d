"""Query/Retrieve as SCU (PS3.4 annex C): earlier studies are asked for by C-FIND, and sent to this node by C-MOVE."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from pydicom.dataset import Dataset
from pynetdicom import build_context
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import from a table
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
)
from pynetdicom.status import code_to_category

from node.deliver.storescu import Associated
from node.errors import DestinationUnavailable
from node.images.part10 import understood
from node.records import Address

MOST_ANSWERS = 500
"""More matches than this are not read: no patient has so many earlier studies of one modality."""
LATE = "it gave no answer in time"
BROKEN = "it ended the association; it must let our AE title query and retrieve"


class Subject(Protocol):
    """Of whom a study is, and when it was."""

    @property
    def patient_id(self) -> str:
        """Patient ID."""

    @property
    def at(self) -> str:
        """Study Date and Study Time: YYYYMMDDHHMMSS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """One archive that is asked for earlier studies, and has them sent to us; each answer comes before `until`.

    Parameters
    ----------
    name
        What the configuration calls it.
    calling, here
        The AE title that we ask by, and the one that it is to send to; it must know the address of both.

    Raises
    ------
    DestinationUnavailable
        From any method: it does not answer in time, or refuses.
    """

    name: str
    address: Address
    calling: str
    here: str

    def studies(self, of: Subject, modality: str, *, until: float) -> Sequence[Dataset]:
        """Return the studies of a patient up to a date that have a modality (PS3.4 table C.6-5)."""
        asked = Dataset()
        asked.QueryRetrieveLevel = "STUDY"
        asked.SpecificCharacterSet = "ISO_IR 192"
        asked.PatientID = of.patient_id
        asked.StudyDate = f"-{of.at[:8]}"
        asked.ModalitiesInStudy = modality
        return self._find(asked, "StudyInstanceUID", until, "StudyTime", "IssuerOfPatientID", "PatientBirthDate")

    def series(self, study_uid: str, modality: str, *, until: float) -> Sequence[Dataset]:
        """Return the series of a modality in a study."""
        asked = Dataset()
        asked.QueryRetrieveLevel = "SERIES"
        asked.StudyInstanceUID = study_uid
        asked.Modality = modality
        told = ("SeriesDescription", "ProtocolName", "BodyPartExamined", "NumberOfSeriesRelatedInstances")
        return self._find(asked, "SeriesInstanceUID", until, *told)

    def send(self, study_uid: str, series_uid: str, *, until: float) -> int:
        """Have a series sent to us by C-MOVE, and return how many instances were (PS3.4 section C.4.2)."""
        asked = Dataset()
        asked.QueryRetrieveLevel = "SERIES"
        asked.StudyInstanceUID = study_uid
        asked.SeriesInstanceUID = series_uid
        model = StudyRootQueryRetrieveInformationModelMove
        with self._associated(model, until) as association:
            status = Dataset()
            for status, _ in _in_time(association, association.send_c_move(asked, self.here, model), until):
                if code_to_category(int(status.Status)) != "Pending":
                    break
        sent = int(status.get("NumberOfCompletedSuboperations") or 0)
        failed = int(status.get("NumberOfFailedSuboperations") or 0)
        if int(status.get("Status", 0xC000)) != 0 or failed:
            words = f"0x{int(status.Status):04X}, {sent} instances sent, {failed} not"
            raise DestinationUnavailable(f"it did not send series {series_uid} to {self.here}: {words}")
        return sent

    def _find(self, asked: Dataset, key: str, until: float, *told: str) -> list[Dataset]:
        for keyword in (key, *told):
            setattr(asked, keyword, None)
        model = StudyRootQueryRetrieveInformationModelFind
        found: list[Dataset] = []
        with self._associated(model, until) as association:
            for status, answer in _in_time(association, association.send_c_find(asked, model), until):
                category = code_to_category(int(status.Status))
                if category == "Pending" and answer is not None and len(found) < MOST_ANSWERS:
                    found.append(answer)
                elif category not in ("Pending", "Success"):
                    raise DestinationUnavailable(f"it refused a query: 0x{int(status.Status):04X}")
        return [one for one in found if one.get(key)]

    @contextmanager
    def _associated(self, model: str, until: float) -> Iterator[Association]:
        seconds = until - time.monotonic()
        if seconds <= 0:
            raise DestinationUnavailable(LATE)
        with Associated(self.address, self.calling, [build_context(model)], seconds) as association:
            if not association.is_established:
                raise DestinationUnavailable(f"{self.address} accepts no query and retrieve")
            with understood():
                yield association


def _in_time(
    association: Association, answers: Iterator[tuple[Dataset, Dataset | None]], until: float
) -> Iterator[tuple[Dataset, Dataset | None]]:
    """Give the answers to a request; DestinationUnavailable where the next does not come before `until`."""
    while True:
        association.dimse_timeout = max(until - time.monotonic(), 0.01)
        try:
            answer = next(answers, None)
        except RuntimeError as error:
            raise DestinationUnavailable(BROKEN) from error
        if answer is None:
            return
        if time.monotonic() > until:
            raise DestinationUnavailable(LATE)
        if "Status" not in answer[0]:
            raise DestinationUnavailable(BROKEN)
        yield answer
