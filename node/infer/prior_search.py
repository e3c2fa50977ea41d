"""The prior of a job: the newest earlier series of the same patient that is like the one at hand.

It is looked for in what is here first, then at an archive, if there is one to ask, for a bounded time. A job never
waits longer for it, and is never lost over it: it goes on without, and its study's story says why.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import inf
from typing import Protocol, Self

import structlog
from pydicom.dataset import Dataset

from node.errors import DestinationUnavailable, NodeError
from node.host import Plugin
from node.images.part10 import Part10, parse, understood
from node.images.predicates import When, mismatch, orientation
from node.images.series import Series
from node.infer.job import Order, Renew
from node.ledger import Ledger
from node.records import Place

log = structlog.get_logger()

AFTER_PATIENT = 0x00110000
"""Who the patient is, and when the study was, stands before this tag."""
ALIKE = (
    "SeriesDescription",
    "ProtocolName",
    "ConvolutionKernel",
    "ScanningSequence",
    "SequenceVariant",
    "ContrastBolusAgent",
    "SliceThickness",
    "Rows",
)
"""Of several series of a study that would do, the one that has most of these in common is taken."""
MOST_FETCHED = 3
"""So many series are fetched at most in search of one prior."""
RENEW_SECONDS = 1.0
ROW_SECONDS = 0.1
"""How often it is looked whether what was fetched has its rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Of whom a study is, and when it was: read from headers, never written down."""

    patient_id: str
    issuer: str
    born: str
    at: str

    @classmethod
    def of(cls, header: Dataset) -> Self:
        """Read a header, or what an archive answered; NotUnderstood where a value cannot be read."""
        with understood():
            words = [
                str(header.get(keyword) or "").strip()
                for keyword in ("PatientID", "IssuerOfPatientID", "PatientBirthDate", "StudyDate", "StudyTime")
            ]
        date, clock = words[3], words[4].partition(".")[0]
        return cls(
            patient_id=words[0], issuer=words[1], born=words[2], at=f"{date}{clock:0<6}" if len(date) == 8 else ""
        )

    def refusal(self, other: "Subject") -> str | None:
        """Return why another study is no earlier one of the same patient, or None where it is.

        Patient IDs are equal; Issuer of Patient ID and birth date are equal, or one of the two does not tell them.
        """
        if not self.patient_id or self.patient_id != other.patient_id:
            return "it is of another patient: its Patient ID differs"
        if self.issuer and other.issuer and self.issuer != other.issuer:
            return "it is of another patient: its Issuer of Patient ID differs"
        if self.born and other.born and self.born != other.born:
            return "it is of another patient: its Patient's Birth Date differs"
        if not (self.at and other.at and other.at < self.at):
            return "its Study Date does not say that it is earlier"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """A series that was found, with the instances it is made of."""

    series: Series
    parts: tuple[Part10, ...]


Sought = Prior | str
"""A prior, or the reason why there is none."""


class Assembled(Protocol):
    """The stacks of a study."""

    @property
    def series(self) -> Sequence[Series]:
        """The stacks."""


class Archive(Protocol):
    """Where earlier studies are kept, to be asked for; each answer comes before a moment of `time.monotonic`.

    DestinationUnavailable is raised where it does not.
    """

    @property
    def name(self) -> str:
        """What the configuration calls it."""

    @property
    def calling(self) -> str:
        """The AE title that we ask by."""

    def studies(self, of: Subject, modality: str, *, until: float) -> Sequence[Dataset]:
        """Return the earlier studies of a patient that have a modality."""

    def series(self, study_uid: str, modality: str, *, until: float) -> Sequence[Dataset]:
        """Return the series of a modality in a study."""

    def send(self, study_uid: str, series_uid: str, *, until: float) -> int:
        """Have a series sent to this node, and return how many instances were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is looked for: a series like that one, of an earlier study of the same patient."""

    now: Series
    conditions: tuple[When, ...]
    subject: Subject = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "subject", Subject.of(self.now.header))

    def refusal(self, series: Series) -> str | None:
        """Return why a series will not do, or None where it does: of whom, when, and like what it is."""
        return self.subject.refusal(Subject.of(series.header)) or self.unlike(series)

    def unlike(self, series: Series) -> str | None:
        """Return why a series is not like the one at hand, or None where it is."""
        for conditions in self.conditions:
            if (reason := mismatch(conditions, series)) is not None:
                return reason
        there, here = _kind(series), _kind(self.now)
        another = next((f"its {name} is another" for name in here if there[name] != here[name]), None)
        return another or self.elsewhere(series.header)

    def elsewhere(self, header: Dataset) -> str | None:
        """Return that a series is of another part of the body, where both say of which."""
        parts = [str(one.get("BodyPartExamined") or "").strip() for one in (header, self.now.header)]
        return "it is of another part of the body" if all(parts) and parts[0] != parts[1] else None

    def likeness(self, header: Dataset) -> int:
        """Return how much a series has in common with the one at hand."""
        return sum(
            keyword in header and str(header.get(keyword)) == str(self.now.header.get(keyword)) for keyword in ALIKE
        )


def _kind(series: Series) -> dict[str, object]:
    """Return what must be the same of two series that are compared."""
    words = [str(word) for word in series.header.get("ImageType") or ()]
    return {
        "Modality": series.modality,
        "orientation": orientation(series.frames[0]),
        "Image Type": ("LOCALIZER" in words, words[:1]),
        "Synthetic Data": str(series.header.get("SyntheticData") or "NO"),
    }


@lru_cache(maxsize=10_000)
def _subject(part: Part10) -> Subject:
    """Return of whom an instance is; NotUnderstood where it does not say."""
    with part.open() as file:
        file.seek(part.offset)
        return Subject.of(parse(file, pixels=False, stop_at=AFTER_PATIENT))


@dataclass(frozen=True, slots=True, kw_only=True)
class Priors:
    """Finds the priors that plugins ask for.

    Parameters
    ----------
    part10, stacks
        Where the bytes of an instance lie, and what stacks instances make.
    archive, seconds
        What is asked where nothing is here, and how long a job waits for it.
    """

    ledger: Ledger
    part10: Callable[[Place, str], Part10]
    stacks: Callable[[Iterable[Part10]], Assembled]
    archive: Archive | None = None
    seconds: float = 30.0

    def found(self, order: Order, renew: Renew) -> tuple[Order, tuple[str, ...]]:
        """Return an order with the priors that its plugin asks for, and of each in one sentence which, or why none.

        `renew` is called while an archive is waited for.
        """
        asked = order.plugin.manifest.priors
        if not asked:
            return order, ()
        here = {series.key: series for series in self.stacks(order.parts).series}
        until = time.monotonic() + self.seconds
        parts, inputs, remarks = list(order.parts), [], []
        for one in order.job.inputs:
            given = dict(one)
            for role, of in asked.items():
                if of in one:
                    sought = self._sought(here[one[of]], _conditions(order.plugin, role, of), renew, until)
                    remarks.append(_told(role, sought))
                    if isinstance(sought, Prior):
                        given[role] = sought.series.key
                        parts += [part for part in sought.parts if part not in parts]
            inputs.append(given)
        for remark in remarks:
            log.info("job.prior", study=order.job.study_uid, job=order.job.id, prior=remark)
        return replace(order, job=replace(order.job, inputs=tuple(inputs)), parts=tuple(parts)), tuple(remarks)

    def _sought(self, now: Series, conditions: tuple[When, ...], renew: Renew, until: float) -> Sought:
        """Look here, then at the archive: in a thread of its own, which is left behind where it is late."""
        try:
            wanted = Wanted(now=now, conditions=conditions)
            if not wanted.subject.patient_id or not wanted.subject.at:
                return "its images have no Patient ID, or no Study Date"
            sought = self._kept(wanted)
        except (NodeError, OSError) as error:
            return str(error)
        if isinstance(sought, Prior) or self.archive is None:
            return sought
        beside = ThreadPoolExecutor(1)
        asked = beside.submit(self._fetched, self.archive, wanted, until)
        beside.shutdown(wait=False)
        while not wait([asked], RENEW_SECONDS).done:
            renew()
            if time.monotonic() > until + RENEW_SECONDS:
                return f"{self.archive.name} gave no answer in {self.seconds:g} s"
        return asked.result()

    def _kept(self, wanted: Wanted) -> Sought:
        """Look in the studies that are here."""
        candidates = []
        for study_uid, place in self.ledger.samples(wanted.now.modality, beside=wanted.now.study_uid):
            try:
                subject = _subject(self.part10(place, ""))
            except (NodeError, OSError):
                continue
            if wanted.subject.refusal(subject) is None:
                candidates.append((subject.at, study_uid))
        for _, study_uid in sorted(candidates, reverse=True):
            if isinstance(sought := self._of_study(study_uid, wanted), Prior):
                return sought
        return "no earlier study of the patient that is here has such a series"

    def _of_study(self, study_uid: str, wanted: Wanted) -> Sought:
        """Return the series of a study that is most like the one at hand, or why none is."""
        halves = self.ledger.halves(study_uid)
        rows = [
            (row.series_uid, self.part10(place, row.note))
            for row, place in self.ledger.instances(study_uid)
            if row.modality == wanted.now.modality and row.series_uid not in halves
        ]
        reason = "it has no such series"
        best: Series | None = None
        for series in self.stacks(part for _, part in rows).series:
            if (refusal := wanted.refusal(series)) is not None:
                reason = f"series {series.series_uid}: {refusal}"
            elif best is None or _rank(series, wanted) > _rank(best, wanted):
                best = series
        if best is None:
            return reason
        return Prior(series=best, parts=tuple(part for uid, part in rows if uid == best.series_uid))

    def _fetched(self, archive: Archive, wanted: Wanted, until: float) -> Sought:
        """Ask the archive, newest study first, and have what promises most sent here."""
        reason = f"{archive.name} has no such series of an earlier study of the patient"
        try:
            for study_uid, series_uid in self._offered(archive, wanted, until):
                self.ledger.ask_for(series_uid, study_uid, calling=archive.calling)
                self._arrived(study_uid, series_uid, archive.send(study_uid, series_uid, until=until), until)
                self.ledger.came(series_uid)
                sought = self._of_study(study_uid, wanted)
                if isinstance(sought, Prior):
                    return sought
                reason = f"what {archive.name} sent of study {study_uid} will not do: {sought}"
        except (NodeError, OSError) as error:
            return f"{archive.name}: {error}"
        return reason

    def _offered(self, archive: Archive, wanted: Wanted, until: float) -> Iterable[tuple[str, str]]:
        """Yield (study, series) that may do, as far as the archive tells: newest study first, in it the most alike."""
        modality = wanted.now.modality
        studies = [
            (subject.at, str(one.StudyInstanceUID))
            for one in archive.studies(wanted.subject, modality, until=until)
            if wanted.subject.refusal(subject := Subject.of(one)) is None
            and str(one.get("StudyInstanceUID") or wanted.now.study_uid) != wanted.now.study_uid
        ]
        offered = 0
        for _, study_uid in sorted(studies, reverse=True):
            series = [one for one in archive.series(study_uid, modality, until=until) if not wanted.elsewhere(one)]
            for one in sorted(series, key=lambda one: _promise(one, wanted), reverse=True):
                offered += 1
                if offered > MOST_FETCHED:
                    return
                yield study_uid, str(one.SeriesInstanceUID)

    def _arrived(self, study_uid: str, series_uid: str, count: int, until: float) -> None:
        """Wait until all that was sent has its rows; DestinationUnavailable where it has not in time."""
        if not count:
            raise DestinationUnavailable(f"nothing was sent of series {series_uid}")
        while sum(row.series_uid == series_uid for row, _ in self.ledger.instances(study_uid)) < count:
            if time.monotonic() > until:
                raise DestinationUnavailable(f"not all of series {series_uid} came in time")
            time.sleep(ROW_SECONDS)


def _conditions(plugin: Plugin, *roles: str) -> tuple[When, ...]:
    return tuple(plugin.manifest.series[role].when for role in roles)


def _rank(series: Series, wanted: Wanted) -> tuple[int, int]:
    return wanted.likeness(series.header), len(series.frames)


def _promise(answer: Dataset, wanted: Wanted) -> tuple[int, float]:
    try:
        count = float(str(answer.get("NumberOfSeriesRelatedInstances") or 0))
    except ValueError:
        count = -inf
    return wanted.likeness(answer), count


def _told(role: str, sought: Sought) -> str:
    if isinstance(sought, Prior):
        return f"{role} is series {sought.series.key} of study {sought.series.study_uid}"
    return f"there is no {role}: {sought}"
