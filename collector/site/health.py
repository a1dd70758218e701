"""What a site's owner reports of the centre's parts, and when that is news (judged by ``collector.core.health``).

Sinks and receivers tell in their ``Progress``, the disk is asked once a minute, the log how far each sink is behind it,
the broker what it drops. A part that has not answered since this process began is not reported: what was known of it
stands.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from collector.channels.people import People
from collector.core.health import Part, PartReport, PartState
from collector.outgoing import Progress, one_line, wait_for_any
from collector.store import log
from collector.store.errors import StoreError
from collector.store.store import Store
from telemetry import certificates, kernel_clock
from telemetry.kernel_clock import KernelClock

PEOPLE: Final = "people"
"""The name of all people of the roster among the receivers."""
UNATTENDED_MS: Final = 60_000
"""That nobody owned the site, or nothing could be committed, for longer than this is told."""
LISTEN_MS: Final = 10_000
"""So long a new connection has to bring our heartbeat back."""
LIMITED_MS: Final = 15 * 60_000
"""A limit counts for so long after it was told last: what it stops is tried again every ten minutes."""
MOST_REFUSED: Final = 1_000
"""Lines refused in an hour; more of them are the server's trouble, or ours, and no line's."""
DISK_S: Final = 60.0
CALENDAR_S: Final = 60.0
"""So often it is asked which years are needed: every open ticket's clocks are counted for it."""
DISK_MS: Final = 3_600_000
"""The free space is reported so often, and whenever it has changed by ``DISK_STEP``."""
DISK_STEP: Final = 1.0
HOUR_MS: Final = 3_600_000
SINK_S: Final = 30.0
"""How often it is asked how far a sink is behind."""
SINK_STEP: Final = 10
"""Minutes: the step in which that is reported. History looks every five."""
CERTIFICATE_MS: Final = 3_600_000
"""How often our own certificate is read."""
DAY_MS: Final = 86_400_000
NONE_IS_WELL: Final = frozenset({"sink", "quarantine", "broker_drops"})
"""Parts that are measured by what should not be there."""
DROPPED_TOPIC: Final = "$SYS/broker/publish/messages/dropped"
"""Where Mosquitto counts what it let go because a queue was full (mosquitto(8), Broker status)."""

Watch = Callable[[int], PartReport | None]
"""Says how a part gets on at a time (UTC ms), ``None`` while nothing is known. Never blocks for long."""


class Watched(msgspec.Struct, frozen=True):
    """A part of the centre that is configured, and who knows how it gets on."""

    part: Part
    name: str
    ask: Watch


class InfluxHealth:
    """How InfluxDB gets on, by the sink's progress."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._refused: deque[tuple[int, int]] = deque()

    def __call__(self, now_ms: int) -> PartReport | None:
        """See ``Watch``."""
        progress = self._progress
        refused = _in_the_last_hour(self._refused, progress.counts["refused"], now_ms)
        if progress.failing_since_ms is not None:
            state: PartState = "refusing" if progress.refusing else "unreachable"
            return PartReport("influxdb", "", state, progress.failing_since_ms, progress.error)
        if progress.limited_ms is not None and now_ms - progress.limited_ms < LIMITED_MS:
            return PartReport("influxdb", "", "limited", progress.limited_ms, progress.last_refusal)
        if refused > MOST_REFUSED:
            words = f"more than {MOST_REFUSED} lines in an hour: {progress.last_refusal}"
            return PartReport("influxdb", "", "refusing", now_ms, words)
        return PartReport("influxdb", "", "ok", now_ms) if progress.answered else None


class ReceiverHealth:
    """How one of those who are told gets on, by the notifier's progress."""

    def __init__(self, name: str, progress: Progress) -> None:
        self._name = name
        self._progress = progress

    def __call__(self, now_ms: int) -> PartReport | None:
        """See ``Watch``."""
        progress = self._progress
        if progress.failing_since_ms is not None:
            return PartReport("receiver", self._name, "failing", progress.failing_since_ms, progress.error)
        if progress.refused_ms is not None:
            return PartReport("receiver", self._name, "undelivered", progress.refused_ms, progress.last_refusal)
        return PartReport("receiver", self._name, "ok", now_ms) if progress.answered else None


