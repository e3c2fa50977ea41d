"""What is noted of an instance while it is received stands in its row."""

import sqlalchemy as sa
from alembic import op

from node.ledger.text_columns import Text

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column; of the instances that are there, the packs tell it again."""
    op.add_column("instance", sa.Column("note", Text, nullable=False, server_default=""))
