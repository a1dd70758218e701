"""Whose clock is wrong: the centre's or an agent's, by sites of one, two, three and many vehicles."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from collector.core.clock_faults import Whose
from collector.core.health import PartReport
from collector.core.identities import ProblemKey
from collector.core.survey import Verdict, reported
from collector.core.vehicle.events import Acted, Born, ClockRead, Listening, TimePassed
from collector.core.vehicle.state import Agent
from collector.core.vehicle.step import Context, step
from tests.unit.judging import SHIPPED, T0, Story
from tests.unit.test_survey import Fleet, everyone

MINUTE = 60
RIGHT, WRONG = "ok", "unsynchronised"


class Site(Fleet):
    """Vehicles whose words show their clocks from ours, by seconds (ours minus theirs); ``None``: not trusted."""

    _offs: Mapping[str, float | None]

    def tell(self, offs: Mapping[str, float | None], start: int, end: int) -> None:
        self._offs = offs
        self.seconds(start, end, list(offs))

    def is_born(self, name: str, at: int) -> None:
        """A run begins, and nothing of it has come yet but its birth."""
        super()._step(name, Born("box", f"run of {at}", 1, "m", 0), T0 + at * 1000)

    def _step(self, name: str, event: Acted | Born | TimePassed, now_ms: int) -> None:
        super()._step(name, event, now_ms)
        if isinstance(event, Born):
            off = self._offs[name]
            read = ClockRead("box", off is not None, round(1000 * (off or 0)))
            context = Context(self.plan, self.listening, self.verdict)
            self.vehicles[name], _ = step(self.vehicles[name], read, context, SHIPPED, now_ms)

    def clocks(self) -> list[tuple[str, str]]:
        """(fault, vehicle) of what is active."""
        problems = [
            *self.state.problems.values(),
            *(problem for vehicle in self.vehicles.values() for problem in vehicle.problems.values()),
        ]
        return sorted((one.key.fault, one.vehicle) for one in problems if "clock" in one.key.fault)


def site(count: int, kept: str | None = RIGHT) -> Site:
    made = Site(count)
    if kept is not None:
        report = PartReport("clock", "", kept, T0)  # type: ignore[arg-type]
        made.state = reported(made.state, report, SHIPPED, T0)
    return made


@pytest.mark.parametrize("off", [31, 660, 3600, -31, -150, -3600])
@pytest.mark.parametrize("count", [2, 3, 12])
def test_all_off_the_same_way_is_the_centre(count: int, off: int) -> None:
    one = site(count)
    one.tell(dict.fromkeys(everyone(one), off), 0, 4 * MINUTE)
    assert one.clocks() == [], "a clock that is being set"
    one.tell(dict.fromkeys(everyone(one), off), 4 * MINUTE, 7 * MINUTE)
    assert one.clocks() == [("centre_clock_wrong", "")]
    (problem,) = one.state.problems.values()
    words = f"{count} of {count} vehicles with a trusted clock say that ours is {abs(off)} s"
    assert problem.evidence[0].text == words + (" fast" if off > 0 else " slow")
    one.tell(dict.fromkeys(everyone(one), 0), 7 * MINUTE, 8 * MINUTE)
    assert one.clocks() == []


@pytest.mark.parametrize(("off", "left"), [(329, None), (331, 31), (-31, -31), (-29, None)])
def test_words_that_were_gathered_are_older_than_their_way(off: int, left: int | None) -> None:
    one = site(1)
    agents = {"box": Agent(interval_ms=300_000)}
    vehicle = msgspec.structs.replace(one.vehicles["amb-0"], agents=agents)
    event, context = ClockRead("box", True, 1000 * off), Context(one.plan, one.listening, one.verdict)
    after, _ = step(vehicle, event, context, SHIPPED, T0)
    found = after.agents["box"].clock_off
    assert (None if found is None else found.off_ms) == (None if left is None else 1000 * left)


@pytest.mark.parametrize("count", [2, 3, 12])
def test_one_of_several_is_its_own(count: int) -> None:
    one = site(count)
    offs: dict[str, float | None] = {**dict.fromkeys(everyone(one), 0.0), "amb-0": 90.0}
    one.tell(offs, 0, 8 * MINUTE)
    assert one.clocks() == [("clock_unset", "amb-0")]
    one.tell({**offs, "amb-0": 0.0}, 8 * MINUTE, 9 * MINUTE)
    assert one.clocks() == []


def test_under_30_s_nothing_is_off() -> None:
    one = site(3)
    one.tell(dict.fromkeys(everyone(one), 29.9), 0, 8 * MINUTE)
    assert one.clocks() == []


@pytest.mark.parametrize(("kept", "whose"), [(RIGHT, "amb-0"), (WRONG, ""), (None, "amb-0")])
def test_of_a_single_one_the_centres_own_synchronisation_decides(kept: str | None, whose: str) -> None:
    one = site(1, kept)
    one.tell({"amb-0": 660}, 0, 8 * MINUTE)
    assert one.clocks() == [("clock_unset" if whose else "centre_clock_wrong", whose)]


def test_who_goes_by_our_own_time_bears_no_witness() -> None:
    one = site(3)
    one.tell({"amb-0": 660, "amb-1": 660, "amb-2": None}, 0, 8 * MINUTE)
    assert one.clocks() == [("centre_clock_wrong", "")], "two that are trusted, both off"
    one = site(3)
    one.tell(dict.fromkeys(everyone(one)), 0, 8 * MINUTE)
    assert one.clocks() == []


def test_three_of_twelve_are_not_the_centre_while_nine_agree_with_it() -> None:
    one = site(12)
    offs = {name: 660.0 if n < 3 else 0.0 for n, name in enumerate(everyone(one))}
    one.tell(offs, 0, 8 * MINUTE)
    assert one.clocks() == [("clock_unset", f"amb-{n}") for n in range(3)]


def test_off_in_other_ways_is_each_its_own() -> None:
    one = site(3)
    one.tell({"amb-0": 660, "amb-1": -90, "amb-2": 7200}, 0, 8 * MINUTE)
    assert one.clocks() == [("clock_unset", f"amb-{n}") for n in range(3)]


def test_a_word_that_agrees_begins_it_anew() -> None:
    """A live word that was 40 s on its way now and then is no clock."""
    one = site(1, WRONG)
    for at in range(0, 20 * MINUTE, 4 * MINUTE):
        one.tell({"amb-0": 40}, at, at + 4 * MINUTE - 10)
        one.tell({"amb-0": 2}, at + 4 * MINUTE - 10, at + 4 * MINUTE)
    assert one.clocks() == []


def test_the_first_that_is_off_for_long_enough_waits_for_the_others() -> None:
    """Else it would be told as its own a moment before the third says that it is the centre."""
    one = site(3)
    one.tell({"amb-0": 660}, 0, 2 * MINUTE)
    one.tell(dict.fromkeys(everyone(one), 660), 2 * MINUTE, 6 * MINUTE)
    assert one.clocks() == []
    one.tell(dict.fromkeys(everyone(one), 660), 6 * MINUTE, 8 * MINUTE)
    assert one.clocks() == [("centre_clock_wrong", "")]


@pytest.mark.parametrize("count", [2, 3])
def test_who_speaks_on_while_the_others_are_parked_is_not_to_blame_for_our_clock(count: int) -> None:
    """Found by a quiet life of kits that are fed with the ignition: the last one on the road was told as wrong."""
    one = site(count)
    one.tell(dict.fromkeys(everyone(one), 660), 0, 8 * MINUTE)
    one.tell({"amb-0": 660}, 8 * MINUTE, 30 * MINUTE)
    assert ("clock_unset", "amb-0") not in one.clocks()
    assert ("centre_clock_wrong", "") in one.clocks()
    one.tell({"amb-0": 0, "amb-1": 90}, 30 * MINUTE, 40 * MINUTE)
    assert ("clock_unset", "amb-1") in one.clocks(), "one agrees: who is off then is so by itself"


@pytest.mark.parametrize(("said_s", "ours"), [(130, True), (50, True), (20, True), (10, False)])
def test_who_said_the_same_twice_before_it_fell_silent_bears_another_out(said_s: int, ours: bool) -> None:
    """Found by quiet lives of two: one was parked a minute after our clock was set, one in a dead spot after two."""
    one = site(2)
    one.tell(dict.fromkeys(everyone(one), -3600), 0, said_s)
    one.tell({"amb-0": -3600}, said_s, 8 * MINUTE)
    assert one.clocks() == [("centre_clock_wrong", "") if ours else ("clock_unset", "amb-0")]


@pytest.mark.parametrize(
    ("pause", "second", "ours"),
    [(0, 3600, True), (4, 3610, True), (50, 3610, True), (60, 3600, False), (0, 660, False)],
)
def test_two_that_say_the_same_of_our_clock_one_after_the_other_are_two(pause: int, second: int, ours: bool) -> None:
    """Found by a quiet life of kits that are fed with the ignition: no two of three were awake together."""
    one = site(3)
    one.tell({"amb-0": 3600}, 0, 8 * MINUTE)
    assert one.clocks() == [("clock_unset", "amb-0")], "one word against another, and our machine says that it is kept"
    start = (8 + pause) * MINUTE
    one.tell({"amb-1": second}, start, start + 6 * MINUTE)
    found = ("centre_clock_wrong", "") if ours else ("clock_unset", "amb-1")
    assert one.clocks() == sorted([("clock_unset", "amb-0"), found])


def test_a_birth_says_nothing_of_our_clock() -> None:
    """Found by a quiet life: whoever had agreed with us before ours was set bore witness for it when it started again.

    So the others were told as wrong, and that ours was wrong was over, and told a second time.
    """
    one = site(3, WRONG)
    one.tell(dict.fromkeys(everyone(one), 0.0), 0, MINUTE)
    one.tell({"amb-0": 660}, 20 * MINUTE, 24 * MINUTE)
    one.is_born("amb-1", 24 * MINUTE)
    one.tell({"amb-0": 660}, 24 * MINUTE, 26 * MINUTE)
    assert one.clocks() == [("centre_clock_wrong", "")]
    one = site(3)
    one.tell(dict.fromkeys(everyone(one), 0.0), 0, MINUTE)
    one.tell({"amb-0": 660, "amb-1": 660}, 20 * MINUTE, 28 * MINUTE)
    one.is_born("amb-2", 28 * MINUTE)
    one.tell({"amb-0": 660, "amb-1": 660}, 28 * MINUTE, 29 * MINUTE)
    assert one.clocks() == [("centre_clock_wrong", "")]


@pytest.mark.parametrize("set_s", [-3600, -660, -150, 150, 660, 3600])
def test_who_fell_silent_before_our_clock_was_set_bears_no_witness(set_s: int) -> None:
    """Found by a quiet life of two: the one that was parked a minute before agreed with us, as we had been."""
    one = site(2, WRONG)
    one.tell(dict.fromkeys(everyone(one), 0), 3600, 3660)
    start = 3660 + set_s
    one.tell({"amb-0": set_s}, start, start + abs(set_s) + 30 * MINUTE)
    assert ("clock_unset", "amb-0") not in one.clocks()
    assert ("centre_clock_wrong", "") in one.clocks()


@pytest.mark.parametrize("parked_s", [0, 60, 300, 630])
def test_who_was_parked_before_our_clock_was_set_right_is_not_to_blame(parked_s: int) -> None:
    """Found by a quiet life: its last word of before lay within two minutes of now, by the clock that was set back."""
    one = site(3)
    one.tell(dict.fromkeys(everyone(one), 660), 0, 10 * MINUTE)
    end = 10 * MINUTE + parked_s
    one.tell({"amb-0": 660}, 10 * MINUTE, end)
    one.tell({"amb-0": 0}, end - 660, end + 10 * MINUTE)
    assert one.clocks() == []


@pytest.mark.parametrize("set_s", [660, -660])
def test_when_ours_is_set_right_no_agent_is_to_blame_for_what_it_said_before(set_s: int) -> None:
    """Found by a drill: the first agent that agreed made the others' words of before their own fault."""
    one = site(2)
    one.tell(dict.fromkeys(everyone(one), -set_s), 0, 8 * MINUTE)
    assert one.clocks() == [("centre_clock_wrong", "")]
    after = 8 * MINUTE + set_s
    one.tell({"amb-0": 0}, after, after + 10)
    assert ("clock_unset", "amb-1") not in one.clocks()
    one.tell(dict.fromkeys(everyone(one), 0), after + 10, after + 30)
    assert one.clocks() == []


