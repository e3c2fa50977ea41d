"""Find the prior of a job: the newest earlier series of the same patient that is similar to the present series.

The node searches its own studies first, then an archive if one is configured, for a limited time. If no prior is found
in this time, the job runs without a prior, and the story of its study says why.
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

from node.errors import DestinationUnavailable, MixedStudy, NodeError
from node.host import Plugin
from node.images.agreement import check_study
from node.images.part10 import Part10, parse, understood
from node.images.predicates import When, mismatch, orientation
from node.images.series import Series
from node.images.stacks import group_into_stacks
from node.infer.job import Order, Renew, digest_of
from node.ledger.instances import Instances
from node.ledger.priors import PriorStudies
from node.records import Place

log = structlog.get_logger()

AFTER_PATIENT = 0x00110000
"""Patient and date of the study have lower tags than this."""
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
"""If several series of a study fit, the series with the most equal attributes of these is chosen."""
MOST_FETCHED = 3
"""Largest number of series that are fetched in search of one prior."""
RENEW_SECONDS = 1.0
ROW_SECONDS = 0.1
"""How often the ledger is asked for the rows of fetched instances."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Patient and time of a study. They are read from headers and never stored."""

    patient_id: str
    issuer: str
    born: str
    at: str

    @classmethod
    def of(cls, header: Dataset) -> Self:
        """Read a header, or an answer of an archive; NotUnderstood if a value cannot be read."""
        with understood():
            values = [
                str(header.get(keyword) or "").strip()
                for keyword in ("PatientID", "IssuerOfPatientID", "PatientBirthDate", "StudyDate", "StudyTime")
            ]
        date, clock = values[3], values[4].partition(".")[0]
        return cls(
            patient_id=values[0], issuer=values[1], born=values[2], at=f"{date}{clock:0<6}" if len(date) == 8 else ""
        )

    def refusal(self, other: "Subject") -> str | None:
        """Return why another study is not an earlier study of the same patient, or None if it is.

        Patient IDs must be equal; Issuer of Patient ID and birth date must be equal, or absent in one of the two.
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
    """A series that was found, with its instances; `checksums` has SOP Instance UID and checksum of each."""

    series: Series
    parts: tuple[Part10, ...]
    checksums: tuple[str, ...]


Sought = Prior | str
"""A prior, or the reason why none was found."""


class Archive(Protocol):
    """An archive of earlier studies. Each answer comes before the time `until` of `time.monotonic`.

    Otherwise DestinationUnavailable is raised.
    """

    @property
    def name(self) -> str:
        """What the configuration calls it."""

    @property
    def calling(self) -> str:
        """The AE title by which the node asks it."""

    def studies(self, of: Subject, modality: str, *, until: float) -> Sequence[Dataset]:
        """Return the earlier studies of a patient that have a modality."""

    def series(self, study_uid: str, modality: str, *, until: float) -> Sequence[Dataset]:
        """Return the series of a modality in a study."""

    def send(self, study_uid: str, series_uid: str, *, until: float) -> int:
        """Have a series sent to this node, and return the number of instances sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is searched for: a series similar to `now`, of an earlier study of the same patient."""

    now: Series
    conditions: tuple[When, ...]
    subject: Subject = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "subject", Subject.of(self.now.header))

    def refusal(self, series: Series) -> str | None:
        """Return why a series does not fit, or None if it fits: by patient, time, UIDs and similarity."""
        return self.subject.refusal(Subject.of(series.header)) or self.confused(series) or self.unlike(series)

    def confused(self, series: Series) -> str | None:
        """Return a reason if a series has UIDs of the present series: a job could not tell their images apart."""
        uids = ({frame.sop_instance_uid for frame in stack.frames} | {stack.series_uid} for stack in (series, self.now))
        return None if set.isdisjoint(*uids) else "it has UIDs of the present series, which a sender has used twice"

    def unlike(self, series: Series) -> str | None:
        """Return why a series is not similar to the present series, or None if it is."""
        for conditions in self.conditions:
            if (reason := mismatch(conditions, series)) is not None:
                return reason
        earlier, present = _kind(series), _kind(self.now)
        another = next((f"its {name} is another" for name in present if earlier[name] != present[name]), None)
        return another or self.elsewhere(series.header)

    def elsewhere(self, header: Dataset) -> str | None:
        """Return the reason if a series is of another part of the body; None unless both headers name a part."""
        parts = [str(item.get("BodyPartExamined") or "").strip() for item in (header, self.now.header)]
        return "it is of another part of the body" if all(parts) and parts[0] != parts[1] else None

    def likeness(self, header: Dataset) -> int:
        """Return how many attributes a series has in common with the present series."""
        return sum(
            keyword in header and str(header.get(keyword)) == str(self.now.header.get(keyword)) for keyword in ALIKE
        )


def _kind(series: Series) -> dict[str, object]:
    """Return the properties that must be equal in two series that are compared."""
    values = [str(value) for value in series.header.get("ImageType") or ()]
    return {
        "Modality": series.modality,
        "orientation": orientation(series.frames[0]),
        "Image Type": ("LOCALIZER" in values, values[:1]),
        "Synthetic Data": str(series.header.get("SyntheticData") or "NO"),
    }


@lru_cache(maxsize=10_000)
def _subject(part: Part10) -> Subject:
    """Return patient and time of an instance; NotUnderstood if they cannot be read."""
    with part.open() as file:
        file.seek(part.offset)
        return Subject.of(parse(file, pixels=False, stop_at=AFTER_PATIENT))


@dataclass(frozen=True, slots=True, kw_only=True)
class Priors:
    """Finds the priors that plugins ask for.

    Parameters
    ----------
    part10
        Returns where the bytes of an instance are.
    archive, seconds
        The archive that is asked if the node has no prior, and how long a job waits for it.
    """

    priors: PriorStudies
    instances: Instances
    part10: Callable[[Place, str], Part10]
    archive: Archive | None = None
    seconds: float = 30.0

    def add_to(self, order: Order, renew: Renew) -> tuple[Order, tuple[str, ...]]:
        """Return an order with the priors that its plugin asks for, and a sentence for each: which series, or why none.

        `renew` is called while the archive is awaited.
        """
        asked = order.plugin.manifest.priors
        if not asked:
            return order, ()
        here = {series.key: series for series in group_into_stacks(order.parts).series}
        until = time.monotonic() + self.seconds
        parts, inputs, remarks, digested = list(order.parts), [], [], [order.inputs]
        for present in order.job.inputs:
            given = dict(present)
            for role, of in asked.items():
                if of in present:
                    sought = self._sought(here[present[of]], _conditions(order.plugin, role, of), renew, until)
                    remarks.append(_remark(role, sought))
                    if isinstance(sought, Prior):
                        given[role] = sought.series.key
                        digested += [f"{role}|{sought.series.key}", *sought.checksums]
                        parts += [part for part in sought.parts if part not in parts]
            inputs.append(given)
        for remark in remarks:
            log.info("job.prior", study=order.job.study_uid, job=order.job.id, prior=remark)
        found = replace(
            order, job=replace(order.job, inputs=tuple(inputs)), parts=tuple(parts), inputs=digest_of(*digested)
        )
        return found, tuple(remarks)

    def _sought(self, now: Series, conditions: tuple[When, ...], renew: Renew, until: float) -> Sought:
        """Search the node's studies, then the archive, in a thread that is abandoned if it takes too long."""
        try:
            wanted = Wanted(now=now, conditions=conditions)
            if not wanted.subject.patient_id or not wanted.subject.at:
                return "its images have no Patient ID, or no Study Date"
            sought = self._kept(wanted)
        except (NodeError, OSError) as error:
            return str(error)
        if isinstance(sought, Prior) or self.archive is None:
            return sought
        thread = ThreadPoolExecutor(1)
        fetched = thread.submit(self._fetched, self.archive, wanted, until)
        thread.shutdown(wait=False)
        while not wait([fetched], RENEW_SECONDS).done:
            renew()
            if time.monotonic() > until + RENEW_SECONDS:
                return f"{self.archive.name} gave no answer in {self.seconds:g} s"
        return fetched.result()

    def _kept(self, wanted: Wanted) -> Sought:
        """Search the studies that the node has."""
        candidates = []
        for study_uid, place in self.priors.candidates(wanted.now.modality, beside=wanted.now.study_uid):
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
        """Return the series of a study that is most similar to the present series, or why none fits."""
        halves = self.priors.incomplete(study_uid)
        rows = [
            (row, self.part10(place, row.note))
            for row, place in self.instances.of(study_uid)
            if row.modality == wanted.now.modality and row.series_uid not in halves
        ]
        best = most_similar(group_into_stacks(part for _, part in rows).series, wanted)
        if isinstance(best, str):
            return best
        own = [(row, part) for row, part in rows if row.series_uid == best.series_uid]
        checksums = tuple(sorted(f"{row.sop_instance_uid}|{row.checksum}" for row, _ in own))
        return Prior(series=best, parts=tuple(part for _, part in own), checksums=checksums)

    def _fetched(self, archive: Archive, wanted: Wanted, until: float) -> Sought:
        """Ask the archive, newest study first, to send the most similar series to this node."""
        reason = f"{archive.name} has no such series of an earlier study of the patient"
        try:
            for study_uid, series_uid in self._offered(archive, wanted, until):
                self.priors.ask_for(series_uid, study_uid, calling=archive.calling)
                self._arrived(study_uid, series_uid, archive.send(study_uid, series_uid, until=until), until)
                self.priors.arrived(series_uid)
                sought = self._of_study(study_uid, wanted)
                if isinstance(sought, Prior):
                    return sought
                reason = f"what {archive.name} sent of study {study_uid} cannot be used: {sought}"
        except (NodeError, OSError) as error:
            return f"{archive.name}: {error}"
        return reason

    def _offered(self, archive: Archive, wanted: Wanted, until: float) -> Iterable[tuple[str, str]]:
        """Yield (study UID, series UID) that may fit by the archive's answers: newest study, then most similar."""
        modality = wanted.now.modality
        studies = [
            (subject.at, str(answer.StudyInstanceUID))
            for answer in archive.studies(wanted.subject, modality, until=until)
            if wanted.subject.refusal(subject := Subject.of(answer)) is None
            and str(answer.get("StudyInstanceUID") or wanted.now.study_uid) != wanted.now.study_uid
        ]
        offered = 0
        for _, study_uid in sorted(studies, reverse=True):
            answers = archive.series(study_uid, modality, until=until)
            fitting = [answer for answer in answers if not wanted.elsewhere(answer)]
            for series in sorted(fitting, key=lambda answer: _promise(answer, wanted), reverse=True):
                offered += 1
                if offered > MOST_FETCHED:
                    return
                yield study_uid, str(series.SeriesInstanceUID)

    def _arrived(self, study_uid: str, series_uid: str, count: int, until: float) -> None:
        """Wait until all instances that were sent have their rows; DestinationUnavailable if the time is over first."""
        if not count:
            raise DestinationUnavailable(f"nothing was sent of series {series_uid}")
        while sum(row.series_uid == series_uid for row, _ in self.instances.of(study_uid)) < count:
            if time.monotonic() > until:
                raise DestinationUnavailable(f"not all of series {series_uid} came in time")
            time.sleep(ROW_SECONDS)


