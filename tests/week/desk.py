"""The real desk, database, notifiers and health of one site, run through the week in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from unittest import mock

import msgspec
import yaml

from collector.channels import deliveries, notifier
from collector.channels.channel import Channel, Delivered, Outcome, Refused, Retry
from collector.channels.channel import Notification as Sent
from collector.channels.deliveries import Lane
from collector.channels.notifier import Notifier
from collector.channels.people import People
from collector.contract import load_contract
from collector.core.identities import ProblemKey
from collector.core.notifications import Body
from collector.core.problems import Problem, ProblemChange, ProblemRef
from collector.core.rules.files import load_rules
from collector.core.tickets import events as e
from collector.core.vehicle.events import Listening
from collector.site.acts import TICKET_ACTION, TicketBody
from collector.site.health import PEOPLE, PeopleHealth, ReceiverHealth, Watched, news
from collector.site.in_force import InForce, Receiver
from collector.site.memory import Memory
from collector.site.unit_of_work import UnitOfWork
from collector.store import queries
from collector.store.commit import SiteConnection
from collector.store.rows import Changes
from collector.store.store import Store
from telemetry.fleet import Site, VehiclePlan
from tests.unit.virtual_time import VirtualLoop
from tests.week.comparison import Attempt, Row
from tests.week.scenario import BEGIN, CHANNELS, CONTRACT, GROUP, SITE, ZONE, Scenario, Step

HEALTH_S: Final = 30.0
FAULTS: Final = {"disaster": "router_dead", "general": "camera_down", "deferrable": "modem_hot"}
BEGIN_MS: Final = round(BEGIN.timestamp() * 1000)


class WeekLoop(VirtualLoop):
    """Virtual time in which what is given to a thread is done at once."""

    def run_in_executor(self, executor: Executor | None, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Do it here and now."""
        done: asyncio.Future[Any] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return done


class WeekChannel(Channel):
    """A channel that notes what it gets, and answers as the scenario says."""

    def __init__(self, name: str, week: Week) -> None:
        self.name = name
        self._week = week

    async def send(self, notification: Sent) -> Outcome:
        """Take it, fail or refuse; one that is taken just before the process dies is never marked."""
        week, body = self._week, notification.content
        at = week.now()
        answer = week.scenario.outage.answer(self.name, at)
        receiver = body.person or self.name
        week.attempts.append(
            Attempt(
                at, self.name, receiver, notification.ticket, body.what, body.folded, notification.key, answer,
                body.text.zh, body.text.en,
            )
        )  # fmt: skip
        if week.dies_after(at) and answer == "taken" and self.name == GROUP:
            await asyncio.Event().wait()
        if answer == "failed":
            return Retry("503 Service Unavailable")
        return Refused("errcode 40014") if answer == "refused" else Delivered()


@dataclass
class Process:
    """One life of the collector: from what is committed to its end."""

    lock: SiteConnection
    memory: Memory
    notifiers: list[Notifier]
    tasks: list[asyncio.Task[None]]
    watched: list[Watched]


