"""What people do to tickets: on which ticket an action acted.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Text, text

revision = "0009"
down_revision: str | None = "0008"

_BEFORE = "what people want of a vehicle; the site's owner marks it as taken in the commit that steps it"
_AFTER = "what people want of a vehicle or a ticket; the site's owner marks it as taken in the commit that steps it"


def upgrade() -> None:
    """Add the column."""
    op.add_column("action", Column("ticket", Text, nullable=False, server_default=text("''")))
    _comment(_AFTER)


def downgrade() -> None:
    """Drop it."""
    op.drop_column("action", "ticket")
    _comment(_BEFORE)


def _comment(words: str) -> None:
    if op.get_bind().dialect.name != "sqlite":  # which has none
        op.create_table_comment("action", words)