class PeopleHealth:
    """Whether everybody of the roster is told what they should be, by what their notifiers know."""

    def __init__(self, people: People) -> None:
        self._people = people

    def __call__(self, now_ms: int) -> PartReport | None:
        """See ``Watch``."""
        undelivered = list(self._people.undelivered.values())
        if undelivered:
            first = min(undelivered, key=lambda one: one.since_ms)
            words = one_line(f"{len(undelivered)} notifications, the first: {first.words}")
            return PartReport("receiver", PEOPLE, "undelivered", first.since_ms, words)
        return PartReport("receiver", PEOPLE, "ok", now_ms) if self._people.answered else None


class ClockHealth:
    """Whether NTP keeps the centre's clock. Nothing is judged by it alone: it speaks where agents cannot decide."""

    def __init__(self, read: Callable[[], KernelClock | None] = kernel_clock.read) -> None:
        self._read = read

    def __call__(self, now_ms: int) -> PartReport | None:
        """See ``Watch``."""
        found = self._read()
        if found is None:
            return None
        return PartReport("clock", "", "ok" if found.synchronised else "unsynchronised", now_ms)


class DiskHealth:
    """How much of the database's disk is free."""

    def __init__(self, path: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._monotonic = monotonic
        self._asked_s: float | None = None
        self._told: PartReport | None = None

    def __call__(self, now_ms: int) -> PartReport | None:
        """See ``Watch``."""
        now_s = self._monotonic()
        if self._asked_s is not None and now_s - self._asked_s < DISK_S:
            return self._told
        self._asked_s = now_s
        try:
            found = os.statvfs(self._path)
        except OSError as error:
            return PartReport("disk", "", "ok", now_ms, one_line(str(error)))
        free = round(100 * found.f_bavail / max(1, found.f_blocks), 1)
        told = self._told
        if told is None or told.value is None or abs(free - told.value) >= DISK_STEP or self._is_old(told, now_ms):
            words = f"{found.f_bavail * found.f_frsize / 2**30:.1f} GiB where {self._path.name} is"
            self._told = PartReport("disk", "", "ok", now_ms, words, free)
        return self._told

    def _is_old(self, told: PartReport, now_ms: int) -> bool:
        return abs(now_ms - told.since_ms) >= DISK_MS


class CalendarHealth:
    """Whether every year of the working calendar that is needed is loaded."""

    def __init__(
        self, missing: Callable[[int], Sequence[int]], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._missing = missing
        self._monotonic = monotonic
        self._asked_s: float | None = None
        self._told: PartReport | None = None

    def __call__(self, now_ms: int) -> PartReport | None:
        """See ``Watch``."""
        now_s = self._monotonic()
        if self._asked_s is not None and now_s - self._asked_s < CALENDAR_S:
            return self._told
        self._asked_s = now_s
        years = self._missing(now_ms)
        words = f"the working calendar of {' and '.join(map(str, years))} is not loaded" if years else ""
        state: PartState = "missing" if years else "ok"
        if self._told is None or (self._told.state, self._told.words) != (state, words):
            self._told = PartReport("calendar", "", state, now_ms, words)
        return self._told


class SinkHealth:
    """How far a sink is behind the log, asked beside the site's owner."""

    def __init__(self, store: Store, site: str, name: str) -> None:
        self._store = store
        self._site = site
        self._name = name
        self._known = False
        self._oldest_ms: int | None = None
        self._told: PartReport | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Ask again and again until ``stop`` is set."""
        while not stop.is_set():
            try:
                _, self._oldest_ms = await asyncio.to_thread(log.waiting, self._store, self._site, self._name)
                self._known = True
            except (SQLAlchemyError, StoreError):
                self._known = False
            await wait_for_any(SINK_S, stop)

    def __call__(self, now_ms: int) -> PartReport | None:
        """See ``Watch``."""
        if not self._known:
            return None
        minutes = 0 if self._oldest_ms is None else max(0, now_ms - self._oldest_ms) // 60_000
        self._told = _measured("sink", self._name, minutes // SINK_STEP * SINK_STEP, now_ms, self._told)
        return self._told


class QuarantineHealth:
    """How much was set aside in the last hour, by what the owner counts (``quarantined_...``)."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._counts = counts
        self._totals: deque[tuple[int, int]] = deque([(0, 0)])
        self._told: PartReport | None = None

    def __call__(self, now_ms: int) -> PartReport | None:
        """See ``Watch``."""
        total = sum(number for what, number in self._counts.items() if what.startswith("quarantined_"))
        number = _round_down(_in_the_last_hour(self._totals, total, now_ms))
        self._told = _measured("quarantine", "", number, now_ms, self._told)
        return self._told


class DropsHealth:
    """How many messages the broker let go in the last hour; unknown where it does not tell (``DROPPED_TOPIC``)."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._total = 0
        self._totals: deque[tuple[int, int]] = deque()
        self._told: PartReport | None = None

    def heard(self, payload: bytes) -> None:
        """Take in what the broker says: how many since it was started."""
        if not payload.isdigit() or len(payload) > 18:
            return
        count = int(payload)
        if self._last is not None:
            self._total += count - self._last if count >= self._last else count
        self._last = count

    def __call__(self, now_ms: int) -> PartReport | None:
        """See ``Watch``."""
        if self._last is None:
            return None
        number = _round_down(_in_the_last_hour(self._totals, self._total, now_ms))
        self._told = _measured("broker_drops", "", number, now_ms, self._told, DROPPED_TOPIC)
        return self._told


class CertificateHealth:
    """How many days a certificate still holds. ``ends_ms`` says when it ends (UTC ms), ``None`` while nobody knows."""

    def __init__(self, name: str, ends_ms: Callable[[], int | None]) -> None:
        self._name = name
        self._ends_ms = ends_ms
        self._told: PartReport | None = None

    def __call__(self, now_ms: int) -> PartReport | None:
        """See ``Watch``."""
        ends_ms = self._ends_ms()
        if ends_ms is None:
            return None
        words = f"ends on {datetime.fromtimestamp(ends_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"
        self._told = _measured("certificate", self._name, (ends_ms - now_ms) // DAY_MS, now_ms, self._told, words)
        return self._told


class CertificateFile:
    """When the certificate in a file ends; read once an hour, so that a renewed one is seen."""

    def __init__(self, path: str, now_ms: Callable[[], int]) -> None:
        self._path = path
        self._now_ms = now_ms
        self._read_ms: int | None = None
        self._ends_ms: int | None = None

    def __call__(self) -> int | None:
        """Return UTC ms, ``None`` for a file that cannot be read: the next connection says so."""
        now_ms = self._now_ms()
        if self._read_ms is None or abs(now_ms - self._read_ms) >= CERTIFICATE_MS:
            self._read_ms = now_ms
            try:
                ends = certificates.ends(Path(self._path).read_text("ascii", "replace"))
                self._ends_ms = round(ends.timestamp() * 1000)
            except (OSError, ValueError):
                self._ends_ms = None
        return self._ends_ms


def _measured(part: Part, name: str, value: float, now_ms: int, told: PartReport | None, words: str = "") -> PartReport:
    """Return a report of what is measured, the last one as long as it says the same."""
    if told is not None and (told.value, told.words) == (value, words):
        return told
    return PartReport(part, name, "ok", now_ms, words, float(value))


def _round_down(number: int) -> int:
    """Return 0 or the last of 1, 2, 5, 10, 20, 50, ... that a number reaches: not each further one is news."""
    step = 1
    while step * 10 <= number:
        step *= 10
    return next((of * step for of in (5, 2, 1) if of * step <= number), 0)


def _in_the_last_hour(totals: deque[tuple[int, int]], total: int, now_ms: int) -> int:
    """Return by how much a count has grown in the last hour. ``totals`` keeps when it changed."""
    if not totals or totals[-1][1] != total:
        totals.append((now_ms, total))
    while len(totals) > 1 and now_ms - totals[1][0] > HOUR_MS:
        totals.popleft()
    return total - totals[0][1]


def news(watched: Iterable[Watched], known: Sequence[PartReport], now_ms: int) -> list[PartReport]:
    """Return what is to be reported, given the last reports. That a part is well is news only after something else."""
    before = {one.which: one for one in known}
    found = []
    configured = set()
    for one in watched:
        configured.add((one.part, one.name))
        report, last = one.ask(now_ms), before.get((one.part, one.name))
        if report is None or not report.differs(last):
            continue
        if last is not None or not _is_well(report):
            found.append(report)
    gone = [one for which, one in before.items() if which not in configured and one.part != "collector"]
    return [*found, *(PartReport(one.part, one.name, "gone", now_ms) for one in gone if one.state != "gone")]


def _is_well(report: PartReport) -> bool:
    """Say whether a first report says nothing that anybody waits for."""
    return report.state == "ok" and (report.value is None or (report.value == 0 and report.part in NONE_IS_WELL))


def unattended(since_ms: int, now_ms: int, words: str) -> list[PartReport]:
    """Return what is reported of a time in which nobody owned the site or nothing could be committed; it is over."""
    if now_ms - since_ms <= UNATTENDED_MS:
        return []
    return [
        PartReport("collector", "", "unattended", since_ms, one_line(words)),
        PartReport("collector", "", "ok", now_ms),
    ]
