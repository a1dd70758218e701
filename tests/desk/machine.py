"""People, problems, time, crashes and two collectors in any order (hypothesis.stateful); ``judge`` after each step.

Whatever is a row of the table of transitions is tried, by whom it may and by whom it may not, in any state: a new row
is taken in by itself, with a body made from the fields of its shape.
"""

from __future__ import annotations

import asyncio
import datetime
import itertools
import sys
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final

import hypothesis.strategies as st
import msgspec
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from collector.channels import deliveries
from collector.channels.channel import Channel, Delivered, Notification, Outcome, Refused, Retry
from collector.channels.deliveries import Lane
from collector.channels.notifier import Notifier
from collector.channels.people import People
from collector.core.calendar import Calendar, Year
from collector.core.contract import DEFAULT, Contract
from collector.core.health import PartReport
from collector.core.notifications import Body
from collector.core.roster import Person, Way
from collector.core.tickets import events as e
from collector.core.tickets.transitions import TABLE
from collector.site.acts import EDITION_ACTION, STATE_ACTION, EditionBody, StateBody, TicketBody, act_of
from collector.site.in_force import CONTRACT, RULES
from collector.site.intake import Incoming
from collector.store.store import Store
from telemetry.intervals import Intervals
from telemetry.message import DEFLATED, Birth, HeldRun, Moment, SchemaBody, encode
from telemetry.records import Clock, Column, Schema
from telemetry.topics import AgentName
from tests.desk.centre import SITE, Break, Centre, Collector, Crash, Found, Told
from tests.desk.judge import Judge

START_MS: Final = 1_798_000_000_000
"""2026-12-23 04:26:40 UTC: the year ends within nine days."""
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
GROUPS: Final = (("desk", "webhook"), ("chief", "webhook"))
"""Receivers themselves: told of everything."""
LANES: Final = (*GROUPS, ("sms", "sms"), ("mail", "apprise"))
"""And channels to people of the roster."""
PEOPLE: Final = ("wang", "sun", "qian", "zhao", "li", "nobody")
ROSTER: Final = {
    "wang": Person(name="Wang", role="engineer", channels=(Way("sms", "1"), Way("mail", "wang@example.org"))),
    "sun": Person(name="Sun", role="engineer", channels=(Way("mail", "sun@example.org"),), stand_in="qian"),
    "qian": Person(name="Qian", role="manager", channels=(Way("sms", "2"),)),
    "zhao": Person(name="Zhao", role="dispatcher"),
    "li": Person(name="Li", role="information"),
}
_DAY_OFF: Final = datetime.date(2027, 1, 1)
_YEARS: Final = (Year(2026, (), ()), Year(2027, (_DAY_OFF,), (datetime.date(2027, 1, 3),)))
FIRST: Final = msgspec.structs.replace(DEFAULT, roster=ROSTER, calendar=Calendar.of(_YEARS))
CONTRACTS: Final[Mapping[str, Contract]] = {
    "first": FIRST,
    "short window": msgspec.structs.replace(FIRST, reopen_window_ms=2 * HOUR, recurring_times=2),
    "fewer people": msgspec.structs.replace(FIRST, roster={id: ROSTER[id] for id in ("wang", "qian", "li")}),
    "coming year missing": msgspec.structs.replace(FIRST, calendar=Calendar.of(_YEARS[:1])),
    "other holidays": msgspec.structs.replace(FIRST, calendar=Calendar.of((*_YEARS[:1], Year(2027, (), ())))),
    "nobody is told upwards": msgspec.structs.replace(FIRST, escalation={}),
    "one try": msgspec.structs.replace(FIRST, call_back_tries=1, correction_ms=HOUR),
}
_SCHEMAS: Final = {
    "router": Schema("snmp", "router", (Column("device.reachable"),)),
    "camera-1": Schema("snmp", "camera-1", (Column("device.reachable"),)),
    "modem": Schema("modem", "modem", (Column("modem.sim"),)),
}
_KIT: Final = {"amb-1": ("router", "camera-1", "modem"), "amb-2": ("modem",)}
_RUN: Final = "00000000000000aa"
_WORDS: Final = {"reason": ("customer", "vehicle", "parts", "weather"), "to": PEOPLE, "evidence": ("a letter",)}
"""What may stand in a field of text that is no free text."""
_WITHOUT: Final = ("without nothing", "without sim_absent", "without router_dead")
BREAKS: Final[tuple[Break | None, ...]] = (
    *(None,) * 60,
    *(Break(after) for after in (*range(0, 1000, 50), *(1000,) * 4)),
    *(Break(after, error=True) for after in range(0, 1000, 200)),
)
"""How a commit ends; mostly well."""


