"""Silence of devices, agents and vehicles; births, goodbyes and wills; what agents tell by events."""

from __future__ import annotations

from typing import Final

import msgspec
import pytest
from msgspec.structs import replace

from collector.core.contact_gaps import ContactGaps
from collector.core.identities import InventoryKey, ProblemKey
from collector.core.learnt import Learnt
from collector.core.places import cell_of
from collector.core.survey import Pause, SiteState, Verdict, survey
from collector.core.vehicle.duty import duty_of, state_of
from collector.core.vehicle.events import Acted, Born, Listed, Listening
from collector.core.vehicle.state import Ended, Feeding, trouble_of
from collector.core.vehicle.step import Context, look
from tests.unit.judging import SHIPPED, T0, Story, vehicle_plan


def kit(**more: object) -> Story:
    return Story(SHIPPED, **more)  # type: ignore[arg-type]


def speak(story: Story, start: int, end: int, *, agents: tuple[str, ...] = ("box", "tablet"), dead: str = "") -> None:
    """Every 10 s each agent's devices answer, but for ``dead``; ticks beside it."""
    for at in range(start, end, 10):
        for agent in agents:
            for device in ("router", "camera-1") if agent == "box" else ("host",):
                if device != dead:
                    input = "system" if device == "host" else "snmp"
                    story.sample(device, {"device.reachable": True}, at, agent=agent, input=input)
        story.tick(at + 5)


def quiet(story: Story, start: int, end: int) -> None:
    for at in range(start, end, 5):
        story.tick(at)


# Devices of the test's plan that ``speak`` does not play are absent too.
PLAN = """
agents:
  box:
    devices:
      router: {kind: router, snmp: {address: 10.0.0.1, community_file: /c}}
      camera-1: {kind: camera, snmp: {address: 10.0.0.2, community_file: /c}}
  tablet:
    devices:
      host: {kind: host, system: {}}
"""


@pytest.fixture
def story() -> Story:
    return kit(plan=vehicle_plan(PLAN))


# --- devices ----------------------------------------------------------------------------------------------------------


def test_a_silent_device_behind_a_speaking_agent(story: Story) -> None:
    """Field note 31: absence is per device."""
    speak(story, 0, 100)
    speak(story, 100, 600, dead="camera-1")
    assert story.life() == [("camera_down", "active", 90, None)]
    assert story.problems()[0].rule == "camera_absent"
    speak(story, 600, 620)
    assert story.life() == [("camera_down", "over", 90, 600)]


def test_no_word_is_expected_of_a_device_that_nobody_reads() -> None:
    text = PLAN.replace("    devices:", "    devices:\n      switch: {kind: switch}", 1)
    story = kit(plan=vehicle_plan(text))
    speak(story, 0, 900)
    assert "switch" not in {key.device for key in story.vehicle.problems}


def test_samples_without_any_value_are_silence(story: Story) -> None:
    speak(story, 0, 100)
    for at in range(100, 600, 10):
        story.sample("camera-1", {"device.uptime_s": None, "device.cpu_percent": None}, at)
        speak(story, at, at + 10, dead="camera-1")
    assert story.faults() == ["camera_down"]


def test_a_device_of_a_silent_agent_is_not_absent(story: Story) -> None:
    speak(story, 0, 100)
    speak(story, 100, 1000, agents=("tablet",))
    assert story.faults() == ["agent_down"]


def test_a_device_is_given_its_time_after_the_agent_came_back(story: Story) -> None:
    speak(story, 0, 100)
    quiet(story, 100, 200)
    speak(story, 200, 400, dead="camera-1")
    assert story.problems() == []
    speak(story, 400, 470, dead="camera-1")
    assert story.faults() == ["camera_down"]


def test_unreachable_and_absent_are_one_ticket(story: Story) -> None:
    speak(story, 0, 100)
    for at in range(100, 1000, 10):
        story.sample("camera-1", {"device.reachable": False}, at)
        speak(story, at, at + 10, dead="camera-1")
    speak(story, 1000, 1100)
    assert story.life() == [("camera_down", "over", 100, 1000)]


def test_what_a_hole_hides_does_not_count_to_the_duration_of_a_rule(story: Story) -> None:
    """Found by a quiet life: a camera that answers half the time was called down when its vehicle left a tunnel.

    It had not answered for a minute before and at the first poll afterwards; what it did in between was still to come.
    """
    speak(story, 0, 100)

    def poll(start: int, end: int) -> None:
        for at in range(start, end, 10):
            story.sample("router", {"device.reachable": True}, at)
            story.sample("camera-1", {"device.reachable": False}, at)
            story.tick(at + 5)

    poll(100, 170)
    story.miss("box", 230)
    poll(230, 280)
    assert story.faults() == [], "70 s before and 40 s afterwards are told of, and two minutes must be"
    poll(280, 290)
    assert story.life() == [("camera_down", "active", 100, None)]


def test_what_live_alone_found_is_over_when_live_saw_it_end() -> None:
    """Found by `make told`: a router was dead while parked, which only the backlog told, and over when that came."""
    tablet = "      router: {kind: router, snmp: {address: 10.0.0.1, community_file: /c}}\n"
    story = kit(plan=vehicle_plan(PLAN + tablet))
    speak(story, 0, 100)
    story.sample("power", {"power.ignition": True}, 100)
    story.miss("box", 110)
    for at in range(110, 500, 10):
        story.sample("host", {"device.reachable": True}, at, agent="tablet", input="system")
        story.sample("router", {"device.reachable": at >= 300}, at, agent="tablet")
        story.tick(at + 5)
    assert "router_dead" in story.faults()
    story.sample("power", {"power.ignition": False}, 105, lane="backlog", now=500)
    story.catch_up(500)
    assert ("router_dead", "over", 110, 300) in story.life()


