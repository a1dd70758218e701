"""What must come of a fault in an ordinary life, by the requirements alone. Imports nothing of the product.

Of each fault it says one of: a ticket must come; a closed note and no ticket; one of the two, or nothing, with the
reason why that is open; nothing at all. And of what must come: its root, its class by duty, when it began and ended,
how it may be called when it is opened, and by when.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.lives.course import seconds
from tests.lives.oracle import ABOUT_THE_CENTRE
from tests.told.course import START_S, Course, Span

ROUND_S: Final = 60.0
"""Event times are compared to one poll, and to this at least (docs/drills.md, `event`)."""
SLOW: Final = {
    "camera-1": 60, "camera-2": 30, "encoder": 60, "switch": 30, "gateway": 30, "ups": 30, "tablet": 60, "pad": 30,
    "box": 30,
}  # fmt: skip
"""Seconds between polls of the standard kit, where that is more than ten (docs/drills.md; streams each minute)."""
RENAMED_S: Final = 180.0
"""From the end of a gap to the take-over."""
BACK_S: Final = 60.0
"""From the way out to the end of its backlog: an agent connects again within seconds."""
CLEAR_S: Final = 900.0
"""Who is over for less than this when a gap ends may be told as there still: its rule waits until it is clear."""
NAMED_S: Final = 90.0
"""So long a fault on the only way out has to be there for its name to be sure."""
LOWER: Final = {"disaster": "general"}
"""While parked; all others are deferrable."""
RANK: Final = ("deferrable", "hardware", "general", "disaster")
UNKNOWN_S: Final = 600.0
KEPT_S: Final = 240.0
LEARNT: Final = {"tunnel_100": 240, "tunnel_180": 330, "tunnel_234": 411, "dead_spot": 870}
"""1.5 x p95 and 60 s, 4 min at least, where contact was lost before."""
EDGE_S: Final = 720.0
"""So near to another leg one may be in a cell between two roads, of which nothing is on record."""
NO_DATA_S: Final = 180.0
"""Registered, and no target answers, for so long: no data."""
AGENT_S: Final = 300.0
DISASTER_S: Final = 1200.0
UNREACHABLE: Final = 3
"""So many vehicles of a site that fall silent together make a verdict."""


@dataclass
class Expected:
    """What must, or may, come of one fault. Times are seconds since the life began."""

    must: str
    """``ticket``, ``note``, ``told`` (one of the two), ``open`` (one of the two or nothing), ``nothing``."""
    why: str
    fault: str = ""
    at: str = ""
    names: Sequence[tuple[str, str]] = ()
    """(fault, root) that are as good, at the end."""
    opened_as: Sequence[str] = ()
    """Faults under which it may be opened."""
    classes: Sequence[str] = ()
    """At the end."""
    first_classes: Sequence[str] = ()
    begins: Span = (0.0, 0.0)
    ends: Span | None = None
    """``None``: any, or never."""
    ended: bool = True
    """It is over at the end of the life."""
    not_before: float = 0.0
    by: float = float("inf")
    also: Sequence[tuple[str, str]] = ()
    """(fault, root) of what must come too: a firmware that is blocked has changed."""

    @property
    def all_names(self) -> list[tuple[str, str]]:
        """Return (fault, root) of what is right."""
        return [(self.fault, self.at), *self.names]


@dataclass
class Truth:
    """One fault of one vehicle, and the life around it."""

    says: Mapping[str, Any]
    fault: str
    vehicle: str
    from_s: float
    to_s: float
    """The life's end, if it stays."""
    stays: bool
    course: Course
    poll_s: int
    record: str
    vehicles: int
    others: Sequence[Course] = field(default_factory=list)

    @property
    def root(self) -> str:
        """Return where its ticket has to be."""
        device = self.says.get("at", self.says.get("device", ""))
        return f"{self.vehicle}/{device}" if device else self.vehicle

    @property
    def agent(self) -> str:
        """Return who reads it."""
        if self.fault == "agent_down":
            return "box"
        return "tablet" if self.says.get("device") == "pad" else "box"

    @property
    def interval_s(self) -> float:
        """Return how often it is read, at least."""
        device = self.says.get("device") or self.says.get("at", "")
        return max(self.poll_s, SLOW.get(device, 10))

    @property
    def tolerance_s(self) -> float:
        """See ROUND_S."""
        return max(ROUND_S, self.interval_s)


