"""Actions: what people want of a vehicle, taken by the site's owner.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, Text, text

revision = "0003"
down_revision: str | None = "0002"

_SERIAL = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "action",
        Column("id", _SERIAL, primary_key=True, autoincrement=True),
        Column("site", Text, nullable=False),
        Column("vehicle", Text, nullable=False),
        Column("kind", Text, nullable=False),
        Column("body", Text, nullable=False),
        Column("who", Text, nullable=False),
        Column("created_ms", BigInteger, nullable=False),
        Column("taken_ms", BigInteger),
        Column("error", Text, nullable=False, server_default=text("''")),
        comment="what people want of a vehicle; the site's owner marks it as taken in the commit that steps it",
        sqlite_autoincrement=True,
    )
    waiting = text("taken_ms IS NULL")
    op.create_index("action_waiting", "action", ["site", "id"], sqlite_where=waiting, postgresql_where=waiting)


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("action")
