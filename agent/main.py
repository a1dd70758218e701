"""The agent: wiring, start and end. The only module that knows all the others."""

from __future__ import annotations

import asyncio
import logging
import secrets
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from agent import last_run, supervision
from agent.clock import RTC_UNCERTAINTY_MS, ClockKeeper
from agent.config import AgentConfig
from agent.inputs import open_input, own
from agent.machine import Machine
from agent.outbox.drafts import EventDraft
from agent.outbox.outbox import Outbox
from agent.outbox.recorder import Recorder
from agent.sampling.sampler import Poller, Sampler
from agent.supervision import Progress
from agent.uplink.uplink import Uplink
from telemetry import VERSION
from telemetry.fleet import Device
from telemetry.readings import Reading
from telemetry.records import Clock, Record
from telemetry.systemd import Notify

log = logging.getLogger(__name__)
OUTBOX = "outbox"
"""Folder of the outbox within the state directory."""
TELL_OUTBOX_S = 60.0


async def run(
    config: AgentConfig,
    *,
    stop: asyncio.Event,
    on_record: Callable[[Record], None] | None = None,
    machine: str | None = None,
    host: Machine | None = None,
    run_id: str | None = None,
) -> None:
    """Run one agent until ``stop`` is set, then end in order: last records kept, sent and a goodbye said.

    ``on_record`` sees every record as it is kept, each once. ``machine`` tells this box from its clone, ``host`` reads
    its clocks, ``run_id`` is 16 hex digits never used before; all three are made up from the machine by default.
    Several agents may run in one loop, each with a state directory of its own. Raises OutboxBusy if another process
    has the outbox, FileError for a firmware profile that is wrong; nothing that is out of reach raises anything.
    """
    agent = await Agent.start(config, on_record=on_record, machine=machine, host=host, run_id=run_id)
    try:
        await agent.work(stop)
    finally:
        await agent.close(clean=stop.is_set())


