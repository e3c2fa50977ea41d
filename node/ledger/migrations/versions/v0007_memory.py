"""What is forgotten after a year, and the packs of instances that the ledger can never hold."""

import sqlalchemy as sa
from alembic import op

from node.ledger.text_columns import String

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add where the bytes of an instance lie that was set aside."""
    op.add_column("refusal", sa.Column("pack", String, nullable=False, server_default=""))
    op.create_index("refusal_in_pack", "refusal", ["pack"])
