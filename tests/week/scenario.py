"""What happens in the week, and who is there to be told of it. Imports nothing of the product."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock_time
from typing import Any, Final
from zoneinfo import ZoneInfo

SITE: Final = "north"
ZONE: Final = ZoneInfo("Asia/Shanghai")

# Monday to Sunday: two days of Labour Day, three working days, a make-up Saturday, a Sunday; then a day to see it out.
BEGIN: Final = datetime(2026, 5, 4, tzinfo=ZONE)
END: Final = datetime(2026, 5, 12, 12, tzinfo=ZONE)
HOLIDAYS: Final = frozenset(date(2026, 5, day) for day in range(1, 6))
MAKE_UP: Final = frozenset({date(2026, 5, 9)})

CONTRACT: Final[Mapping[str, Any]] = {
    "start": "2026-01-01",
    "roster": {
        "zhao": {
            "name": "赵工",
            "role": "engineer",
            "login": "zhao",
            "channels": [{"by": "sms", "address": "13800000001"}, {"by": "mail", "address": "zhao@example.com"}],
            "on_duty": [
                {"days": ["mon", "tue", "wed", "thu", "fri"], "from": "08:00", "to": "20:00"},
                {"dates": ["2026-05-09"], "from": "08:00", "to": "20:00"},
            ],
            "stand_in": "qian",
            "away": [{"from": "2026-05-07", "to": "2026-05-07"}],
        },
        "qian": {
            "name": "钱工",
            "role": "engineer",
            "login": "qian",
            "channels": [{"by": "sms", "address": "13800000002"}],
            "on_duty": [
                {"from": "20:00", "to": "08:00"},
                {"dates": ["2026-05-04", "2026-05-05"], "from": "08:00", "to": "20:00"},
            ],
            "stand_in": "zhao",
        },
        "sun": {
            "name": "孙经理",
            "role": "manager",
            "login": "sun",
            "channels": [{"by": "mail", "address": "sun@example.com"}, {"by": "sms", "address": "13800000003"}],
            "quiet_hours": {"from": "22:00", "to": "07:00"},
        },
        "li": {
            "name": "李科",
            "role": "information",
            "login": "li",
            "channels": [{"by": "mail", "address": "li@example.com"}, {"by": "sms", "address": "13800000004"}],
        },
    },
    "escalation": {
        "response": [
            {"before": "15m", "to": ["engineer"]},
            {"at_due": True, "to": ["manager"]},
            {"after": "1h", "to": ["information"]},
        ],
        **{
            clock: [
                {"before": "1d", "to": ["engineer"]},
                {"at_due": True, "to": ["manager"]},
                {"after": "1d", "to": ["information"]},
            ]
            for clock in ("solution", "call_back")
        },
    },
    "notifications": {
        "group_wait": "30s",
        "group_interval": "5m",
        "repeat": "4h",
        "repeat_most": 3,
        "fail_over_after": 3,
        "link": "https://kw.example.org",
    },
}

CHANNELS: Final = ("sms", "mail", "robot")
GROUP: Final = "robot"  # no person's channel: a group that is told of everything

DISASTER, GENERAL, CHANGE, CONSULTATION, HARDWARE, DEFERRABLE = CLASSES = (
    "disaster",
    "general",
    "change",
    "consultation",
    "hardware",
    "deferrable",
)


@dataclass(frozen=True, slots=True, order=True)
class Step:
    """One thing that happens: a problem ``begins`` or ``ends``, a ``call`` or ``form`` comes in, a person acts."""

    at: datetime
    do: str  # begins, ends, call, form, or the event that a person makes
    ticket: str  # this scenario's own name for it; a problem's name for what rules see
    by: str = ""  # roster id, "@drawn": whoever was drawn to call back, "": a rule
    says: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Outage:
    """A channel that fails with errors from ``errors`` on, and answers with a refusal from ``refuses`` on."""

    channel: str
    errors: datetime
    refuses: datetime
    over: datetime

    def answer(self, channel: str, at: datetime) -> str:
        """What a channel says to a message: ``taken``, ``failed`` or ``refused``."""
        if channel != self.channel or not self.errors <= at < self.over:
            return "taken"
        return "failed" if at < self.refuses else "refused"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One week."""

    seed: int
    steps: tuple[Step, ...]  # in time
    outage: Outage
    stopped: tuple[datetime, datetime]  # the process is killed, and begins anew
    until: datetime = END  # what is seen of it

    def only(self, *tickets: str, until: datetime) -> "Scenario":
        """The same week with these tickets alone, seen until an earlier moment."""
        steps = tuple(step for step in self.steps if step.ticket in tickets and step.at < until)
        return replace(self, steps=steps, until=until)

    @property
    def tickets(self) -> tuple[str, ...]:
        """The names of the tickets, in the order in which they are opened."""
        return tuple(dict.fromkeys(step.ticket for step in self.steps))