def most_similar(stacks: Sequence[Series], wanted: Wanted) -> Series | str:
    """Return the series of an earlier study that is most similar to the present series, or why none fits."""
    reason = "it has no such series"
    best: Series | None = None
    try:
        check_study(stacks)
    except MixedStudy as error:
        return str(error)
    for series in stacks:
        if (refusal := wanted.refusal(series)) is not None:
            reason = f"series {series.series_uid}: {refusal}"
        elif best is None or _rank(series, wanted) > _rank(best, wanted):
            best = series
    return reason if best is None else best


def with_prior(order: Order, parts: Sequence[Part10]) -> tuple[Order, tuple[str, ...]]:
    """Return an order with priors from images that are given, and a sentence for each: which series, or why none."""
    here = {series.key: series for series in group_into_stacks(order.parts).series}
    stacks = group_into_stacks(parts).series
    remarks: list[str] = []
    inputs = [dict(given) for given in order.job.inputs]
    for given in inputs:
        for role, of in order.plugin.manifest.priors.items():
            wanted = Wanted(now=here[given[of]], conditions=_conditions(order.plugin, role, of))
            best = most_similar(stacks, wanted)
            remarks.append(f"there is no {role}: {best}" if isinstance(best, str) else f"{role} is series {best.key}")
            if not isinstance(best, str):
                given[role] = best.key
    return replace(order, job=replace(order.job, inputs=tuple(inputs)), parts=(*order.parts, *parts)), tuple(remarks)


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


def _remark(role: str, sought: Sought) -> str:
    if isinstance(sought, Prior):
        return f"{role} is series {sought.series.key} of study {sought.series.study_uid}"
    return f"there is no {role}: {sought}"
