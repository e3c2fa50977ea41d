"""Retention and fairness: what was purged or lost, how urgent an instance is, and whose turn it is."""

import sqlalchemy as sa
from alembic import op

from node.ledger.text_columns import String

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns, the turns, and the indices that go with them."""
    op.add_column("instance", sa.Column("urgency", sa.Integer, nullable=False, server_default="0"))
    op.add_column("instance", sa.Column("lost", sa.Boolean, nullable=False, server_default="0"))
    op.create_index("instance_in_pack", "instance", ["pack"])
    op.add_column("study", sa.Column("expected", sa.Integer, nullable=False, server_default="0"))
    op.add_column("study", sa.Column("purged_at", sa.Float))
    op.drop_index("ix_study_state", table_name="study")
    op.create_index("study_quiet", "study", ["state", "changed_at"])
    op.add_column("job", sa.Column("sender", String(16), nullable=False, server_default=""))
    op.add_column("object", sa.Column("purged_at", sa.Float))
    op.add_column("delivery", sa.Column("priority", sa.Integer, nullable=False, server_default="0"))
    op.create_table(
        "turn",
        sa.Column("sender", String(16), primary_key=True),
        sa.Column("served", sa.BigInteger, nullable=False),
    )
