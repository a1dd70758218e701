"""What was committed, to InfluxDB (versions 1, 2 and 3). How it is sent and retried is the runner's (``runner.py``).

Held back, as dead letters with the reason: points older than the bucket's retention (configured, or as the server tells
it), points more than five minutes ahead of when they came in, and for ten minutes the series of a line that was refused
for its type or for the server's limit of series. Writing twice writes the same points.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import select

from collector.config import InfluxDB
from collector.sinks.influxdb_server import Server
from collector.sinks.lines import LineTemplate
from collector.sinks.sink import Item, Letter, NotNow, Portion, Refused, Sink
from collector.store import schema
from collector.store.batch import Batch, Group
from collector.store.store import Store
from telemetry.records import Schema

logger = logging.getLogger(__name__)

NAME: Final = "influxdb"
FUTURE_MS: Final = 5 * 60_000
AHEAD: Final = "more than 5 minutes ahead of the centre's clock"
HELD_S: Final = 600.0
MOST_HELD: Final = 10_000
_RETENTION: Final = "retention policy"
_OF_THE_SERIES: Final = ("field type conflict", "max-series-per-database", "max-values-per-tag", "max series")
"""Words about a whole series, not about one point of it (1.x ``tsdb``, 2.x the same engine)."""
_LIMITS: Final = _OF_THE_SERIES[1:]
_DROPPED: Final = re.compile(r"dropped=(\d+)")
_SPACE: Final = re.compile(r"(?<!\\) ")


class InfluxSink(Sink):
    """The points of one site."""

    name = NAME
    hears = True

    def __init__(
        self,
        store: Store,
        site: str,
        config: InfluxDB,
        *,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._store = store
        self._site = site
        self._now_ms = now_ms
        self._server = Server(config)
        self._configured_ms = round(config.retention_days * 86_400_000)
        self._told = (0.0, 0)
        """Until when (monotonic seconds) we go by the retention that the server told, and that retention in ms."""
        self._templates: dict[tuple[str, str, str], LineTemplate | None] = {}
        self._held: dict[str, tuple[float, str]] = {}
        """Until when (monotonic seconds) and why, by series."""

    @property
    def _retention_ms(self) -> int:
        until, told_ms = self._told
        return min(self._configured_ms, told_ms) if time.monotonic() < until else self._configured_ms

    # --- lines --------------------------------------------------------------------------------------------------------

    def prepare(self, batches: Sequence[Batch]) -> Portion:
        """Return the lines of all points inside the window, and what is held back."""
        portion = Portion()
        held: dict[str, list[tuple[int, str]]] = {}
        oldest_ms = self._now_ms() - self._retention_ms
        self._held = {series: one for series, one in self._held.items() if one[0] > time.monotonic()}
        for batch in batches:
            for group in batch.groups:
                for time_ms, schema_id, values in samples(group):
                    template = self._template(group, schema_id)
                    if template is None:
                        held.setdefault(f"schema {schema_id} is unknown or cannot be read", []).append(
                            (batch.number, repr(values))
                        )
                        continue
                    try:
                        made = template.lines(values, time_ms)
                    except Exception as error:  # one record that cannot be written stops nobody
                        held.setdefault(f"no lines: {error!r}", []).append((batch.number, repr(values)))
                        continue
                    if time_ms < oldest_ms:
                        held.setdefault(self._too_old(), []).extend((batch.number, line) for line in made)
                    elif time_ms > batch.received_ms + FUTURE_MS:
                        held.setdefault(AHEAD, []).extend((batch.number, line) for line in made)
                    elif self._held:
                        for line in made:
                            why = self._held.get(_series(line))
                            if why is None:
                                portion.items.append(Item(batch.number, line))
                            else:
                                held.setdefault(why[1], []).append((batch.number, line))
                    else:
                        portion.items += [Item(batch.number, line) for line in made]
        portion.letters = list(_letters(held))
        portion.counts["held_back"] = sum(len(found) for found in held.values())
        return portion

    def _too_old(self) -> str:
        return f"older than {self._retention_ms / 86_400_000:g} days"

    def _template(self, group: Group, schema_id: str) -> LineTemplate | None:
        key = (group.vehicle, group.agent, schema_id)
        if key not in self._templates:
            t = schema.schema.c
            query = select(t.content).where(
                t.site == self._site, t.vehicle == group.vehicle, t.agent == group.agent, t.id == schema_id
            )
            with self._store.engine.connect() as connection:
                found = connection.scalar(query)
            self._templates[key] = self._template_of(group, found) if found is not None else None
        return self._templates[key]

    def _template_of(self, group: Group, content: bytes) -> LineTemplate | None:
        try:
            known = msgspec.json.decode(content, type=Schema)
            return LineTemplate(self._site, group.vehicle, group.agent, known)
        except Exception:  # its samples are dead letters, and cost nobody else's
            logger.exception("site %s: a schema of %s/%s cannot be read", self._site, group.vehicle, group.agent)
            return None

    # --- the server ---------------------------------------------------------------------------------------------------

    async def send(self, items: Sequence[str]) -> None:
        """Write lines once. Raises NotNow or Refused."""
        await self._server.write("\n".join(items).encode())

    async def prove(self) -> None:
        """Write a point of our own; the server that refuses this one too refuses everything. Raises NotNow.

        A limit of series may refuse it all the same: then the server does judge what it is sent.
        """
        try:
            await self._server.write(f"kitwatch_probe,site={self._site} value=1i {self._now_ms()}".encode())
        except Refused as refused:
            if not self.is_limit(refused):
                raise NotNow(f"refuses everything: {refused}", refusing=True) from None

    async def divide(self, items: Sequence[Item], refused: Refused) -> tuple[list[Item], list[Letter]]:
        """Set aside the lines that version 3 names, those of a series that is held back, and those that are too old."""
        if refused.at:
            named = {at: words for at, words in refused.at.items() if 0 <= at < len(items)}
            rest = [item for at, item in enumerate(items) if at not in named]
            return rest, [Letter(items[at].batch, items[at].text, words or str(refused)) for at, words in named.items()]
        told = _DROPPED.search(str(refused))
        if self.is_limit(refused) and told and int(told[1]) == len(items):
            # all of them are of new series, of which 1.x takes none at all of a write that goes beyond its limit
            for item in items:
                self.blamed(item, str(refused))
        if any(word in str(refused) for word in _OF_THE_SERIES) and self._held:
            kin = [(item.batch, item.text) for item in items if _series(item.text) in self._held]
            rest = [item for item in items if _series(item.text) not in self._held]
            return rest, list(_letters({str(refused): kin} if kin else {}))
        if _RETENTION not in str(refused):
            return list(items), []
        found = await self._server.retention_ms(str(refused))
        if found is None:
            found = self._now_ms() - await self._oldest_taken_ms(items)
        self._told = (time.monotonic() + HELD_S, found)
        oldest_ms = self._now_ms() - self._retention_ms
        rest = [item for item in items if _time_ms(item.text) >= oldest_ms]
        old = [(item.batch, item.text) for item in items if _time_ms(item.text) < oldest_ms]
        return rest, list(_letters({self._too_old(): old} if old else {}))

    async def _oldest_taken_ms(self, items: Sequence[Item]) -> int:
        """Return the time of the oldest line that the server takes, or the millisecond after the newest.

        Asked of the lines themselves, by halving: at most one write for each doubling of their number.
        """
        by_time = {_time_ms(item.text): item.text for item in items}
        times = sorted(by_time)
        low, high = 0, len(times)
        while low < high:
            middle = (low + high) // 2
            try:
                await self.send([by_time[times[middle]]])
            except Refused as refused:
                if _RETENTION in str(refused):
                    low = middle + 1
                    continue
            high = middle
        return times[low] if low < len(times) else times[-1] + 1

    def is_limit(self, refused: Refused) -> bool:
        """Say whether the server takes no new series."""
        return any(word in str(refused) for word in _LIMITS)

    def blamed(self, item: Item, words: str) -> None:
        """Hold back the series of a line that was refused for what all of its lines have."""
        if any(word in words for word in _OF_THE_SERIES) and len(self._held) < MOST_HELD:
            self._held[_series(item.text)] = (time.monotonic() + HELD_S, words)

    async def reset(self) -> None:
        """Close the session: the next one reads the token and asks for the version."""
        await self._server.close()


def samples(group: Group) -> Iterable[tuple[int, str, list[Any]]]:
    """Yield (UTC ms, schema, values) of every sample that a clock places; the others have no time to be stored at."""
    for moment in group.moments:
        clock = None if moment.clock is None else group.clocks.get(moment.clock)
        if clock is None:
            continue
        time_ms = clock.place(moment.mono_ms)
        for entry in moment.entries:
            if len(entry) == 2:
                yield time_ms, entry[0], entry[1]


def _letters(held: dict[str, list[tuple[int, str]]]) -> Iterator[Letter]:
    """Yield one letter for each reason, so that many lines are one row."""
    for reason, found in held.items():
        yield Letter(found[0][0], "\n".join(line for _, line in found), reason)


def _series(line: str) -> str:
    return _SPACE.split(line, maxsplit=1)[0]


def _time_ms(line: str) -> int:
    """Return the time of a line; one that has none, a letter from before, counts as old."""
    last = line.rsplit(" ", 1)[-1]
    return int(last) if last.lstrip("-").isdecimal() else 0