def truth(scenario: Mapping[str, Any], put: Mapping[str, Any], says: Mapping[str, Any], record: str) -> Truth:
    """Return what is true of a fault that was put into a life."""
    (tablet,), (poll,), (vehicles,) = (scenario["vary"][key] for key in ("tablet", "poll", "vehicles"))
    courses = {name: Course(scenario, name, tablet=tablet == "yes") for name in scenario["world"]["vehicles"]}
    course = courses[put["vehicle"]]
    stays = put["to_s"] is None
    to_s = course.until_s if stays else float(put["to_s"])
    if says.get("way_out"):
        course.cut(put["from_s"], to_s, put["fault"])
    return Truth(
        says, put["fault"], put["vehicle"], float(put["from_s"]), to_s, stays, course, seconds(poll), record, vehicles,
        [one for name, one in courses.items() if name != put["vehicle"]],
    )  # fmt: skip


def expected(of: Truth) -> Expected:
    """Return what must come of it."""
    if of.says.get("under"):
        return Expected("nothing", "it is under the limit", of.fault, of.root)
    return _on_the_way_out(of) if of.says.get("way_out") else _read(of)


# --- a fault that is read ---------------------------------------------------------------------------------------------


def _read(of: Truth) -> Expected:
    course, says = of.course, of.says
    device = says.get("device") or says.get("at", "")
    wanted = says.get("while", ())

    def shows(at_s: float) -> bool:
        """Say whether it can be seen, and counts, at a moment."""
        return course.up(at_s, "pad" if of.agent == "tablet" or says.get("agent") == "tablet" else device) and all(
            _HOLDS[one](course, at_s) for one in wanted
        )

    def there(at_s: float) -> bool:
        return shows(at_s) and not _just_back(course, at_s, wanted)

    spans = course.spans(there, of.from_s, of.to_s)
    loose = course.spans(shows, of.from_s, of.to_s)
    within_s = seconds(says["within"])
    sure_s = seconds(says["sure"]) if "sure" in says else within_s + 120 + 2 * of.interval_s
    never_s = seconds(says["never"]) if "never" in says else 0
    long = next(((a, b) for a, b in spans if b - a >= sure_s), None)
    told = Expected("open", "", of.fault, of.root, opened_as=(of.fault,))
    if not loose or all(b - a <= never_s for a, b in loose):
        return Expected("nothing", "it is not there for long enough while it counts", of.fault, of.root)
    first, last = loose[0], loose[-1]
    start = long or first
    told.begins = _moment(of, says.get("begins"), of.from_s, last[0] if long is None else start[0])
    if says.get("form") == "no_fix":  # who lost the fix in a tunnel, and never had it again, has had none since then
        without = course.spans(lambda one: not course.fix(one))
        told.begins = (
            min([told.begins[0], *(a - of.tolerance_s for a, b in without if a <= of.from_s <= b)]),
            told.begins[1],
        )
    told.ended = not of.stays and says.get("ends") != "any"
    if of.fault in ("firmware_changed", "firmware_blocked"):
        told.ended = False
    if (
        "sure" in says
        and sum(b - a for a, b in course.spans(lambda one: _HOLDS["driving"](course, one), of.to_s)) < 2700
    ):
        told.ended = False  # as long a drive as it takes to be told shows that it is over
    told.ends = _end(of, loose, start) if told.ended else None
    if told.ends is not None and says["device"] == "gnss":  # without a fix in a tunnel it is still without one
        back = [b for a, b in course.spans(lambda one: not course.fix(one)) if a <= of.to_s <= b]
        told.ends = (told.ends[0], max([told.ends[1], *(b + of.tolerance_s for b in back)]))
    heard_s = course.heard(start[0] + within_s, of.agent)
    told.by = _late(of, start[0] + within_s, heard_s)
    _classes(of, told, of.from_s, min(told.by, of.to_s), last[1])
    if says.get("with"):
        told.also = ((says["with"], of.root),)
    if long is None:
        told.must, told.why = "open", f"it counts for {start[1] - start[0]:.0f} s, which may be too little"
        told.by = float("inf")
        return told
    told.must, told.why = _ticket_or_note(of, told, long, within_s)
    return told


