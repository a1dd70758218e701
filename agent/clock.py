"""The time: which clock places what the agent records (docs/architecture.md, Time).

Pure: ``ClockKeeper`` and ``TimeQuestions`` are told what others say and decide. ``agent.machine`` reads the clocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from telemetry.earliest import EARLIEST_MS
from telemetry.message import Time
from telemetry.records import TRUST, Clock, ClockSource

LATEST_MS: Final = EARLIEST_MS + 20 * 365 * 86_400_000
"""Nor after this: a receiver or an RTC that says so has rolled over or was never set."""
OFF_MS: Final = 200
"""A clock that is known to be off by more is replaced."""
VAGUE_MS: Final = 1000
"""A clock that may be off by this gives way to the first that is known better."""
RTC_UNCERTAINTY_MS: Final = 300_000
"""What an RTC that no other source confirms may be off by; nothing better is known about it."""


def sane(wall_ms: int) -> bool:
    """Say whether a UTC time can be true at all: not before this program existed, not 20 years after."""
    return EARLIEST_MS <= wall_ms <= LATEST_MS


class ClockKeeper:
    """Decides when a clock is noted.

    One is noted when a source becomes known that is trusted more than the one in use, and when the one in use is off by
    more than 200 ms beyond what the source itself may err. A lesser source is heard only when the better one has been
    silent for ``stale_ms``. An RTC is heard once a boot: nothing confirms what it says later. A receiver that
    contradicts what NTP says is whole seconds off (leap seconds that it has not heard of yet, a cold start) and moves
    nothing; one that was alone until NTP came gives way while it may be off by a second or more.
    ``clocks`` are those that the run has already, in order of their numbers.
    """

    def __init__(self, clocks: Sequence[Clock] = (), stale_ms: int = 3_600_000) -> None:
        self._clocks = list(clocks)
        self._stale_ms = stale_ms
        self._confirmed_ms = self._clocks[-1].mono_ms if self._clocks else 0
        self._ntp: Clock | None = None
        """What NTP said last, in use or not."""

    @property
    def current(self) -> Clock | None:
        """The clock in use, ``None`` while the time is not known."""
        return self._clocks[-1] if self._clocks else None

    def wall_ms(self, mono_ms: int) -> int | None:
        """Return the UTC time in milliseconds, ``None`` while it is not known."""
        return self.current.place(mono_ms) if self.current else None

    def wants_centre(self, mono_ms: int) -> bool:
        """Say whether the centre's time is of use: nothing as good is known, or it was heard long ago."""
        current = self.current
        if current is None or _rank(current.source) > _rank("centre"):
            return True
        return mono_ms - self._confirmed_ms > self._stale_ms

    def offer(self, source: ClockSource, mono_ms: int, wall_ms: int, uncertainty_ms: int) -> Clock | None:
        """Take what a source says: at ``mono_ms`` it was ``wall_ms``, give or take. Return the clock to note."""
        if not sane(wall_ms):
            return None
        if source == "ntp":
            self._ntp = Clock(0, mono_ms, wall_ms, source, uncertainty_ms)
        if source == "gnss" and self._contradicts_ntp(mono_ms, wall_ms, uncertainty_ms):
            return None
        current = self.current
        if current is None:
            return self._note(mono_ms, wall_ms, source, uncertainty_ms)
        better = _rank(source) < _rank(current.source)
        difference = abs(wall_ms - current.place(mono_ms))
        if not better:
            silent = mono_ms - self._confirmed_ms > self._stale_ms
            vague = current.uncertainty_ms >= VAGUE_MS and uncertainty_ms < VAGUE_MS
            if vague and source in ("ntp", current.source):
                return self._note(mono_ms, wall_ms, source, uncertainty_ms)
            if source == "rtc" or (source != current.source and not silent):
                return None
            if difference - uncertainty_ms <= OFF_MS:
                self._confirmed_ms = mono_ms
                return None
            return self._note(mono_ms, wall_ms, source, uncertainty_ms)
        if current.source == "rtc":
            # What the RTC placed and is still held is placed anew: the better clock reaches back to the boot.
            return self._note(mono_ms, wall_ms, source, uncertainty_ms, back_ms=mono_ms)
        if difference <= uncertainty_ms and current.uncertainty_ms < uncertainty_ms:
            # It confirms a time that is known more exactly: no point moves.
            wall_ms, uncertainty_ms = current.place(mono_ms), current.uncertainty_ms
        return self._note(mono_ms, wall_ms, source, uncertainty_ms)

    def _contradicts_ntp(self, mono_ms: int, wall_ms: int, uncertainty_ms: int) -> bool:
        ntp = self._ntp
        if ntp is None or mono_ms - ntp.mono_ms > self._stale_ms:
            return False
        return abs(wall_ms - ntp.place(mono_ms)) > uncertainty_ms + ntp.uncertainty_ms + OFF_MS

    def _note(self, mono_ms: int, wall_ms: int, source: ClockSource, uncertainty_ms: int, *, back_ms: int = 0) -> Clock:
        clock = Clock(len(self._clocks), mono_ms - back_ms, wall_ms - back_ms, source, uncertainty_ms)
        self._clocks.append(clock)
        self._confirmed_ms = mono_ms
        return clock


def _rank(source: ClockSource) -> int:
    return TRUST.index(source)


# --- the centre's time ------------------------------------------------------------------------------------------------


class TimeAnswer(msgspec.Struct, frozen=True):
    """The centre's time as one question brought it."""

    mono_ms: int
    """When the answer came."""
    wall_ms: int
    """UTC at that moment, give or take half the round trip."""
    round_trip_ms: int

    @property
    def uncertainty_ms(self) -> int:
        """Half the round trip, rounded up: the answer may have taken all of it or none."""
        return (self.round_trip_ms + 1) // 2


class TimeQuestions:
    """One round of asking the centre: four questions, the quickest answer counts.

    ``started_ms`` is monotonic. An answer that took a second or more counts only after ``patience_ms``.
    """

    COUNT: Final = 4
    GOOD_MS: Final = 1000

    def __init__(self, started_ms: int, patience_ms: int = 30_000) -> None:
        self._patient_until_ms = started_ms + patience_ms
        self._asked: set[int] = set()
        self._answers = 0
        self._best: TimeAnswer | None = None

    def ask(self, mono_ms: int) -> None:
        """Note that a question left."""
        self._asked.add(mono_ms)

    def answer(self, said: Time, mono_ms: int) -> bool:
        """Take an answer that came at ``mono_ms``; return whether it is one to a question of ours."""
        if said.asked_mono_ms not in self._asked:
            return False
        self._asked.discard(said.asked_mono_ms)
        held_ms = max(said.sent_ms - said.received_ms, 0)
        trip_ms = max(mono_ms - said.asked_mono_ms - held_ms, 0)
        self._answers += 1
        if self._best is None or trip_ms < self._best.round_trip_ms:
            # the answer left the centre half a trip ago
            self._best = TimeAnswer(mono_ms, said.sent_ms + trip_ms // 2, trip_ms)
        return True

    def best(self, mono_ms: int) -> TimeAnswer | None:
        """Return the answer to go by, ``None`` while a better one is to be waited for."""
        if self._best is None:
            return None
        if self._best.round_trip_ms < self.GOOD_MS:
            return self._best if self._answers >= self.COUNT or mono_ms >= self._patient_until_ms else None
        return self._best if mono_ms >= self._patient_until_ms else None

    def settle(self) -> TimeAnswer | None:
        """Return a good answer though fewer than four came, for who has asked four times."""
        return self._best if self._best is not None and self._best.round_trip_ms < self.GOOD_MS else None
