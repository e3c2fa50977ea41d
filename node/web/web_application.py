"""The web application, and the server it runs in."""

import signal
import socket
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from node.errors import ConfigError
from node.ledger import Ledger
from node.settings import Settings
from node.web import api, pages, probes
from node.web.guard import Guard

STATIC = Path(__file__).parent / "static"


def create(settings: Settings, ledger: Ledger) -> FastAPI:
    """Return the application over an open ledger. FastAPI's own pages load scripts from elsewhere, so they are off."""
    app = FastAPI(title="isocenter", version="1", docs_url=None, redoc_url=None, openapi_url="/api/v1/openapi.json")
    app.add_middleware(Guard)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    for part in (pages, api, probes):
        app.include_router(part.router(settings, ledger))
    return app


def listen(settings: Settings, ledger: Ledger) -> None:
    """Serve the page until SIGTERM or Ctrl-C.

    Raises
    ------
    ConfigError
        The port is in use.
    """
    host, _, port = settings.web.address.rpartition(":")
    host = host.strip("[]")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, int(port)))
        except OSError as error:
            raise ConfigError(f"web.address: {settings.web.address} cannot be used: {error.strerror}") from error
        # no access log: the URL of a search holds a Patient ID
        config = uvicorn.Config(
            create(settings, ledger), access_log=False, server_header=False, proxy_headers=False, log_level="warning"
        )
        for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises it again when it has stopped
            signal.signal(number, lambda *_: None)
        uvicorn.Server(config).run(sockets=[bound])