def test_a_silent_symptom_outlives_its_cause_by_time_alone(story: Story) -> None:
    speak(story, 0, 100)
    for at in range(100, 600, 10):
        story.sample("router", {"device.reachable": False}, at)
        speak(story, at, at + 10, dead="camera-1", agents=("tablet",))
    assert story.explained() == {"camera_down/camera-1": "router_dead/router"}
    for at in range(600, 640, 10):
        story.sample("router", {"device.reachable": True}, at)
        speak(story, at, at + 10, dead="camera-1", agents=("tablet",))
    assert story.roots() == []
    context = Context(story.plan, story.listening, story.verdict)
    _, _, wake = look(story.vehicle, context, story.rules, T0 + 645_000)
    assert wake is not None
    assert wake.at_ms <= T0 + 600_000 + 240_000, "the rule's own time after the cause's end"
    story.tick(841)
    assert "camera_down/camera-1" in story.roots()


# --- agents and the vehicle -------------------------------------------------------------------------------------------


def test_one_agent_silent_while_another_speaks_is_a_finding_not_an_outage(story: Story) -> None:
    speak(story, 0, 100)
    speak(story, 100, 500, agents=("box",))
    assert story.life() == [("agent_down", "active", 90, None)]
    assert (story.problems()[0].key.device, story.problems()[0].duty) == ("tablet", "on_duty")
    speak(story, 500, 570)
    assert story.life() == [("agent_down", "over", 90, 500)]


@pytest.mark.parametrize("late_s", [0.0, 0.3])
def test_an_agent_that_polls_once_a_minute_bears_witness_all_the_same(late_s: float) -> None:
    """Its words are a little more than a minute apart: it was taken for away between any two of them."""
    story = kit(plan=vehicle_plan(PLAN.replace("community_file: /c}", "community_file: /c, interval: 60}")
                                  .replace("system: {}", "system: {interval: 60}")))  # fmt: skip
    for n in range(30):
        at = n * (60 + late_s)
        for agent, device in (("box", "router"), ("box", "camera-1"), ("tablet", "host")):
            if agent == "box" or not 4 <= n < 20:
                input = "system" if device == "host" else "snmp"
                story.sample(device, {"device.reachable": True}, at, agent=agent, input=input)
        story.tick(at + 30)
    begun, back = 3 * (60 + late_s), 20 * (60 + late_s)
    (problem,) = story.problems()
    assert problem.over_event_ms is not None
    times = (problem.event_ms - T0, problem.over_event_ms - T0)
    assert (problem.key.fault, *times) == ("agent_down", round(1000 * begun), round(1000 * back))
    assert (problem.detected_ms - problem.event_ms) / 60_000 < 8


def test_a_silence_ends_with_the_second_word_of_an_agent_that_polls_once_a_minute() -> None:
    story = kit(
        plan=vehicle_plan(PLAN.replace("community_file: /c}", "community_file: /c, interval: 60}"), state="on_duty")
    )
    for at in (0, 60.3, 120.6, *(1000 + 60.3 * n for n in range(3))):
        story.sample("router", {"device.reachable": True}, at)
        story.sample("camera-1", {"device.reachable": True}, at)
        for later in (1, 20, 40, *range(60, 800, 10)) if at == 120.6 else (1, 20, 40):
            story.tick(at + later)
    (silent,) = [one for one in story.problems() if one.key.fault == "vehicle_silent"]
    assert silent.over_event_ms == T0 + 1_000_000
    assert silent.over_ms is not None
    assert silent.over_ms <= T0 + 1_000_000 + 60_300 + 1_000


def test_an_agent_that_says_nothing_more_does_not_come_back() -> None:
    """Found by the soak, seed 648753: its last words counted as speaking for another moment after it was found silent.

    A limit shorter than a gap (here by judging 60 times faster) let ``agent_down`` begin three times at one moment.
    """
    story = kit(plan=vehicle_plan(PLAN.replace("community_file: /c}", "community_file: /c, interval: 1}")
                                  .replace("system: {}", "system: {interval: 1}")))  # fmt: skip
    story.rules = SHIPPED.scaled(60)
    for at in range(60):
        for agent, device in (("box", "router"), ("tablet", "host")):
            if agent == "box" or at < 30:
                input = "system" if device == "host" else "snmp"
                story.sample(device, {"device.reachable": True}, at, agent=agent, input=input)
        story.tick(at + 0.5)
    assert [one for one in story.life() if one[0] == "agent_down"] == [("agent_down", "active", 29, None)]


def test_a_silent_vehicle(story: Story) -> None:
    """After the 190 s of the test's fleet file."""
    speak(story, 0, 100)
    quiet(story, 100, 280)
    assert story.problems() == []
    quiet(story, 280, 300)
    assert story.life() == [("vehicle_silent", "active", 90, None)]
    assert (story.problems()[0].duty, story.problems()[0].key.device) == ("on_duty", "amb-1")
    speak(story, 300, 400)
    assert story.life() == [("vehicle_silent", "over", 90, 300)]
    assert story.active() == []  # the agents came back together: none is down


def test_the_limit_counts_the_sending_interval(story: Story) -> None:
    story.born("box", 0, interval=300)
    speak(story, 0, 10, agents=("box",))
    quiet(story, 10, 490)
    assert story.problems() == []
    quiet(story, 490, 500)
    assert story.faults() == ["vehicle_silent"]


GNSS = """
agents:
  box:
    devices:
      router: {kind: router, snmp: {address: 10.0.0.1, community_file: /c}}
      gnss: {kind: gnss, gnss: {port: /dev/g}}
"""
HERE = cell_of(31.2, 121.4)
KEPT = ContactGaps(kept=frozenset({HERE}))
LOST = ContactGaps(lost={HERE: (300, 600)})


