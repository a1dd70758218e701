"""A silence whose cause came with the backlog: one ticket, with the true name and time (docs/diagnosis.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
import pytest

from collector.core.contract import DEFAULT
from collector.core.identities import ProblemKey
from collector.core.notifications import Body, notifications_of
from collector.core.problems import ClosedNote, ProblemChange, ProblemRef
from collector.core.tickets import events as e
from collector.core.tickets.draft import DeskEffect, Recorded
from collector.core.tickets.on_problems import causes_first
from telemetry.fleet import Site
from tests.unit.desks import T0 as DESK_T0
from tests.unit.desks import Desk
from tests.unit.judging import SHIPPED, T0, Story, vehicle_plan
from tests.unit.test_restarts import off

PLAN: Final = """
agents:
  box:
    devices:
      router: {kind: router, snmp: {address: 10.0.0.1, community_file: /c}}
      modem: {kind: modem, modem: {port: /dev/m}}
TABLET
"""
TABLET: Final = """
  tablet:
    devices:
      host: {kind: host, system: {}}
"""
PULLED, BACK = 1_800, 4_200
MINUTE: Final = 60
Bad = Callable[[Story, float, dict[str, Any]], None]


def sim_absent(story: Story, at: float, how: dict[str, Any]) -> None:
    story.sample("modem", {"modem.sim": "absent" if how["bad"] else "ready"}, at, input="modem", **how["lane"])


def registration_denied(story: Story, at: float, how: dict[str, Any]) -> None:
    values = {"modem.sim": "ready", "modem.registration": "denied" if how["bad"] else "home"}
    story.sample("modem", values, at, input="modem", **how["lane"])


def router_dead(story: Story, at: float, how: dict[str, Any]) -> None:
    story.sample("router", {"device.reachable": not how["bad"]}, at, **how["lane"])


class Life:
    """A vehicle and its site's desk, an hour and a half: something is the matter for 40 min, and nothing is heard."""

    def __init__(
        self,
        bad: Bad,
        *,
        tablet: bool = False,
        over: bool = True,
        back: int = BACK,
        after: int = 90,
        bad_from: int = PULLED,
    ) -> None:
        """``back``: when it speaks again, and the backlog is judged ``after`` that, bad ``bad_from`` then.

        As the product does it, which waits 70 s and two polls for what has ended (``step``)."""
        self.story = Story(SHIPPED, vehicle_plan(PLAN.replace("TABLET", TABLET if tablet else "")))
        self.desk = Desk(now=(T0 - DESK_T0) / 1000)
        self.told: list[Body] = []
        self.notes: list[ClosedNote] = []
        self.bad, self.tablet, self.over = bad, tablet, over
        self.back, self.backlog, self.bad_from = back, back + after, bad_from

    def run(self, touch: Callable[[Desk], object] | None = None) -> Life:
        story, step = self.story, 10
        story.born("box", 0)
        for at in range(0, self.backlog + 600, step):
            if self.tablet:
                story.sample("host", {"host.cpu_percent": 20.0}, at, agent="tablet", input="system")
            if at == self.back:
                story.miss("box", at)
            if at < PULLED or at >= self.back:
                self._poll(at, bad=at >= self.back and not self.over, now=at)
            if at == self.backlog:
                for late in range(PULLED, self.back, step):
                    self._poll(late, bad=late >= self.bad_from, now=at + 1, lane="backlog")
                story.catch_up(at + 1)
            story.tick(at + 2)
            self._hear(at + 2)
            if touch is not None and at == PULLED + 25 * MINUTE:
                self.desk.now = (T0 - DESK_T0) / 1000 + at
                touch(self.desk)
        self.desk.check()
        return self

    def _poll(self, at: float, *, bad: bool, now: float, lane: str = "live") -> None:
        how: dict[str, Any] = {"now": now, "lane": lane}
        self.bad(self.story, at, {"bad": bad, "lane": how})
        if self.bad is not router_dead:
            self.story.sample("router", {"device.reachable": True}, at, **how)
        else:
            self.story.sample("modem", {"modem.sim": "ready"}, at, input="modem", **how)

    def _hear(self, at: float) -> None:
        effects, self.story.effects = self.story.effects, []
        self.notes += [effect for effect in effects if isinstance(effect, ClosedNote)]
        self.desk.now = (T0 - DESK_T0) / 1000 + at
        kept: list[DeskEffect] = []
        for change in causes_first([effect for effect in effects if isinstance(effect, ProblemChange)]):
            kept += self.desk.do(change)
        recorded = [one for one in kept if isinstance(one, Recorded)]
        for one in notifications_of(recorded, Site(vehicles={}), DEFAULT, frozenset(), lambda id: self.desk.rows[id]):
            self.told.append(msgspec.json.decode(one.body, type=Body))

    def tickets(self) -> list[tuple[str, str, str, str]]:
        return [(one.fault, one.device, one.state, one.sla_class) for one in self.desk.projection.values()]


