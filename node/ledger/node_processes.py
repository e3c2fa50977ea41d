"""The processes of a node, as they report themselves."""

from sqlalchemy import delete, select

from node.ledger.database import LedgerPart, insert_or
from node.ledger.rows import from_row
from node.ledger.schema import process
from node.operation_records import NodeProcess


class NodeProcesses(LedgerPart):
    """Which processes run on this ledger, on all machines."""

    def report(self, name: str, *, roles: str, version: str, started_at: float, detail: str) -> None:
        """Note that a process runs, and what it says of itself."""
        row = {"name": name, "roles": roles, "version": version, "started_at": started_at, "detail": detail}
        row["seen_at"] = self.db.clock()
        with self.db.writing() as connection:
            statement = insert_or(connection, process).values(row)
            connection.execute(statement.on_conflict_do_update(index_elements=[process.c.name], set_=row))

    def remove(self, name: str) -> None:
        """Note that a process has ended."""
        with self.db.writing() as connection:
            connection.execute(delete(process).where(process.c.name == name))

    def all(self) -> list[NodeProcess]:
        """Return every process that has reported and has not ended in order."""
        with self.db.reading() as connection:
            rows = connection.execute(select(process).order_by(process.c.started_at)).mappings()
            return [from_row(NodeProcess, row) for row in rows]
