"""Editions of what judging goes by, and a snapshot of all states a day.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, LargeBinary, PrimaryKeyConstraint, Text

revision = "0006"
down_revision: str | None = "0005"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "edition",
        Column("site", Text, nullable=False),
        Column("kind", Text, nullable=False),
        Column("number", BigInteger, nullable=False),
        Column("at_ms", BigInteger, nullable=False),
        Column("digest", Text, nullable=False),
        Column("content", LargeBinary, nullable=False),
        PrimaryKeyConstraint("site", "kind", "number"),
        comment="what judging goes by (JSON): the site of the fleet file, rules, contract; the last one is in force",
    )
    op.create_table(
        "snapshot",
        Column("site", Text, nullable=False),
        Column("number", BigInteger, nullable=False),
        Column("at_ms", BigInteger, nullable=False),
        Column("content", LargeBinary, nullable=False),
        PrimaryKeyConstraint("site", "number"),
        comment="all states after a batch (zstd over JSON), one a day: where judging again may begin",
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("snapshot")
    op.drop_table("edition")
