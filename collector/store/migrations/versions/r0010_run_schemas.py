"""The numbers that runs give their schemas (format 2 of messages).

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, PrimaryKeyConstraint, Text

revision = "0010"
down_revision: str | None = "0009"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "run_schema",
        Column("site", Text, nullable=False),
        Column("vehicle", Text, nullable=False),
        Column("agent", Text, nullable=False),
        Column("run", Text, nullable=False),
        Column("names", Text, nullable=False),
        PrimaryKeyConstraint("site", "vehicle", "agent", "run"),
        comment="the numbers that a run gives its schemas (JSON, by number their ids), only added to",
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("run_schema")
