"""Whether a job sends a report of images that its plugin cannot analyse: one of its routes asks for it."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add the column; jobs that were planned before report as they did."""
    op.add_column("job", sa.Column("report_not_suitable", sa.Boolean, nullable=False, server_default="1"))
