"""One connection to the broker and what is said over it (DESIGN 2, Messages, Receipts and sending again, Time).

Birth, presence and epoch, receipts, what is lacking, the centre's time, the two lanes. Everything is sent by one task
(``_pump``), so that a schema always leaves before the samples that need it. ``Uplink`` makes the next session.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Final

from agent.clock import ClockKeeper
from agent.config import AgentConfig
from agent.outbox.recorder import Recorder
from agent.uplink.centre_time import CentreTime
from agent.uplink.packing import needs_of, numbers_of, packed, portions
from agent.uplink.resend import Resend
from telemetry import topics
from telemetry.intervals import Intervals
from telemetry.message import (
    DEFLATED,
    PLAIN,
    Ask,
    Birth,
    Down,
    Goodbye,
    Header,
    HeldRun,
    Lacking,
    Lane,
    MessageError,
    Placed,
    Presence,
    Receipt,
    SchemaBody,
    Time,
    Up,
    Will,
    decode,
    encode,
)
from telemetry.mqtt import Connection, LastWill, Message
from telemetry.records import Clock, Event, Record, Sample, clock_for

log = logging.getLogger(__name__)

LIVE_UNACKNOWLEDGED: Final = 30
"""Live messages that the broker has not acknowledged; beyond that the link is bad and the backlog lane takes over."""
BACKLOG_UNACKNOWLEDGED: Final = 2
"""Backlog messages on their way to the broker: a live message never waits behind more."""
RUNS_NAMED: Final = 500
"""Runs that one birth names; after a long crash loop the rest is named when these are through."""
FUTURE_MS: Final = 300_000
"""A time of an RTC that lies so far ahead of now is no time."""


@dataclass(slots=True)
class Centre:
    """What outlives a connection: the highest epoch heard of, and counts."""

    epoch: int = 0
    undecodable: int = 0
    refused: int = 0
    """Messages that the broker acknowledged with a refusal."""
    published: dict[str, int] = field(default_factory=lambda: {"live": 0, "backlog": 0})
    """Records published, by lane."""
    receipts: int = 0


@dataclass(slots=True)
class _Announced:
    schemas: set[str] = field(default_factory=set)
    clocks: int = 0
    gone_clock: bool = False
    begun: bool = False


class Session:
    """See the module. Create it, ``await run(stop)``. ``number`` counts the connections of this run."""

    def __init__(
        self,
        number: int,
        config: AgentConfig,
        *,
        recorder: Recorder,
        sending: Resend,
        keeper: ClockKeeper,
        centre: Centre,
        machine: str,
        boots: Mapping[str, str],
        now_ms: Callable[[], int],
        on_clock: Callable[[Clock], None],
    ) -> None:
        self.number = number
        self.opened_ms: int | None = None
        self._config = config
        self._waits = config.waits
        self._name = config.name
        self._recorder = recorder
        self._sending = sending
        self._keeper = keeper
        self._centre = centre
        self._machine = machine
        self._boots = boots
        self._now_ms = now_ms
        self._presence: Up | None = None
        self._presence_heard = asyncio.Event()
        self._usable_since_ms: int | None = None
        self._birth_epoch: int | None = None
        """The epoch to which we gave birth; ``None`` before the birth, 0 if nobody was there."""
        self._birth_ms = 0
        self._births_due = False
        self._named: set[str] = set()
        """The runs that the last birth named: the centre receipts these."""
        self._more_runs = False
        self._wake = asyncio.Event()
        self._live: list[Record] = []
        self._live_unacknowledged = 0
        self._backlog_unacknowledged = 0
        self._releases: list[dict[str, Intervals]] = []
        self._lacks: list[Mapping[str, Lacking]] = []
        self._answered: dict[tuple[str, str | int], int] = {}
        self._announced: dict[str, _Announced] = {}
        self._time = CentreTime(
            keeper,
            config.waits,
            now_ms=now_ms,
            usable=lambda: self.usable,
            ask=self._ask_time,
            on_clock=on_clock,
        )
        self._client_id = f"agent-{self._name.site}-{self._name.vehicle}-{self._name.agent}"
        self.connection = Connection(
            config.broker,
            self._client_id,
            on_message=self._on_message,
            will=LastWill(self._name.up("state"), self._encode(Will(number))),
            timeout=self._waits.connect,
        )

    # --- life ---------------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> Exception | None:
        """Connect and speak until the connection ends, whose reason is returned, or ``stop`` is set (``None``).

        Raises OSError or FileError when the connection does not come about.
        """
        connection = self.connection
        await connection.open()
        self.opened_ms = self._now_ms()
        try:
            await connection.subscribe(
                topics.presence(self._name.site), self._name.down("receipt"), self._name.down("time")
            )
            self._sending.start_over()
            await self._wait_for_presence()
            await self._serve(stop)
        except Exception as error:
            connection.abort(error)
        finally:
            self._hold_live()
            if connection.ended is None:
                await self._leave()
        return connection.ended if not stop.is_set() else None

    async def _serve(self, stop: asyncio.Event) -> None:
        """Run the tasks of the session until one of them, the connection or the agent ends."""
        tasks = [
            asyncio.create_task(self._pump()),
            asyncio.create_task(self._time.run()),
            asyncio.create_task(self.connection.wait_closed()),
            asyncio.create_task(stop.wait()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                await self._let_go()
                await self._flush_live()
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _leave(self) -> None:
        """Say goodbye, as far as that can be said quickly."""
        try:
            async with asyncio.timeout(self._waits.goodbye):
                await self.connection.deliver(
                    self._name.up("state"), self._encode(Goodbye(self.number, "stop")), retain=True
                )
        except (OSError, TimeoutError) as error:
            log.info("the goodbye did not get through: %s", error)
        await self.connection.close()

    # --- what comes in ------------------------------------------------------------------------------------------------

    def _on_message(self, message: Message) -> None:
        try:
            if message.topic == topics.presence(self._name.site):
                self._on_presence(decode(message.payload, Presence)[1] if message.payload else None)
            elif message.topic == self._name.down("receipt"):
                self._on_receipt(decode(message.payload, Receipt)[1])
            elif message.topic == self._name.down("time"):
                header, said = _decode_time(message.payload)
                if header.run == self._recorder.run:
                    self._time.answer(said)
        except MessageError as error:
            self._centre.undecodable += 1
            log.warning("%s: cannot be read: %s", message.topic, error)

    def _on_presence(self, said: Up | Down | None) -> None:
        now_ms = self._now_ms()
        if isinstance(said, Up) and said.epoch >= self._centre.epoch:
            self._centre.epoch = said.epoch
            if self._presence is None:
                self._usable_since_ms = now_ms
            self._presence = said
            if self._birth_epoch is not None and said.epoch != self._birth_epoch:
                self._sending.start_over()
                self._live.clear()  # held, and so part of the backlog now
                self._announced.clear()
                self._births_due = True
            else:
                self._sending.resume(now_ms)
        elif said is None or (isinstance(said, Down) and said.epoch >= self._centre.epoch):
            self._presence = None
            self._sending.pause(now_ms)
            self._hold_live()
        self._presence_heard.set()
        self._wake.set()

    def _on_receipt(self, receipt: Receipt) -> None:
        if self._presence is None or receipt.epoch != self._presence.epoch or self._births_due:
            return
        mine = receipt.birth == (self._recorder.run, self.number)
        fresh = mine and self._birth_epoch == receipt.epoch
        if mine and not fresh:
            return  # said before this epoch's birth was heard
        self._centre.receipts += 1
        released = self._sending.receipt(receipt.runs, self._now_ms(), fresh=fresh)
        self._releases.append(released)
        if mine and receipt.lacking:
            self._lacks.append(receipt.lacking)
        self._wake.set()

    def recorded(self, records: Sequence[Record]) -> None:
        """Take records that are durable now, and kept by ``sending``: live if they can go now, else for the backlog."""
        if self._can_send(self._recorder.run) and self._live_unacknowledged < LIVE_UNACKNOWLEDGED:
            self._live += records
            self._wake.set()
        else:
            self._sending.hold(self._recorder.run, numbers_of(records))

    def wake(self) -> None:
        """Look again at what can be sent: a clock was noted."""
        self._wake.set()

    # --- may we? ------------------------------------------------------------------------------------------------------

    @property
    def usable(self) -> bool:
        """Whether the collector is there and has been given our birth."""
        return (
            self.connection.is_open
            and self._presence is not None
            and self._birth_epoch == self._presence.epoch
            and not self._births_due
        )

    def _can_send(self, run: str) -> bool:
        """Say whether a run's records may go: they can be placed in time, or never will be."""
        if not self.usable or run not in self._named:
            return False
        boot = self._boots.get(run)
        if run != self._recorder.run and boot != self._recorder.boot:
            return True
        clocks = self._recorder.clocks
        if clocks and clocks[-1].source != "rtc":
            return True
        since_ms = self._usable_since_ms
        patient = since_ms is None or self._now_ms() - since_ms < self._waits.clock_patience * 1000
        return bool(clocks) and not patient

    # --- what goes out ------------------------------------------------------------------------------------------------

    @property
    def _format(self) -> int:
        return DEFLATED if self._presence is not None and DEFLATED in self._presence.formats else PLAIN

    def _encode(self, body: object) -> bytes:
        """Return one of the short messages: nobody is there yet to say which formats it takes."""
        return encode(PLAIN, self._recorder.run, body)

    def _ask_time(self, mono_ms: int) -> None:
        self.connection.publish(self._name.up("ask"), self._encode(Ask(mono_ms)), qos=0)

    async def _wait_for_presence(self) -> None:
        try:
            async with asyncio.timeout(self._waits.presence):
                await self._presence_heard.wait()
        except TimeoutError:
            pass
        self._give_birth()

    def _give_birth(self) -> None:
        self._births_due = False
        self._birth_epoch = self._presence.epoch if self._presence is not None else 0
        self._birth_ms = self._now_ms()
        all_held = self._sending.held()
        runs = {}
        for run in [*all_held][:RUNS_NAMED]:
            pairs = all_held[run].pairs()
            boot = self._boots.get(run, self._recorder.boot)
            runs[run] = HeldRun(boot, pairs[0][0], pairs[-1][1])
        self._named = {*runs, self._recorder.run}
        self._more_runs = len(all_held) > len(runs)
        intervals = [config.interval for device in self._config.devices.values() for _, config in device.configured()]
        birth = Birth(
            session=self.number,
            boot=self._recorder.boot,
            machine=self._machine,
            version=metadata.version("kitwatch"),
            interval_s=max(self._config.send_interval, min([*intervals, self._waits.own_figures])),
            runs=runs,
            devices={name: device.kind for name, device in self._config.devices.items()},
        )
        self.connection.publish(self._name.up("state"), self._encode(birth), retain=True)
        self._time.look()

    async def _pump(self) -> None:
        """Send what there is to send, in the order in which it must leave."""
        while True:
            try:
                async with asyncio.timeout(self._next_look()):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            await self._let_go()
            if self._births_due:
                self._give_birth()
            if not self.usable:
                self._hold_live()
                continue
            now_ms = self._now_ms()
            unanswered = not self._sending.fresh and now_ms - self._birth_ms >= self._waits.birth_repeat * 1000
            if unanswered or self._named_are_through():
                self._sending.fresh = False  # of the runs named now the centre may have some already
                self._give_birth()
            self._sending.tick(now_ms)
            await self._answer_lacks()
            await self._send_live_if_due()
            while self._backlog_unacknowledged < BACKLOG_UNACKNOWLEDGED and await self._send_backlog():
                await self._send_live_if_due()

    def _named_are_through(self) -> bool:
        if not self._more_runs or not self._sending.fresh:
            return False
        return not (self._named - {self._recorder.run}) & self._sending.held().keys()

    def _next_look(self) -> float:
        """Return how long the pump may sleep, in seconds."""
        if self._live and self._config.send_interval:
            interval_ms = round(self._config.send_interval * 1000)
            return min(1.0, (interval_ms - self._now_ms() % interval_ms) / 1000 + 0.001)
        return 1.0

    async def _let_go(self) -> None:
        releases, self._releases = self._releases, []
        for released in releases:
            for run, numbers in released.items():
                await self._recorder.release(run, numbers)

    async def _answer_lacks(self) -> None:
        lacks, self._lacks = self._lacks, []
        for lacking in lacks:
            for run, lack in lacking.items():
                schemas = [name for name in lack.schemas if self._may_answer(run, name)]
                clocks = [number for number in lack.clocks if self._may_answer(run, number)]
                if schemas or clocks:
                    self._announced.pop(run, None)
                    await self._announce(run, schemas)
                    self._sending.lacking(run, schemas, clocks)

    def _may_answer(self, run: str, what: str | int) -> bool:
        """A receipt may have left before our last answer came: the same is answered once in a while only."""
        now_ms = self._now_ms()
        last_ms = self._answered.get((run, what))
        if last_ms is not None and now_ms - last_ms < self._waits.lacking_repeat * 1000:
            return False
        self._answered[run, what] = now_ms
        return True

    async def _announce(self, run: str, wanted: Sequence[str]) -> Sequence[Clock]:
        """Send the schemas and clocks of a run that this connection has not seen yet; return the run's clocks.

        ``wanted`` are schemas that must be told of, be it that they are gone.
        """
        announced = self._announced.setdefault(run, _Announced())
        schemas = await self._recorder.schemas_of(run)
        clocks = await self._recorder.clocks_of(run)
        gone = tuple(name for name in wanted if name not in schemas and name not in announced.schemas)
        new = {name: schema for name, schema in schemas.items() if name not in announced.schemas}
        # A boot that is over and knew only its RTC, or nothing, will never know better.
        boot_over = run != self._recorder.run and self._boots.get(run) != self._recorder.boot
        gone_clock = boot_over and all(clock.source == "rtc" for clock in clocks)
        if announced.begun and not new and not gone and len(clocks) == announced.clocks:
            return clocks
        boot = self._boots.get(run, self._recorder.boot)
        for at, part in enumerate(portions(new)):
            body = SchemaBody(boot, part, tuple(clocks), gone if at == 0 else (), gone_clock)
            self.connection.publish(self._name.up("schema"), encode(self._format, run, body))
        announced.schemas.update(new, gone)
        announced.clocks = len(clocks)
        announced.gone_clock = gone_clock
        announced.begun = True
        return clocks

    async def _send_live_if_due(self) -> None:
        if not self._live:
            return
        interval_ms = round(self._config.send_interval * 1000)
        urgent = any(isinstance(record, Event) for record in self._live)
        oldest_ms = self._live[0].mono_ms
        if not interval_ms or urgent or self._now_ms() // interval_ms > oldest_ms // interval_ms:
            await self._flush_live()

    async def _flush_live(self) -> None:
        records, self._live = self._live, []
        if records:
            await self._send("live", self._recorder.run, records)

    def _hold_live(self) -> None:
        records, self._live = self._live, []
        if records:
            self._sending.hold(self._recorder.run, numbers_of(records))

    async def _send_backlog(self) -> bool:
        """Send the next backlog message; return whether there was one."""
        message = self._sending.next_backlog(self._can_send)
        if message is None:
            return False
        run, numbers = message
        try:
            records = await self._recorder.read(run, numbers)
        except OSError as error:
            log.warning("the outbox cannot be read now: %s", error)
            return False
        missing = numbers.minus(numbers_of(records))
        if missing:
            self._sending.forget(run, missing.pairs())
        if records:
            await self._send("backlog", run, records)
        return True

    async def _send(self, lane: Lane, run: str, records: Sequence[Record]) -> None:
        """Publish records of one run, in as many messages as it takes."""
        clocks = await self._announce(run, [record.schema for record in records if isinstance(record, Sample)])
        if not self.usable:
            self._sending.hold(run, numbers_of(records))
            return
        placed = [Placed(record, self._clock_number(run, clocks, record.mono_ms)) for record in records]
        for part, payload in packed(self._format, run, placed):
            self._publish(lane, run, part, payload)

    def _publish(self, lane: Lane, run: str, placed: Sequence[Placed], payload: bytes) -> None:
        expiry = self._waits.live_expiry if lane == "live" else None
        self._count(lane, 1)
        self.connection.publish(
            self._name.up(lane), payload, expiry=expiry, done=lambda code: self._on_acknowledged(lane, code)
        )
        self._centre.published[lane] += len(placed)
        numbers = numbers_of([one.record for one in placed])
        self._sending.published(lane, run, numbers, self._now_ms(), needs_of(placed))

    def _on_acknowledged(self, lane: Lane, code: int) -> None:
        self._count(lane, -1)
        if code >= 128:
            if not self._centre.refused:
                log.warning("the broker refuses what we publish: reason code 0x%02x (MQTT 5.0, 3.4.2.1)", code)
            self._centre.refused += 1
        if lane == "backlog":
            self._wake.set()

    def _count(self, lane: Lane, by: int) -> None:
        if lane == "live":
            self._live_unacknowledged += by
        else:
            self._backlog_unacknowledged += by

    def _clock_number(self, run: str, clocks: Sequence[Clock], mono_ms: int) -> int | None:
        clock = clock_for(clocks, mono_ms)
        if clock is None:
            return None
        if self._announced[run].gone_clock:
            now = self._keeper.wall_ms(self._now_ms())
            if now is not None and clock.place(mono_ms) > now + FUTURE_MS:
                return None  # an RTC of an earlier boot that ran ahead: better no time than a wrong one
        return clock.number


def _decode_time(payload: bytes) -> tuple[Header, Time]:
    return decode(payload, Time)