def _rules_without(centre: Centre, id: str) -> str:
    """Return the rules' edition without one rule."""
    rules = centre.base.rules
    files = [
        (file, {**data, "rules": {name: rule for name, rule in data["rules"].items() if name != id}})
        for file, data in rules.files
    ]
    return msgspec.json.encode({"files": files, "speed": rules.speed, "topology": rules.topology}).decode()


class Kit:
    """A vehicle's agent: numbers its records, and says them again until they are committed."""

    def __init__(self, vehicle: str) -> None:
        self.agent = AgentName(SITE, vehicle, "box")
        self.number = itertools.count()
        self.versions = itertools.count(1)

    def first_words(self, now_ms: int) -> list[Incoming]:
        schemas = [_SCHEMAS[device] for device in _KIT[self.agent.vehicle]]
        birth = Birth(1, "boot-1", f"machine-{self.agent.vehicle}", "0.1.0", 10.0, {_RUN: HeldRun("boot-1", 0, 0)})
        clock = Clock(0, 0, START_MS - DAY, "gnss", 5)
        body = SchemaBody("boot-1", {one.id(): one for one in schemas}, (clock,))
        return [
            Incoming(self.agent.up("state"), encode(DEFLATED, _RUN, birth), now_ms),
            Incoming(self.agent.up("schema"), encode(DEFLATED, _RUN, body), now_ms),
        ]

    def says(self, entry: list[Any], at_ms: int, now_ms: int, lane: str) -> Incoming:
        number = next(self.number)
        body = [Moment(at_ms - (START_MS - DAY), 0, [entry])]
        return Incoming(self.agent.up(lane), encode(DEFLATED, _RUN, body, Intervals([(number, number)])), now_ms)

    def reading(self, device: str, bad: bool) -> list[Any]:
        value: Any = ("absent" if bad else "ready") if device == "modem" else not bad
        return [_SCHEMAS[device].id(), [value]]

    def firmware(self, device: str) -> list[Any]:
        said = {"model": "M", "firmware": f"{next(self.versions)}.0", "input": _SCHEMAS[device].input}
        return ["inventory", device, said]


class Got(typing.NamedTuple):
    """A message that somebody has taken."""

    who: str
    ticket: str
    keys: tuple[str, ...]
    """The notifications that it held."""
    words_of: tuple[int, ...]
    """The number of the notification whose words stand in it; of several if they have the same."""


class OtherEnd(Channel):
    """The other end of a channel, and what it is to answer next. ``got`` is what all have taken, as it came in."""

    def __init__(self, name: str, store: Store, got: list[Got]) -> None:
        self.got = got
        self.answer: Outcome = Delivered()
        self._name = name
        self._store = store

    async def send(self, notification: Notification) -> Outcome:
        if isinstance(self.answer, Delivered):
            content = notification.content
            who = content.person or self._name
            first = content.id.removesuffix(f"/{content.person}") if content.person else content.id
            rows = list(reversed(deliveries.listed(self._store.engine, site=SITE, receiver=who, limit=10_000)))
            folded = [one.key for one in rows if one.folded_into == first]
            if content.folded != 1 + len(folded):
                raise Found(f"{who}: a message of {content.folded} stands for {first} and {folded}")
            told = [(one.id, one.key, msgspec.json.decode(one.body, type=Body).text.en) for one in rows
                    if one.ticket == notification.ticket]  # fmt: skip
            words_of = tuple(
                id for id, key, text in told if (content.text.en.endswith(text) if content.person else key == first)
            )
            if not words_of:
                raise Found(f"{who}: what is told of {first} is of no notification: {content.text.en}")
            self.got.append(Got(who, notification.ticket, (first, *folded), words_of))
        return self.answer


