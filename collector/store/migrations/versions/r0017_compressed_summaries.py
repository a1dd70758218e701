"""Details of summaries are compressed: more than a page of 1,024 bytes each, they were written every 30 s.

Revision ID: 0017
Revises: 0016
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import zstandard
from alembic import op
from sqlalchemy import Column, LargeBinary, Text, text

revision = "0017"
down_revision: str | None = "0016"
_JSON, _PACKED = (
    f"what lists show of a vehicle (details: {kind}, core/vehicle/summary.py), written with its state;"
    " revision: number of the site's commit that wrote it"
    for kind in ("JSON", "zstd over JSON")
)


def upgrade() -> None:
    """Compress what stands there."""
    packed = zstandard.ZstdCompressor().compress
    _become(LargeBinary, lambda details: packed(details.encode()) if details else b"")
    _comment(_PACKED, _JSON)


def downgrade() -> None:
    """Make it text again; what cannot be read is left out, for an owner writes all of them as it begins."""
    unpacked = zstandard.ZstdDecompressor().decompress

    def plain(details: bytes) -> str:
        try:
            return unpacked(details).decode()
        except (zstandard.ZstdError, UnicodeDecodeError):
            return ""

    _become(Text, plain)
    _comment(_JSON, _PACKED)


def _become(type_: type[Any], change: Callable[[Any], Any]) -> None:
    """Let the column have another type, and each value become another. A new one without a default wants no rows."""
    connection = op.get_bind()
    rows = connection.execute(text("SELECT * FROM vehicle_summary")).mappings().all()
    connection.execute(text("DELETE FROM vehicle_summary"))
    op.drop_column("vehicle_summary", "details")
    op.add_column("vehicle_summary", Column("details", type_, nullable=False))
    for row in rows:
        names = ", ".join(f":{name}" for name in row)
        put = text(f"INSERT INTO vehicle_summary ({', '.join(row.keys())}) VALUES ({names})")
        connection.execute(put, {**row, "details": change(row["details"])})


def _comment(new: str, old: str) -> None:
    """Comment the table where the database keeps comments."""
    if op.get_bind().dialect.name == "postgresql":
        op.create_table_comment("vehicle_summary", new, existing_comment=old)
