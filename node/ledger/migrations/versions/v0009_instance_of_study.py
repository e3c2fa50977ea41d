"""An instance is one of its study, and of a delivery is known whether it may have left."""

import sqlalchemy as sa
from alembic import op

from node.ledger.text_columns import String, Text

revision = "0009"
down_revision = "0008"
UID = String(64)
COPY = "instance_of_one_study"
INDICES = {"instance_of_study": ["study_uid", "series_uid"], "instance_in_pack": ["pack"]}


def upgrade() -> None:
    """Let the key of an instance name its study; SQLite cannot alter a key, and the table is copied."""
    op.add_column("delivery", sa.Column("begun_at", sa.Float))
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint("instance_pkey", "instance", type_="primary")
        op.create_primary_key("instance_pkey", "instance", ["sop_instance_uid", "study_uid"])
        return
    copy = op.create_table(
        COPY,
        sa.Column("sop_instance_uid", UID, primary_key=True),
        sa.Column("sop_class_uid", UID, nullable=False),
        sa.Column("study_uid", UID, primary_key=True),
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
        sa.Column("urgency", sa.Integer, nullable=False, server_default="0"),
        sa.Column("lost", sa.Boolean, nullable=False, server_default="0"),
        sa.Column("note", Text, nullable=False, server_default=""),
        sa.Column("originator", String(16), nullable=False, server_default=""),
    )
    names = [column.name for column in copy.columns]
    old = sa.table("instance", *map(sa.column, names))
    op.execute(sa.insert(copy).from_select(names, sa.select(*old.c)))
    op.drop_table("instance")
    op.rename_table(COPY, "instance")
    for name, columns in INDICES.items():
        op.create_index(name, "instance", columns)