_HOLDS: Final[Mapping[str, Callable[[Course, float], bool]]] = {
    "duty": lambda course, at_s: course.duty(at_s) != "parked",
    "ignition": lambda course, at_s: course.ignition(at_s),
    "contact": lambda course, at_s: course.strong(at_s) and not any(a <= at_s < b for a, b, _ in course.gone),
    "fix": lambda course, at_s: course.fix(at_s),
    "driving": lambda course, at_s: course.driving(at_s) and course.strong(at_s) and course.fix(at_s),
    "fed": lambda course, at_s: course.ignition(at_s) or course.shore_power(at_s),
}


def _just_back(course: Course, at_s: float, wanted: Sequence[str]) -> bool:
    """Say whether the vehicle has left its parking only now: devices are given their time to start."""
    return "duty" in wanted and any(
        leg.what == "parked" and leg.to_s <= at_s < leg.to_s + START_S for leg in course.legs
    )


def _moment(of: Truth, said: Any, low_s: float, high_s: float) -> Span:
    if said == "any":
        return (float("-inf"), float("inf"))
    early, late = (seconds(one) for one in said) if said else (0, 0)
    return low_s + early - of.tolerance_s, high_s + late + of.tolerance_s


def _end(of: Truth, loose: Sequence[Span], start: Span) -> Span:
    """Return when it may be said to have ended: with the fault, or with the last time that it counted."""
    course = of.course
    ends_s = next((b for a, b in loose if a <= start[0] < b), of.to_s)  # the first time that it ceased to count
    seen_s = next((a for a, _ in course.spans(lambda one: course.up(one, of.says.get("device", "")), of.to_s)), None)
    back_s = of.to_s if seen_s is None else seen_s
    if any(one in of.says.get("while", ()) for one in ("contact", "driving", "duty", "ignition", "fed", "fix")):
        # it is looked at again only when it counts again
        wanted = of.says["while"]
        back_s = next(
            (a for a, _ in course.spans(lambda one: all(_HOLDS[w](course, one) for w in wanted), back_s)), back_s
        )
    return _moment(of, of.says.get("ends"), min(ends_s, of.to_s), max(of.to_s, back_s))


def _late(of: Truth, due_s: float, heard_s: float | None) -> float:
    """Return by when what is due then must be told: two polls later, and where it is heard late, when it is heard."""
    if heard_s is None:
        return float("inf")
    late_s = 0.0 if heard_s == due_s else BACK_S + RENAMED_S
    return max(due_s, heard_s) + late_s + 2 * of.interval_s


def _classes(of: Truth, told: Expected, from_s: float, to_s: float, over_s: float) -> None:
    """Say the class by duty: what it is when it is opened, and that duty only raises it."""
    plain = of.says["class"]

    def by(duty: str) -> str:
        if of.says.get("always") or duty != "parked":
            return str(plain)
        return LOWER.get(plain, "deferrable")

    duties = {of.course.duty(a) for a, _ in _pieces(of.course, from_s, to_s)}
    told.first_classes = sorted({by(one) for one in duties})
    later = {of.course.duty(a) for a, b in _pieces(of.course, from_s, max(over_s, to_s)) if b - a > 60}
    told.classes = sorted({*told.first_classes, *(by(one) for one in later)})
    until_s = min(over_s, of.to_s)
    raised = [b - a for a, b in _pieces(of.course, to_s, until_s) if of.course.duty(a) != "parked"]
    heard = of.course.heard(until_s - 300, of.agent) if raised else None
    if raised and max(raised) > 900 and heard == until_s - 300:
        told.classes = [by("on_duty")]


def _pieces(course: Course, from_s: float, to_s: float) -> list[Span]:
    cuts = sorted({from_s, *(edge for edge in course.edges() if from_s < edge < to_s)})
    return list(zip(cuts, [*cuts[1:], max(to_s, from_s)], strict=True))


def _ticket_or_note(of: Truth, told: Expected, long: Span, within_s: float) -> tuple[str, str]:
    """Say whether we hear of it while it is there."""
    first_s = of.course.heard(of.from_s, of.agent)
    found_s = of.course.heard(long[0] + within_s, of.agent)
    if of.stays:
        return "ticket", "it is there for long enough while it counts"
    if found_s is None:
        return "open", "nobody hears of it in this life"
    if first_s is not None and first_s > of.to_s + CLEAR_S and first_s == found_s:
        return "note", "it began and ended before we heard of it"
    if found_s > of.to_s:
        return "told", "it is heard of when it is over, or about then"
    return "ticket", "it is there for long enough while it counts"


