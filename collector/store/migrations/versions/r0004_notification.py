"""Notifications with a delivery for each receiver and channel; what reads the log is a sink.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, PrimaryKeyConstraint, Text, text

revision = "0004"
down_revision: str | None = "0003"

_SERIAL = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables and move the notices into them: all of them were for the one webhook there was."""
    op.create_table(
        "notification",
        Column("id", _SERIAL, primary_key=True, autoincrement=True),
        Column("site", Text, nullable=False),
        Column("key", Text, nullable=False),
        Column("ticket", Text, nullable=False),
        Column("body", Text, nullable=False),
        Column("created_ms", BigInteger, nullable=False),
        comment="messages to people (JSON, core/notifications.py); key is the idempotency key, id the order",
        sqlite_autoincrement=True,
    )
    op.create_index("notification_key", "notification", ["site", "key"], unique=True)
    op.create_table(
        "delivery",
        Column("site", Text, nullable=False),
        Column("notification", Text, nullable=False),
        Column("receiver", Text, nullable=False),
        Column("channel", Text, nullable=False),
        Column("state", Text, nullable=False, server_default=text("'waiting'")),
        Column("attempts", Integer, nullable=False, server_default=text("0")),
        Column("next_ms", BigInteger, nullable=False),
        Column("error", Text, nullable=False, server_default=text("''")),
        PrimaryKeyConstraint("site", "notification", "receiver", "channel"),
        comment="what became of a notification (its key) for one receiver over one channel;"
        " state: waiting, sent, failed",
    )
    waiting = text("state = 'waiting'")
    op.create_index(
        "delivery_waiting", "delivery", ["site", "receiver"], sqlite_where=waiting, postgresql_where=waiting
    )
    op.execute(
        "INSERT INTO notification (site, key, ticket, body, created_ms)"
        " SELECT site, id, ticket, body, created_ms FROM notice ORDER BY created_ms, id"
    )
    op.execute(
        "INSERT INTO delivery (site, notification, receiver, channel, state, attempts, next_ms, error)"
        " SELECT site, id, 'webhook', 'webhook', state, attempts, next_ms, error FROM notice"
    )
    op.drop_table("notice")
    op.execute("ALTER TABLE cursor RENAME COLUMN drain TO sink")
    op.execute("ALTER TABLE dead_letter RENAME COLUMN drain TO sink")
    _comment("cursor", "the last batch that each sink has dealt with")
    _comment(
        "dead_letter",
        "what the other side of a sink refused, in its words; state: held, or retry (the sink sends it)",
    )
    retry = text("state = 'retry'")
    op.create_index("dead_letter_retry", "dead_letter", ["site", "sink"], sqlite_where=retry, postgresql_where=retry)


def downgrade() -> None:
    """Put back the table of notices; of several deliveries one is kept."""
    op.drop_index("dead_letter_retry", "dead_letter")
    _comment("cursor", "the last batch that each drain has dealt with")
    _comment(
        "dead_letter",
        "what the other side of a drain refused, in its words; state: held, or retry (the drain sends it)",
    )
    op.execute("ALTER TABLE dead_letter RENAME COLUMN sink TO drain")
    op.execute("ALTER TABLE cursor RENAME COLUMN sink TO drain")
    op.create_table(
        "notice",
        Column("site", Text, nullable=False),
        Column("id", Text, nullable=False),
        Column("ticket", Text, nullable=False),
        Column("body", Text, nullable=False),
        Column("created_ms", BigInteger, nullable=False),
        Column("state", Text, nullable=False, server_default=text("'waiting'")),
        Column("attempts", Integer, nullable=False, server_default=text("0")),
        Column("next_ms", BigInteger, nullable=False),
        Column("error", Text, nullable=False, server_default=text("''")),
        PrimaryKeyConstraint("site", "id"),
        comment="messages to people; id is the idempotency key; state: waiting, sent, failed",
    )
    op.create_index("notice_waiting", "notice", ["state", "next_ms"])
    op.execute(
        "INSERT INTO notice (site, id, ticket, body, created_ms, state, attempts, next_ms, error)"
        " SELECT n.site, n.key, n.ticket, n.body, n.created_ms, max(d.state), max(d.attempts), max(d.next_ms),"
        " max(d.error) FROM notification n JOIN delivery d ON d.site = n.site AND d.notification = n.key"
        " GROUP BY n.site, n.key, n.ticket, n.body, n.created_ms"
    )
    op.drop_table("delivery")
    op.drop_table("notification")


def _comment(table: str, words: str) -> None:
    """Comment a table where the database keeps comments."""
    if op.get_bind().dialect.supports_comments:
        op.create_table_comment(table, words)