@pytest.mark.parametrize("silent_s", [130, 180, 260])
def test_who_fell_silent_before_ours_was_set_right_is_not_to_blame_by_the_clock_of_now(silent_s: int) -> None:
    """Found by a quiet life: by the clock that was set back its last word was of this minute, and not to come."""
    one = site(2)
    one.tell(dict.fromkeys(everyone(one), 150), 0, 8 * MINUTE)
    one.tell({"amb-0": 150}, 8 * MINUTE, 8 * MINUTE + silent_s)
    assert one.clocks() == [("centre_clock_wrong", "")]
    after = 8 * MINUTE + silent_s - 150
    one.listening = Listening(T0 + after * 1000)
    one.tell({"amb-0": 0}, after, after + 5 * MINUTE)
    assert one.clocks() == []


def test_nothing_is_judged_while_we_do_not_listen() -> None:
    one = site(3)
    one.tell(dict.fromkeys(everyone(one), 660), 0, MINUTE)
    one.listening = Listening(None)
    for name in everyone(one):
        context = Context(one.plan, one.listening, one.verdict)
        one.vehicles[name], _ = step(one.vehicles[name], TimePassed(), context, SHIPPED, T0 + 3_600_000)
    assert one.clocks() == []
    assert msgspec.json.decode(one.vehicles["amb-0"].to_json())["agents"]["box"]["clock_off"]