def silent_in(place: Story, *, fix_age: int = 0, end: int = 2500) -> float | None:
    """Drive to a place, be silent from 90 s on, and return after how many seconds that is a problem."""
    for at in range(0, 100, 10):
        fix = {"gnss.latitude": 31.2, "gnss.longitude": 121.4, "gnss.speed_kmh": 40.0}
        if at <= 90 - fix_age:
            place.sample("gnss", fix, at, input="gnss")
        place.sample("router", {"device.reachable": True}, at)
    for at in range(100, end, 5):
        if place.tick(at):
            return at - 90
    return None


@pytest.mark.parametrize(
    ("gaps", "own", "due"),
    [
        (ContactGaps(), None, 600),
        (KEPT, None, 240),
        (LOST, None, 960),
        (ContactGaps(), 120, 120),
        (KEPT, 120, 120),
        (LOST, 120, 960),
        (LOST, 1200, 1200),
    ],
)
def test_how_long_a_vehicle_may_be_silent_depends_on_the_place(gaps: ContactGaps, own: int | None, due: int) -> None:
    story = kit(plan=vehicle_plan(GNSS, silent_after=own))
    story.learnt = Learnt(gaps)
    assert silent_in(story) == due
    (problem,) = story.problems()
    assert gaps.limit(HERE, own).why in problem.evidence[0].text


def seen_at(first: Story, at: int) -> Verdict:
    """What the survey tells others of a vehicle, so many seconds after T0."""
    state = SiteState.new("north")
    return survey(state, [(first.vehicle, first.plan)], first.listening, T0 + 1000 * at, SHIPPED)[1]


def placed(verdict: Verdict | None = None) -> Story:
    return kit(plan=vehicle_plan(GNSS, silent_after=None), verdict=verdict or Verdict())


def come_back(story: Story, at: int) -> None:
    for later in range(at, at + 200, 10):
        story.sample("router", {"device.reachable": True}, later)
        story.tick(later + 5)
    assert story.problems()[-1].state == "over"


def test_who_follows_into_a_hole_is_no_second_ticket() -> None:
    """Found by quiet lives: others passed a new hole beside the first one, or minutes later, before it was learnt."""
    first = placed()
    assert silent_in(first, end=700) == 600
    assert silent_in(placed(seen_at(first, 700)), end=2000) == 1800, "the first one is in there still"
    come_back(first, 790)
    beside = placed(seen_at(first, 1000))
    assert silent_in(beside) == 1110, "one and a half times those 700 s, and a minute"
    assert "contact was lost there lately, for 700 s" in beside.problems()[0].evidence[0].text
    assert silent_in(placed(seen_at(first, 80_000))) == 1110
    assert silent_in(placed(seen_at(first, 90_000))) == 600, "a day later the record of places knows of it"


@pytest.mark.parametrize(
    ("away", "back", "due"),
    [
        ((790, 8_820), 9_000, 1110),
        ((790, 8_819), 9_000, 600),
        ((90, 9_000), 9_000, 600),
        ((790, 970), 1_100, 1575),
        ((790, 971), 1_151, 1110),
        ((790, 971), 1_152, 1655),
        ((-3_600, 91), 790, 1110),
    ],
)
def test_of_a_silence_in_which_we_went_away_counts_what_we_heard_of(away: tuple[int, int], back: int, due: int) -> None:
    """Found by quiet lives: who went first through a new hole came back hours later, as we did; the next was told.

    Who is back as soon as agents can be after a pause, may have been so before; whose silence goes on was in it. A
    pause in which agents come back hides nothing, nor does one that was over a second after the last word. The record
    of places learns nothing of a silence with a pause in it, so it counts for as long as that goes back.
    """
    first = placed()
    assert silent_in(first, end=700) == 600
    from_s, over_s = away
    first.verdict = Verdict(pauses=(Pause(T0 + 1000 * from_s, T0 + 1000 * over_s),))
    come_back(first, back)
    assert silent_in(placed(seen_at(first, back + 500))) == due
    assert silent_in(placed(seen_at(first, back + 89 * 86_400))) == due
    assert silent_in(placed(seen_at(first, back + 91 * 86_400))) == 600


@pytest.mark.parametrize(("fix_age", "due"), [(60, 1260), (61, 600)])
def test_where_a_silence_began_is_learnt_from_what_comes_late(fix_age: int, due: int) -> None:
    """Found by a quiet life: as we came back a vehicle said that it is there, and was lost before it said where."""
    first = placed()
    for at in range(0, 100, 10):
        fix = {"gnss.latitude": 30.0, "gnss.longitude": 120.0, "gnss.speed_kmh": 40.0}
        first.sample("gnss", fix, at, input="gnss")
        first.sample("router", {"device.reachable": True}, at)
    first.miss("box", 1000)
    first.born("box", 1000, session=2)
    quiet(first, 1005, 1605)
    assert first.faults() == ["vehicle_silent"]
    for at in range(1800, 1900, 10):
        first.sample("router", {"device.reachable": True}, at)
        first.tick(at + 5)
    first._sequence = 10**9 - 1  # the one that is missing
    late = {"gnss.latitude": 31.2, "gnss.longitude": 121.4, "gnss.speed_kmh": 40.0}
    first.sample("gnss", late, 1000 - fix_age, input="gnss", now=1900)
    assert seen_at(first, 1900).lately_ms(cell_of(30.0, 120.0), T0 + 1_900_000) == 0
    assert silent_in(placed(seen_at(first, 1900))) == due
    assert silent_in(placed(seen_at(first, 89 * 86_400))) == due


@pytest.mark.parametrize(("pauses", "due"), [((), 1260), ((Pause(T0 + 790_000, T0 + 1_500_000),), 1110)])
def test_a_silence_that_ended_with_a_boot_was_one_for_as_long_as_what_comes_late_tells(
    pauses: tuple[Pause, ...], due: int
) -> None:
    """Found by a quiet life: the first one out of a new hole was parked before the broker was back."""
    first = placed()
    first.do(Born("box", "r1", 1, "m", 0, boot="b1"), 0)
    assert silent_in(first, end=700) == 600
    first.verdict = Verdict(pauses=pauses)
    first.miss("box", 2000)
    first.do(Born("box", "r2", 1, "m", 0, boot="b2"), 2000)
    assert silent_in(placed(seen_at(first, 2000))) == 600, "off there, for all that is known"
    for at in (*range(140, 900, 50), 951):  # what comes after a gap is of another place
        first._sequence = 10**9 - 1  # the one that is missing
        first.sample("router", {"device.reachable": True}, at, now=2010)
    assert silent_in(placed(seen_at(first, 2020))) == due


