"""What came of a drill beside what its scenario expects: nothing missing, nothing else, nothing otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from collector.core.problems import Problem
from collector.core.tickets.events import Opening
from kitwatch.drill.came import Came, CameTicket, clock, where
from kitwatch.drill.output import everything
from kitwatch.drill.scenario import Drill, ExpectedNote, ExpectedTicket, Line, milliseconds
from simulator.life import kit

_LEAST_MS: Final = 60_000
"""Times of the kit are compared to one interval of the device's polls, and to this at least."""
Difference = dict[str, Any]


def compare(drill: Drill, came: Came) -> dict[str, list[Difference]]:
    """Return what is ``missing``, ``unexpected`` and what ``differs``."""
    return _Comparison(drill, came).all()


class _Comparison:
    def __init__(self, drill: Drill, came: Came) -> None:
        self.drill = drill
        self.came = came

    def all(self) -> dict[str, list[Difference]]:
        """See ``compare``."""
        missing: list[Difference] = []
        differs: list[Difference] = []
        left = list(self.came.tickets.values())
        for ticket in self.drill.scenario.expect.tickets:
            if not self.drill.combination.holds(ticket.only):
                continue
            found = self._nearest(ticket, left)
            if found is None:
                missing.append({"ticket": f"{ticket.fault} {ticket.at}"})
                continue
            left.remove(found)
            differs += [
                {
                    "ticket": found.ticket.id,
                    "fault": ticket.fault,
                    "at": ticket.at,
                    "what": what,
                    "expected": a,
                    "came": b,
                }
                for what, a, b in self._ticket(ticket, found)
            ]
        unexpected: list[Difference] = [
            {
                "ticket": one.ticket.id,
                "fault": one.ticket.fault,
                "at": self.where(one),
                "class": one.ticket.sla_class,
                "event_ms": one.ticket.event_ms,
                "opened_ms": one.opened_ms,
                "rule": one.ticket.rule,
                "state": one.ticket.state,
            }
            for one in left
        ]
        self._notes(missing, unexpected, differs)
        return {"missing": missing, "unexpected": unexpected, "differs": differs}

    def where(self, one: CameTicket) -> str:
        """Return where a ticket's root is."""
        return where(one.ticket.vehicle, one.ticket.device, self.drill.lives.site)

    def _nearest(self, ticket: ExpectedTicket, left: list[CameTicket]) -> CameTicket | None:
        mine = [one for one in left if one.ticket.fault == ticket.fault and self.where(one) == ticket.at]
        if ticket.labels is not None:
            mine = [one for one in mine if one.ticket.root and dict(one.ticket.root.key.labels) == dict(ticket.labels)]
        expected = self._moments(ticket.event, ticket)
        if expected is None:
            return mine[0] if mine else None
        return min(mine, key=lambda one: abs(one.ticket.event_ms - expected[0]), default=None)

    # --- tickets ------------------------------------------------------------------------------------------------------

    def _ticket(self, ticket: ExpectedTicket, found: CameTicket) -> Iterator[tuple[str, Any, Any]]:
        """Yield (what, expected, came) of whatever differs."""
        now = found.ticket
        opening = next((event for event in found.events if isinstance(event.body, Opening)), None)
        if now.sla_class not in _listed(ticket.sla_class):
            yield "class", ticket.sla_class, now.sla_class
        first_class = opening.body.sla_class if opening and isinstance(opening.body, Opening) else ""
        if first_class not in _listed(ticket.class_at_opening or ticket.sla_class):
            yield "class_at_opening", ticket.class_at_opening or ticket.sla_class, first_class
        yield from self._time("event", ticket.event, ticket, now.event_ms)
        yield from self._opened(ticket, found)
        yield from self._over(ticket, found)
        if not _within(ticket.notifications, len(found.told)):
            yield "notifications", ticket.notifications, [self._told(one) for one in found.told]
        if ticket.recurring != "any" and now.recurring != (ticket.recurring == "yes"):
            yield "recurring", ticket.recurring, now.recurring
        if len(found.events) > ticket.history_rows:
            yield "history_rows", f"at most {ticket.history_rows}", len(found.events)
        evidence = opening.body.evidence if opening and isinstance(opening.body, Opening) else ()
        if not any(one.samples or one.text for one in evidence):
            yield "evidence", "some", "none"
        if ticket.forecast is not None:
            soon = next((one.forecast for one in evidence if one.forecast is not None), None)
            yield from self._time("forecast", ticket.forecast, ticket, None if soon is None else soon.at_ms)
        yield from self._problem(ticket, found)

    def _told(self, one: tuple[int, str]) -> str:
        return f"{self._since(one[0])} {one[1]}"

    def _since(self, time_ms: int | None) -> str:
        return clock(time_ms, self.drill.begins_ms)

    def _time(
        self, what: str, said: Any, of: ExpectedTicket | ExpectedNote, came_ms: int | None
    ) -> Iterator[tuple[str, Any, Any]]:
        moments = self._moments(said, of)
        if moments is None:
            return
        tolerance_ms = self._tolerance_ms(of.at)
        if came_ms is None or not moments[0] - tolerance_ms <= came_ms <= moments[1] + tolerance_ms:
            yield what, self._since(moments[0]), self._since(came_ms)

    def _moments(self, said: Any, of: ExpectedTicket | ExpectedNote) -> tuple[int, int] | None:
        """Return the bounds of a moment, shifted with its line; ``None``: any."""
        if said == "any":
            return None
        first, last = (said[0], said[1]) if isinstance(said, tuple | list) else (said, said)
        zero = self.drill.begins_ms + self._shift_ms(of)
        return zero + milliseconds(first), zero + milliseconds(last)

    def _shift_ms(self, of: ExpectedTicket | ExpectedNote) -> int:
        number = self._line_number(of)
        return 0 if number is None else self.drill.shifts[number - 1]

    def _line_number(self, of: ExpectedTicket | ExpectedNote) -> int | None:
        """Return the line (from 1) whose jitter the moments follow: the named one, else the vehicle's first."""
        if of.of is not None:
            return of.of
        vehicle = of.at.partition("/")[0]
        for number, line in enumerate(self.drill.scenario.happens, 1):
            whom = [line.vehicle] if isinstance(line.vehicle, str) else line.vehicle
            if vehicle in whom or "all" in whom or (line.centre and vehicle in ("site", "collector")):
                return number
        return None

    def _line(self, of: ExpectedTicket) -> Line | None:
        number = self._line_number(of)
        return None if number is None else self.drill.scenario.happens[number - 1]

    def _interval_ms(self, at: str) -> int:
        device = at.rpartition("/")[2]
        found = [
            one.every_ms
            for agent in (kit.BOX, kit.TABLET)
            for one in kit.inputs(agent, self.drill.combination.poll_s, switch=True)
            if one.device == device
        ]
        return max(found, default=1000 * self.drill.combination.poll_s)

    def _tolerance_ms(self, at: str) -> int:
        return max(_LEAST_MS, self._interval_ms(at))

    def _agent_of(self, at: str) -> tuple[str, str]:
        vehicle, _, device = at.partition("/")
        return vehicle, kit.TABLET if device in ("pad", kit.TABLET) else kit.BOX

    def _readable_ms(self, ticket: ExpectedTicket) -> tuple[int | None, int | None]:
        """Return when it can be read first, and when the gap in which it began was filled, if it began in one."""
        line = self._line(ticket)
        if ticket.readable is not None:
            moments = self._moments(ticket.readable, ticket)
            return None if moments is None else moments[0], None
        if line is None:
            return None, None
        begins_ms = self.drill.begins_ms + self._shift_ms(ticket) + milliseconds(line.at)
        vehicle, agent = self._agent_of(ticket.at)
        gap_end_ms = self.came.gap_end_ms(vehicle, agent, begins_ms)
        gone = not self._way_out(vehicle, agent, begins_ms)
        return (gap_end_ms or begins_ms) if gone else begins_ms, gap_end_ms

    def _way_out(self, vehicle: str, agent: str, time_ms: int) -> bool:
        lives = self.drill.lives
        of = next((one for one in lives.vehicles if one.name == vehicle), None)
        if of is None:
            return True
        body = lives.body(of)
        own = agent == kit.TABLET and of.tablet == "yes"
        return (body.has_contact(time_ms) if own else body.way_out(time_ms)) and lives.centre.listening(time_ms)

    def _opened(self, ticket: ExpectedTicket, found: CameTicket) -> Iterator[tuple[str, Any, Any]]:
        readable_ms, gap_end_ms = self._readable_ms(ticket)
        opened_as = ticket.opened_as or ticket.fault
        first = found.faults[0][1] if found.faults else ""
        if first != opened_as:
            yield "opened_as", opened_as, first
        slack_ms = 2 * self._interval_ms(ticket.at)
        if ticket.opened_as:
            line = self._line(ticket)
            begins_ms = None if line is None else self.drill.begins_ms + self._shift_ms(ticket) + milliseconds(line.at)
            readable_ms = readable_ms if ticket.readable is not None else begins_ms
            renamed = [at_ms for at_ms, fault in found.faults[1:] if fault == ticket.fault]
            if renamed and gap_end_ms is not None:
                late_ms = renamed[0] - gap_end_ms
                if late_ms > milliseconds(ticket.renamed_within) + slack_ms:
                    yield "renamed_within", ticket.renamed_within, f"{late_ms / 1000:.0f}s"
        if readable_ms is None:
            return
        took_ms = found.opened_ms - readable_ms
        if took_ms > milliseconds(ticket.opened_within) + slack_ms:
            yield "opened_within", ticket.opened_within, f"{took_ms / 1000:.0f}s"
        if took_ms < milliseconds(ticket.opened_after) - slack_ms:
            yield "opened_after", ticket.opened_after, f"{took_ms / 1000:.0f}s"

    def _over(self, ticket: ExpectedTicket, found: CameTicket) -> Iterator[tuple[str, Any, Any]]:
        now = found.ticket
        acted = any(line.person for line in self.drill.scenario.happens)
        over_ms = now.over_event_ms
        problem = None if now.root is None else self.came.latest(now.root)
        if now.recurring and problem is not None and problem.state == "over":
            over_ms = problem.over_event_ms  # the ticket tells of it when it has held
        if ticket.over == "never":
            if over_ms is not None and not acted:
                yield "over", "never", self._since(over_ms)
        else:
            yield from self._time("over", ticket.over, ticket, over_ms)
        unsaid = acted or ticket.over == "any"
        expected = ticket.state or ("" if unsaid else "open" if ticket.over == "never" else "closed")
        came = "open" if now.is_open else now.state
        if expected not in ("", "any", came):
            yield "state", expected, now.state

    def _problem(self, ticket: ExpectedTicket, found: CameTicket) -> Iterator[tuple[str, Any, Any]]:
        root = found.ticket.root
        problem = None if root is None else self.came.latest(root)
        if problem is None:
            return
        if not _within(ticket.times, problem.times):
            yield "times", ticket.times, problem.times
        marks: list[str] = [mark for mark in ("stale", "orphaned") if problem.state == mark]
        marks += ["flapping"] if problem.flapping and problem.state != "over" else []
        if sorted(marks) != sorted(ticket.marks):
            yield "marks", sorted(ticket.marks), sorted(marks)
        if ticket.symptoms is not None:
            came = sorted(self._symptoms(problem))
            if came != sorted(ticket.symptoms):
                yield "symptoms", sorted(ticket.symptoms), came

    def _symptoms(self, root: Problem) -> set[str]:
        site = self.drill.lives.site
        return {
            f"{problem.key.fault} {where(problem.vehicle, problem.key.device, site)}"
            for problem in self.came.problems.values()
            if problem.cause == root.ref
        }

    # --- notes --------------------------------------------------------------------------------------------------------

    def _notes(self, missing: list[Difference], unexpected: list[Difference], differs: list[Difference]) -> None:
        site = self.drill.lives.site
        left = list(self.came.notes)
        for note in self.drill.scenario.expect.notes:
            if not self.drill.combination.holds(note.only):
                continue
            mine = [one for one in left if one.fault == note.fault and where(one.vehicle, one.device, site) == note.at]
            if not mine:
                missing.append({"note": f"{note.fault} {note.at}"})
                continue
            left.remove(mine[0])
            for what, said, came_ms in (("event", note.event, mine[0].began_ms), ("over", note.over, mine[0].ended_ms)):
                differs += [
                    {"note": note.fault, "at": note.at, "what": what, "expected": a, "came": b}
                    for what, a, b in self._time(what, said, note, came_ms)
                ]
        unexpected += [
            {"note": one.fault, "at": where(one.vehicle, one.device, site), "event_ms": one.began_ms, "rule": one.rule}
            for one in left
        ]


def _listed(said: str | tuple[str, ...]) -> tuple[str, ...]:
    return (said,) if isinstance(said, str) else said


def _within(expected: int | tuple[int, int], came: int) -> bool:
    low, high = expected if isinstance(expected, tuple | list) else (expected, expected)
    return low <= came <= high


def result_of(drill: Drill, play: Callable[[], Came], *, in_full: bool = True) -> Mapping[str, Any]:
    """Return the result of a drill as plain data: whether it holds, what differs, and everything that came."""
    combination = drill.combination
    base: dict[str, Any] = {
        "scenario": drill.name,
        "poll_s": combination.poll_s,
        "vehicles": combination.vehicles,
        "tablet": combination.tablet,
        "seed": combination.seed,
    }
    came = play()
    differences = compare(drill, came)
    base |= {"holds": not any(differences.values()), **differences}
    return base | everything(drill, came) if in_full else base
