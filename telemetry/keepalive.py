"""When to ask a broker whether it is still there, and when a connection that stands still is over. Pure.

A connection over which something waits for the broker is over when for half a minute *nothing* came back: no packet,
and no byte left the socket's queue because the other side's TCP has taken it. So a link that is slow but moves is left
alone, however long its queue (TCP_USER_TIMEOUT may end it in the middle of a long recovery), and a path that a balancer
or a NAT has forgotten costs half a minute, not the quarter of an hour that TCP goes on trying for.

Bytes that leave count only while some of those leave that were there when the wait began: a broker that hangs behind a
TCP that takes everything would else be believed for as long as we find something to say.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

UNANSWERED_S: Final = 30.0
"""Patience with a connection over which nothing comes back."""
_LONGEST_LOOK_S: Final = 2.0
"""What one look counts at most: a process that was stopped has not been waiting for an answer."""


class Verdict(enum.Enum):
    """What is to be done."""

    NOTHING = enum.auto()
    PING = enum.auto()
    OVER = enum.auto()


class Motion(msgspec.Struct, frozen=True):
    """What a connection looks like at a moment."""

    came: int
    """How often something came in so far."""
    taken: int
    """Bytes that the other side's TCP has acknowledged so far."""
    queued: int
    """Bytes in the socket's queue."""
    more: bool
    """Whether there is something behind them that the socket has not taken yet."""
    unacknowledged: bool
    """Whether the broker owes us the acknowledgement of a packet."""

    @property
    def waiting(self) -> bool:
        """Whether there is something to wait for."""
        return self.unacknowledged or self.queued > 0 or self.more


class Keepalive:
    """See the module. ``now`` is monotonic seconds; ``look`` is to be called about once a second.

    ``keepalive`` is the seconds of MQTT 5.0, 3.1.2.10, 0 for none; a shorter one than ``unanswered`` is the patience.
    """

    def __init__(self, keepalive: int, unanswered: float, now: float) -> None:
        self.keepalive = keepalive
        self.still_s = 0.0
        """For how long something has waited while nothing moved."""
        self._patience_s = min(unanswered, keepalive or unanswered)
        self._sent_s = self._heard_s = self._looked_s = now
        self._pinged = False
        self._waiting = False
        self._before = Motion(0, 0, 0, False, False)
        self._enough = 0
        """When TCP has taken so many bytes, it is the broker's turn."""

    def sent(self, now: float) -> None:
        """Take note that a packet left."""
        self._sent_s = now

    def look(self, now: float, motion: Motion) -> Verdict:
        """Say what is to be done."""
        came = motion.came != self._before.came
        left = motion.taken != self._before.taken and self._before.taken < self._enough
        if came:
            self._heard_s, self._pinged = now, False
        if came or motion.more or not self._waiting:
            self._enough = motion.taken + motion.queued
        since_s = min(now - self._looked_s, _LONGEST_LOOK_S)
        waited = self._waiting and not came and not left
        self._waiting = motion.waiting or self._pinged
        self.still_s = self.still_s + since_s if waited and self._waiting else 0.0
        self._before, self._looked_s = motion, now
        if self.still_s >= self._patience_s:
            return Verdict.OVER
        if self.keepalive and not self._pinged and now - min(self._sent_s, self._heard_s) >= self.keepalive:
            self._pinged = self._waiting = True
            self._sent_s = now
            return Verdict.PING
        return Verdict.NOTHING
