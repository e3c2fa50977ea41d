"""What people find studies by, which processes of the node run, and what a person has paused."""

import sqlalchemy as sa
from alembic import op

from node.ledger.text_columns import String, Text

revision = "0014"
down_revision = "0013"
UID = String(64)


def upgrade() -> None:
    """Make the tables; studies that were planned before are found by their UID alone."""
    op.create_table(
        "identifiers",
        sa.Column("study_uid", UID, primary_key=True),
        sa.Column("patient_id", String(64), nullable=False),
        sa.Column("accession_number", String(64), nullable=False),
        sa.Column("study_date", String(8), nullable=False),
        sa.Column("modalities", String, nullable=False),
        sa.Column("sender", String(16), nullable=False),
    )
    op.create_index("identifiers_of_patient", "identifiers", ["patient_id"])
    op.create_index("identifiers_of_order", "identifiers", ["accession_number"])
    op.create_table(
        "process",
        sa.Column("name", String(128), primary_key=True),
        sa.Column("roles", String, nullable=False),
        sa.Column("version", String, nullable=False),
        sa.Column("started_at", sa.Float, nullable=False),
        sa.Column("seen_at", sa.Float, nullable=False),
        sa.Column("detail", Text, nullable=False),
    )
    op.create_table(
        "pause",
        sa.Column("kind", String(16), primary_key=True),
        sa.Column("name", String, primary_key=True),
        sa.Column("since", sa.Float, nullable=False),
    )
