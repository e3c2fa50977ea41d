"""What a person has paused: destinations, routes and plugins."""

from sqlalchemy import delete, select

from node.ledger.database import LedgerPart, insert_or
from node.ledger.schema import pause


class Pauses(LedgerPart):
    """Paused destinations are sent nothing, paused plugins start no job, and studies of paused routes wait."""

    def add(self, kind: str, name: str) -> bool:
        """Pause a destination, route or plugin; False if it is paused already."""
        with self.db.writing() as connection:
            row = {"kind": kind, "name": name, "since": self.db.clock()}
            insert = insert_or(connection, pause).values(row).on_conflict_do_nothing()
            added = connection.execute(insert.returning(pause.c.name)).first() is not None
            if added:
                self.db.add_event(connection, "", "paused", f"{kind} {name}")
            return added

    def remove(self, kind: str, name: str) -> bool:
        """Resume a destination, route or plugin; False if it is not paused."""
        with self.db.writing() as connection:
            gone = connection.execute(delete(pause).where(pause.c.kind == kind, pause.c.name == name))
            if gone.rowcount:
                self.db.add_event(connection, "", "resumed", f"{kind} {name}")
            return bool(gone.rowcount)

    def names(self, kind: str) -> set[str]:
        """Return the names of one kind that are paused."""
        return {name for paused, name, _ in self.all() if paused == kind}

    def all(self) -> list[tuple[str, str, float]]:
        """Return kind, name and time of each pause."""
        with self.db.reading() as connection:
            rows = connection.execute(select(pause).order_by(pause.c.kind, pause.c.name))
            return [(row.kind, row.name, row.since) for row in rows]