class Agent:
    """All parts of one running agent. ``start``, ``work``, ``close``, in this order."""

    def __init__(
        self, config: AgentConfig, recorder: Recorder, keeper: ClockKeeper, host: Machine, boots: int, machine: str
    ) -> None:
        self.config = config
        self.recorder = recorder
        self.keeper = keeper
        self._host = host
        self._boots = boots
        self._notify = Notify()
        self._noting: set[asyncio.Task[None]] = set()
        self.uplink = Uplink(
            config,
            recorder=recorder,
            keeper=keeper,
            now_ms=self._now_ms,
            machine=machine,
            on_clock=self._note_clock,
            routes=host.routes,
        )
        own_figures = own.OwnFigures(
            recorder,
            keeper,
            wall=host.wall,
            longest_poll=self._longest_poll,
            bytes_on_air=lambda: self.uplink.bytes_on_air,
        )
        interval = config.waits.own_figures
        self._pollers = [
            *_pollers(config.devices, config.profiles, self._boot_count),
            Poller(own.NAME, own.NAME, own_figures, interval, min(5.0, interval)),
        ]
        self.sampler = Sampler(
            self._pollers,
            monotonic=host.monotonic,
            deliver=recorder.deliver,
            straggler=config.waits.straggler,
            problem_repeat=config.waits.problem_repeat,
        )

    @classmethod
    async def start(
        cls,
        config: AgentConfig,
        *,
        on_record: Callable[[Record], None] | None = None,
        machine: str | None = None,
        host: Machine | None = None,
        run_id: str | None = None,
    ) -> Agent:
        """Open the outbox, find the time if this machine knows it, begin the run. Raises as ``run``."""
        host = host or Machine()
        run_id = run_id or secrets.token_hex(8)
        boot = host.boot()
        directory = Path(config.state_directory)
        outbox = await asyncio.to_thread(_open, directory, config.outbox_bytes, run_id, boot)
        before = last_run.load(directory)
        begun = last_run.begun(before, boot, run_id)
        last_run.save(directory, begun)

        def now_ms() -> int:
            return round(host.monotonic() * 1000)

        recorder = Recorder(outbox, run_id, boot, now_ms=now_ms, on_record=on_record)
        try:
            inherited = outbox.last_clock()
            first = [msgspec.structs.replace(inherited, number=0)] if inherited is not None else []
            keeper = ClockKeeper(first, stale_ms=round(config.waits.clock_stale * 1000))
            for clock in first:
                await recorder.note_clock(clock)
            agent = cls(config, recorder, keeper, host, begun.boots, machine or host.identity())
            agent._look_at_clocks()
            await agent._noted()
            await agent.uplink.start()
        except BaseException:
            await recorder.close()
            raise
        recorder.deliver([agent._started(before, now_ms())])
        await recorder.commit()
        return agent

    async def work(self, stop: asyncio.Event) -> None:
        """Poll, record and send until ``stop`` is set."""
        leave = asyncio.Event()
        progress = Progress(
            moments=lambda: self.sampler.moments,
            interval_ms=min(poller.interval_ms for poller in self._pollers),
            disk_busy_since_ms=lambda: self.recorder.busy_since_ms,
        )
        async with asyncio.TaskGroup() as tasks:

            def spawn(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
                return tasks.create_task(work)

            sampling = spawn(self.sampler.run())
            background = [
                spawn(self.recorder.commit_forever()),
                spawn(self._watch_clocks()),
                spawn(supervision.watch(self._notify, progress, self._now_ms)),
                spawn(self._tell_outbox()),
            ]
            sending = spawn(self.uplink.run(leave))
            self._notify.say("READY=1")
            await stop.wait()
            self._notify.say("STOPPING=1")
            sampling.cancel()
            await asyncio.wait([sampling])
            await self.recorder.commit()
            await self.uplink.drained(self.config.waits.drain)
            leave.set()
            await asyncio.wait([sending])
            for task in background:
                task.cancel()

    async def close(self, *, clean: bool) -> None:
        """Keep what is left and let go of the outbox. ``clean``: the run ended because it was told to."""
        await self._noted()
        await self.recorder.close()
        counts = self.sampler.counts + self.sampler.flags()
        if counts:
            log.info("counted in this run: %s", ", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
        directory = Path(self.config.state_directory)
        noted = last_run.load(directory)
        if noted is not None and noted.run == self.recorder.run:
            last_run.save(directory, msgspec.structs.replace(noted, ended="stop" if clean else "failed"))

    # --- parts --------------------------------------------------------------------------------------------------------

    def _now_ms(self) -> int:
        return round(self._host.monotonic() * 1000)

    def _longest_poll(self) -> float:
        return self.sampler.longest_poll()

    def _boot_count(self) -> list[Reading]:
        return [Reading("host.boot_count", self._boots)]

    def _started(self, before: last_run.LastRun | None, now_ms: int) -> EventDraft:
        body: dict[str, Any] = {
            "version": VERSION,
            "python": ".".join(map(str, sys.version_info[:3])),
            "boots": self._boots,
            "run_before": None if before is None else before.run,
            "ended": None if before is None else "killed" if before.ended == "running" else before.ended,
            "booted": before is None or before.boot != self.recorder.boot,
        }
        return EventDraft(now_ms, "started", "", body)

    async def _tell_outbox(self) -> None:
        """Say how long the outbox lasts at the measured rate: to systemd each minute, to the log once a day."""
        begun_s, told_day = self._host.monotonic(), -1
        while True:
            await asyncio.sleep(TELL_OUTBOX_S)
            stats = await self.recorder.stats()
            lived_s = self._host.monotonic() - begun_s
            words = supervision.describe(stats, lived_s)
            self._notify.say(f"STATUS={words}")
            if stats.hours_held is not None and told_day != lived_s // 86_400:
                told_day = int(lived_s // 86_400)
                log.info("%s", words)

    async def _watch_clocks(self) -> None:
        while True:
            await asyncio.sleep(self.config.waits.clocks)
            self._look_at_clocks()

    def _look_at_clocks(self) -> None:
        """Offer what this machine and its receivers say to the keeper."""
        wall = self._host.wall()
        uncertainty_ms = wall.uncertainty_ms if wall.synchronised else RTC_UNCERTAINTY_MS
        self._note_clock(self.keeper.offer(wall.source, wall.mono_ms, wall.wall_ms, uncertainty_ms))
        for poller in self._pollers:
            utc = getattr(poller.source, "utc", None)
            said = utc() if utc is not None else None
            if said is not None:
                mono_s, wall_ms, uncertainty_ms = said
                self._note_clock(self.keeper.offer("gnss", round(mono_s * 1000), wall_ms, uncertainty_ms))

    def _note_clock(self, clock: Clock | None) -> None:
        if clock is None:
            return

        async def note() -> None:
            await self.recorder.note_clock(clock)
            self.uplink.wake()

        task = asyncio.create_task(note())
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)

    async def _noted(self) -> None:
        """Wait until all clocks are on disk."""
        if self._noting:
            await asyncio.wait(set(self._noting))


def _open(directory: Path, max_bytes: int, run_id: str, boot: str) -> Outbox:
    with suppress(OSError):  # the outbox copes, and says so
        directory.mkdir(parents=True, exist_ok=True)
    return Outbox.open(directory / OUTBOX, max_bytes, run_id, boot)


def _pollers(
    devices: Mapping[str, Device], profiles: tuple[str, ...], boot_count: Callable[[], Sequence[Reading]]
) -> list[Poller]:
    """Return a poller for each input of each device. ``profiles``: folders of own ones.

    ``boot_count`` is what the agent adds to the host's readings.
    """
    return [
        Poller(
            device_id,
            name,
            open_input(config, profiles),
            config.interval,
            config.deadline,
            primary=place == 0,
            extra=boot_count if name == "system" else tuple,
        )
        for device_id, device in devices.items()
        for place, (name, config) in enumerate(device.configured())
    ]