@pytest.mark.parametrize("how", ["booted", "explained", "for hours", "nowhere"])
def test_a_silence_that_says_nothing_of_the_place_excuses_nobody(how: str) -> None:
    first = placed()
    back = 8000 if how == "for hours" else 790
    if how == "booted":
        first.do(Born("box", "r1", 1, "m", 0, boot="b1"), 0)
    silent_in(first, end=700, fix_age=90 if how == "nowhere" else 0)
    assert first.faults() == ["vehicle_silent"]
    if how == "booted":
        first.do(Born("box", "r2", 1, "m", 0, boot="b2"), back)
    if how == "explained":
        span = ((T0 + 95_000, T0 + 780_000),)
        ended = {**first.vehicle.ended, ProblemKey("sim_absent", "modem"): Ended(1, span)}
        first.vehicle = msgspec.structs.replace(first.vehicle, ended=ended)
    come_back(first, back)
    assert silent_in(placed(seen_at(first, back + 500))) == 600


def test_a_fix_older_than_a_minute_names_no_place() -> None:
    for age, due in ((60, 240), (70, 600)):
        story = kit(plan=vehicle_plan(GNSS, silent_after=None))
        story.learnt = Learnt(KEPT)
        assert silent_in(story, fix_age=age) == due


def test_a_fix_of_a_box_that_was_silent_before_its_tablet_names_no_place() -> None:
    """Found by `make told`: a tunnel was four minutes of silence, by where the box had been half an hour before."""
    place = kit(plan=vehicle_plan(GNSS + "  tablet: {devices: {host: {kind: host, system: {}}}}\n", silent_after=None))
    place.learnt = Learnt(gaps=KEPT)
    for at in range(0, 2000, 10):
        if at < 100:
            fix = {"gnss.latitude": 31.2, "gnss.longitude": 121.4, "gnss.speed_kmh": 40.0}
            place.sample("gnss", fix, at, input="gnss")
            place.sample("router", {"device.reachable": True}, at)
        place.sample("host", {"device.reachable": True}, at, agent="tablet", input="system")
        place.tick(at + 5)
    quiet(place, 2000, 2585)
    assert place.faults() == ["agent_down"]
    quiet(place, 2585, 2595)
    assert place.faults() == ["agent_down", "vehicle_silent"]


@pytest.mark.parametrize(("interval", "due"), [(60, 240), (61, 301), (300, 540)])
def test_a_sending_interval_above_a_minute_is_added(interval: int, due: int) -> None:
    story = kit(plan=vehicle_plan(GNSS, silent_after=None))
    story.learnt = Learnt(KEPT)
    story.born("box", 0, interval=interval)
    found = silent_in(story)
    assert found is not None
    assert due <= found < due + 5


def test_nothing_is_silent_while_we_do_not_listen(story: Story) -> None:
    speak(story, 0, 100)
    story.listening = Listening(None)
    quiet(story, 100, 5000)
    assert story.problems() == []


def test_who_fell_silent_while_we_were_deaf_is_unheard_and_not_silent(story: Story) -> None:
    """Our own outage of an hour is nobody's fault, nor is what ended within it: the next word decides."""
    speak(story, 0, 100)
    story.listening = Listening(T0 + 3_700_000)
    quiet(story, 3700, 3870)
    assert state_of(story.vehicle, story.plan, 600_000) == "on_duty", "agents have three minutes to come back"
    quiet(story, 3870, 9000)
    assert story.problems() == []
    assert state_of(story.vehicle, story.plan, 600_000) == "unheard"
    speak(story, 9000, 9010)
    assert state_of(story.vehicle, story.plan, 600_000) == "on_duty"
    quiet(story, 9010, 9300)
    assert story.life() == [("vehicle_silent", "active", 9000, None)]


def test_words_that_have_waited_at_the_broker_were_said_before(story: Story) -> None:
    """Found by a quiet life: what came when the collector was back made a parked vehicle one that had just spoken."""
    speak(story, 0, 100)
    story.listening = Listening(None)
    for at in range(100, 130, 10):
        story.sample("router", {"device.reachable": True}, at, agent="box", input="snmp", now=3690)
    story.listening = Listening(T0 + 3_700_000)
    quiet(story, 3700, 9000)
    assert story.problems() == []
    assert state_of(story.vehicle, story.plan, 600_000) == "unheard"


def test_what_a_kit_of_another_time_says_of_its_ignition_counts(story: Story) -> None:
    """Found by a quiet life: with the centre's clock 150 s slow no sample was judged, and no parking was known."""
    speak(story, 0, 100)
    for at in range(100, 2000, 10):
        story.sample("power", {"power.ignition": at < 130}, at + 150, agent="box", input="snmp", now=at)
        story.sample("router", {"device.reachable": True}, at + 150, agent="box", input="snmp", now=at)
    assert duty_of(story.vehicle, story.plan, 600_000) == "parked"
    assert story.vehicle.skipped["future"] > 300


def test_a_mission_told_after_the_last_word_says_nothing_of_what_was_before(story: Story) -> None:
    """Found by a quiet life: missions of an outage of ours made the parking before them one on a mission."""
    speak(story, 0, 100)
    story.do(Acted("on_mission", "dispatch", "m-1"), 1000)
    story.miss("box", 1010)
    assert story.vehicle.fork is not None
    assert (story.vehicle.given, story.vehicle.fork.vehicle().given) == ("on_mission", "")
    speak(story, 1020, 1050)
    story.catch_up(1100)
    assert story.vehicle.given == "on_mission"
    story.miss("box", 1110)
    assert story.vehicle.fork.vehicle().given == "on_mission", "it has spoken since"