# --- a fault on the way out -------------------------------------------------------------------------------------------


def _on_the_way_out(of: Truth) -> Expected:
    course = of.course
    silence = course.silence(of.from_s + 0.5)
    told = Expected("open", "", of.fault, of.root)
    told.begins = (of.from_s - of.tolerance_s, of.from_s + of.tolerance_s)
    told.ends = (of.to_s - of.tolerance_s, of.to_s + of.tolerance_s)
    told.opened_as = (of.fault, "vehicle_silent", "agent_down")
    told.classes = told.first_classes = RANK
    told.by = silence[1] + BACK_S + RENAMED_S + 2 * of.interval_s
    if not course.fed(of.to_s):  # it ended while the kit was off: by its last word, or by its first one after that
        fed = course.spans(course.fed, of.from_s, of.to_s)
        back_s = next((a for a, _ in course.spans(course.way_out, of.to_s)), course.until_s)
        last_s = min([told.ends[0], *(b - of.tolerance_s for _, b in fed[-1:])])  # none: it is off all the time
        told.ends = (last_s, back_s + of.tolerance_s)
    if of.fault == "power_lost":
        _power(of, told)
    if of.fault == "wan_no_data":  # where there is no contact it is not registered
        seen = course.spans(course.strong, of.from_s, of.to_s)
        last_s = max([of.from_s, *(b for _, b in seen)])
        told.ends = (min(told.ends[0], last_s - of.tolerance_s), told.ends[1])
        # nor has it anything that lasts: what it had for less than three minutes before that begins anew afterwards
        anew_s = next((a for a, b in seen if b - a >= NO_DATA_S), of.from_s)
        told.begins = (told.begins[0], max(told.begins[1], anew_s + of.tolerance_s))
    if of.fault == "vehicle_silent":
        told.ends = (silence[1] - of.tolerance_s, silence[1] + of.tolerance_s + BACK_S)
        told.begins = (silence[0] - of.tolerance_s, silence[0] + of.tolerance_s)
    if silence[1] >= course.until_s:
        told.why, told.by = "nobody hears of it in this life", float("inf")
        return told
    named = _named(of)
    heard_beside = _tablet_hears(of, silence)
    if course.spans(lambda one: not course.listening(one), *silence):
        told.must = "told" if named == "sure" and of.fault not in ("vehicle_silent", "agent_down") else "open"
        told.why = "we were deaf for some of the silence: who falls silent then is unheard, and the next word decides"
        told.by = float("inf")
        _silence_alone(of, told, silence)
        return told
    if named != "sure":
        _silence_alone(of, told, silence)
    if heard_beside is not None:
        _beside_a_tablet(of, told, silence, named, heard_beside)
    else:
        _silent(of, told, silence, named)
    return told


def _silence_alone(of: Truth, told: Expected, silence: Span) -> None:
    """Let it be what silence is called where nothing explains it."""
    told.names = (("vehicle_silent", of.vehicle), ("agent_down", f"{of.vehicle}/box"))
    told.begins = (min(told.begins[0], silence[0] - of.tolerance_s), told.begins[1])
    if told.ends is not None:
        told.ends = (told.ends[0], max(told.ends[1], silence[1] + of.tolerance_s + BACK_S))


def _named(of: Truth) -> str:
    """Say whether the backlog can tell what it was: ``sure``, ``open`` or ``no``."""
    course = of.course
    if of.fault in ("vehicle_silent", "agent_down"):
        return "sure"

    def shows(at_s: float) -> bool:
        if of.fault == "wan_no_data" and (not course.strong(at_s) or not any(one.way_out(at_s) for one in of.others)):
            return False  # registered, signal good, and another vehicle's targets answer
        if of.fault == "router_dead" and course.duty(at_s) == "parked":
            return False  # of a parked vehicle, what is not reached opens nothing
        return of.fault == "power_lost" or course.up(at_s, "modem")

    spans = course.spans(shows, of.from_s, of.to_s)
    longest = max((b - a for a, b in spans), default=0.0)
    if of.fault == "power_lost":
        return _power_named(of)
    if longest >= NAMED_S + 2 * of.interval_s:
        return "sure"
    return "open" if longest >= 10 else "no"


