"""Whatever happens, and in whatever order: a ticket is the fold of its events, and one is live a problem."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from collector.core.problems import ProblemNews, ProblemRef
from collector.core.tickets import events as e
from collector.core.tickets.refused import Refused
from collector.core.tickets.transitions import TABLE
from tests.unit.desks import DAY, HOUR, T0, WINDOW, Desk, call, key

REFS = [
    key(),
    key("packet_loss", "uplink"),
    key("router_dead", "router"),
    key("firmware_changed", "router"),
    key(vehicle="amb-2"),
]
PEOPLE = [("wang", "engineer"), ("sun", "engineer"), ("qian", "manager"), ("li", "information")]
FREE_TEXT = e.Remark("word")


class People(RuleBasedStateMachine):
    """Problems that begin, end and explain each other, people who do anything at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk()
        self.state: dict[ProblemRef, str] = {}
        self.cause: dict[ProblemRef, ProblemRef | None] = {}

    # --- problems and time --------------------------------------------------------------------------------------------

    @rule(ref=st.sampled_from(REFS), cause=st.sampled_from([None, *REFS]), duty=st.sampled_from(["on_duty", "parked"]))
    def begin(self, ref: ProblemRef, cause: ProblemRef | None, duty: str) -> None:
        was = self.state.get(ref)
        if was == "active":
            return
        news: ProblemNews = "began" if was in (None, "orphaned") else "again"
        self.state[ref] = "active"
        cause = cause if cause != ref and self.state.get(cause or ref) == "active" else None
        self.cause[ref] = cause
        self.desk.problem(news, ref, cause=cause, duty=duty, sees_end=ref.key.fault != "firmware_changed")

    @rule(ref=st.sampled_from(REFS), news=st.sampled_from(["over", "stale", "orphaned", "moved", "noted", "adopted"]))
    def go_on(self, ref: ProblemRef, news: ProblemNews) -> None:
        if self.state.get(ref) not in ("active", "stale"):
            return
        if news in ("over", "stale", "orphaned"):
            self.state[ref] = news
        facts = {"event_ms": self.desk.now_ms - 3_600_000} if news == "moved" else {}
        self.desk.problem(news, ref, text="word", cause=self.cause[ref], **facts)

    @rule(ref=st.sampled_from(REFS), cause=st.sampled_from([None, *REFS]))
    def explain(self, ref: ProblemRef, cause: ProblemRef | None) -> None:
        if self.state.get(ref) == "active" and cause != ref:
            self.cause[ref] = cause
            self.desk.problem("caused", ref, cause=cause)

    @rule(seconds=st.sampled_from([0.0, 1.0, 60.0, HOUR, DAY, WINDOW, -60.0]))
    def pass_time(self, seconds: float) -> None:
        self.desk.wait(self.desk.now + seconds)

    # --- people -------------------------------------------------------------------------------------------------------

    @rule()
    def call(self) -> None:
        self.desk.act(
            "opened", call(event_ms=self.desk.now_ms, detected_ms=self.desk.now_ms), who="zhao", role="dispatcher"
        )

    @precondition(lambda self: self.desk.projection)
    @rule(
        what=st.sampled_from([what for what, row in TABLE.items() if row.states]),
        person=st.sampled_from(PEOPLE),
        data=st.data(),
    )
    def act(self, what: str, person: tuple[str, str], data: st.DataObject) -> None:
        desk = self.desk
        tickets = list(desk.projection)
        ticket = data.draw(st.sampled_from(tickets))
        ago = data.draw(st.sampled_from([None, 0.0, 30.0, DAY]))
        stated = None if ago is None else desk.now - ago
        before = desk.state
        try:
            desk.act(what, self._body(what, data), ticket=ticket, who=person[0], role=person[1], stated=stated)  # type: ignore[arg-type]
        except Refused:
            assert desk.state is before
        for ref in desk.ends():
            if self.state.get(ref) == "active":
                self.state[ref] = "over"
                desk.problem("over", ref, sees_end=False, cause=self.cause[ref])
        desk.effects.clear()

    def _body(self, what: str, data: st.DataObject) -> e.Body:
        desk = self.desk
        other = data.draw(st.sampled_from(list(desk.projection)))
        ref = data.draw(st.sampled_from(REFS))
        bodies: dict[type[e.Body], e.Body] = {
            e.Assignment: e.Assignment("sun"),
            e.Link: e.Link(other),
            e.Attachment: e.Attachment(ref),
            e.Call: e.Call(e.Caller("Nurse Li")),
            e.Response: e.Response("on_site"),
            e.Wait: e.Wait("vehicle", "letter", desk.now_ms + 3_600_000),
            e.Escalation: e.Escalation("qian", "hard"),
            e.Silence: e.Silence(desk.now_ms + 60_000, "known"),
            e.Resolution: e.Resolution("done", why_unrecovered=data.draw(st.sampled_from(["", "spare ordered"]))),
            e.Satisfaction: e.Satisfaction("good"),
            e.CallBack: e.CallBack(),
            e.MergeInto: e.MergeInto(other),
            e.Cancellation: e.Cancellation("drill", callers_word=True),
            e.ClassChange: e.ClassChange("disaster", "critical", "operation"),
            e.Correction: e.Correction(data.draw(st.integers(1, 6)), T0 + round(desk.now * 1000) - 1_000, "wrong"),
        }
        return bodies.get(TABLE[what].body, FREE_TEXT)

    # --- what holds ---------------------------------------------------------------------------------------------------

    @invariant()
    def all_hold_together(self) -> None:
        self.desk.check()

    @invariant()
    def what_lasts_unexplained_has_somebody_who_owes(self) -> None:
        """A problem that nothing explains has a live ticket, or one that a person cancelled."""
        for ref, tracked in self.desk.problems.items():
            if tracked.problem.state == "active" and tracked.problem.cause is None:
                ticket = self.desk.projection[tracked.ticket]
                while ticket.state == "merged":
                    ticket = self.desk.projection[ticket.merged_into]
                assert ref in ticket.held() or ticket.state == "cancelled" or not ticket.problems[ref].holds


TestPeople = People.TestCase
TestPeople.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