def local(day: int, time: str) -> datetime:
    """A moment of May 2026 at the site: ``local(7, "12:00:10")``."""
    return datetime.combine(date(2026, 5, day), clock_time.fromisoformat(time), ZONE)


STOPPED: Final = (local(7, "12:00:10"), local(7, "12:05"))


def week(seed: int) -> Scenario:
    """Forty tickets, seventeen of them written by hand; the seed draws the others, the channel that fails and when."""
    draw = random.Random(f"week {seed}")
    steps = [*by_hand(), *(step for number in range(23) for step in drawn(draw, f"drawn-{number}"))]
    errors = local(7, "06:00") if seed == 0 else local(draw.choice((4, 5, 6, 7, 8)), f"{draw.randrange(24):02}:00:30")
    channel = "sms" if seed == 0 else draw.choice(CHANNELS)
    outage = Outage(channel, errors, errors + timedelta(days=1), errors + timedelta(days=2))
    return Scenario(seed, tuple(sorted(while_running(step) for step in steps)), outage, STOPPED)


def while_running(step: Step) -> Step:
    """Nobody acts while the process is dead, and it sees problems once it runs again; the order stays."""
    down, up = STOPPED
    if not down - timedelta(seconds=11) < step.at < up or step.ticket == "struck":
        return step
    late = up + timedelta(seconds=10) + (step.at - down + timedelta(seconds=11)) / 10
    return Step(late, step.do, step.ticket, step.by, step.says)


