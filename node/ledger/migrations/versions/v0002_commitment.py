"""Storage Commitment: what destinations and senders were asked and answered."""

import sqlalchemy as sa
from alembic import op

from node.ledger.text_columns import String, Text

revision = "0002"
down_revision = "0001"
UID = String(64)


def upgrade() -> None:
    """Add the transactions, and to deliveries when they are to be asked for."""
    op.add_column("delivery", sa.Column("ask_at", sa.Float))
    op.add_column("delivery", sa.Column("asks", sa.Integer, nullable=False, server_default="0"))
    op.add_column("delivery", sa.Column("committed_at", sa.Float))
    op.create_index("delivery_to_ask_for", "delivery", ["destination", "state", "ask_at"])
    op.create_table(
        "commitment",
        sa.Column("transaction_uid", UID, primary_key=True),
        sa.Column("destination", String, nullable=False),
        sa.Column("ae_title", String(16), nullable=False),
        sa.Column("asked_at", sa.Float, nullable=False),
        sa.Column("answered_at", sa.Float),
    )
    op.create_table(
        "commitment_item",
        sa.Column("transaction_uid", UID, sa.ForeignKey("commitment.transaction_uid"), primary_key=True),
        sa.Column("sop_instance_uid", UID, sa.ForeignKey("object.sop_instance_uid"), primary_key=True),
        sa.Column("result", sa.Integer),
        sa.Index("commitment_item_of_object", "sop_instance_uid"),
    )
    op.create_table(
        "commitment_request",
        sa.Column("transaction_uid", UID, primary_key=True),
        sa.Column("calling", String(16), primary_key=True),
        sa.Column("references", sa.JSON, nullable=False),
        sa.Column("received_at", sa.Float, nullable=False),
        sa.Column("due_at", sa.Float, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("reported_at", sa.Float),
        sa.Column("reason", Text, nullable=False),
        sa.Index("commitment_request_due", "reported_at", "due_at"),
    )
