"""What waits for a person is found among all deliveries there ever were."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add an index by state alone."""
    op.create_index("delivery_in_state", "delivery", ["state"])