def by_hand() -> list[Step]:
    """What a week of a dispatcher has in it, and the cases of the pages."""
    return [
        # A link that comes and goes through the week: three times it is told, then it is recurring.
        *(
            Step(
                local(4, "09:00") + timedelta(minutes=40 * time + over),
                "ends" if over else "begins",
                "flaps",
                says={"class": GENERAL},
            )
            for time in range(8)
            for over in (0, 20)
        ),
        Step(local(6, "08:20"), "responded", "flaps", "zhao"),
        *(
            Step(local(day, f"{hour:02}:{minute:02}"), do, "flaps", says={"class": GENERAL})
            for day in (6, 7, 8)
            for hour in (10, 14, 18, 22)
            for minute, do in ((1, "begins"), (31, "ends"))
        ),
        Step(local(9, "10:00"), "resolved", "flaps", "zhao"),
        Step(local(9, "11:00"), "confirmed", "flaps", "@drawn", {"answer": "优"}),
        # A disaster in the night of a holiday, answered late; the call-back says it is not solved.
        Step(local(5, "02:10"), "begins", "night", says={"class": DISASTER}),
        Step(local(5, "02:30"), "acknowledged", "night", "qian"),
        Step(local(5, "03:30"), "responded", "night", "qian"),
        Step(local(5, "05:40"), "ends", "night"),
        Step(local(5, "06:00"), "resolved", "night", "qian"),
        Step(local(6, "09:00"), "dissatisfied", "night", "@drawn", {"answer": "差"}),
        Step(local(6, "09:20"), "responded", "night", "zhao"),
        Step(local(6, "10:40"), "resolved", "night", "zhao"),
        Step(local(6, "21:00"), "confirmed", "night", "@drawn", {"answer": "优"}),
        # Both engineers worked on it: the manager calls back.
        Step(local(6, "10:15"), "call", "both", "li", {"class": GENERAL}),
        Step(local(6, "10:30"), "acknowledged", "both", "zhao"),
        Step(local(6, "11:00"), "responded", "both", "zhao"),
        Step(local(6, "15:00"), "planned", "both", "zhao"),
        Step(local(8, "21:00"), "resolved", "both", "qian"),
        Step(local(9, "10:00:20"), "confirmed", "both", "@drawn", {"answer": "优"}),
        # A question at night: the manager hears of it in the morning, in one message.
        Step(local(6, "22:30"), "call", "question", "li", {"class": CONSULTATION}),
        Step(local(7, "08:30"), "responded", "question", "qian"),
        Step(local(7, "08:40"), "resolved", "question", "qian"),
        Step(local(8, "09:00"), "confirmed", "question", "@drawn", {"answer": "良"}),
        # A wish of the information department by the form, given to somebody who is away.
        Step(local(5, "09:00"), "form", "wish", "li", {"class": CHANGE}),
        Step(local(5, "10:00"), "responded", "wish", "qian"),
        Step(local(7, "09:30"), "assigned", "wish", "li", {"to": "zhao"}),
        # Hardware: with the spare at hand, and without.
        Step(local(7, "14:00"), "call", "camera", "li", {"class": HARDWARE, "spare": "at_hand"}),
        Step(local(11, "10:00"), "resolved", "camera", "zhao"),
        Step(local(5, "16:00"), "call", "router", "li", {"class": HARDWARE, "spare": "none"}),
        Step(local(5, "17:00"), "responded", "router", "qian"),
        Step(local(6, "09:30"), "planned", "router", "zhao"),
        # What can wait heals by itself.
        Step(local(4, "13:00"), "begins", "waits", says={"class": DEFERRABLE}),
        Step(local(5, "07:45"), "ends", "waits"),
        # Silenced over its clock's levels: told once afterwards.
        Step(local(8, "10:00"), "begins", "silent", says={"class": GENERAL}),
        Step(local(8, "10:02"), "acknowledged", "silent", "zhao"),
        Step(local(8, "10:05"), "silenced", "silent", "zhao", {"until": local(8, "17:30")}),
        Step(local(8, "18:15"), "responded", "silent", "zhao"),
        # Two calls about one fault.
        Step(local(6, "13:00"), "call", "first-call", "li", {"class": GENERAL}),
        Step(local(6, "13:20"), "call", "second-call", "li", {"class": GENERAL}),
        Step(local(6, "13:40"), "merged", "second-call", "zhao", {"into": "first-call"}),
        Step(local(6, "14:10"), "responded", "first-call", "zhao"),
        Step(local(6, "16:00"), "resolved", "first-call", "zhao"),
        Step(local(7, "21:00"), "confirmed", "first-call", "@drawn", {"answer": "优"}),
        Step(local(7, "21:05"), "confirmed", "first-call", "@drawn", {"answer": "良", "caller": "second-call"}),
        # Taken up by hand twice, before anybody answered.
        Step(local(9, "08:30"), "call", "urgent", "li", {"class": GENERAL}),
        Step(local(9, "08:50"), "escalated", "urgent", "li"),
        Step(local(9, "08:55"), "escalated", "urgent", "li"),
        Step(local(9, "09:40"), "responded", "urgent", "zhao"),
        Step(local(9, "12:00"), "resolved", "urgent", "zhao"),
        # Nobody ever acknowledges it, into a Sunday on which nobody is on duty.
        Step(local(9, "21:00"), "begins", "forgotten", says={"class": GENERAL}),
        # Raised to a disaster.
        Step(local(6, "16:00:30"), "call", "raised", "li", {"class": GENERAL}),
        Step(local(6, "16:20:30"), "class_changed", "raised", "zhao", {"class": DISASTER}),
        Step(local(6, "17:30"), "responded", "raised", "zhao"),
        # A false alarm.
        Step(local(7, "11:00"), "begins", "false", says={"class": GENERAL}),
        Step(local(7, "11:10"), "cancelled", "false", "qian"),
        # Three things within seconds, one message; one more two minutes later, which waits for the interval.
        Step(local(4, "15:00"), "begins", "burst", says={"class": GENERAL}),
        Step(local(4, "15:00:08"), "assigned", "burst", "li", {"to": "qian"}),
        Step(local(4, "15:00:16"), "escalated", "burst", "li"),
        Step(local(4, "15:02"), "assigned", "burst", "li", {"to": "zhao"}),
        Step(local(4, "15:40"), "responded", "burst", "qian"),
        Step(local(4, "17:00"), "ends", "burst"),
        Step(local(4, "17:10"), "resolved", "burst", "qian"),
        Step(local(4, "19:10"), "confirmed", "burst", "@drawn", {"answer": "优"}),
        # Opened ten seconds before the process is killed.
        Step(local(7, "12:00"), "begins", "struck", says={"class": GENERAL}),
        Step(local(7, "13:10"), "responded", "struck", "qian"),
    ]