def test_what_an_agent_says_of_its_host_by_our_wrong_time_is_explained() -> None:
    """An agent that goes by the centre's time finds its host's clock off, and it is the centre's that is."""
    story = Story(SHIPPED)
    story.verdict = Verdict(problems=(ProblemKey("centre_clock_wrong", "north"),), expected=3, spoke_ms=T0)
    for at in range(0, 1800, 10):
        story.sample("agent", {"agent.clock_offset_s": -660.0}, at, input="agent")
    assert story.faults() == []
    story.verdict = Verdict(expected=3, spoke_ms=T0)
    for at in range(1800, 3000, 10):
        story.sample("agent", {"agent.clock_offset_s": -660.0}, at, input="agent")
    assert story.faults() == ["clock_unset"]


def _two_agents(tablet_off_s: float, *, clocks: Whose, until: int = 8 * MINUTE) -> list[str]:
    story = Story(SHIPPED)
    story.verdict = Verdict(expected=1, spoke_ms=T0, clocks=clocks)
    for at in range(0, until, 10):
        for agent, device, off_s in (("box", "router", 660.0), ("tablet", "host", tablet_off_s)):
            story.do(ClockRead(agent, trusted=True, off_ms=round(1000 * off_s)), at)
            input = "system" if device == "host" else "snmp"
            story.sample(device, {"device.reachable": True}, at, agent=agent, input=input)
        story.tick(at + 5)
    return [key for key in story.active() if "clock" in key]