def test_who_is_unheard_is_silent_after_the_parked_limit(story: Story) -> None:
    speak(story, 0, 100)
    story.listening = Listening(T0 + 3_700_000)
    end = 3700 + 180 + 72 * 3600 + 10
    for at in (4000, end - 5):
        story.tick(at)
    assert story.problems() == []
    story.tick(end)
    (problem,) = story.problems()
    assert (problem.key.fault, problem.duty, problem.event_ms) == ("vehicle_silent", "parked", T0 + 3_700_000)


def test_who_was_silent_before_we_went_deaf_still_is(story: Story) -> None:
    """The site's last word from before is two minutes younger: it was not we who did not hear."""
    speak(story, 0, 100)
    story.listening = Listening(T0 + 400_000)
    story.verdict = Verdict(pauses=(Pause(T0 + 210_000, T0 + 400_000),))
    quiet(story, 400, 400 + 180 + 200)
    assert story.faults() == ["vehicle_silent"]


def test_who_fell_silent_in_a_pause_is_unheard_through_the_next_ones(story: Story) -> None:
    """Found by a quiet life: parked unseen while the broker was away, as it was again; others had spoken between."""
    speak(story, 0, 100)
    for over, spoke in ((400, 110), (4_000, 3_500), (8_000, 7_000)):
        story.listening = Listening(T0 + over * 1_000)
        story.verdict = Verdict(pauses=(*story.verdict.pauses, Pause(T0 + spoke * 1_000, T0 + over * 1_000)))
        quiet(story, over, over + 1_200)
        assert (story.faults(), state_of(story.vehicle, story.plan, 600_000)) == ([], "unheard")


@pytest.mark.parametrize(
    ("power", "given", "found"),
    [
        ("ignition", "", []),
        ("delayed", "", []),
        ("always", "", ["vehicle_silent"]),
        ("ignition", "on_mission", ["vehicle_silent"]),
    ],
)
def test_who_was_in_a_hole_when_we_went_deaf_may_be_parked_since(power: str, given: str, found: list[str]) -> None:
    """Found by a quiet life: the broker went away while a vehicle was in a dead spot; it left that, and was parked."""
    story = kit(plan=vehicle_plan(PLAN, kit_power=power))
    speak(story, 0, 100)
    if given:
        story.do(Acted("on_mission", "dispatch", "m-1"), 100)
    story.listening = Listening(T0 + 2_100_000)
    story.verdict = Verdict(pauses=(Pause(T0 + 210_000, T0 + 2_100_000),))
    quiet(story, 2100, 4000)
    assert story.faults() == found
    assert (state_of(story.vehicle, story.plan, 600_000) == "unheard") == (not found)


@pytest.mark.parametrize(("boots", "found"), [(0, ["vehicle_silent"]), (1, [])])
def test_who_was_in_a_hole_when_we_went_deaf_may_be_parked_if_it_has_started_after_a_silence(
    boots: int, found: list[str]
) -> None:
    """Found by a quiet life: kit of which nothing said how it is fed, and that had started after one parking."""
    story = kit()
    speak(story, 0, 100)
    learnt = replace(story.vehicle.expectation, feeding=Feeding(boots=boots))
    story.vehicle = replace(story.vehicle, expectation=learnt)
    story.listening = Listening(T0 + 2_100_000)
    story.verdict = Verdict(pauses=(Pause(T0 + 210_000, T0 + 2_100_000),))
    quiet(story, 2100, 4000)
    assert story.faults() == found


ON_THE_ROAD: Final = {"gnss.latitude": 31.2, "gnss.longitude": 121.4, "gnss.speed_kmh": 40.0}


def lost_sight_of(power: str) -> Story:
    """Return who drove as we went deaf, and was heard for a moment when we listened again, not where he was."""
    story = kit(plan=vehicle_plan(GNSS, kit_power=power))
    for at in range(0, 100, 10):
        story.sample("gnss", ON_THE_ROAD, at, input="gnss")
        story.tick(at + 5)
    story.listening = Listening(T0 + 1_500_000)
    story.sample("router", {"device.reachable": True}, 1510)
    return story


@pytest.mark.parametrize(
    ("power", "fix", "found"),
    [("ignition", False, []), ("ignition", True, ["vehicle_silent"]), ("always", False, ["vehicle_silent"])],
)
def test_who_was_heard_for_a_moment_after_we_were_deaf_and_did_not_say_where(
    power: str, fix: bool, found: list[str]
) -> None:
    """Found by a quiet life: a vehicle drove into its garage when the broker was back, its backlog still in the box."""
    story = lost_sight_of(power)
    if fix:
        story.sample("gnss", ON_THE_ROAD, 1515, input="gnss")
    quiet(story, 1515, 3000)
    assert story.faults() == found


def is_silent_a_start_after_the_call(story: Story, at: int) -> None:
    """Call the vehicle out: two minutes for its kit to start, then some three of silence."""
    story.do(Acted("on_mission", "dispatch", "m-1"), at)
    quiet(story, at, at + 120 + 190)
    assert story.faults() == []
    quiet(story, at + 120 + 190, at + 120 + 250)
    assert story.faults() == ["vehicle_silent"]


def test_who_was_lost_sight_of_and_is_called_out_has_the_time_of_a_start() -> None:
    """Found by a quiet life: it was called out of a garage that it had driven into a moment after we listened again."""
    story = lost_sight_of("ignition")
    quiet(story, 1515, 4000)
    is_silent_a_start_after_the_call(story, 4000)


