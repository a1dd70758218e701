"""Publishing to the centre: one connection after another, for ever.

``agent.uplink.session`` is one connection, ``agent.uplink.conversation`` what is said over it, ``agent.uplink.resend``
what is published again, ``agent.uplink.reconnect`` when to connect again.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final

from agent.clock import ClockKeeper
from agent.config import AgentConfig
from agent.outbox.recorder import Recorder
from agent.uplink.conversation import Centre
from agent.uplink.packing import numbers_of
from agent.uplink.reconnect import Reconnect
from agent.uplink.resend import Resend
from agent.uplink.session import Session
from telemetry.files import FileError
from telemetry.intervals import Intervals
from telemetry.mqtt import QOS_NOT_SUPPORTED, MqttError
from telemetry.records import Clock, Record

log = logging.getLogger(__name__)
TELL_AGAIN_MS: Final = 3_600_000
"""Why there is no connection is told again after so long."""


class Uplink:
    """Create it, ``await start()``, then ``await run(stop)``.

    ``now_ms`` is monotonic; ``machine`` tells this box from its clone; ``on_clock`` gets the clock that the centre's
    time made; ``routes`` are the default routes, a new one of which ends a wait.
    """

    def __init__(
        self,
        config: AgentConfig,
        *,
        recorder: Recorder,
        keeper: ClockKeeper,
        now_ms: Callable[[], int],
        machine: str,
        on_clock: Callable[[Clock], None],
        routes: Callable[[], frozenset[str]],
        chance: random.Random | None = None,
    ) -> None:
        waits = config.waits
        self.sending = Resend(resend_after_ms=round(waits.resend * 1000))
        self.centre = Centre()
        self._config = config
        self._recorder = recorder
        self._keeper = keeper
        self._now_ms = now_ms
        self._machine = machine
        self._on_clock = on_clock
        self._routes = routes
        self._boots: dict[str, str] = {}
        self._session: Session | None = None
        self._sessions = 0
        self._on_air_before = 0
        self._last_reason = ""
        self._told_ms = 0
        """When it was told last."""
        self._will_qos = 1
        """0 once the broker has said that it takes no more."""
        self._reconnect = Reconnect(
            base=waits.backoff_base,
            cap=waits.backoff_cap,
            spread=waits.spread,
            stable=waits.stable,
            chance=chance or random.SystemRandom(),
        )
        recorder.on_durable = self._recorded
        recorder.on_lost = self._lost

    @property
    def bytes_on_air(self) -> int:
        """Bytes sent and received since the run began, headers included."""
        connection = self._session.connection if self._session is not None else None
        now = connection.bytes_sent + connection.bytes_received if connection is not None else 0
        return self._on_air_before + now

    @property
    def connected(self) -> bool:
        """Whether the collector is there and hears us."""
        return self._session is not None and self._session.usable

    def wake(self) -> None:
        """Look again at what can be sent: a clock was noted."""
        if self._session is not None:
            self._session.wake()

    async def start(self) -> None:
        """Take over what the outbox holds of earlier runs."""
        for run, info in (await self._recorder.runs()).items():
            self._boots[run] = info.boot
            self.sending.hold(run, info.held)

    async def run(self, stop: asyncio.Event) -> None:
        """Connect, and connect again, until ``stop`` is set; then say goodbye. A broken connection raises nothing."""
        await self._pause(self._reconnect.first(), stop)
        while not stop.is_set():
            lasted = await self._one_session(stop)
            if not stop.is_set():
                await self._pause(self._reconnect.after(lasted), stop)

    async def drained(self, seconds: float) -> bool:
        """Wait until the outbox holds nothing, at most so long; return whether it came to that."""
        until_ms = self._now_ms() + seconds * 1000
        while self.sending.held() and self._now_ms() < until_ms:  # noqa: ASYNC110 - a short look now and then will do
            await asyncio.sleep(min(0.05, seconds))
        return not self.sending.held()

    async def _one_session(self, stop: asyncio.Event) -> float | None:
        """Return how long the connection lived in seconds, ``None`` if it never came about."""
        self._sessions += 1
        session = Session(
            self._sessions,
            self._config,
            recorder=self._recorder,
            sending=self.sending,
            keeper=self._keeper,
            centre=self.centre,
            machine=self._machine,
            boots=self._boots,
            now_ms=self._now_ms,
            on_clock=self._on_clock,
            will_qos=self._will_qos,
        )
        self._session = session
        try:
            reason = await _until(stop, session)
        except Exception as error:  # whatever it is, the next try may do better
            reason = error
        finally:
            self._session = None
            self._on_air_before += session.connection.bytes_sent + session.connection.bytes_received
        if isinstance(reason, MqttError) and reason.code == QOS_NOT_SUPPORTED:
            self._will_qos = 0
        lasted = None if session.opened_ms is None else (self._now_ms() - session.opened_ms) / 1000
        self._tell(reason, lasted)
        return lasted

    def _tell(self, reason: Exception | None, lasted: float | None) -> None:
        """Log why a connection ended or did not come about; the same reason again and again only once an hour."""
        again = str(reason) == self._last_reason and lasted is None and self._now_ms() - self._told_ms < TELL_AGAIN_MS
        self._last_reason = str(reason)
        if reason is not None and not isinstance(reason, OSError | FileError):
            log.error("the connection ended by an internal error", exc_info=reason)
        elif reason is not None:
            if not again:
                self._told_ms = self._now_ms()
            level = logging.DEBUG if again else logging.WARNING
            host = self._config.broker.host
            if lasted is None:
                log.log(level, "no connection to %s: %s", host, reason)
            else:
                log.log(level, "connection to %s ended after %.0f s: %s", host, lasted, reason)

    async def _pause(self, seconds: float, stop: asyncio.Event) -> None:
        """Wait, but no longer than until a new default route appears: the link is up."""
        before = self._routes()
        until_ms = self._now_ms() + seconds * 1000
        while (left := (until_ms - self._now_ms()) / 1000) > 0:
            try:
                async with asyncio.timeout(min(left, self._config.waits.link_poll)):
                    await stop.wait()
                return
            except TimeoutError:
                pass
            now = self._routes()
            if now - before:
                log.info("the link is up: connecting")
                return
            before = now

    def _recorded(self, records: list[Record]) -> None:
        numbers = numbers_of(records)
        self.sending.keep(self._recorder.run, numbers)
        if self._session is not None:
            self._session.recorded(records)
        else:
            self.sending.hold(self._recorder.run, numbers)

    def _lost(self, run: str, numbers: Intervals) -> None:
        self.sending.forget(run, numbers.pairs())


async def _until(stop: asyncio.Event, session: Session) -> Exception | None:
    """Run a session; a stop that comes while it is still beginning ends it at once, whatever the broker leaves open."""
    running = asyncio.create_task(session.run(stop))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not session.heeds_stop and not running.done():
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            return None
        return await running
    finally:
        stopping.cancel()
        if not running.done():
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
