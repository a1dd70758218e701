"""The journal: states of vehicles and runs that do not stand in their rows yet (docs/decisions/0047).

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, LargeBinary, PrimaryKeyConstraint, Text, text

revision = "0011"
down_revision: str | None = "0010"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "journal",
        Column("site", Text, nullable=False),
        Column("revision", BigInteger, nullable=False),
        Column("content", LargeBinary, nullable=False),
        PrimaryKeyConstraint("site", "revision"),
        comment="states of vehicles and runs that a commit (its number) changed and no checkpoint has put into their"
        " rows yet (store/journal.py)",
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop it. What stands in it is lost: the version before must not own the site without a checkpoint."""
    if op.get_bind().scalar(text("SELECT count(*) FROM journal")):
        raise ValueError("the journal holds states: start and stop the collector once more, which makes a checkpoint")
    op.drop_table("journal")
