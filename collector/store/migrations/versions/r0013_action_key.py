"""The key by which another system knows what it wants, so that it happens once however often it is said.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Text, text

revision = "0013"
down_revision: str | None = "0012"


def upgrade() -> None:
    """Add the column and its index."""
    op.add_column("action", Column("key", Text, nullable=False, server_default=text("''")))
    given = text("key <> ''")
    op.create_index("action_key", "action", ["key"], unique=True, sqlite_where=given, postgresql_where=given)


def downgrade() -> None:
    """Drop both. The version before knows no such action and refuses what waits."""
    op.drop_index("action_key", "action")
    op.drop_column("action", "key")
