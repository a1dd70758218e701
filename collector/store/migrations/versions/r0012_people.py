"""Deliveries to people of the roster: their address, how long they wait, and what is folded into one message.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Text, false, text

revision = "0012"
down_revision: str | None = "0011"

_BEFORE = "what became of a notification (its key) for one receiver over one channel; state: waiting, sent, failed"
_AFTER = (
    "what became of a notification (its key) for one receiver over one channel; state: waiting, folded, sent,"
    " passed, failed; of_roster: the receiver is a person, reached at address; wait_ms: how long until next_ms was"
)


def upgrade() -> None:
    """Add the columns."""
    op.add_column("delivery", Column("of_roster", Boolean, nullable=False, server_default=false()))
    op.add_column("delivery", Column("address", Text, nullable=False, server_default=text("''")))
    op.add_column("delivery", Column("wait_ms", BigInteger, nullable=False, server_default=text("0")))
    op.add_column("delivery", Column("folded_into", Text, nullable=False, server_default=text("''")))
    _comment(_AFTER)


def downgrade() -> None:
    """Drop them. What was for people of the roster is let go: the version before knows none."""
    op.execute("DELETE FROM delivery WHERE of_roster")
    for column in ("folded_into", "wait_ms", "address", "of_roster"):
        op.drop_column("delivery", column)
    _comment(_BEFORE)


def _comment(words: str) -> None:
    if op.get_bind().dialect.name != "sqlite":  # which has none
        op.create_table_comment("delivery", words)
