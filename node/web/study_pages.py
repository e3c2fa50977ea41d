"""The list of studies in pages: which studies a request asks for, and where its next page begins."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import HTTPException, Query

from node.commands import list_studies
from node.errors import ConfigError
from node.ledger import Ledger
from node.ledger.overview import StudyFilter

PAGE = 50
Text = Annotated[str, Query(max_length=64)]


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the list; `after` is the place of its last study where there are more, otherwise empty."""

    studies: list[dict[str, Any]]
    after: str


def wanted(
    patient: Text = "",
    accession: Text = "",
    date: Text = "",
    modality: Text = "",
    sender: Text = "",
    state: Text = "",
    plugin: Text = "",
    after: Annotated[str, Query(max_length=100)] = "",
) -> StudyFilter:
    """Return the filter that the query of a URL names, with the words of `isocenter studies`; 422 for a mistake."""
    try:
        first, last = list_studies.dates(date.strip())
        list_studies.check_state(state.strip())
    except ConfigError as error:
        raise HTTPException(422, str(error)) from error
    return StudyFilter(
        patient_id=patient.strip(), accession_number=accession.strip(), first_date=first, last_date=last,
        modality=modality.strip(), sender=sender.strip(), state=state.strip(), plugin=plugin.strip(),
        after=_place(after),
    )  # fmt: skip


def page(ledger: Ledger, fitting: StudyFilter, size: int = PAGE) -> Page:
    """Return the studies that fit, `size` at most, the last changed first."""
    found = ledger.overview.studies(fitting, limit=size + 1)
    shown = found[:size]
    last = shown[-1].study if len(found) > size else None
    after = f"{last.changed_at!r}_{last.study_uid}" if last else ""
    return Page([list_studies.row(study) for study in shown], after)


def _place(after: str) -> tuple[float, str] | None:
    if not after:
        return None
    at, _, uid = after.partition("_")
    try:
        return float(at), uid
    except ValueError as error:
        raise HTTPException(422, f"{after!r} is no place in the list; take it from the page before") from error
