"""Whether a job may ask a demonstration network about images of patients: all of its routes allow it."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the column; no job that was planned before may."""
    op.add_column("job", sa.Column("allow_demonstration", sa.Boolean, nullable=False, server_default="0"))