def test_who_fell_silent_unseen_and_is_called_out_has_the_time_of_a_start() -> None:
    """He may have come out of a hole and been parked while nobody listened: his kit starts when he is called out."""
    story = kit(plan=vehicle_plan(PLAN, kit_power="ignition"))
    speak(story, 0, 100)
    story.listening = Listening(T0 + 2_100_000)
    story.verdict = Verdict(pauses=(Pause(T0 + 210_000, T0 + 2_100_000),))
    quiet(story, 2100, 4000)
    is_silent_a_start_after_the_call(story, 4000)


@pytest.mark.parametrize(("power", "due"), [("ignition", 2210 + 120 + 310), ("always", 2100 + 180 + 310)])
def test_a_box_that_fell_silent_unseen_has_it_beside_a_tablet_that_speaks_too(power: str, due: int) -> None:
    """Found by a quiet life: parked a minute before the broker went away, it was down as soon as it was called out."""
    story = kit(plan=vehicle_plan(PLAN, kit_power=power))
    speak(story, 0, 100)
    speak(story, 100, 170, agents=("tablet",))
    story.listening = Listening(T0 + 2_100_000)
    story.verdict = Verdict(pauses=(Pause(T0 + 170_000, T0 + 2_100_000),))
    speak(story, 2100, 2210, agents=("tablet",))
    assert story.faults() == []
    story.do(Acted("on_mission", "dispatch", "m-1"), 2210)
    speak(story, 2210, due - 10, agents=("tablet",))
    assert story.faults() == []
    speak(story, due - 10, due + 10, agents=("tablet",))
    assert story.faults() == ["agent_down"]


def test_who_was_known_as_parked_before_we_were_deaf_has_the_time_of_a_start_when_he_is_called_out() -> None:
    """Found by a quiet life: he had left his duty when he was parked, which was long ago."""
    story = kit(plan=vehicle_plan(GNSS, kit_power="ignition"))
    for at in range(0, 100, 10):
        story.sample("gnss", ON_THE_ROAD | {"gnss.speed_kmh": 0.0}, at, input="gnss")
        story.tick(at + 5)
    quiet(story, 100, 400)
    story.listening = Listening(T0 + 4_000_000)
    story.verdict = Verdict(pauses=(Pause(T0 + 3_000_000, T0 + 4_000_000),))
    quiet(story, 4000, 5000)
    assert duty_of(story.vehicle, story.plan, 600_000) == "parked"
    is_silent_a_start_after_the_call(story, 5000)


def test_who_had_been_silent_for_long_when_we_went_deaf_still_is() -> None:
    """No hole is that long: kit that lives by the ignition too would have been told, had another one spoken since."""
    story = kit(plan=vehicle_plan(PLAN, kit_power="ignition"))
    speak(story, 0, 100)
    story.listening = Listening(T0 + 3_700_000)
    story.verdict = Verdict(pauses=(Pause(T0 + 1_890_000, T0 + 3_700_000),))
    quiet(story, 3700, 3700 + 180 + 200)
    assert story.faults() == ["vehicle_silent"]


def test_a_pause_of_ours_of_three_minutes_hides_no_parking(story: Story) -> None:
    speak(story, 0, 100)
    story.listening = Listening(T0 + 270_000)
    quiet(story, 270, 270 + 180 + 200)
    assert story.faults() == ["vehicle_silent"]


def test_an_agent_that_is_unheard_is_not_down(story: Story) -> None:
    speak(story, 0, 100)
    story.listening = Listening(T0 + 3_700_000)
    speak(story, 3710, 6000, agents=("tablet",))
    assert story.problems() == []


def test_an_agent_that_was_never_heard_is_unheard_unless_the_fleet_file_has_just_named_it(story: Story) -> None:
    """The tablet of a parked vehicle speaks on, and its kit was off before the centre first listened."""
    speak(story, 0, 1200, agents=("tablet",))
    assert story.problems() == []
    story.do(Listed("box"), 1200)
    speak(story, 1200, 1600, agents=("tablet",))
    assert story.faults() == ["agent_down"]


def test_after_listening_begins_again_silence_starts_at_the_first_word(story: Story) -> None:
    speak(story, 0, 100)
    story.listening = Listening(T0 + 3_700_000)
    speak(story, 3710, 3720)
    quiet(story, 3720, 3895)
    assert story.problems() == []
    quiet(story, 3895, 3915)
    assert story.life() == [("vehicle_silent", "active", 3710, None)]


def test_the_site_explains_silence(story: Story) -> None:
    speak(story, 0, 100)
    site = (ProblemKey("site_unreachable", "north"),)
    story.verdict = Verdict(problems=site, spoke_ms=T0 + 9_000_000, expected=9, margin_ms=90_000)
    quiet(story, 100, 3000)
    assert story.problems() == []
    story.verdict = Verdict(cleared_ms=T0 + 3_000_000, spoke_ms=T0 + 3_600_000, expected=9, margin_ms=90_000)
    quiet(story, 3000, 3000 + 180 + 190)
    assert story.problems() == []  # time to come back, as after our own outage
    quiet(story, 3370, 3380)
    assert story.faults() == ["vehicle_silent"]


def test_a_vehicle_waits_for_another_ones_word(story: Story) -> None:
    speak(story, 0, 100)
    story.verdict = Verdict(spoke_ms=T0 + 95_000, expected=3, margin_ms=90_000)
    quiet(story, 100, 600)
    assert story.problems() == []  # it may be the site
    story.verdict = replace(story.verdict, spoke_ms=T0 + 601_000)
    quiet(story, 605, 610)
    assert story.faults() == ["vehicle_silent"]


def test_a_vehicle_that_was_never_heard_can_wait(story: Story) -> None:
    """Nobody knows whether it has its kit yet, or stands in a garage: the parked limit, from when we listen."""
    end = 72 * 3600 - 3600 + 180 + 10
    for at in (0, 1000, end - 10):
        story.tick(at)
    assert story.problems() == []
    story.tick(end)
    assert [(problem.key.fault, problem.duty) for problem in story.problems()] == [("vehicle_silent", "parked")]


