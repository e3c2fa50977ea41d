"""The same as JSON, under `/api/v1`; `/api/v1/openapi.json` describes it."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException

from node.commands import explain, list_queue, status
from node.ledger import Ledger
from node.ledger.overview import StudyFilter
from node.settings import Settings
from node.web.study_pages import Page, page, wanted


def router(settings: Settings, ledger: Ledger) -> APIRouter:
    """Return the routes of the API."""
    routes = APIRouter(prefix="/api/v1")

    @routes.get("/status")
    def now() -> dict[str, Any]:
        """Return what runs, what waits, and what needs a person."""
        return status.status(settings, ledger).as_json()

    @routes.get("/queue")
    def queue() -> list[dict[str, Any]]:
        """Return what waits or runs, the oldest first."""
        return list_queue.rows(ledger)

    @routes.get("/studies")
    def studies(fitting: Annotated[StudyFilter, Depends(wanted)]) -> Page:
        """Return the studies that fit, the last changed first; `after` of the answer asks for the next page."""
        return page(ledger, fitting)

    @routes.get("/studies/{study_uid}")
    def study(study_uid: str) -> dict[str, Any]:
        """Return the story of a study, line by line."""
        return {"study": study_uid, "lines": story(ledger, study_uid)}

    return routes


def story(ledger: Ledger, study_uid: str) -> list[str]:
    """Return what `isocenter explain` tells of a study; 404 where nothing of it was ever received."""
    if ledger.studies.find(study_uid) is None and not ledger.queries.refusals(study_uid):
        raise HTTPException(404, "nothing of this study was ever received here")
    return list(explain.explain(ledger, study_uid))
