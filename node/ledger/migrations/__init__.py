"""The ledger's schema from release to release.

A new one: `versions/v0042_what_changes.py` beside the others, with `revision`, `down_revision` (the newest there is)
and `upgrade`. A test compares what the migrations make with the tables of `schema.py`, and names what is missing.

Alembic is imported when a ledger is migrated only: a ledger that has this program's schema opens faster without it.
"""

import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text

from node.errors import ConfigError

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

FIRST = "0001"
"""The schema of ledgers that were made before there were migrations."""
LOCK = 0x150_CE27E4
"""The advisory lock of PostgreSQL that is held while a ledger is migrated."""
_one_at_a_time = threading.Lock()  # Alembic keeps the migration it runs in a global


def upgrade(engine: Engine) -> None:
    """Bring a ledger to this program's schema, an empty one included; of several processes at once, one does it.

    Raises
    ------
    ConfigError
        A newer program has written the ledger.
    """
    with engine.connect() as connection:
        if _revision(connection) == newest():
            return
    from alembic import command
    from alembic.config import Config

    with _one_at_a_time, engine.connect().execution_options(writes=True) as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(_folder()))
        before = _revision(connection)
        if before is not None and before not in _known():
            raise ConfigError(
                f"a newer isocenter wrote it (schema {before}; this one knows {newest()}); install that one again, or "
                "name another ledger"
            )
        if before is None and inspect(connection).has_table("study"):
            command.stamp(config, FIRST)
        command.upgrade(config, "head")


def newest() -> str:
    """Return the schema that this program works with: the number in the last file name of `versions`."""
    return max(path.name[1:5] for path in (_folder() / "versions").glob("v[0-9]*.py"))


def _folder() -> Path:
    return Path(__file__).parent


@cache
def _script() -> "ScriptDirectory":
    from alembic.script import ScriptDirectory

    return ScriptDirectory(str(_folder()))


def _known() -> set[str]:
    return {script.revision for script in _script().walk_revisions()}


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
