"""The UID of the node, made once: it names the node in its objects, and their UIDs are derived from it."""

from uuid import uuid4

import sqlalchemy as sa
from alembic import op

from node.ledger.text_columns import String

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Make the table with its one row, which no other ledger has."""
    node = op.create_table("node", sa.Column("device_uid", String(64), primary_key=True))
    op.bulk_insert(node, [{"device_uid": f"2.25.{uuid4().int}"}])
