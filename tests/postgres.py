"""A PostgreSQL server for the tests: on a free port of this machine, with a data folder that is thrown away."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg

from node.ledger import Ledger
from tests.peers import free_port, wait_until
from tests.processes import Started, start

FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
READY = "ready"
"""The database with an empty ledger that the others are copied from."""
QUICK = ("fsync=off", "unix_socket_directories=", "listen_addresses=127.0.0.1")


def lacking() -> str:
    """Return why there can be no server, or nothing."""
    if not FOLDERS:
        return "PostgreSQL is not installed"
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        return "PostgreSQL does not run as root, and setpriv is not installed"
    return ""


@dataclass(slots=True)
class Postgres:
    """A running server."""

    folder: Path
    port: int
    _names: Iterator[int] = field(default_factory=lambda: count(1))
    _process: Started | None = None

    def url(self, name: str) -> str:
        return f"postgresql://isocenter@127.0.0.1:{self.port}/{name}"

    def create(self, template: str = READY) -> str:
        """Make a database, with an empty ledger in it unless another template is named, and return its URL."""
        name = f"ledger_{next(self._names)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def drop(self, url: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        settings = [word for setting in (*QUICK, f"port={self.port}") for word in ("-c", setting)]
        self._process = start(_command("postgres", "-D", str(self.folder / "data"), *settings), self.folder / "log")
        wait_until(self._answers, what=f"the start of PostgreSQL on {self.folder}")

    def stop(self, mode: str = "fast") -> None:
        """Stop it: "fast" ends the connections, "immediate" is a crash."""
        assert self._process is not None
        self._process.send_signal({"fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode])
        self._process.wait(60)

    def _answers(self) -> bool:
        with suppress(psycopg.OperationalError):
            psycopg.connect(self.url("postgres")).close()
            return True
        return False


def _command(program: str, *words: str) -> list[str]:
    as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    return [*as_postgres, str(FOLDERS[-1] / program), *words]


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Run a server for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="isocenter-postgres-") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        words = ["-D", str(folder / "data"), "-A", "trust", "-U", "isocenter", "-E", "UTF8", "--no-sync"]
        subprocess.run(_command("initdb", *words), stdout=subprocess.DEVNULL, cwd="/", check=True, timeout=120)
        server = Postgres(folder, free_port())
        server.start()
        try:
            with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {READY}")
            Ledger(server.url(READY)).close()
            yield server
        finally:
            server.stop("immediate")