@dataclass
class Week:
    """One site in one week. ``folder`` holds its database and its contract file."""

    folder: Path
    scenario: Scenario
    attempts: list[Attempt] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    centre: list[Step] = field(default_factory=list)
    """Problems of the centre itself that the week made."""
    numbers: dict[str, str] = field(default_factory=dict)
    """Ticket numbers by the scenario's names."""

    def run(self) -> None:
        """Go through the week."""
        chance = random.Random(self.scenario.seed)
        with (
            mock.patch("telemetry.backoff.random.SystemRandom", return_value=chance),
            mock.patch.object(notifier, "IDLE_S", 86_400.0),
            asyncio.Runner(loop_factory=WeekLoop) as runner,
        ):
            runner.run(self._run())

    def now(self) -> datetime:
        """Return the wall clock at the site."""
        return datetime.fromtimestamp(self._now_ms() / 1000, ZONE)

    def dies_after(self, at: datetime) -> bool:
        """Say whether the process is killed within seconds."""
        return 0 < (self.scenario.stopped[0] - at).total_seconds() <= 10

    def _now_ms(self) -> int:
        return BEGIN_MS + round(asyncio.get_running_loop().time() * 1000)

    async def _run(self) -> None:
        written = yaml.safe_dump(dict(CONTRACT), allow_unicode=True, sort_keys=False)
        (self.folder / "contract.yaml").write_text(written)
        contract = load_contract(self.folder / "contract.yaml").contract
        vehicles = {f"amb-{number}": VehiclePlan(agents={}, name=f"{number} 号车") for number in range(1, 9)}
        site = Site(vehicles=vehicles, name="北区急救中心")
        receivers = tuple(Receiver(name, "webhook") for name in CHANNELS)
        in_force = InForce(SITE, site, load_rules(), receivers, contract)
        store = Store.open(f"sqlite:///{self.folder / 'week.sqlite'}")
        store.migrate()
        down, up = self.scenario.stopped
        steps = list(self.scenario.steps)
        try:
            process = self._begin(store, in_force, started_s=0.0)
            until = self.scenario.until
            await self._work(process, store, in_force, [step for step in steps if step.at < down], min(down, until))
            await self._kill(process)
            if down < until:
                await asyncio.sleep((up - down).total_seconds())
                process = self._begin(store, in_force, started_s=1e6)
                await self._work(process, store, in_force, [step for step in steps if step.at >= up], until)
                await self._kill(process)
            self._read(store)
        finally:
            store.close()

    # --- the process --------------------------------------------------------------------------------------------------

    def _begin(self, store: Store, in_force: InForce, *, started_s: float) -> Process:
        """Own the site anew: what is not committed is not known, and the monotonic clock is another one."""
        lock = SiteConnection.acquire(store, SITE, "week")
        assert lock is not None
        memory = Memory.of(in_force, lock.load())
        loop = asyncio.get_running_loop()
        clocks: dict[str, Any] = {"now_ms": self._now_ms, "monotonic": lambda: loop.time() + started_s}
        people = People(store, SITE, lambda: in_force.contract, CHANNELS, **clocks)
        notifiers = [
            Notifier(store, Lane(SITE, name, "webhook"), WeekChannel(name, self), people=people, **clocks)
            for name in CHANNELS
        ]
        watched = [
            Watched("receiver", one.lane.receiver, ReceiverHealth(one.lane.receiver, one.progress)) for one in notifiers
        ]
        watched.append(Watched("receiver", PEOPLE, PeopleHealth(people)))
        tasks = [asyncio.create_task(one.run(asyncio.Event())) for one in notifiers]
        return Process(lock, memory, notifiers, tasks, watched)

    async def _kill(self, process: Process) -> None:
        for task in process.tasks:
            task.cancel()
        done = await asyncio.gather(*process.tasks, return_exceptions=True)
        process.lock.close()
        for result in done:
            if isinstance(result, Exception):
                raise result

    async def _work(
        self, process: Process, store: Store, in_force: InForce, steps: list[Step], until: datetime
    ) -> None:
        """Do the steps at their times, and in between what time asks for."""
        end_ms = round(until.timestamp() * 1000)
        left = steps[::-1]
        while True:
            asked = [self._now_ms() + round(HEALTH_S * 1000), end_ms]
            wake_ms = process.memory.wake_ms()
            asked += [round(left[-1].at.timestamp() * 1000)] if left else []
            asked += [wake_ms] if wake_ms is not None else []
            await asyncio.sleep(max(0, min(asked) - self._now_ms()) / 1000)
            if self._now_ms() >= end_ms:
                return
            if (wake_ms := process.memory.wake_ms()) is not None and wake_ms <= self._now_ms():
                self._turn(process, store, in_force)
                again_ms = process.memory.wake_ms()
                assert again_ms is None or again_ms > wake_ms, f"{self.now()}: woken for nothing, {again_ms}"
            while left and round(left[-1].at.timestamp() * 1000) <= self._now_ms():
                self._turn(process, store, in_force, left.pop())
            reports = news(process.watched, process.memory.state.parts, self._now_ms())
            if reports:
                self._turn(process, store, in_force, reports=reports)
            for task in process.tasks:
                if task.done():
                    task.result()

    def _turn(
        self, process: Process, store: Store, in_force: InForce, step: Step | None = None, *, reports: Any = ()
    ) -> None:
        """One unit of work and its commit."""
        now_ms = self._now_ms()
        if step is not None and step.do not in ("begins", "ends"):
            self._want(store, process.memory, step, now_ms)
        work = UnitOfWork(process.memory, in_force, Listening(None), now_ms)
        if step is not None and step.do in ("begins", "ends"):
            work._changes.append(self._change(process.memory, step, now_ms))
        for report in reports:
            work.report(report)
        for action in queries.waiting_actions(store.engine, SITE):
            history = queries.history_of(store.engine, SITE, self.numbers.get(step.ticket, "") if step else "")
            work.act(msgspec.structs.replace(action, history=history))
        work.look()
        changes = work.changes()
        assert not work.faults, work.faults
        if changes is not None:
            process.lock.commit(changes)
        work.keep()
        if changes is None:
            return
        self._note(changes, step)
        for one in process.notifiers:
            one.wake()

    def _note(self, changes: Changes, step: Step | None) -> None:
        refused = [taken.error for taken in changes.actions_taken if taken.error]
        assert not refused, f"{step}: {refused}"
        for one in changes.recorded:
            if one.event.number == 1 and step is not None and step.do in ("begins", "call", "form"):
                self.numbers.setdefault(step.ticket, one.ticket.id)
        for tracked in changes.problems:
            problem = tracked.problem
            if not problem.vehicle:
                name = f"centre/{problem.key}"
                do = "begins" if problem.state == "active" else "ends"
                if next((one.do for one in reversed(self.centre) if one.ticket == name), "ends") != do:
                    self.centre.append(Step(self.now(), do, name, says={"class": "general"}))

    # --- what happens -------------------------------------------------------------------------------------------------

    def _change(self, memory: Memory, step: Step, now_ms: int) -> ProblemChange:
        """What judging would tell the desk of a problem: a device of its own for each."""
        began = step.do == "begins"
        fault = FAULTS[next(one.says["class"] for one in self.scenario.steps if one.ticket == step.ticket)]
        number = self.scenario.tickets.index(step.ticket)
        key = ProblemKey.of(fault, f"device-{number // 8 + 1}")
        vehicle = f"amb-{number % 8 + 1}"
        known = memory.desk.problems.get(ProblemRef(vehicle, key))
        over: dict[str, Any] = {} if began else {"over_event_ms": now_ms - 1000, "over_ms": now_ms}
        problem = Problem(
            site=SITE, vehicle=vehicle, key=key, rule="r", rule_version=1, state="active" if began else "over",
            event_ms=now_ms - 20_000, detected_ms=now_ms, sla_class=step.says.get("class"), **over,
        )  # fmt: skip
        return ProblemChange(problem, ("again" if known is not None else "began") if began else "over")

    def _want(self, store: Store, memory: Memory, step: Step, now_ms: int) -> None:
        """Keep what a person wants, as the web or ``kitwatch tickets`` would."""
        ticket = self.numbers.get(step.ticket, "")
        who = drawn(memory, ticket) if step.by == "@drawn" else step.by
        what = "opened" if step.do in ("call", "form") else step.do
        body = msgspec.to_builtins(self._body(step, now_ms))
        written = msgspec.json.encode(TicketBody(what, ticket, None, body)).decode()
        with store.transaction() as connection:
            queries.add_action(
                connection, site=SITE, vehicle="", kind=TICKET_ACTION, body=written, who=who, created_ms=now_ms
            )

    def _body(self, step: Step, now_ms: int) -> e.Body:
        says = step.says
        caller = e.Caller(says.get("caller", step.ticket), "8001")
        if step.do in ("call", "form"):
            return e.Opening(
                source="form" if step.do == "form" else "call", fault="", sla_class=says["class"], severity="major",
                vehicle="amb-1", event_ms=now_ms, detected_ms=now_ms, caller=caller, spare=says.get("spare"),
                text=f"{step.ticket}: no picture",
            )  # fmt: skip
        called = next(one for one in self.scenario.steps if one.ticket == step.ticket).do != "begins"
        asked = caller if called else None
        until_ms = round(says["until"].timestamp() * 1000) if "until" in says else 0
        into = self.numbers.get(says.get("into", ""), "")
        shapes: dict[str, Callable[[], e.Body]] = {
            "assigned": lambda: e.Assignment(says["to"]),
            "responded": lambda: e.Response("remote", "looked at it"),
            "silenced": lambda: e.Silence(until_ms, "work in the vehicle"),
            "escalated": lambda: e.Escalation(why="it is urgent"),
            "class_changed": lambda: e.ClassChange(says["class"], "critical", "the hospital asks"),
            "cancelled": lambda: e.Cancellation("a test", callers_word=called),
            "merged": lambda: e.MergeInto(into),
            "resolved": lambda: e.Resolution("replaced", "seen on site", why_unrecovered="seen by eye"),
            "confirmed": lambda: e.Satisfaction("excellent" if says["answer"] == "优" else "good", asked),
            "dissatisfied": lambda: e.CallBack(asked),
        }
        return shapes[step.do]() if step.do in shapes else e.NO_WORDS

    # --- what came of it ----------------------------------------------------------------------------------------------

    def _read(self, store: Store) -> None:
        for one in deliveries.listed(store.engine, limit=1_000_000):
            what = msgspec.json.decode(one.body, type=Body).what
            at = datetime.fromtimestamp(one.created_ms / 1000, ZONE)
            self.rows.append(Row(one.ticket, what, at, one.receiver, channel_of(one), one.state))


def channel_of(one: deliveries.Delivery) -> str:
    """The entry of ``collector.yaml``: for a person the channel, for a receiver itself its name."""
    return one.channel if one.of_roster else one.receiver


def drawn(memory: Memory, ticket: str) -> str:
    """Return who was drawn last to call back."""
    bodies: Iterator[e.Body] = (event.body for event in reversed(memory.desk.events[ticket]))
    return next(body.to for body in bodies if isinstance(body, e.Draw))
