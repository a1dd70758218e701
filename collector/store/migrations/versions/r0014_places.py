"""Places: where contact is kept and lost, what each vehicle had there, and what their drain remembers.

Revision ID: 0014
Revises: 0013
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, LargeBinary, PrimaryKeyConstraint, Text

revision = "0014"
down_revision: str | None = "0013"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "gap",
        *(Column(name, Text, nullable=False) for name in ("site", "cell")),
        *(
            Column(name, BigInteger, nullable=False)
            for name in ("passes", "days", "day", "lost", "boots", "p50_s", "p95_s", "vehicles", "last_ms")
        ),
        Column("detail", LargeBinary, nullable=False),
        PrimaryKeyConstraint("site", "cell"),
        comment="where contact is kept, lost, and kits are switched off, by cell of H3 (core/gap_record.py; detail:"
        " JSON)",
    )
    op.create_table(
        "coverage",
        *(Column(name, Text, nullable=False) for name in ("site", "cell", "leg", "vehicle", "radio_cell")),
        *(Column(name, BigInteger, nullable=False) for name in ("days", "day", "n", "last_ms")),
        Column("histogram", LargeBinary, nullable=False),
        PrimaryKeyConstraint("site", "cell", "leg", "vehicle", "radio_cell"),
        comment="what each vehicle had in each cell of H3, of the fine and of the coarse ones"
        " (core/coverage_record.py)",
    )
    op.create_index("coverage_last", "coverage", ["site", "last_ms"])
    op.create_table(
        "journey",
        *(Column(name, Text, nullable=False) for name in ("site", "vehicle")),
        Column("content", LargeBinary, nullable=False),
        PrimaryKeyConstraint("site", "vehicle"),
        comment="what the drain of places remembers of a vehicle between two looks (JSON)",
    )


def downgrade() -> None:
    """Drop them. What was learnt is lost; the version before knows no such editions."""
    op.execute("DELETE FROM edition WHERE kind IN ('gaps', 'coverage')")
    for table in ("journey", "coverage", "gap"):
        op.drop_table(table)