@pytest.mark.parametrize(
    ("bad", "fault", "device"),
    [
        (sim_absent, "sim_absent", "modem"),
        (registration_denied, "registration_denied", "modem"),
        (router_dead, "router_dead", "router"),
    ],
)
def test_forty_minutes_on_the_only_way_out_are_one_ticket_with_the_true_name(bad: Bad, fault: str, device: str) -> None:
    life = Life(bad).run()
    assert life.tickets() == [(fault, device, "closed", "disaster")]
    ticket = life.desk.ticket()
    assert ticket.event_ms == T0 + 1000 * PULLED, "the moment of the pull"
    opened = life.desk.rows[ticket.id][0]
    assert isinstance(opened.body, e.Opening)
    assert (opened.body.fault, opened.body.sla_class) == ("vehicle_silent", "general")
    assert life.desk.told().count("taken_over") == 1
    assert [one.what for one in life.told].count("renamed") == 1
    assert life.notes == [], "what took the ticket over is no note beside it"
    assert [one.what for one in life.told] == ["opened", "renamed"], "the end is told with what it was"
    zh = "amb-1 modem 车辆失联 实为 SIM卡未检测到, 历时 40 分钟, 已恢复, 工单 2025-0001"
    if fault == "sim_absent":
        assert life.told[1].text.zh == zh
        assert (
            life.told[1].text.en
            == "amb-1 modem Vehicle silent: it was SIM card not detected, lasted 40 min, is over, 2025-0001"
        )


def test_a_ticket_that_somebody_has_touched_follows_too_and_stays_with_them() -> None:
    life = Life(sim_absent).run(lambda desk: desk.act("responded", e.Response("remote"), who="wang"))
    assert life.tickets() == [("sim_absent", "modem", "responded", "disaster")]
    ticket = life.desk.ticket()
    assert ticket.over_event_ms is not None, "the readings are good: a person resolves it"
    assert [one.what for one in life.told] == ["opened", "renamed"]


def test_one_that_has_closed_by_itself_follows_within_its_reopen_window() -> None:
    life = Life(sim_absent, after=900).run()
    assert life.tickets() == [("sim_absent", "modem", "closed", "disaster")]
    assert [one.what for one in life.told] == ["opened", "resolved", "renamed"]
    assert life.desk.ticket().over_event_ms == T0 + 1000 * BACK


def test_of_what_is_over_the_class_does_not_rise() -> None:
    """12 min of silence are general, and a SIM that is back is no disaster any more; with a tablet, deferrable."""
    assert Life(sim_absent, back=PULLED + 12 * MINUTE).run().tickets() == [("sim_absent", "modem", "closed", "general")]
    life = Life(sim_absent, tablet=True).run()
    assert life.tickets() == [("sim_absent", "modem", "closed", "deferrable")]
    opened = life.desk.rows[life.desk.ticket().id][0].body
    assert isinstance(opened, e.Opening)
    assert opened.fault == "agent_down"


def test_of_what_is_still_there_it_rises() -> None:
    """A registration that is denied now and then lets the vehicle speak in between."""
    life = Life(registration_denied, back=PULLED + 12 * MINUTE, over=False, after=10).run()
    assert life.tickets() == [("registration_denied", "modem", "new", "disaster")]
    assert life.desk.ticket().event_ms == T0 + 1000 * PULLED
    assert [one.what for one in life.told] == ["opened", "renamed"]
    assert "实为 网络拒绝注册" in life.told[1].text.zh
    assert life.told[1].text.zh.endswith("向运营商核实号卡状态"), "and what to do first"


def test_what_is_told_live_before_the_backlog_has_come_explains_the_silence_at_once() -> None:
    """The end of the silence waits for what is missing, so that there is one ticket."""
    life = Life(registration_denied, over=False, after=120).run()
    assert [ticket[0] for ticket in life.tickets()] == ["registration_denied"]
    assert life.desk.ticket().event_ms == T0 + 1000 * (PULLED - 10), "the silence began with its last word"


def test_before_a_ticket_was_due_it_is_a_closed_note() -> None:
    life = Life(sim_absent, back=PULLED + 3 * MINUTE).run()
    assert (life.tickets(), life.told) == ([], [])
    assert [(note.fault, note.began_ms, note.ended_ms) for note in life.notes] == [
        ("sim_absent", T0 + 1000 * PULLED, T0 + 1000 * (PULLED + 3 * MINUTE))
    ]


