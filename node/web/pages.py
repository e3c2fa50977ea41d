"""The pages. They are whole without JavaScript; those that change reload themselves."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

import structlog
from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from node.commands import list_queue, status
from node.ledger import Ledger
from node.ledger.overview import StudyFilter
from node.ledger.queries import span
from node.settings import Settings
from node.web.api import story
from node.web.study_pages import page, wanted

log = structlog.get_logger()
FIELDS = ("patient", "accession", "date", "modality", "sender", "state", "plugin")
"""What studies are searched by; the names are those of the options of `isocenter studies`."""


def router(settings: Settings, ledger: Ledger) -> APIRouter:
    """Return the routes of the pages."""
    routes = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    # everything that a template prints is escaped: a header can hold HTML
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined
    )
    templates.filters["span"] = span

    @routes.get("/")
    def now() -> str:
        return templates.get_template("now.html").render(title="Now", found=status.status(settings, ledger))

    @routes.get("/queue")
    def queue() -> str:
        return templates.get_template("queue.html").render(title="Queue", rows=list_queue.rows(ledger))

    @routes.get("/studies")
    def studies(request: Request, fitting: Annotated[StudyFilter, Depends(wanted)]) -> str:
        asked = {name: request.query_params.get(name, "") for name in FIELDS}
        found = page(ledger, fitting)
        more = urlencode({name: text for name, text in asked.items() if text} | {"after": found.after})
        return templates.get_template("studies.html").render(
            title="Studies", asked=asked, rows=found.studies, more=more if found.after else ""
        )

    @routes.get("/studies/{study_uid}")
    def study(study_uid: str) -> str:
        lines = story(ledger, study_uid)
        log.info("page.study", study=study_uid)
        return templates.get_template("study.html").render(title="Study", study=study_uid, lines=lines)

    return routes