# --- goodbyes, wills, births ------------------------------------------------------------------------------------------


def test_parked_by_goodbye_is_no_fault_until_its_own_limit(story: Story) -> None:
    for agent in ("box", "tablet"):
        story.born(agent, 0)
    speak(story, 0, 100)
    for agent in ("box", "tablet"):
        story.left(agent, "parked", 100)
    quiet(story, 100, 4000)
    assert story.problems() == []
    for at in (72 * 3600 + 50, 72 * 3600 + 150):
        story.tick(at)
    assert [(problem.key.fault, problem.duty) for problem in story.problems()] == [("vehicle_silent", "parked")]


def test_a_goodbye_of_one_agent_parks_the_vehicle_until_it_is_back(story: Story) -> None:
    story.born("box", 0)
    speak(story, 0, 100)
    story.left("box", "parked", 100)
    story.sample("host", {"device.reachable": True}, 103, agent="tablet", input="system")  # its last word, no goodbye
    quiet(story, 105, 4000)
    assert story.problems() == []
    story.born("box", 4000, session=2)
    quiet(story, 4000, 4300)
    assert story.faults() == ["vehicle_silent"]


def test_parked_by_ignition(story: Story) -> None:
    speak(story, 0, 100)
    story.sample("router", {"power.ignition": False}, 100)
    quiet(story, 100, 4000)
    assert story.problems() == []


def test_a_stopped_agent_is_told_and_no_vehicle_is_silent(story: Story) -> None:
    for agent in ("box", "tablet"):
        story.born(agent, 0)
    speak(story, 0, 100)
    for agent in ("box", "tablet"):
        story.left(agent, "stop", 100)
    quiet(story, 100, 1000)
    assert story.active() == ["agent_down/box", "agent_down/tablet"]


def test_an_old_will_or_goodbye_cannot_overrule_a_new_birth(story: Story) -> None:
    """Field notes 27, T8."""
    story.born("box", 0, run="r1", session=1)
    story.born("box", 10, run="r1", session=2)
    story.died("box", 11, run="r1", session=1)
    story.left("box", "parked", 12, run="r1", session=1)
    assert (story.vehicle.agents["box"].lost, story.vehicle.agents["box"].left) == (False, "")
    story.died("box", 13, run="r1", session=2)
    assert story.vehicle.agents["box"].lost is True
    story.born("box", 14, run="r1", session=3)
    assert story.vehicle.agents["box"].lost is False


def test_two_runs_by_turns_are_a_clash(story: Story) -> None:
    story.born("box", 0, run="aa", session=1)
    story.born("box", 10, run="bb", session=1)
    story.tick(11)
    assert story.problems() == []  # a restart
    story.born("box", 20, run="aa", session=2)
    story.tick(21)
    assert [(problem.key.fault, problem.key.device, problem.duty) for problem in story.problems()] == [
        ("identity_clash", "box", "on_duty")
    ]
    assert "machine-aa" in story.problems()[0].evidence[0].text
    assert "machine-bb" in story.problems()[0].evidence[0].text
    for at in range(30, 3690, 50):
        story.sample("router", {"device.reachable": True}, at)
        story.sample("camera-1", {"device.reachable": True}, at)
        story.sample("host", {"device.reachable": True}, at, agent="tablet", input="system")
        story.tick(at)
    assert story.active() == []
    assert story.problems()[0].state == "over"


def test_births_that_the_broker_delivers_again_are_no_clash(story: Story) -> None:
    story.born("box", 5, run="aa", session=2)
    story.born("box", 6, run="aa", session=1)
    assert story.vehicle.agents["box"].session == 2
    births = [("aa", 1), ("aa", 2), ("bb", 1)]
    for run, session in births * 2:
        story.born("box", 10, run=run, session=session)
    story.tick(11)
    assert story.problems() == []
    assert (story.vehicle.agents["box"].run, story.vehicle.agents["box"].session) == ("bb", 1)


# --- what agents tell -------------------------------------------------------------------------------------------------


def test_evicted_records_are_an_overrun_and_damage_is_not(story: Story) -> None:
    speak(story, 0, 20)
    story.tell("lost", "", {"run": "aa", "intervals": [[0, 5]], "reason": "damaged"}, 20)
    story.tick(21)
    assert story.problems() == []
    story.tell("lost", "", {"run": "aa", "intervals": [[6, 9]], "reason": "evicted"}, 22)
    story.tick(23)
    assert [(problem.key.fault, problem.key.device) for problem in story.problems()] == [("outbox_overrun", "box")]
    speak(story, 30, 3650)
    assert story.life() == [("outbox_overrun", "over", 22, 22)]


def test_unknown_profile_and_its_end(story: Story) -> None:
    speak(story, 0, 20)
    why = "no profile fits sysObjectID 1.3.6.1.4.1.9999"
    story.tell("problem", "router", {"problem": why}, 20)
    speak(story, 20, 70)
    assert story.problems() == []
    speak(story, 70, 100)
    assert [(problem.key.fault, problem.key.device, problem.event_ms) for problem in story.problems()] == [
        ("profile_unknown", "router", T0 + 20_000)
    ]
    story.tell("problem", "router", {"problem": ""}, 100)
    story.tick(101)
    assert story.life() == [("profile_unknown", "over", 20, 100)]


def test_a_trouble_of_one_input_is_not_over_because_another_has_none(story: Story) -> None:
    story.tell("problem", "router", {"input": "snmp", "problem": "no profile fits"}, 0)
    story.tell("problem", "router", {"input": "http", "problem": ""}, 1)
    speak(story, 10, 200)
    assert story.active() == ["profile_unknown/router"]
    assert len(story.problems()) == 1
    assert trouble_of(story.vehicle, "box", "router") == "no profile fits"


