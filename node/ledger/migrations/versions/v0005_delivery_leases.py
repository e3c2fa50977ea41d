"""Several processes deliver: each holds what it sends with a lease."""

import sqlalchemy as sa
from alembic import op

from node.ledger.text_columns import String

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add who sends a delivery, and until when it is left to him."""
    op.add_column("delivery", sa.Column("worker", String, nullable=False, server_default=""))
    op.add_column("delivery", sa.Column("lease_until", sa.Float, nullable=False, server_default="0"))