class DeskMachine(RuleBasedStateMachine):
    """One run: a site from its first day on. ``database`` makes a new one, ``told`` counts over all runs."""

    database: Callable[[], str]
    told: Told = Told()

    def __init__(self) -> None:
        super().__init__()
        self.centre = Centre(type(self).database(), FIRST, LANES, START_MS)
        self.centre.told = self.told
        self.judge = Judge(self.centre, GROUPS)
        self.kits = {vehicle: Kit(vehicle) for vehicle in _KIT}
        self.contract = FIRST
        self.got: list[Got] = []
        """What everybody has been told, in the order of the true time."""
        self.ends = {name: OtherEnd(name, self.centre.store, self.got) for name, _ in LANES}
        self.notifiers: dict[str, Notifier] = {}
        self.notifiers_of: Collector | None = None
        self.loop = asyncio.Runner()
        self.acts = itertools.count(1)

    @initialize()
    def begins(self) -> None:
        for kit in self.kits.values():
            self.centre.inbox += kit.first_words(self.centre.now_ms)
        self.centre.turn()

    # --- problems -----------------------------------------------------------------------------------------------------

    @rule(
        of=st.sampled_from([(vehicle, device) for vehicle, devices in _KIT.items() for device in devices]),
        bad=st.booleans(), late=st.sampled_from([0, 0, 0, 0, 20 * MINUTE]), todo=st.sampled_from(BREAKS),
        gather=st.booleans(),
    )  # fmt: skip
    def reading(self, of: tuple[str, str], bad: bool, late: int, todo: Break | None, gather: bool) -> None:
        """A device is well or not; what is late tells of what was."""
        vehicle, device = of
        self._say(vehicle, self.kits[vehicle].reading(device, bad), late)
        self._turn(todo, gather)

    @rule(device=st.sampled_from(["router", "modem"]), todo=st.sampled_from(BREAKS))
    def other_firmware(self, device: str, todo: Break | None) -> None:
        """A fault of which no reading shows the end."""
        self._say("amb-1", self.kits["amb-1"].firmware(device), 0)
        self._turn(todo)

    def _say(self, vehicle: str, entry: list[Any], late: int) -> None:
        centre, lane = self.centre, "backlog" if late else "live"
        at_ms = min(centre.true_ms, centre.now_ms) - late
        centre.inbox.append(self.kits[vehicle].says(entry, at_ms, centre.now_ms, lane))

    @rule(
        report=st.sampled_from(
            [
                ("influxdb", "", "refusing"),
                ("receiver", "desk", "failing"),
                ("influxdb", "", "ok"),
                ("receiver", "desk", "ok"),
            ]
        ),
        todo=st.sampled_from(BREAKS),
        gather=st.booleans(),
    )
    def centres_part(self, report: tuple[Any, str, Any], todo: Break | None, gather: bool) -> None:
        """A part of the centre is well or not: a problem of the site's, one of which can wait."""
        self.centre.reports.append(PartReport(*report, self.centre.now_ms, "its words"))
        self._turn(todo, gather)

    reads_too = reads_as_well = reading
    """Oftener than other rules: hypothesis draws among names."""

    # --- people -------------------------------------------------------------------------------------------------------

    @rule(who=st.sampled_from(PEOPLE), data=st.data(), todo=st.sampled_from(BREAKS), gather=st.booleans())
    def opens(self, who: str, data: st.DataObject, todo: Break | None, gather: bool) -> None:
        """A call, a fax, a form."""
        self._act("opened", who, data)
        self._turn(todo, gather)

    @precondition(lambda self: self.judge.tickets)
    @rule(
        what=st.sampled_from(list(TABLE)), who=st.sampled_from(PEOPLE), data=st.data(), todo=st.sampled_from(BREAKS),
        gather=st.booleans(),
    )  # fmt: skip
    def acts_anyhow(self, what: str, who: str, data: st.DataObject, todo: Break | None, gather: bool) -> None:
        """Any row of the table, in any state."""
        self._act(what, who, data)
        self._turn(todo, gather)

    @precondition(lambda self: self._possible())
    @rule(data=st.data(), who=st.sampled_from(PEOPLE[:4]), todo=st.sampled_from(BREAKS), gather=st.booleans())
    def acts_as_it_may(self, data: st.DataObject, who: str, todo: Break | None, gather: bool) -> None:
        """A row that the table names for the state in which some ticket is."""
        ticket, what = data.draw(st.sampled_from(self._possible()))
        self._act(what, who, data, ticket)
        self._turn(todo, gather)

    acts_too = acts_as_well = acts_as_it_may

    def _possible(self) -> list[tuple[str, str]]:
        """Return (ticket, what) of all that may be done now; what leads to another state stands there several times."""
        live = [one for one in self.judge.tickets.values() if one.is_live or one.state == "merged"][-4:]
        return [
            (ticket.id, what)
            for ticket in live
            for what, row in TABLE.items()
            if "person" in row.by and ticket.state in row.states
            for _ in range(4 if row.to is not None else 1)
        ]

    def _act(self, what: str, who: str, data: st.DataObject, ticket: str | None = None) -> None:
        tickets = list(self.judge.tickets)
        if ticket is None and what != "opened":
            ticket = data.draw(st.sampled_from([*tickets[-6:], "2026-0999"]))
        now_ms = self.centre.now_ms
        stated = data.draw(st.sampled_from([*(None,) * 8, now_ms, now_ms - 5 * MINUTE, now_ms - DAY, now_ms + HOUR]))
        body = self._body(TABLE[what].body, data, ticket or "")
        try:
            act_of(TicketBody(what, ticket or "", stated, body), who, self.contract)
        except ValueError:
            return  # the page says so at once (400)
        except Exception:
            pass
        crash = data.draw(st.sampled_from([False] * 15 + [True]))
        self.centre.act(what, who, ticket or "", body, stated, crash=crash)
        self.told.acts += 1

    def _body(self, shape: type[e.Body], data: st.DataObject, ticket: str) -> dict[str, Any]:
        """Return what an act says: something for each field of its shape, by the field's type and name."""
        hints = typing.get_type_hints(shape)
        body = {}
        for one in msgspec.structs.fields(shape):
            if not one.required and data.draw(st.booleans()):
                continue
            value = self._value(one.encode_name, hints[one.name], data, ticket)
            if value is not None:
                body[one.encode_name] = value
        return body

    def _value(self, name: str, hint: Any, data: st.DataObject, ticket: str) -> Any:
        now_ms = self.centre.now_ms
        choices = [one for one in (hint, *typing.get_args(hint)) if typing.get_origin(one) is typing.Literal]
        if choices:
            return data.draw(st.sampled_from(typing.get_args(choices[0])))
        if name.endswith("_ms"):
            return now_ms + data.draw(st.sampled_from([-DAY, -HOUR, 0, MINUTE, HOUR, HOUR, DAY, 2 * DAY, 5 * DAY]))
        if datetime.date in (hint, *typing.get_args(hint)):
            return "2027-06-30"
        if hint is int:
            return data.draw(st.integers(1, 8))
        if hint is bool:
            return data.draw(st.booleans())
        if name in ("into", "other", "ticket"):
            return data.draw(st.sampled_from([*list(self.judge.tickets)[-6:], "2026-0999"]))
        if name in _WORDS and typing.get_origin(hint) is not tuple:  # an opening's evidence is readings, not a letter
            return data.draw(st.sampled_from(_WORDS[name]))
        if hint is str:
            return f"word {next(self.acts)}"
        if name == "caller":
            return {"name": "Nurse Li", "phone": "8001"}
        if name in ("problem", "was"):
            known = [one.problem.ref for one in self.judge.rows.problems]
            return msgspec.to_builtins(data.draw(st.sampled_from(known))) if known else None
        return None

    @rule(vehicle=st.sampled_from(sorted(_KIT)), state=st.sampled_from(["on_duty", "on_mission", "workshop"]))
    def workshop(self, vehicle: str, state: Any) -> None:
        self.centre.want(STATE_ACTION, StateBody(state), "wang", vehicle=vehicle)
        self._turn(None)

    @rule(name=st.sampled_from([*sorted(CONTRACTS), *_WITHOUT]), todo=st.sampled_from(BREAKS))
    def other_edition(self, name: str, todo: Break | None) -> None:
        """Another contract (terms, people, calendar), or rules without one: what that found nobody judges any more."""
        if name in CONTRACTS:
            self.contract = CONTRACTS[name]
            kind, content = CONTRACT, msgspec.json.encode(self.contract).decode()
        else:
            kind, content = RULES, _rules_without(self.centre, name.removeprefix("without "))
        self.centre.want(EDITION_ACTION, EditionBody(kind, content), "li")
        self._turn(todo)

    # --- time ---------------------------------------------------------------------------------------------------------

    @rule(
        ms=st.sampled_from([1_000, MINUTE, 50 * MINUTE, HOUR, 5 * HOUR, DAY, 3 * DAY, 8 * DAY]),
        todo=st.sampled_from(BREAKS),
    )
    def time_passes(self, ms: int, todo: Break | None) -> None:
        self.centre.true_ms += ms
        self._turn(todo)

    passes_too = time_passes

    @rule(ms=st.sampled_from([0, 0, 90_000, -90_000, HOUR, -HOUR, -2 * DAY, 2 * DAY]))
    def clock_is_set(self, ms: int) -> None:
        """The centre's clock steps to so much beside the true time."""
        self.centre.offset_ms = ms
        self.centre.clock_was_set()
        self._turn(None)

    # --- two collectors -----------------------------------------------------------------------------------------------

    @rule(what=st.sampled_from(["hand over", "lose it", "lose it, prepared", "commit late", "commit late"]))
    def collectors(self, what: str) -> None:
        """One ends as it should, one loses the site and does not know it, one of those commits."""
        centre = self.centre
        if what == "commit late":
            if centre.old:
                centre.late_commit()
            return
        self.told.takeovers += 1
        if what != "hand over":
            centre.lose(prepared=what == "lose it, prepared")
            centre.turn()
            return
        owner = centre.own()
        centre.stand_in_line()
        self.judge.like_its_memory(owner, owner.lock.load())
        owner.lock.close()
        centre.owner = None
        centre.begin()

    collectors_too = collectors

    @precondition(lambda self: self.judge.rows.raw)
    @rule(what=st.sampled_from(["open twice", "open twice", "update", "delete", "replace"]), data=st.data())
    def refused_by_the_database(self, what: str, data: st.DataObject) -> None:
        """A desk that is wrong opens a second ticket about a problem; somebody would have an event otherwise."""
        if what != "open twice":
            self.centre.rewrite(what, *data.draw(st.sampled_from(sorted(self.judge.rows.raw))))
            return
        held = [(one.id, ref) for one in self.judge.tickets.values() for ref in one.held()]
        if held:
            self.centre.open_twice(*data.draw(st.sampled_from(held)))

    # --- notifications ------------------------------------------------------------------------------------------------

    @rule(
        lanes=st.sampled_from([LANES, *((lane,) for lane in LANES)]),
        answer=st.sampled_from(["taken", "taken", "taken", "away", "away", "refused", "crash"]),
        at=st.integers(1, 4),
    )
    def delivers(self, lanes: tuple[tuple[str, str], ...], answer: str, at: int) -> None:
        """Who is sent what is due takes it or not; or the process ends before it writes the ``at``-th word of it."""
        for lane in lanes:
            self._deliver(lane, answer, at)

    delivers_too = delivers

    def _deliver(self, lane: tuple[str, str], answer: str, at: int = 0) -> None:
        owner = self.centre.own()
        if owner is not self.notifiers_of:
            self._begin_notifying(owner)
        end = self.ends[lane[0]]
        answers: dict[str, Outcome] = {"away": Retry("away"), "refused": Refused("unknown number")}
        end.answer = answers.get(answer, Delivered())
        if answer == "crash":
            self.centre.break_mark(at)
        before = len(self.got)
        try:
            self.loop.run(self.notifiers[lane[0]].look())
        except Crash:
            self.centre.kill(owner)
        self.centre.mark_no_more()
        self.told.notifications += len(self.got) - before

    def _begin_notifying(self, owner: Collector) -> None:
        """Begin as a process does that knows nothing but the rows."""
        times: dict[str, Any] = {
            "now_ms": lambda: self.centre.now_ms,
            "monotonic": lambda: self.centre.true_ms / 1000,
        }
        names = [name for name, _ in LANES]
        people = People(self.centre.store, SITE, lambda: owner.in_force.contract, names, **times)
        self.notifiers = {
            lane[0]: Notifier(self.centre.store, Lane(SITE, *lane), self.ends[lane[0]], people=people, **times)
            for lane in LANES
        }
        self.notifiers_of = owner

    # --- what holds ---------------------------------------------------------------------------------------------------

    def _turn(self, todo: Break | None, gather: bool = False) -> None:
        """Let the owner work, unless more is to come in first."""
        if not gather or todo is not None:
            self.centre.turn(todo)

    @invariant()
    def every_promise_is_kept(self) -> None:
        self.told.steps += 1
        self.judge.look(self._in_force())
        self._in_order()

    def _in_force(self) -> Contract:
        owner = self.centre.owner
        return self.contract if owner is None else owner.in_force.contract

    def _in_order(self) -> None:
        """What somebody is told of a ticket is never older than what he was told before."""
        last: dict[tuple[str, str], tuple[int, tuple[str, ...]]] = {}
        for who, ticket, keys, words_of in self.got:
            before, before_keys = last.get((who, ticket), (0, ()))
            later = [number for number in words_of if number >= before]
            if not later:
                raise Found(f"{who} is told {keys} after {before_keys}")
            last[who, ticket] = min(later), keys

    def teardown(self) -> None:
        try:
            if sys.exception() is None:
                self._at_the_end()
        finally:
            self.told.runs += 1
            self.loop.close()
            self.centre.close()

    def _at_the_end(self) -> None:
        """All that waited is done and told; the log, judged again, gives the same."""
        while self.centre.old:
            self.centre.late_commit()
        self.centre.turn()
        self.judge.look(self._in_force())
        self.centre.true_ms += 10 * MINUTE
        self.centre.turn()
        self.judge.look(self._in_force())
        self.judge.nobody_waits_too_long()
        for _ in range(200):
            if not deliveries.waiting(self.centre.store, SITE)[0]:
                break
            for lane in LANES:
                self._deliver(lane, "taken")
            self.centre.true_ms += 10 * MINUTE
        self.judge.look(self._in_force())
        self._in_order()
        got: dict[str, set[str]] = {}
        for one in self.got:
            got.setdefault(one.who, set()).update(one.keys)
        self.told.repeated += len(self.got) - len(set(self.got))
        self.judge.everything_told(got)
        owner = self.centre.own()
        self.judge.like_its_memory(owner, owner.lock.load())
        self.judge.like_judged_again(self.centre.before)
        for told in self.judge.rows.events.values():
            self.told.histories.append(told)
            for event in told:
                self.told.events[event.what] = self.told.events.get(event.what, 0) + 1
        self.told.refused += sum(bool(row[5]) for row in self.judge.rows.actions)