def _power_named(of: Truth) -> str:
    """``always`` kits, or moving at the old run's last word."""
    course = of.course
    last_s = max(0.0, of.from_s - 1)
    if not any(a <= of.from_s < b for a, b, _ in course.gone) or not course.fed(last_s):
        return "no"
    if course.power == "always":
        return "sure"
    near = [course.driving(last_s - one) and course.fix(last_s - one) for one in (0, of.poll_s, 2 * of.poll_s)]
    return "sure" if all(near) else "open" if any(near) else "no"


def _power(of: Truth, told: Expected) -> None:
    """It ends by acknowledgement, and nobody acknowledges here."""
    told.ends, told.ended = None, False
    told.begins = (of.from_s - of.tolerance_s, of.from_s + of.tolerance_s)
    told.opened_as = (*told.opened_as, "router_dead")


def _tablet_hears(of: Truth, silence: Span) -> Span | None:
    """Return the longest time in the silence in which a tablet is heard, ``None`` where there is none."""
    if not of.course.tablet or of.fault == "vehicle_silent":
        return None  # where there is no contact the tablet has none either
    heard = of.course.spans(lambda one: of.course.way_out(one, "tablet"), *silence)
    return max(heard, key=lambda span: span[1] - span[0], default=None)


def _parked_then(of: Truth, silence: Span) -> str:
    """Say whether the vehicle is known as parked when it falls silent: ``yes``, ``no`` or ``open``."""
    course, last_s = of.course, max(0.0, silence[0] - 1)
    if course.duty(last_s) == "parked":
        read = course.duty(last_s - of.poll_s - 1) == "parked"
        return "yes" if read or course.power != "always" else "open"
    if course.power == "always" or course.duty(last_s) == "mission":
        return "no"
    if course.driving(last_s):
        return "no"
    still = not course.driving(last_s - 2 * of.poll_s - 5)
    return "yes" if still else "open"


def _limits(of: Truth, silence: Span) -> Span:
    """Return after how much silence a ticket is due where the vehicle was heard last, at least and at most."""
    course, last_s = of.course, max(0.0, silence[0] - 1)
    leg, after = course.leg(last_s), course.leg(silence[0] + 1)
    mouth = after.what if after.what in LEARNT else course.leg(min(leg.to_s + 1, course.until_s - 1)).what
    if mouth in LEARNT and leg.to_s - last_s < EDGE_S:
        return KEPT_S, max(UNKNOWN_S, LEARNT[mouth])  # the cell of the mouth, or of its neighbours
    if of.record == "none":
        return UNKNOWN_S, UNKNOWN_S
    if leg.what in ("standing", "parked"):
        return KEPT_S, UNKNOWN_S
    if last_s - leg.from_s < EDGE_S or leg.to_s - last_s < EDGE_S:
        return KEPT_S, UNKNOWN_S
    return KEPT_S, KEPT_S


def _silent(of: Truth, told: Expected, silence: Span, named: str) -> None:
    """Say what comes where nobody of the vehicle is heard."""
    slack_s = of.poll_s + 30.0
    lasts_s = silence[1] - silence[0]
    low_s, high_s = _limits(of, silence)
    parked = _parked_then(of, silence)
    mission = of.course.duty(max(0.0, silence[0] - 1)) == "mission"
    told.first_classes = _silent_classes(of, low_s, mission, named)
    told.classes = told.first_classes
    due = parked == "no" and lasts_s > high_s + 2 * slack_s
    never = parked == "yes" or lasts_s < low_s - slack_s
    if due:
        told.must, told.why = "ticket", f"silent for {lasts_s:.0f} s, where {high_s:.0f} s are allowed at most"
        told.not_before = silence[0] + low_s - slack_s - 30
        told.opened_as = ("vehicle_silent",)
        told.by = silence[0] + high_s + 2 * slack_s
        if mission or lasts_s > max(DISASTER_S, high_s) + 2 * slack_s:
            told.classes = ("disaster",)
        elif lasts_s < DISASTER_S - 2 * slack_s and of.fault not in ("power_lost",):
            told.classes = ("general",)
        else:
            told.classes = ("general", "disaster")
        if named == "no" and of.fault != "vehicle_silent":
            told.why += "; nothing explains it"
        return
    if not never:
        told.must = "told" if named == "sure" and of.fault != "vehicle_silent" else "open"
        told.why = f"silent for {lasts_s:.0f} s, where {low_s:.0f} to {high_s:.0f} s are allowed; parked: {parked}"
        return
    _no_ticket_was_due(of, told, silence, named)


