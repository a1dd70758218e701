"""From whom a notification was handed on to somebody else, so that its message can say so.

Revision ID: 0015
Revises: 0014
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Text, text

revision = "0015"
down_revision: str | None = "0014"


def upgrade() -> None:
    """Add the column; what waits already says nothing of it."""
    op.add_column("delivery", Column("handed_by", Text, nullable=False, server_default=text("''")))


def downgrade() -> None:
    """Drop it: messages do not say it again."""
    op.drop_column("delivery", "handed_by")
