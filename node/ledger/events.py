"""Events: the history of each study, one line for whatever happened to it."""

from sqlalchemy import func, select

from node.ledger.database import LedgerPart
from node.ledger.rows import from_row
from node.ledger.schema import event
from node.records import Event


class Events(LedgerPart):
    """The history of all studies, in the order in which it was written."""

    def add(self, study_uid: str, name: str, detail: str) -> None:
        """Add an event to the history of a study."""
        with self.db.writing() as connection:
            self.db.add_event(connection, study_uid, name, detail)

    def read(self, study_uid: str | None = None, *, after: int = 0) -> list[tuple[int, Event]]:
        """Return the history of one study or of all, from an event's number on."""
        query = select(event).where(event.c.id > after).order_by(event.c.id)
        if study_uid is not None:
            query = query.where(event.c.study_uid == study_uid)
        with self.db.reading() as connection:
            return [(row["id"], from_row(Event, row)) for row in connection.execute(query).mappings()]

    def last(self) -> int:
        """Return the number of the newest event, 0 where there is none."""
        with self.db.reading() as connection:
            return int(connection.execute(select(func.coalesce(func.max(event.c.id), 0))).scalar_one())

    def count(self, name: str) -> int:
        """Return how many events of a name concern no study."""
        query = select(func.count()).where(event.c.study_uid == "", event.c.name == name)
        with self.db.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def names(self, *, after: int, limit: int = 1000) -> list[tuple[int, str]]:
        """Return number and name of the first events after a number."""
        query = select(event.c.id, event.c.name).where(event.c.id > after).order_by(event.c.id).limit(limit)
        with self.db.reading() as connection:
            return [(row.id, row.name) for row in connection.execute(query)]