def drawn(draw: random.Random, name: str) -> list[Step]:
    """The life of one ticket, drawn."""
    at = BEGIN + timedelta(seconds=draw.randrange(6 * 86400))
    source = draw.choice(("begins", "begins", "call", "form"))
    klass = draw.choice((DISASTER, GENERAL, GENERAL, DEFERRABLE) if source == "begins" else CLASSES)
    engineer, other = draw.sample(("zhao", "qian"), 2)
    steps = [Step(at, source, name, "" if source == "begins" else "li", {"class": klass})]

    def later(low: int, high: int) -> datetime:
        nonlocal at
        at += timedelta(seconds=draw.randrange(low * 60, high * 60))
        return at

    life = draw.choice(("heals", "flaps", "never", "late", "solved", "solved", "again", "assigned", "silenced"))
    if source == "begins" and life in ("heals", "flaps"):
        for _ in range(1 if life == "heals" else draw.choice((2, 4))):
            steps.append(Step(later(2, 50), "ends", name))
            if life == "flaps":
                steps.append(Step(later(2, 50), "begins", name, says={"class": klass}))
        return steps
    if life == "never":
        return steps
    if life == "silenced":
        steps.append(Step(later(1, 10), "acknowledged", name, engineer))
        steps.append(
            Step(later(1, 3), "silenced", name, engineer, {"until": at + timedelta(minutes=draw.randrange(30, 400))})
        )
    if life == "assigned":
        steps.append(Step(later(0, 20), "assigned", name, "li", {"to": other}))
    if life != "late":
        steps.append(Step(later(2, 40), "acknowledged", name, engineer)) if life != "silenced" else None
    steps.append(Step(later(*((130, 900) if life == "late" else (5, 90))), "responded", name, engineer))
    if draw.random() < 0.5:
        steps.append(Step(later(30, 300), "planned", name, draw.choice((engineer, other))))
    if source == "begins":
        steps.append(Step(later(10, 300), "ends", name))
    steps.append(Step(later(5, 60), "resolved", name, engineer))
    if life == "again":
        steps.append(Step(later(60, 1500), "dissatisfied", name, "@drawn", {"answer": "差"}))
        steps.append(Step(later(5, 200), "responded", name, other))
        steps.append(Step(later(5, 200), "resolved", name, other))
    if draw.random() < 0.8:
        steps.append(Step(later(60, 2500), "confirmed", name, "@drawn", {"answer": draw.choice(("优", "良"))}))
    return [step for step in steps if step.at < END - timedelta(minutes=5)]


def utc(at: datetime) -> datetime:
    """The same moment in UTC."""
    return at.astimezone(UTC)