def test_what_nothing_explains_stays_what_it_was() -> None:
    life = Life(sim_absent, bad_from=BACK).run()
    assert life.tickets() == [("vehicle_silent", "amb-1", "closed", "disaster")]
    assert [one.what for one in life.told] == ["opened", "resolved"]


@pytest.mark.parametrize(("bad_from", "fault"), [(2_980, "sim_absent"), (3_030, "vehicle_silent")])
def test_it_must_have_been_there_for_half_of_the_silence(bad_from: int, fault: str) -> None:
    life = Life(sim_absent, bad_from=bad_from).run()
    assert life.tickets() == [(fault, "modem" if fault == "sim_absent" else "amb-1", "closed", "disaster")]


def test_a_kit_that_lost_its_power_was_what_the_silence_is_about() -> None:
    """It is judged at the next start, and takes the ticket over though it ends by acknowledgement only."""
    story = off("always", 700)
    (change,) = story.news("explains")
    assert change.of == ProblemRef("amb-1", ProblemKey("vehicle_silent", "amb-1"))
    assert change.problem.key == ProblemKey("power_lost", "power")
    assert change.problem.event_ms == change.since_ms == T0 + 300_000, "the last word"
    told = [(one.news, one.problem.key.fault) for one in story.changes() if one.news in ("explains", "began", "over")]
    assert told.index(("explains", "power_lost")) < told.index(("began", "power_lost"))


# --- at the desk alone ------------------------------------------------------------------------------------------------

SILENT: Final = ProblemRef("amb-1", ProblemKey("vehicle_silent", "amb-1"))
SIM: Final = ProblemRef("amb-1", ProblemKey("sim_absent", "modem"))


def explained(desk: Desk, *, root: ProblemRef = SIM, since_s: float = 0, **facts: Any) -> None:
    """Tell the desk that ``root`` was the silence that began then."""
    before = desk.state
    desk.problem("began", root, **facts)
    problem = desk.state.problems[root].problem
    desk.state = before
    for id in [id for id in desk.rows if id not in before.tickets]:
        del desk.rows[id], desk.projection[id]
    desk.problems.pop(root, None)
    desk.do(ProblemChange(problem, "explains", "late data", SILENT, DESK_T0 + round(1000 * since_s)))


def silent(**facts: Any) -> Desk:
    desk = Desk()
    desk.problem("began", SILENT, event_ms=DESK_T0, **facts)
    return desk


def test_a_resolved_ticket_whose_true_fault_is_still_there_begins_another_round() -> None:
    desk = silent()
    desk.act("resolved", e.Resolution("called the crew", why_unrecovered="they will see"), at=600)
    explained(desk, at=900)
    assert desk.told()[-2:] == ["taken_over", "reopened"]
    ticket = desk.ticket()
    assert (ticket.state, ticket.round, ticket.fault, ticket.sla_class) == ("new", 2, "sim_absent", "disaster")
    assert ticket.held() == [SIM]
    desk.check()


def test_a_later_silence_is_another_matter() -> None:
    """Late data of yesterday's silence do not rename the ticket of today's."""
    desk = silent()
    explained(desk, since_s=-86_400, at=900)
    assert desk.ticket().fault == "vehicle_silent"
    desk.check()


def test_after_it_the_old_key_is_free() -> None:
    desk = silent()
    explained(desk, at=900)
    desk.problem("over", SILENT, at=910)
    desk.problem("again", SILENT, at=2_000)
    assert [ticket.fault for ticket in desk.projection.values()] == ["sim_absent", "vehicle_silent"]
    desk.check()


def test_a_root_that_has_a_ticket_is_linked() -> None:
    desk = Desk()
    desk.problem("began", SIM)
    desk.problem("began", SILENT, event_ms=DESK_T0, at=10)
    problem = desk.state.problems[SIM].problem
    desk.do(ProblemChange(problem, "explains", "late data", SILENT, DESK_T0))
    assert [ticket.fault for ticket in desk.projection.values()] == ["sim_absent", "vehicle_silent"]
    assert [(link.other, link.relation) for link in desk.ticket().links] == [("2026-0001", "cause")]
    desk.check()


def test_a_ticket_about_another_matter_gets_it_attached() -> None:
    """The silence's ticket was merged into one about a camera: that goes on about the camera."""
    desk = Desk()
    desk.problem("began")
    desk.problem("began", SILENT, event_ms=DESK_T0, at=10)
    desk.act("merged", e.MergeInto("2026-0001"), at=20)
    explained(desk, at=900)
    assert desk.ticket("2026-0001").fault == "camera_down"
    assert desk.ticket("2026-0001").problems[SIM].role == "attached"
    desk.check()
