"""A PostgreSQL server for the tests: on a free port of this machine, with a data folder that is thrown away."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg

from node.ledger import Ledger
from tests.peers import free_port

FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
READY = "ready"
"""The database with an empty ledger that the others are copied from."""
QUICK = "-c fsync=off -c unix_socket_directories= -c listen_addresses=127.0.0.1"


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
        self._control("start", "-o", f"{QUICK} -c port={self.port}", "-l", str(self.folder / "log"))

    def stop(self, mode: str = "fast") -> None:
        """Stop it: "fast" ends the connections, "immediate" is a crash."""
        self._control("stop", "-m", mode)

    def _control(self, *words: str) -> None:
        _run("pg_ctl", "-D", str(self.folder / "data"), "-w", *words)


def _run(program: str, *words: str) -> None:
    as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*as_postgres, str(FOLDERS[-1] / program), *words],
        stdout=subprocess.DEVNULL,  # the server inherits it
        stderr=subprocess.DEVNULL,
        cwd="/",
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, f"{program} {' '.join(words)} ended with {done.returncode}"


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Run a server for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="isocenter-postgres-") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        _run("initdb", "-D", str(folder / "data"), "-A", "trust", "-U", "isocenter", "-E", "UTF8", "--no-sync")
        server = Postgres(folder, free_port())
        server.start()
        try:
            with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {READY}")
            Ledger(server.url(READY)).close()
            yield server
        finally:
            server.stop("immediate")
