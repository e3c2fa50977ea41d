"""Associations that were rejected or aborted, with who called and why."""

import sqlalchemy as sa
from alembic import op

from node.ledger.text_columns import String, Text

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Make the table; nothing is known of associations before."""
    op.create_table(
        "failed_association",
        sa.Column("outcome", String(16), primary_key=True),
        sa.Column("calling", String(16), primary_key=True),
        sa.Column("called", String(16), primary_key=True),
        sa.Column("address", String, primary_key=True),
        sa.Column("reason", Text, primary_key=True),
        sa.Column("first_at", sa.Float, nullable=False),
        sa.Column("last_at", sa.Float, nullable=False),
        sa.Column("times", sa.Integer, nullable=False),
    )
    op.create_index("failed_association_last", "failed_association", ["last_at"])