def test_a_problem_that_a_new_run_does_not_tell_again_is_over(story: Story) -> None:
    story.born("box", 0, run="00000000000000aa")
    story.tell("problem", "router", {"input": "snmp", "problem": "no profile fits"}, 0)
    speak(story, 10, 100)
    story.born("box", 100, run="bb")
    speak(story, 110, 440)
    assert story.active() == ["profile_unknown/router"]
    speak(story, 440, 500)
    assert story.life() == [("profile_unknown", "over", 0, 90)], "until the last word of the run that told it"


RUN: Final = "00000000000000aa"
"""Of all that a story tells."""
LOGIN: Final = {"input": "snmp", "problem": "login refused: wrong user or password"}


def test_a_trouble_of_kit_that_is_off_becomes_no_ticket_in_the_night() -> None:
    """Found by `make told`: refused for the last quarter of an hour before a parking, it was told an hour after that.

    With the next start that was over, and the ticket with it.
    """
    story = Story(SHIPPED)
    story.born("box", 0, run=RUN)
    story.tell("problem", "camera-1", LOGIN, 5)
    speak(story, 0, 900)
    quiet(story, 900, 5000)
    assert "login_refused" not in story.faults()
    story.born("box", 5000, run="r2")
    speak(story, 5000, 6000)
    assert "login_refused" not in story.faults()


def test_a_trouble_that_its_run_goes_on_to_tell_is_a_ticket_after_an_hour_heard_or_not_meanwhile() -> None:
    story = Story(SHIPPED)
    story.born("box", 0, run=RUN)
    story.tell("problem", "camera-1", LOGIN, 5)
    speak(story, 0, 900)
    quiet(story, 900, 3700)
    speak(story, 3700, 4200)
    assert ("login_refused", "active", 5, None) in story.life()


def test_what_a_device_is_comes_from_each_input_and_grows(story: Story) -> None:
    """An agent that has just started knows only a part; a second input may write the version in its own way."""
    story.tell("inventory", "router", {"input": "snmp", "model": "RUTX50", "firmware": "7.4"}, 0)
    story.tell("inventory", "router", {"input": "snmp", "model": "RUTX50"}, 10)
    story.tell("inventory", "router", {"input": "http", "firmware": "RUTX_R_00.07.04"}, 20)
    story.tell("inventory", "router", {"input": "http", "firmware": "RUTX_R_00.07.04"}, 30)
    story.tick(31)
    assert [entry.identity for entry in story.inventory()] == [
        {"model": "RUTX50", "firmware": "7.4"},
        {"firmware": "RUTX_R_00.07.04"},
    ]
    assert story.problems() == []
    story.tell("inventory", "router", {"input": "http", "firmware": "RUTX_R_00.07.05"}, 40)
    story.tick(41)
    assert story.active() == ["firmware_changed/router"]


def test_a_problem_that_began_and_ended_in_the_backlog_opens_nothing(story: Story) -> None:
    story.tell("problem", "router", {"problem": "no profile"}, 20, now=900, lane="backlog")
    story.tick(901)
    story.tell("problem", "router", {"problem": ""}, 30, now=901, lane="backlog")
    speak(story, 910, 1100)
    assert story.problems() == []


def test_firmware_changed_stays_until_the_old_one_is_back(story: Story) -> None:
    who = {"vendor": "Teltonika", "model": "RUTX50", "firmware": "7.4", "serial": "1"}
    story.tell("inventory", "router", who, 0)
    story.tell("inventory", "router", who, 5)
    story.tick(6)
    assert (len(story.inventory()), story.problems()) == (1, [])
    story.tell("inventory", "router", {**who, "firmware": "7.5"}, 10)
    speak(story, 11, 31)
    assert [(problem.key.fault, problem.key.device, problem.duty) for problem in story.problems()] == [
        ("firmware_changed", "router", "on_duty")
    ]
    assert story.problems()[0].evidence[0].text == "7.4 -> 7.5"
    assert story.vehicle.inventory[InventoryKey("router")].firmware == "7.5"
    story.tell("inventory", "router", who, 40)
    story.tick(41)
    assert [problem.state for problem in story.problems()] == ["over"]
    assert [entry.identity["firmware"] for entry in story.inventory()] == ["7.4", "7.5", "7.4"]


def test_an_older_word_of_a_device_does_not_replace_the_newest(story: Story) -> None:
    story.tell("inventory", "router", {"firmware": "7.5"}, 100)
    story.tell("inventory", "router", {"firmware": "7.4"}, 50, now=110, lane="backlog")
    story.tick(111)
    assert story.problems() == []
    assert story.vehicle.inventory[InventoryKey("router")].firmware == "7.5"


def test_a_tick_without_news_changes_nothing(story: Story) -> None:
    speak(story, 0, 100)
    before = story.vehicle
    assert story.tick(106) == []
    assert story.vehicle is before


def test_a_problem_whose_data_are_missing_is_stale_and_active_again_with_the_next_word() -> None:
    """Ten minutes without a word of what it rests on, while its agent speaks: shown, and never ended by it."""
    story = kit(plan=vehicle_plan(PLAN))

    def talk(start: int, end: int, frozen: bool | None) -> None:
        for at in range(start, end, 10):
            story.sample("router", {"device.reachable": True}, at)
            story.sample("camera-1", {"device.reachable": True}, at)
            if frozen is not None:
                story.sample("camera-1", {"stream.frozen": frozen}, at, input="stream")
            story.tick(at + 5)

    talk(0, 300, frozen=False)
    talk(300, 600, frozen=True)
    assert story.active() == ["stream_frozen/camera-1"]
    talk(600, 1190, frozen=None)
    assert story.news("stale") == []
    talk(1190, 1230, frozen=None)
    (change,) = story.news("stale")
    assert (change.problem.state, change.text) == ("stale", "no data for 10 min")
    assert story.news("back") == []
    talk(1230, 1260, frozen=True)
    (change,) = story.news("back")
    assert change.problem.state == "active"
    assert story.news("over") == []
    assert story.active() == ["stream_frozen/camera-1"]
