"""The tables of the first version."""

import sqlalchemy as sa
from alembic import op

from node.ledger.text_columns import String, Text

revision = "0001"
down_revision = None
UID = String(64)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "pack",
        sa.Column("name", String, primary_key=True),
        sa.Column("mark", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "instance",
        sa.Column("sop_instance_uid", UID, primary_key=True),
        sa.Column("sop_class_uid", UID, nullable=False),
        sa.Column("study_uid", UID, nullable=False),
        sa.Column("series_uid", UID, nullable=False),
        sa.Column("modality", String(16), nullable=False),
        sa.Column("transfer_syntax_uid", UID, nullable=False),
        sa.Column("calling", String(16), nullable=False),
        sa.Column("peer", String, nullable=False),
        sa.Column("received_at", sa.Float, nullable=False),
        sa.Column("checksum", sa.BigInteger, nullable=False),
        sa.Column("pack", String, nullable=False),
        sa.Column("offset", sa.BigInteger, nullable=False),
        sa.Column("length", sa.BigInteger, nullable=False),
        sa.Index("instance_of_study", "study_uid", "series_uid"),
    )
    op.create_table(
        "refusal",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("sop_instance_uid", String, nullable=False),
        sa.Column("sop_class_uid", String, nullable=False),
        sa.Column("study_uid", String, nullable=False, index=True),
        sa.Column("calling", String(16), nullable=False),
        sa.Column("peer", String, nullable=False),
        sa.Column("reason", Text, nullable=False),
    )
    op.create_table(
        "study",
        sa.Column("study_uid", UID, primary_key=True),
        sa.Column("state", String(16), nullable=False, index=True),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("changed_at", sa.Float, nullable=False),
        sa.Column("because", Text, nullable=False),
    )
    op.create_table(
        "decision",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("study_uid", UID, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("series_key", String, nullable=False),
        sa.Column("series_text", Text, nullable=False),
        sa.Column("route", String, nullable=False),
        sa.Column("matched", sa.Boolean, nullable=False),
        sa.Column("sentence", Text, nullable=False),
        sa.Index("decision_of_study", "study_uid", "revision"),
    )
    op.create_table(
        "job",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("study_uid", UID, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("plugin", String, nullable=False),
        sa.Column("version", String, nullable=False),
        sa.Column("route", String, nullable=False),
        sa.Column("inputs", sa.JSON, nullable=False),
        sa.Column("destinations", sa.JSON, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("digest", String, nullable=False),
        sa.Column("ordinal", sa.Integer, nullable=False),
        sa.Column("state", String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("planned_at", sa.Float, nullable=False),
        sa.Column("due_at", sa.Float, nullable=False),
        sa.Column("worker", String, nullable=False),
        sa.Column("lease_until", sa.Float, nullable=False),
        sa.Column("finished_at", sa.Float),
        sa.Column("reason", Text, nullable=False),
        sa.UniqueConstraint("study_uid", "revision", "plugin", "version"),
        sa.Index("job_due", "state", "due_at"),
    )
    op.create_table(
        "object",
        sa.Column("sop_instance_uid", UID, primary_key=True),
        sa.Column("job_id", sa.Integer, sa.ForeignKey("job.id"), nullable=False, index=True),
        sa.Column("sop_class_uid", UID, nullable=False),
        sa.Column("series_uid", UID, nullable=False),
        sa.Column("kind", String(16), nullable=False),
        sa.Column("transfer_syntax_uid", UID, nullable=False),
        sa.Column("path", String, nullable=False),
    )
    op.create_table(
        "delivery",
        sa.Column("sop_instance_uid", UID, sa.ForeignKey("object.sop_instance_uid"), primary_key=True),
        sa.Column("destination", String, primary_key=True),
        sa.Column("study_uid", UID, nullable=False, index=True),
        sa.Column("state", String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("queued_at", sa.Float, nullable=False),
        sa.Column("due_at", sa.Float, nullable=False),
        sa.Column("delivered_at", sa.Float),
        sa.Column("reason", Text, nullable=False),
        sa.Index("delivery_due", "destination", "state", "due_at"),
    )
    op.create_table(
        "event",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("study_uid", UID, nullable=False, index=True),
        sa.Column("name", String, nullable=False),
        sa.Column("detail", Text, nullable=False),
    )