def test_one_of_a_vehicles_agents_is_off_and_another_agrees_with_us() -> None:
    """Found by a drill: the vehicle agreed with us by its tablet, and nobody was to blame."""
    assert _two_agents(0, clocks="") == ["clock_unset/box"]
    assert _two_agents(0, clocks="centre") == [], "others have more to say"
    assert _two_agents(660, clocks="") == [], "nobody agrees with us"


@pytest.mark.parametrize(
    ("last_s", "trusted", "told"), [(290, True, []), (320, True, ["clock_unset/box"]), (320, False, [])]
)
def test_only_who_was_heard_since_another_was_off_agrees_with_us(last_s: int, trusted: bool, told: list[str]) -> None:
    """The box is off from 300 s on; what a tablet said before that may have been said before our clock was set."""
    story = Story(SHIPPED)
    story.verdict = Verdict(expected=1, spoke_ms=T0)
    for at in range(0, 14 * MINUTE, 10):
        story.do(ClockRead("box", trusted=True, off_ms=660_000 if at >= 300 else 0), at)
        story.sample("router", {"device.reachable": True}, at)
        if at <= last_s:
            story.do(ClockRead("tablet", trusted=trusted, off_ms=0), at)
            story.sample("host", {"device.reachable": True}, at, agent="tablet", input="system")
        story.tick(at + 5)
    assert [key for key in story.active() if "clock" in key] == told


def test_a_clock_that_nobody_has_set_is_told_after_an_hour() -> None:
    story = Story(SHIPPED)
    story.verdict = Verdict(expected=1, spoke_ms=T0)
    for at in range(0, 9000, 10):
        told = not 600 <= at < 6000
        story.do(ClockRead("box", trusted=told, off_ms=0, told=told), at)
        story.sample("router", {"device.reachable": True}, at)
        story.tick(at + 5)
        if at < 600 + 3600:
            assert "clock_unset" not in story.faults()
    (found,) = [one for one in story.life() if one[0] == "clock_unset"]
    assert found == ("clock_unset", "over", 600, 6005)