def _silent_classes(of: Truth, low_s: float, mission: bool, named: str) -> Sequence[str]:
    if of.fault == "power_lost":
        return ("general", "disaster") if mission else ("deferrable", "general")
    return ("disaster",) if mission else ("general", "disaster") if low_s >= DISASTER_S - 60 else ("general",)


def _no_ticket_was_due(of: Truth, told: Expected, silence: Span, named: str) -> None:
    told.classes = told.first_classes = RANK
    if of.fault in ("vehicle_silent", "agent_down"):
        told.must, told.why = "nothing", "no ticket was due, and nothing was wrong with the kit"
    elif named == "no":
        told.must, told.why = "nothing", "no ticket was due, and it was not there for long enough"
    elif named == "open":
        told.must, told.why = "open", "no ticket was due, and it may not have been there for long enough"
    elif of.fault == "power_lost":
        told.must, told.why = "ticket", "back after an abrupt end"
        told.opened_as = ("power_lost",)
        told.by = silence[1] + 300 + 2 * of.interval_s
        duty = {of.course.duty(max(0.0, of.from_s - 1)), of.course.duty(silence[1])}
        first = {"deferrable" if one == "parked" else "general" for one in duty}
        told.first_classes, told.classes = sorted(first), ("deferrable", "general")
    else:
        told.must, told.why = "note", "no ticket was due; it began and ended unheard"


def _beside_a_tablet(of: Truth, told: Expected, silence: Span, named: str, heard: Span) -> None:
    """Say what comes where the tablet is heard without the box."""
    slack_s = of.poll_s + 30.0
    lasts_s = heard[1] - max(heard[0], silence[0])
    parked = _parked_then(of, silence)
    if of.fault in ("router_dead", "power_lost"):
        dead_s = min(of.to_s, heard[1]) - max(of.from_s, heard[0])
        told.opened_as = ("router_dead", "agent_down", "power_lost")
        told.names = (("router_dead", f"{of.vehicle}/router"),) if of.fault == "power_lost" else told.names
        if of.fault == "power_lost":
            told.must = "ticket" if named == "sure" else "open"
            told.why = "the tablet cannot reach the router meanwhile; at the next start it is known that power was lost"
            told.classes = told.first_classes = RANK
        elif parked != "no":
            told.must, told.why = "open", "parked, what is unreachable opens nothing; the backlog tells of it"
        elif dead_s > 240 + 2 * slack_s and heard[0] <= of.from_s:
            told.must, told.why = "ticket", "the tablet cannot reach the router"
            told.opened_as = ("router_dead",)
            told.by = of.from_s + 240 + 2 * of.poll_s
            told.classes = told.first_classes = ("disaster",)
        elif of.to_s - of.from_s < 60:
            told.must, told.why = "open", "a restart; the backlog may tell of it"
        else:
            told.must, told.why = "told" if named == "sure" else "open", "the tablet may not have seen it for long"
        return
    told.opened_as = ("agent_down",)
    told.classes = told.first_classes = ("deferrable",)
    if parked == "no" and lasts_s > AGENT_S + 60 + 2 * slack_s and _always_hears(of, silence):
        told.must, told.why = "ticket", f"the tablet is heard for {lasts_s:.0f} s without the box"
        told.not_before = silence[0] + AGENT_S - 60 - 2 * of.poll_s
        told.by = silence[0] + AGENT_S + 60 + 2 * slack_s
        return
    if parked == "yes" or (silence[1] - silence[0] < AGENT_S - 60 - slack_s):
        _no_ticket_was_due(of, told, silence, named)
        return
    told.opened_as = ("agent_down", "vehicle_silent", of.fault)
    told.classes = told.first_classes = RANK
    told.must = "told" if named == "sure" and of.fault not in ("vehicle_silent", "agent_down") else "open"
    told.why = f"silent for {silence[1] - silence[0]:.0f} s, parked: {parked}: agent_down may have been due"


