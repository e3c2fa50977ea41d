"""Series that are fetched to be compared with, and who asked for an instance."""

import sqlalchemy as sa
from alembic import op

from node.ledger.text_columns import String

revision = "0008"
down_revision = "0007"
UID = String(64)


def upgrade() -> None:
    """Add the table of what was asked for, and by whom an instance was."""
    op.add_column("instance", sa.Column("originator", String(16), nullable=False, server_default=""))
    op.create_table(
        "fetch",
        sa.Column("series_uid", UID, primary_key=True),
        sa.Column("study_uid", UID, nullable=False, index=True),
        sa.Column("calling", String(16), nullable=False),
        sa.Column("asked_at", sa.Float, nullable=False),
        sa.Column("came_at", sa.Float),
    )
