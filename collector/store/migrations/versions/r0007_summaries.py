"""What pages ask: a summary of each vehicle, what a site's owner says of itself, numbers of commits, indexes.

Summaries of vehicles that are known stay empty until the site's owner begins: only it knows rules and fleet file.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, PrimaryKeyConstraint, Text, text

revision = "0007"
down_revision: str | None = "0006"

_LIVE = text("live")


def upgrade() -> None:
    """Make the table, the columns and the indexes."""
    op.create_table(
        "vehicle_summary",
        Column("site", Text, nullable=False),
        Column("vehicle", Text, nullable=False),
        Column("state", Text, nullable=False),
        Column("heard_ms", BigInteger),
        Column("silent_since_ms", BigInteger),
        Column("details", Text, nullable=False),
        Column("revision", BigInteger, nullable=False),
        PrimaryKeyConstraint("site", "vehicle"),
        comment="what lists show of a vehicle (details: JSON, core/vehicle/summary.py), written with its state;"
        " revision: number of the site's commit that wrote it",
    )
    op.create_index("vehicle_summary_revision", "vehicle_summary", ["site", "revision"])
    op.create_index("vehicle_summary_vehicle", "vehicle_summary", ["vehicle"])
    op.execute(
        "INSERT INTO vehicle_summary (site, vehicle, state, details, revision)"
        " SELECT site, vehicle, 'unknown', '', 0 FROM vehicle"
    )
    op.add_column("site", Column("revision", BigInteger, nullable=False, server_default=text("0")))
    op.add_column("site", Column("heard_ms", BigInteger))
    op.add_column("site", Column("committed_ms", BigInteger))
    op.add_column("site", Column("report", Text, nullable=False, server_default=text("''")))
    op.add_column("ticket", Column("revision", BigInteger, nullable=False, server_default=text("0")))
    op.drop_index("ticket_event_recorded", "ticket_event")
    op.drop_index("ticket_opened", "ticket")
    op.create_index("ticket_newest", "ticket", ["opened_ms", "site", "id"])
    op.create_index("ticket_changed", "ticket", ["changed_ms", "site", "id"])
    op.create_index("ticket_of_vehicle", "ticket", ["vehicle", "opened_ms", "site", "id"])
    op.create_index("ticket_revision", "ticket", ["site", "revision"])
    op.drop_index("ticket_live", "ticket")
    op.create_index("ticket_live", "ticket", ["site", "vehicle"], sqlite_where=_LIVE, postgresql_where=_LIVE)
    newest = ["opened_ms", "site", "id"]
    op.create_index("ticket_live_newest", "ticket", newest, sqlite_where=_LIVE, postgresql_where=_LIVE)


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ticket_live_newest", "ticket")
    op.drop_index("ticket_live", "ticket")
    op.create_index("ticket_live", "ticket", ["site"], sqlite_where=_LIVE, postgresql_where=_LIVE)
    for name in ("ticket_revision", "ticket_of_vehicle", "ticket_changed", "ticket_newest"):
        op.drop_index(name, "ticket")
    op.create_index("ticket_opened", "ticket", ["opened_ms"])
    op.create_index("ticket_event_recorded", "ticket_event", ["recorded_ms"])
    op.drop_column("ticket", "revision")
    for name in ("report", "committed_ms", "heard_ms", "revision"):
        op.drop_column("site", name)
    op.drop_table("vehicle_summary")