def _always_hears(of: Truth, silence: Span) -> bool:
    """Say whether the tablet was heard in all of the first minutes of the silence."""
    course = of.course
    return not course.spans(
        lambda one: not course.way_out(one, "tablet"), silence[0], min(silence[1], silence[0] + 2 * AGENT_S)
    )


# --- what came --------------------------------------------------------------------------------------------------------

RESULTS: Final = (
    "right", "late", "early", "wrong name", "wrong place", "wrong time", "wrong class", "split", "missed", "false",
)  # fmt: skip
"""What can come of one fault, and of one that is none: ``right`` or ``false``."""


@dataclass
class Verdict:
    """What came of one fault."""

    result: str
    detail: str
    must: str


def judge(
    came: Mapping[str, Any], all_of: Sequence[tuple[Truth, Expected]], scenario: Mapping[str, Any]
) -> tuple[list[Verdict], list[str]]:
    """Return what came of each fault, and what came that nobody caused."""
    tickets = [_ticket(one, came["begins_ms"]) for one in came["tickets"]]
    notes = [_note(one, came["begins_ms"]) for one in came["notes"]]
    left = [one for one in tickets if not (_of_the_centre(one, scenario) or _all_silent(one, all_of))]
    left_notes = list(notes)
    verdicts = [_one(of, told, left, left_notes) for of, told in all_of]
    false = [f"ticket {_words(one)}" for one in left]
    false += [f"note {one['fault']} {one['at']}, {one['from']:.0f} to {one['to']:.0f} s" for one in left_notes]
    return verdicts, false


def _ticket(one: Mapping[str, Any], begins_ms: int) -> dict[str, Any]:
    def since(time_ms: int | None) -> float | None:
        return None if time_ms is None else (time_ms - begins_ms) / 1000

    opening: Mapping[str, Any] = next(
        (event["body"] for event in one["events"] if "sla_class" in (event["body"] or {})), {}
    )
    return {
        "fault": one["fault"],
        "at": one["at"],
        "event": since(one["event_ms"]),
        "opened": since(one["opened_ms"]),
        "over": since(one["over_event_ms"]),
        "class": one["class"],
        "first_class": opening.get("sla_class", one["class"]),
        "first": one["faults"][0]["fault"] if one["faults"] else one["fault"],
        "open": one["state"] not in ("closed", "resolved", "cancelled", "merged"),
    }


def _note(one: Mapping[str, Any], begins_ms: int) -> dict[str, Any]:
    return {
        "fault": one["fault"],
        "at": one["at"],
        "from": (one["began_ms"] - begins_ms) / 1000,
        "to": (one["ended_ms"] - begins_ms) / 1000,
    }


def _words(one: Mapping[str, Any]) -> str:
    over = "not over" if one["over"] is None else f"over {one['over']:.0f}"
    times = f"event {one['event']:.0f}, opened {one['opened']:.0f}, {over}"
    first = "" if one["first"] == one["fault"] else f" (opened as {one['first']})"
    return f"{one['fault']} {one['at']}{first}, {one['class']}, {times}"


def _of_the_centre(ticket: Mapping[str, Any], scenario: Mapping[str, Any]) -> bool:
    """Say whether a ticket is about an outage of ours that there was."""
    outages = [ABOUT_THE_CENTRE.get(line.get("centre", "")) for line in scenario["happens"]]
    return any(one is not None and (ticket["fault"], ticket["at"]) == one[:2] for one in outages)


def _all_silent(ticket: Mapping[str, Any], all_of: Sequence[tuple[Truth, Expected]]) -> bool:
    """Say whether chance had three vehicles or more in holes from one moment on, and not one word of any other."""
    of = all_of[0][0]
    courses = [of.course, *of.others]
    if ticket["fault"] != "site_unreachable" or len(courses) < UNREACHABLE:
        return False
    from_s = ticket["event"] + of.poll_s + ROUND_S
    return not any(one.spans(one.way_out, from_s, ticket["opened"]) for one in courses)


