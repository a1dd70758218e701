"""Seen is what was taken: numbers of what stands in quarantine leave it (docs/decisions/0041).

What is in quarantine at this moment was never taken, so that its numbers are seen for its sake alone.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import json
from collections.abc import Callable

from alembic import op
from sqlalchemy import text

from telemetry.intervals import Intervals

revision = "0008"
down_revision: str | None = "0007"

_ASIDE = text("SELECT site, vehicle, agent, run, pairs FROM quarantine WHERE pairs <> '[]' ORDER BY id")
_OF_RUN = " WHERE site = :site AND vehicle = :vehicle AND agent = :agent AND run = :run"
_SEEN = text("SELECT seen FROM run" + _OF_RUN)
_SET = text("UPDATE run SET seen = :seen" + _OF_RUN)


def upgrade() -> None:
    """Take the numbers out."""
    _each(lambda seen, aside: seen.minus(aside))


def downgrade() -> None:
    """Put them back."""

    def both(seen: Intervals, aside: Intervals) -> Intervals:
        seen.update(aside)
        return seen

    _each(both)


def _each(change: Callable[[Intervals, Intervals], Intervals]) -> None:
    connection = op.get_bind()
    for site, vehicle, agent, run, pairs in connection.execute(_ASIDE).all():
        key = {"site": site, "vehicle": vehicle, "agent": agent, "run": run}
        seen = connection.execute(_SEEN, key).scalar()
        if seen is not None:
            changed = change(Intervals(json.loads(seen)), Intervals(json.loads(pairs)))
            connection.execute(_SET, {**key, "seen": json.dumps(changed.pairs(), separators=(",", ":"))})
