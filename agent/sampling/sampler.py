"""When to poll: aligned moments, one task a poll with its own deadline, and what came of it.

A moment is a multiple of an input's interval on ``CLOCK_BOOTTIME``, so that all inputs that are due together go into
one message. A moment is handed on when all its polls are done or after the straggler wait; what comes later goes with
the next moment, under its own time. A slow device delays nobody.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from agent.inputs.base import Input, Poll
from agent.outbox.drafts import Draft, EventDraft
from agent.sampling.device_log import DeviceLog
from agent.sampling.sample_builder import SampleBuilder, SeriesOwners
from telemetry.readings import Reading

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Poller:
    """One input of one device."""

    device: str
    name: str
    """Of the input: ``snmp``, ``modem``, ..."""
    source: Input
    interval: float
    """Seconds between two polls."""
    deadline: float
    """Most seconds of one poll."""
    primary: bool = True
    """Whether it is the device's first input, which says ``device.reachable``."""
    extra: Callable[[], Sequence[Reading]] = tuple
    """Readings to add to those of each poll."""
    busy: bool = field(default=False, init=False)

    @property
    def interval_ms(self) -> int:
        """The interval in whole milliseconds."""
        return max(round(self.interval * 1000), 1)

    def __str__(self) -> str:
        return f"{self.device}/{self.name}"


class Sampler:
    """Runs the pollers until it is cancelled.

    ``monotonic`` is seconds of ``CLOCK_BOOTTIME``; ``deliver`` gets the drafts of a moment, in the loop. ``straggler``
    and ``problem_repeat`` are seconds.
    """

    def __init__(
        self,
        pollers: Sequence[Poller],
        *,
        monotonic: Callable[[], float],
        deliver: Callable[[list[Draft]], None],
        straggler: float = 1.0,
        problem_repeat: float = 60.0,
    ) -> None:
        self.counts: Counter[str] = Counter()
        """``skipped``: moments missed since the machine slept or stood still; ``busy``: the poll before had not ended;
        ``deadline``: polls that were cut off; ``fault``: polls that raised, an internal error."""
        self.moments = 0
        """Moments begun: progress, for the watchdog."""
        self._pollers = list(pollers)
        self._monotonic = monotonic
        self._deliver = deliver
        self._straggler = straggler
        owners = SeriesOwners()
        self._builders = {
            id(poller): SampleBuilder(
                poller.device,
                poller.name,
                primary=poller.primary,
                owners=owners,
                repeat_ms=round(problem_repeat * 1000),
            )
            for poller in self._pollers
        }
        self._device_log = DeviceLog(round(problem_repeat * 1000))
        self._late: list[Draft] = []
        self._longest = 0.0

    def flags(self) -> Counter[str]:
        """Return the flags and refusals of all inputs so far, by kind."""
        total: Counter[str] = Counter()
        for builder in self._builders.values():
            total.update(builder.counts)
        return total

    def longest_poll(self) -> float:
        """Return the longest poll in seconds since this was asked last."""
        longest, self._longest = self._longest, 0.0
        return longest

    async def run(self) -> None:
        """Poll until cancelled; then let go of all devices."""
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._schedule(tasks)
        finally:
            await asyncio.gather(*(self._close(poller) for poller in self._pollers))

    async def _schedule(self, tasks: asyncio.TaskGroup) -> None:
        last_ms = int(self._monotonic() * 1000)
        while self._pollers:
            moment_ms = min((last_ms // p.interval_ms + 1) * p.interval_ms for p in self._pollers)
            while (wait := moment_ms / 1000 - self._monotonic()) > 0:  # noqa: ASYNC110 - only time ends this wait
                await asyncio.sleep(wait)
            last_ms = moment_ms
            if -wait > self._straggler:
                # the machine slept, or everything stood still: what is polled now is not of that moment
                self.counts["skipped"] += 1
                last_ms = int(self._monotonic() * 1000)
                continue
            self.moments += 1
            due = [poller for poller in self._pollers if moment_ms % poller.interval_ms == 0]
            self.counts["busy"] += sum(poller.busy for poller in due)
            polls = [tasks.create_task(self._poll(poller, moment_ms)) for poller in due if not poller.busy]
            if polls:
                tasks.create_task(self._hand_on(polls))

    async def _hand_on(self, polls: list[asyncio.Task[list[Draft]]]) -> None:
        _, pending = await asyncio.wait(polls, timeout=self._straggler)
        drafts, self._late = self._late, []
        for poll in polls:
            if poll in pending:
                poll.add_done_callback(self._straggled)
            else:
                drafts += poll.result()
        if drafts:
            self._deliver(drafts)

    def _straggled(self, poll: asyncio.Task[list[Draft]]) -> None:
        if poll.cancelled() or poll.exception() is not None:
            return  # the task group sees to it
        drafts = poll.result()
        if any(isinstance(draft, EventDraft) for draft in drafts):
            self._late, drafts = [], self._late + drafts
            self._deliver(drafts)
        else:
            self._late += drafts

    async def _poll(self, poller: Poller, moment_ms: int) -> list[Draft]:
        poller.busy = True
        started = self._monotonic()
        try:
            poll = await self._within_deadline(poller, started)
            extra = poller.extra()
            if extra:
                poll = msgspec.structs.replace(poll, readings=[*poll.readings, *extra])
            if poller.name != poller.device:  # not what we tell of ourselves, which is the log's already
                self._device_log.hear(str(poller), poll, moment_ms)
            return self._builders[id(poller)].take(poll, moment_ms)
        except Exception as error:
            self._fault(poller, error)
            return []
        finally:
            poller.busy = False
            self._longest = max(self._longest, self._monotonic() - started)

    async def _within_deadline(self, poller: Poller, now: float) -> Poll:
        limit = asyncio.timeout(poller.deadline)
        try:
            async with limit:
                return await poller.source.poll(now)
        except Exception as error:
            if isinstance(error, TimeoutError) and limit.expired():
                self.counts["deadline"] += 1
                # this machine is there whatever its sensors do
                readings = [Reading("device.reachable", False)] if poller.primary and poller.name != "system" else []
                return Poll(readings, problem=f"no answer within {poller.deadline:g} s")
            self._fault(poller, error)
            return Poll(problem=f"internal error: {type(error).__name__}: {error}"[:200])

    def _fault(self, poller: Poller, error: Exception) -> None:
        if not self.counts["fault"]:
            log.error("poll of %s failed: an internal error (later ones are only counted)", poller, exc_info=error)
        self.counts["fault"] += 1

    async def _close(self, poller: Poller) -> None:
        try:
            async with asyncio.timeout(2.0):
                await poller.source.close()
        except Exception:
            log.exception("closing %s failed", poller)
