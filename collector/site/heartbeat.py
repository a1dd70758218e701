"""When silence proves something (docs/architecture.md, Listening). Pure: time comes as argument.

We listen while our own marker, the beat, comes back through the broker behind whatever the broker had queued for us.
A message of the queue that is still on its way can so never be taken for silence, and our own outage is nobody's fault.
"""

from __future__ import annotations

from collector.core.vehicle.events import Listening
from telemetry.message import Beat


class Heartbeat:
    """Says when to send the beat, and since when we listen.

    ``interval_ms`` is the time between beats; without one coming back for ``patience`` of them we do not listen.
    ``reconnect_ms`` is how long agents are given to come back once we listen. All times are milliseconds of one clock.
    """

    def __init__(self, epoch: int, interval_ms: int = 5_000, patience: int = 3, reconnect_ms: int = 180_000) -> None:
        self._epoch = epoch
        self._interval_ms = interval_ms
        self._patience_ms = interval_ms * patience
        self._reconnect_ms = reconnect_ms
        self._nonce = 0
        self._under_way: dict[int, int] | None = None
        self._sent_ms: int | None = None
        self._heard_ms: int | None = None
        self._since_ms: int | None = None

    def connected(self) -> None:
        """Note a new connection: only a beat sent over it comes behind the queue, so older ones count no more."""
        self._under_way = {}
        self._sent_ms = self._heard_ms = self._since_ms = None

    def disconnected(self) -> None:
        """Note that the connection is gone, or that we cannot keep what we hear."""
        self._under_way = self._sent_ms = self._heard_ms = self._since_ms = None

    def beat(self, now_ms: int) -> Beat | None:
        """Return the beat to send now, or ``None`` while it is not due or there is no connection."""
        if self._under_way is None:
            return None
        if self._sent_ms is not None and 0 <= now_ms - self._sent_ms < self._interval_ms:
            return None
        self._nonce += 1
        self._sent_ms = now_ms
        self._under_way[self._nonce] = now_ms
        return Beat(self._epoch, self._nonce)

    def heard(self, beat: Beat, now_ms: int) -> None:
        """Note a beat that came back, in the order of delivery.

        One of another owner or connection is no proof, nor is one that was under way for longer than our patience: what
        was said meanwhile still waits behind it.
        """
        if beat.epoch != self._epoch or self._under_way is None:
            return
        sent_ms = self._under_way.pop(beat.nonce, None)
        self._under_way = {nonce: ms for nonce, ms in self._under_way.items() if nonce > beat.nonce}
        if sent_ms is None or not 0 <= now_ms - sent_ms <= self._patience_ms:
            return
        if self.listening(now_ms).since_ms is None:
            self._since_ms = now_ms
        self._heard_ms = now_ms

    def listening(self, now_ms: int) -> Listening:
        """Return since when we hear, at ``now_ms``. To ask changes nothing, whatever moment it is about."""
        hears = self._heard_ms is not None and 0 <= now_ms - self._heard_ms <= self._patience_ms
        return Listening(self._since_ms if hears else None, self._reconnect_ms)
