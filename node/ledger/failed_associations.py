"""Associations that failed: rejected or aborted, with who called and why."""

from collections.abc import Iterable
from dataclasses import asdict

from sqlalchemy import delete, select

from node.ledger.database import LedgerPart, insert_or
from node.ledger.schema import failed_association
from node.records import FailedAssociation

MOST_KEPT = 1000
"""Rows that are kept, the newest: whoever may knock must not fill the ledger."""
KEY = ("outcome", "calling", "called", "address", "reason")


class FailedAssociations(LedgerPart):
    """One row for failures that are alike, with how many there were."""

    def record(self, failures: Iterable[FailedAssociation], *, most: int = MOST_KEPT) -> None:
        """Add failures to the rows of those that are alike; beyond `most` rows, the oldest go."""
        with self.db.writing() as connection:
            for failure in sorted(failures, key=lambda failure: tuple(getattr(failure, name) for name in KEY)):
                statement = insert_or(connection, failed_association).values(asdict(failure))
                further = {
                    "times": failed_association.c.times + statement.excluded.times,
                    "last_at": statement.excluded.last_at,
                }
                connection.execute(statement.on_conflict_do_update(index_elements=KEY, set_=further))
            newest = select(failed_association.c.last_at).order_by(failed_association.c.last_at.desc())
            oldest_kept = connection.execute(newest.offset(most - 1).limit(1)).scalar()
            if oldest_kept is not None:
                connection.execute(delete(failed_association).where(failed_association.c.last_at < oldest_kept))

    def read(self, *, limit: int = MOST_KEPT) -> list[FailedAssociation]:
        """Return the failures, the newest first."""
        query = select(failed_association).order_by(failed_association.c.last_at.desc()).limit(limit)
        with self.db.reading() as connection:
            return [FailedAssociation(**row) for row in connection.execute(query).mappings()]
