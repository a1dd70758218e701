"""How each site gets on, as its owner, in whichever collector, has written it. Blocking: call from a thread.

All ages go by the database's clock, which every collector shares.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import msgspec
from sqlalchemy import BigInteger, Engine, literal_column, select

from collector.read.rows import fetch
from collector.store import schema
from collector.store.rows import SiteReport
from collector.store.statements import NOW_MS, SQLITE_NOW_MS

UNOWNED_MS: Final = 15_000
"""An owner that has not lived for so long owns nothing any more; it tells at least every 5 s."""
STUCK_MS: Final = 60_000
"""A message that has waited so long for its commit shows that nothing is committed."""
READY_MS: Final = 60_000
"""A site that was not owned, heard or committed for so long is not looked after."""
SiteCondition = Literal["listening", "not_listening", "stuck", "unowned"]
"""``not_listening``: the heartbeat does not come back through the broker; ``stuck``: what comes in is not committed."""

_report = msgspec.json.Decoder(SiteReport)


class SiteRow(msgspec.Struct, frozen=True, kw_only=True):
    """A site that has had an owner. Times are UTC milliseconds of the database's clock."""

    site: str
    epoch: int
    owner: str
    heartbeat_ms: int
    """When its owner last lived."""
    heard_ms: int | None
    """When its owner last listened."""
    committed_ms: int | None
    last_batch: int
    revision: int
    """The number of its last commit."""
    report: SiteReport
    problem: str
    """Why there is no report."""
    now_ms: int

    @property
    def condition(self) -> tuple[SiteCondition, int | None]:
        """What is wrong, the worst first, and since when (``None``: ever since it had an owner)."""
        if self.now_ms - self.heartbeat_ms > UNOWNED_MS:
            return "unowned", self.heartbeat_ms
        waiting_ms = self.report.oldest_waiting_ms
        if waiting_ms is not None and self.now_ms - waiting_ms > STUCK_MS:
            return "stuck", waiting_ms
        if self.report.listening_since_ms is None:
            return "not_listening", self.heard_ms
        return "listening", self.report.listening_since_ms


def unready(engine: Engine, names: Iterable[str]) -> list[str]:
    """Return which of these sites are not looked after, by whichever collector, and why."""
    rows = {row.site: row for row in list_sites(engine)}
    problems = []
    for site in names:
        words = "never owned" if site not in rows else _unready(rows[site])
        if words:
            problems.append(f"site {site}: {words}")
    return problems


def _unready(row: SiteRow) -> str:
    if row.now_ms - row.heartbeat_ms > READY_MS:
        return f"not owned for {(row.now_ms - row.heartbeat_ms) // 1000} s"
    waiting_ms = row.report.oldest_waiting_ms
    if waiting_ms is not None and row.now_ms - waiting_ms > READY_MS:
        return f"nothing committed for {(row.now_ms - waiting_ms) // 1000} s"
    if row.heard_ms is None:
        return "not heard yet"
    if row.now_ms - row.heard_ms > READY_MS:
        return f"not heard for {(row.now_ms - row.heard_ms) // 1000} s"
    return ""


class Behind(msgspec.Struct, frozen=True):
    """How far a sink is behind what is committed."""

    batches: int
    oldest_ms: int | None
    """When the oldest of them came in."""


def list_sites(engine: Engine) -> list[SiteRow]:
    """Return the sites that ever had an owner, by name."""
    s = schema.site.c
    now = literal_column(NOW_MS if engine.dialect.name == "postgresql" else SQLITE_NOW_MS, BigInteger)
    columns = (s.site, s.epoch, s.owner, s.heartbeat_ms, s.heard_ms, s.committed_ms, s.last_batch, s.revision, s.report)
    found = []
    for row in fetch(engine, select(*columns, now.label("now_ms")).order_by(s.site)):
        report, problem = SiteReport(), ""
        try:
            report = _report.decode(row.report) if row.report else report
        except (ValueError, RecursionError) as error:
            problem = f"its owner's report cannot be read: {error}"
        found.append(SiteRow(**{**row._mapping, "report": report, "problem": problem}))
    return found


def sinks_behind(engine: Engine, site: SiteRow) -> dict[str, Behind]:
    """Return how far each sink of a site is behind."""
    c, b = schema.cursor.c, schema.batch.c
    found = {}
    for cursor in fetch(engine, select(c.sink, c.number).where(c.site == site.site).order_by(c.sink)):
        after = b.number > cursor.number
        oldest = select(b.received_ms).where(b.site == site.site, after).order_by(b.number).limit(1)
        rows = fetch(engine, oldest) if cursor.number < site.last_batch else ()
        found[cursor.sink] = Behind(max(0, site.last_batch - cursor.number), rows[0].received_ms if rows else None)
    return found


def counters(engine: Engine) -> dict[tuple[str, str], int]:
    """Return {(site, name): how often}."""
    c = schema.counter
    return {(row.site, row.name): row.value for row in fetch(engine, select(c).order_by(c.c.site, c.c.name))}
