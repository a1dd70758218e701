"""History: chunks, figures of hours, the order of runs.

Revision ID: 0002
Revises: 0001

The compactor begins at the oldest batch that is still in the log, so that nothing has to be filled in here.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, LargeBinary, PrimaryKeyConstraint, Text

revision = "0002"
down_revision: str | None = "0001"


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _whole(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "chunk",
        _text("site"),
        _text("vehicle"),
        _text("run"),
        _whole("slot_ms"),
        _text("agent"),
        _whole("earliest_ms"),
        _whole("latest_ms"),
        _whole("records"),
        Column("content", LargeBinary, nullable=False),
        PrimaryKeyConstraint("site", "vehicle", "run", "slot_ms", "agent"),
        comment="the records of an agent in ten minutes (as batch.content); with a run: of one that never knew the"
        " time, ten minutes of its own clock, between earliest and latest",
    )
    op.create_index("chunk_latest", "chunk", ["site", "latest_ms"])
    op.create_table(
        "hour",
        _text("site"),
        _text("vehicle"),
        _whole("hour_ms"),
        _whole("samples"),
        Column("figures", LargeBinary, nullable=False),
        PrimaryKeyConstraint("site", "vehicle", "hour_ms"),
        comment="the figures of a vehicle in an hour (zstd over JSON, core/figures.py)",
    )
    op.create_table(
        "run_start",
        _text("site"),
        _text("vehicle"),
        _text("agent"),
        _text("run"),
        _text("before"),
        _whole("noted_ms"),
        PrimaryKeyConstraint("site", "vehicle", "agent", "run"),
        comment="which run came before each, as its started event told: the order of runs without a clock",
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE chunk ALTER COLUMN content SET STORAGE EXTERNAL")  # compressed already
        op.execute("ALTER TABLE hour ALTER COLUMN figures SET STORAGE EXTERNAL")


def downgrade() -> None:
    """Drop the tables; the log cannot give back what it has let go."""
    for table in ("run_start", "hour", "chunk"):
        op.drop_table(table)
