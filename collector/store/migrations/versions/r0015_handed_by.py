"""From whom a notification was handed on to somebody else, so that its message can say so.

Revision ID: 0015
Revises: 0014
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Text, text

revision = "0015"
down_revision: str | None = "0014"

_BEFORE = (
    "what became of a notification (its key) for one receiver over one channel; state: waiting, folded, sent,"
    " passed, failed; of_roster: the receiver is a person, reached at address; wait_ms: how long until next_ms was"
)
_AFTER = f"{_BEFORE}; handed_by: the person who could not be told, if it came from somebody else"


def upgrade() -> None:
    """Add the column; what waits already says nothing of it."""
    op.add_column("delivery", Column("handed_by", Text, nullable=False, server_default=text("''")))
    _comment(_AFTER, _BEFORE)


def downgrade() -> None:
    """Drop it: messages do not say it again."""
    op.drop_column("delivery", "handed_by")
    _comment(_BEFORE, _AFTER)


def _comment(new: str, old: str) -> None:
    """Comment the table where the database keeps comments."""
    if op.get_bind().dialect.name == "postgresql":
        op.create_table_comment("delivery", new, existing_comment=old)
