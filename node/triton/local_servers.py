"""The Triton servers of a node, by their addresses: "local" in the settings is the server from the wheel."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import structlog

from node.settings import TritonSettings
from node.triton.server import LocalServer

log = structlog.get_logger()

LOCAL = "local"
WATCH_SECONDS = 2.0
"""How often the local server is checked."""


@dataclass(slots=True)
class Servers:
    """The addresses of all Triton servers; as a context, it starts and stops the local server.

    The local server is started if the settings name "local" and a routed plugin has a model (`needed`).
    """

    settings: TritonSettings
    log_file: Path
    needed: bool = True
    start_seconds: float = 60
    _server: LocalServer | None = None
    _local: str = ""

    def __enter__(self) -> Self:
        if LOCAL in self.settings.urls and self.needed:
            self._server = LocalServer(self.settings.model_repository, self.log_file, beside=self.settings.included)
            self._local = self._server.start(self.start_seconds)
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.stop()

    @property
    def urls(self) -> tuple[str, ...]:
        """host:port of every server, in the order of the settings."""
        return tuple(self._local if url == LOCAL else url for url in self.settings.urls)

    @property
    def started(self) -> bool:
        """Whether every server of the settings is one that can be asked: a local one has been started."""
        return LOCAL not in self.settings.urls or self._server is not None

    def watch(self) -> float | None:
        """Start the local server again if it has died; return in how many seconds to check again."""
        if self._server is None:
            return None
        if not self._server.alive:
            log.error("triton.died", log=str(self.log_file))
            self._local = self._server.start()
        return WATCH_SECONDS