def _one(of: Truth, told: Expected, left: list[dict[str, Any]], notes: list[dict[str, Any]]) -> Verdict:
    """Judge what came of one fault, and take it out of what is left."""
    mine = [one for one in left if (one["fault"], one["at"]) in told.all_names]
    my_notes = [one for one in notes if (one["fault"], one["at"]) in told.all_names]
    others = [one for one in left if one not in mine and one["at"].split("/")[0] == of.vehicle and _during(of, one)]
    also = [one for one in others if (one["fault"], one["at"]) in told.also]
    others = [one for one in others if one not in also]
    for one in (*mine, *also, *(others if told.must != "nothing" else ())):
        left.remove(one)
    for note in my_notes:
        notes.remove(note)
    if told.must == "nothing":
        found = [_words(one) for one in mine] + [f"note {one['from']:.0f}" for one in my_notes]
        return Verdict("false" if found else "right", "; ".join(found) or told.why, told.must)
    if not mine:
        return _no_ticket(told, my_notes, others)
    if told.must == "note":
        return Verdict("false", f"{told.why}, and yet: {_words(mine[0])}", told.must)
    if len(mine) > 1 or others or (my_notes and told.must == "ticket" and _same(mine[0], my_notes)):
        return Verdict(
            "split",
            "; ".join([_words(one) for one in (*mine, *others)] + [f"note {one}" for one in my_notes]),
            told.must,
        )
    if told.also and not also:
        return Verdict("missed", f"{told.also[0][0]} beside it", told.must)
    return _details(of, told, mine[0])


def _during(of: Truth, one: Mapping[str, Any]) -> bool:
    return bool(of.from_s - 1800 <= one["event"] <= of.to_s + 1800)


def _same(ticket: Mapping[str, Any], notes: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether a note is about what a ticket tells already."""
    over = ticket["over"] if ticket["over"] is not None else float("inf")
    return any(ticket["event"] - 60 <= one["from"] <= over for one in notes)


def _no_ticket(told: Expected, notes: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> Verdict:
    if others:
        place = [one for one in others if one["fault"] == told.fault]
        return Verdict("wrong place" if place else "wrong name", "; ".join(_words(one) for one in others), told.must)
    if told.must == "ticket":
        return Verdict("missed", f"{told.why}" + ("; only a note" if notes else ""), told.must)
    if told.must in ("note", "told") and not notes:
        return Verdict("missed", told.why, told.must)
    for one in notes:
        if not told.begins[0] <= one["from"] <= told.begins[1]:
            return Verdict("wrong time", f"note from {one['from']:.0f}, expected {_span(told.begins)}", told.must)
        if told.ends is not None and not told.ends[0] <= one["to"] <= told.ends[1]:
            return Verdict("wrong time", f"note to {one['to']:.0f}, expected {_span(told.ends)}", told.must)
        break
    return Verdict("right", told.why, told.must)


def _details(of: Truth, told: Expected, one: Mapping[str, Any]) -> Verdict:
    """Judge the one ticket that came."""

    def wrong(result: str, detail: str) -> Verdict:
        return Verdict(result, f"{detail}: {_words(one)} ({told.why})", told.must)

    if told.must == "ticket" and one["first"] not in told.opened_as:
        return wrong("wrong name", f"opened as {one['first']}, expected {' or '.join(told.opened_as)}")
    if one["opened"] > told.by:
        return wrong("late", f"opened at {one['opened']:.0f}, expected by {told.by:.0f}")
    if one["opened"] < told.not_before:
        return wrong("early", f"opened at {one['opened']:.0f}, expected not before {told.not_before:.0f}")
    if not told.begins[0] <= one["event"] <= told.begins[1]:
        return wrong("wrong time", f"event {one['event']:.0f}, expected {_span(told.begins)}")
    if not told.ended and one["over"] is not None and told.must == "ticket" and of.stays:
        return wrong("wrong time", "over, and it is there still")
    if told.ended and told.ends is not None and of.course.until_s - of.to_s > AGENT_S:
        if one["over"] is None:
            if told.ends[1] < of.course.until_s - CLEAR_S:
                return wrong("wrong time", f"not over, expected {_span(told.ends)}")
        elif not told.ends[0] <= one["over"] <= told.ends[1]:
            return wrong("wrong time", f"over {one['over']:.0f}, expected {_span(told.ends)}")
    if one["first_class"] not in told.first_classes:
        return wrong("wrong class", f"{one['first_class']} at opening, expected {' or '.join(told.first_classes)}")
    if one["class"] not in told.classes:
        return wrong("wrong class", f"{one['class']}, expected {' or '.join(told.classes)}")
    return Verdict("right", told.why, told.must)


def _span(span: Span) -> str:
    return f"{span[0]:.0f} to {span[1]:.0f}"
