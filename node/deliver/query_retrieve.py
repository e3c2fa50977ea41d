"""Query/Retrieve as SCU (PS3.4 annex C): C-FIND finds earlier studies, and C-MOVE has them sent to this node."""

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

from node.deliver.association import OpenAssociation
from node.errors import DestinationUnavailable
from node.images.part10 import understood
from node.records import Address

MOST_MATCHES = 500
"""Further matches are not read: no patient has so many earlier studies of one modality."""
KEYS = {
    "STUDY": (
        ("PatientID", "StudyDate", "ModalitiesInStudy"),
        ("StudyInstanceUID", "StudyTime", "IssuerOfPatientID", "PatientBirthDate"),
    ),
    "SERIES": (
        ("StudyInstanceUID", "Modality"),
        (
            "SeriesInstanceUID",
            "SeriesDescription",
            "ProtocolName",
            "BodyPartExamined",
            "NumberOfSeriesRelatedInstances",
        ),
    ),
}
"""Query/Retrieve Level → matching keys, return keys (PS3.4 section C.6.2.1). A match must have the first return key."""
LATE = "it gave no answer in time"
ENDED = "it ended the association; it must let our AE title query and retrieve"


class QuerySubject(Protocol):
    """The patient whose earlier studies are searched, and the time before which they were made."""

    @property
    def patient_id(self) -> str:
        """Patient ID."""

    @property
    def at(self) -> str:
        """Study Date and Study Time: YYYYMMDDHHMMSS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRetrieveScu:
    """Asks one archive for earlier studies, and has them sent to this node.

    Each method has a time limit, `until`, by `time.monotonic`.

    Parameters
    ----------
    name
        The name of the archive in the configuration.
    calling
        AE title that the node calls with.
    move_destination
        AE title that the archive sends to. The archive must know the address of both titles.

    Raises
    ------
    DestinationUnavailable
        From any method: the archive does not answer in time, or refuses.
    """

    name: str
    address: Address
    calling: str
    move_destination: str

    def studies(self, of: QuerySubject, modality: str, *, until: float) -> Sequence[Dataset]:
        """Return the studies of a patient, up to a date, that have a modality (PS3.4 table C.6-5)."""
        return self._find("STUDY", (of.patient_id, f"-{of.at[:8]}", modality), until)

    def series(self, study_uid: str, modality: str, *, until: float) -> Sequence[Dataset]:
        """Return the series of a modality in a study."""
        return self._find("SERIES", (study_uid, modality), until)

    def send(self, study_uid: str, series_uid: str, *, until: float) -> int:
        """Have a series sent by C-MOVE, and return the number of instances that were sent (PS3.4 section C.4.2)."""
        identifier = Dataset()
        identifier.QueryRetrieveLevel = "SERIES"
        identifier.StudyInstanceUID = study_uid
        identifier.SeriesInstanceUID = series_uid
        model = StudyRootQueryRetrieveInformationModelMove
        with self._associated(model, until) as association:
            status = Dataset()
            responses = association.send_c_move(identifier, self.move_destination, model)
            for status, _ in _in_time(association, responses, until):
                if code_to_category(int(status.Status)) != "Pending":
                    break
        sent = int(status.get("NumberOfCompletedSuboperations") or 0)
        failed = int(status.get("NumberOfFailedSuboperations") or 0)
        if int(status.get("Status", 0xC000)) != 0 or failed:
            numbers = f"0x{int(status.Status):04X}, {sent} instances sent, {failed} not"
            raise DestinationUnavailable(f"it did not send series {series_uid} to {self.move_destination}: {numbers}")
        return sent

    def _find(self, level: str, values: Sequence[str], until: float) -> list[Dataset]:
        """Return the matches for the values of a level's matching keys."""
        matched, returned = KEYS[level]
        identifier = Dataset()
        identifier.QueryRetrieveLevel = level
        if "PatientID" in matched:  # it may have letters of any alphabet; UIDs have none
            identifier.SpecificCharacterSet = "ISO_IR 192"
        for keyword in returned:
            setattr(identifier, keyword, None)
        for keyword, value in zip(matched, values, strict=True):
            setattr(identifier, keyword, value)
        model = StudyRootQueryRetrieveInformationModelFind
        matches: list[Dataset] = []
        with self._associated(model, until) as association:
            for status, match in _in_time(association, association.send_c_find(identifier, model), until):
                category = code_to_category(int(status.Status))
                if category == "Pending" and match is not None and len(matches) < MOST_MATCHES:
                    matches.append(match)
                elif category not in ("Pending", "Success"):
                    raise DestinationUnavailable(f"it refused a query: 0x{int(status.Status):04X}")
        return [match for match in matches if match.get(returned[0])]

    @contextmanager
    def _associated(self, model: str, until: float) -> Iterator[Association]:
        seconds = until - time.monotonic()
        if seconds <= 0:
            raise DestinationUnavailable(LATE)
        with OpenAssociation(self.address, self.calling, [build_context(model)], seconds) as association:
            if not association.is_established:
                raise DestinationUnavailable(f"{self.address} accepts no query and retrieve")
            with understood():
                yield association


def _in_time(
    association: Association, responses: Iterator[tuple[Dataset, Dataset | None]], until: float
) -> Iterator[tuple[Dataset, Dataset | None]]:
    """Yield the responses to a request; DestinationUnavailable where the next does not come before `until`."""
    while True:
        association.dimse_timeout = max(until - time.monotonic(), 0.01)
        try:
            response = next(responses, None)
        except RuntimeError as error:
            raise DestinationUnavailable(ENDED) from error
        if response is None:
            return
        if time.monotonic() > until:
            raise DestinationUnavailable(LATE)
        if "Status" not in response[0]:
            raise DestinationUnavailable(ENDED)
        yield response
