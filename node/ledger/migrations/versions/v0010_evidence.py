"""Evidence that a study is not complete: how each association ended, and what was refused and has not come again."""

import sqlalchemy as sa
from alembic import op

from node.ledger.text_columns import String, Text

revision = "0010"
down_revision = "0009"
UID = String(64)


def upgrade() -> None:
    """Add the columns; what was refused and is here by now has come again."""
    for column in (
        sa.Column("study_uid", UID, nullable=False, server_default=""),
        sa.Column("calling", String(16), nullable=False, server_default=""),
        sa.Column("association", String, nullable=False, server_default=""),
        sa.Column("begun_at", sa.Float, nullable=False, server_default="0"),
        sa.Column("ended", String(16), nullable=False, server_default=""),
        sa.Column("ended_at", sa.Float, nullable=False, server_default="0"),
    ):
        op.add_column("pack", column)
    op.create_index("pack_of_study", "pack", ["study_uid"])
    op.create_index("pack_of_association", "pack", ["association"])
    op.create_index("pack_without_end", "pack", ["ended", "association"])
    op.add_column("refusal", sa.Column("association", String, nullable=False, server_default=""))
    op.add_column("refusal", sa.Column("came_at", sa.Float))
    op.create_index("refusal_of_instance", "refusal", ["sop_instance_uid"])
    op.create_index("refusal_on_association", "refusal", ["association"])
    op.execute(
        "UPDATE refusal SET came_at = at WHERE EXISTS "
        "(SELECT 1 FROM instance WHERE instance.sop_instance_uid = refusal.sop_instance_uid "
        "AND refusal.study_uid IN ('', instance.study_uid))"
    )
    for table in ("study", "job"):
        op.add_column(table, sa.Column("caveat", Text, nullable=False, server_default=""))
