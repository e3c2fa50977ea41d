"""The list of studies, for `isocenter studies`."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from node.commands.explain import moment
from node.errors import ConfigError
from node.ledger import Ledger
from node.ledger.overview import StudyFilter
from node.operation_records import FoundStudy
from node.plain_text import plain
from node.records import DeliveryState, JobState, StudyState
from node.toml_files import meant

COLUMNS = ("changed", "patient", "accession", "date", "modality", "sender", "state", "jobs", "deliveries", "study")
DATES = re.compile(r"(\d{8})?(-)?(\d{8})?")


def dates(text: str) -> tuple[str, str]:
    """Return the first and last Study Date of a range, empty where it is open; ConfigError if it is none."""
    found = DATES.fullmatch(text)
    if found is None or text == "-":
        raise ConfigError(f"{text!r} is no date YYYYMMDD and no range YYYYMMDD-YYYYMMDD")
    first, dash, last = (part or "" for part in found.groups())
    return (first, last) if dash else (first or last, first or last)


def check_state(state: str) -> None:
    """Raise ConfigError for a state that no study, job or delivery can be in."""
    known = [str(one) for states in (StudyState, JobState, DeliveryState) for one in states]
    if state and state not in known:
        raise ConfigError(f"{state!r} is no state; there are: {', '.join(dict.fromkeys(known))}{meant(state, known)}")


def rows(ledger: Ledger, wanted: StudyFilter, limit: int) -> list[dict[str, Any]]:
    """Return the studies that fit, the last changed first, as rows of `COLUMNS` and `plugins`."""
    return [row(found) for found in ledger.overview.studies(wanted, limit=limit)]


def rows_of(ledger: Ledger, uids: Iterable[str]) -> list[dict[str, Any]]:
    """Return rows of certain studies."""
    wanted = StudyFilter(study_uids=tuple(uids))
    return rows(ledger, wanted, limit=len(wanted.study_uids))


def row(found: FoundStudy) -> dict[str, Any]:
    """Return a study as a row of `COLUMNS` and `plugins`."""
    known = found.identifiers
    return {
        "changed": moment(found.study.changed_at),
        "patient": plain(known.patient_id),
        "accession": plain(known.accession_number),
        "date": known.study_date,
        "modality": known.modalities,
        "sender": plain(known.sender),
        "state": str(found.study.state),
        "jobs": _counts(found.jobs),
        "deliveries": _counts(found.deliveries),
        "study": found.study.study_uid,
        "plugins": list(found.plugins),
    }


def _counts(states: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "-"
