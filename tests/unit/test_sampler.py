"""Aligned moments, stragglers and dead devices in virtual time; columns and events of one input."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from agent.inputs.base import Poll
from agent.outbox.drafts import Draft, EventDraft, SampleDraft
from agent.sampling.sample_builder import SampleBuilder, SeriesOwners
from agent.sampling.sampler import Poller, Sampler
from telemetry.readings import Identity, Reading
from tests.unit.virtual_time import monotonic, run


class Device:
    """Answers after ``seconds``, or as ``answer`` says; counts its polls."""

    def __init__(self, seconds: float = 0.0, answer: Callable[[], Awaitable[Poll]] | None = None) -> None:
        self.seconds = seconds
        self.answer = answer
        self.polled: list[float] = []
        self.closed = False

    async def poll(self, now: float) -> Poll:
        self.polled.append(now)
        await asyncio.sleep(self.seconds)
        if self.answer is not None:
            return await self.answer()
        return Poll([Reading("device.reachable", True), Reading("device.uptime_s", int(now))])

    async def close(self) -> None:
        self.closed = True


def sample(
    pollers: list[Poller], seconds: float, start: float = 100.4
) -> tuple[list[tuple[float, list[Draft]]], Sampler]:
    """Run pollers for so long; return what was delivered, each with the time of delivery."""
    delivered: list[tuple[float, list[Draft]]] = []

    async def scenario() -> Sampler:
        sampler = Sampler(pollers, monotonic=monotonic, deliver=lambda drafts: delivered.append((monotonic(), drafts)))
        task = asyncio.create_task(sampler.run())
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return sampler

    return delivered, run(scenario(), now=start)


def test_inputs_due_together_share_one_moment_and_one_delivery() -> None:
    pollers = [
        Poller("router", "snmp", Device(0.2), 10, 5),
        Poller("gnss", "gnss", Device(0.1), 10, 5),
        Poller("camera", "snmp", Device(), 30, 5),
    ]
    delivered, sampler = sample(pollers, 31)
    assert [(round(at, 3), [draft.mono_ms for draft in drafts]) for at, drafts in delivered] == [
        (110.2, [110_000] * 2),
        (120.2, [120_000] * 3),
        (130.2, [130_000] * 2),
    ]
    assert sampler.moments == 3
    assert sampler.longest_poll() > 0.19
    assert sampler.longest_poll() == 0.0
    assert all(poller.source.closed for poller in pollers)  # type: ignore[attr-defined]


def test_a_straggler_goes_with_the_next_moment_under_its_own_time() -> None:
    delivered, _ = sample([Poller("slow", "snmp", Device(3.0), 10, 5), Poller("quick", "modem", Device(), 10, 5)], 21)
    told = [(round(at, 3), [(draft.mono_ms, draft.schema.device) for draft in drafts]) for at, drafts in delivered]  # type: ignore[union-attr]
    assert told == [
        (111.0, [(110_000, "quick")]),  # a second after the moment, whatever the slow one does
        (121.0, [(110_000, "slow"), (120_000, "quick")]),
    ]


def test_half_the_kit_dead_delays_nobody() -> None:
    alive = [Device(0.05) for _ in range(5)]
    dead = [Device(3600.0) for _ in range(5)]
    pollers = [Poller(f"dead{n}", "snmp", device, 10, 5) for n, device in enumerate(dead)]
    pollers += [Poller(f"alive{n}", "snmp", device, 10, 5) for n, device in enumerate(alive)]
    delivered, sampler = sample(pollers, 3600)
    for device in alive:
        assert device.polled == [110.0 + 10 * n for n in range(360)]
    assert sampler.counts["deadline"] >= 5 * 359
    drafts = [draft for _, moment in delivered for draft in moment]
    gone = [draft for draft in drafts if isinstance(draft, SampleDraft) and draft.schema.device == "dead0"]
    assert {tuple(draft.values) for draft in gone} == {(False,)}
    problems = [draft for draft in drafts if isinstance(draft, EventDraft)]
    assert len(problems) == 5
    assert problems[0].body == {"input": "snmp", "problem": "no answer within 5 s"}


def test_a_poll_that_raises_is_our_fault_and_stops_nothing() -> None:
    async def raises() -> Poll:
        raise KeyError("oops")

    async def times_out() -> Poll:
        raise TimeoutError

    pollers = [
        Poller("bad", "http", Device(answer=raises), 10, 5),
        Poller("worse", "http", Device(answer=times_out), 10, 5),
    ]
    delivered, sampler = sample(pollers, 25)
    assert sampler.counts["fault"] == 4
    assert sampler.counts["deadline"] == 0
    events = [draft for _, drafts in delivered for draft in drafts]
    assert [(event.device, event.body["problem"]) for event in events] == [  # type: ignore[union-attr]
        ("bad", "internal error: KeyError: 'oops'"),
        ("worse", "internal error: TimeoutError: "),
    ]


def test_moments_slept_through_are_skipped_and_counted() -> None:
    device = Device()
    slept = 0.0
    delivered: list[list[Draft]] = []

    async def scenario() -> Sampler:
        nonlocal slept
        sampler = Sampler(
            [Poller("x", "snmp", device, 10, 5)], monotonic=lambda: monotonic() + slept, deliver=delivered.append
        )
        task = asyncio.create_task(sampler.run())
        await asyncio.sleep(15)
        slept = 3600.0  # the box was suspended: CLOCK_BOOTTIME went on, the loop's clock did not
        await asyncio.sleep(26)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return sampler

    sampler = run(scenario())
    assert device.polled == [10.0, 3630.0, 3640.0]
    assert [draft.mono_ms for drafts in delivered for draft in drafts] == [10_000, 3_630_000, 3_640_000]
    assert sampler.counts["skipped"] == 1


def test_moments_of_odd_intervals_are_all_kept() -> None:
    first, second = Device(), Device()
    sample([Poller("a", "snmp", first, 0.3, 0.3), Poller("b", "modem", second, 0.5, 0.5)], 3.01, start=0.0)
    assert [round(at, 3) for at in first.polled] == [round(0.3 * n, 3) for n in range(1, 11)]
    assert [round(at, 3) for at in second.polled] == [round(0.5 * n, 3) for n in range(1, 7)]


# --- one input --------------------------------------------------------------------------------------------------------


def leg(name: str, rsrp: float) -> Reading:
    return Reading("modem.rsrp_dbm", rsrp, {"leg": name})


def the_sample(drafts: list[Draft]) -> SampleDraft:
    (found,) = [draft for draft in drafts if isinstance(draft, SampleDraft)]
    return found


def test_columns_that_come_and_go_are_nulls_in_one_schema() -> None:
    builder = SampleBuilder("modem", "modem", primary=True)
    both = the_sample(builder.take(Poll([leg("nr", -90.0), leg("lte", -80.0)]), 10))
    without = the_sample(builder.take(Poll([leg("lte", -81.0)]), 20))
    again = the_sample(builder.take(Poll([leg("lte", -82.0), leg("nr", -91.0)]), 30))
    assert both.values == [-80.0, -90.0]  # sorted: lte before nr
    assert without.values == [-81.0, None]
    assert again.values == [-82.0, -91.0]
    assert both.schema_id == without.schema_id == again.schema_id == both.schema.id()


def test_a_new_column_makes_a_new_schema_and_columns_long_gone_are_left_out_of_it() -> None:
    builder = SampleBuilder("router", "snmp", primary=True)
    first = the_sample(builder.take(Poll([Reading("interface.up", True, {"interface": "tun0"})]), 0))
    for number in range(400):
        builder.take(Poll([Reading("interface.up", True, {"interface": "lan1"})]), number)
    last = the_sample(builder.take(Poll([Reading("interface.up", True, {"interface": "lan2"})]), 500))
    assert [column.labels for column in first.schema.columns] == [{"interface": "tun0"}]
    assert [column.labels for column in last.schema.columns] == [{"interface": "lan1"}, {"interface": "lan2"}]
    assert last.schema_id != first.schema_id


def test_a_series_given_by_two_inputs_is_refused_counted_and_reported() -> None:
    owners = SeriesOwners()
    snmp = SampleBuilder("router", "snmp", primary=True, owners=owners)
    http = SampleBuilder("router", "http", primary=False, owners=owners)
    snmp.take(Poll([Reading("device.reachable", True), Reading("device.uptime_s", 5)]), 0)
    drafts = http.take(
        Poll([Reading("device.reachable", True), Reading("device.uptime_s", 6), Reading("device.cpu_percent", 1.0)]), 0
    )
    assert [column.metric for column in the_sample(drafts).schema.columns] == ["device.cpu_percent"]
    assert http.counts == {"refused": 1}
    (event,) = [draft for draft in drafts if isinstance(draft, EventDraft)]
    assert event.kind == "problem"
    assert "device.uptime_s (snmp)" in event.body["problem"]
    # another device's series of the same name is another series
    other = SampleBuilder("switch", "snmp", primary=True, owners=owners)
    assert the_sample(other.take(Poll([Reading("device.uptime_s", 6)]), 0)).values == [6]


def test_what_the_catalogue_does_not_allow_is_counted_not_sent() -> None:
    builder = SampleBuilder("router", "snmp", primary=True)
    readings = [
        Reading("device.uptime_s", 5),
        Reading("device.uptime_s", 6),
        Reading("device.nonsense", 1),
        Reading("device.cpu_percent", 101.0),
        Reading("device.cpu_percent", 5.0, {"core": "1"}),
        Reading("interface.up", True, {"interface": "x" * 500}),
    ]
    drafts = builder.take(Poll(readings, flags=["filler modem.rsrp_dbm -113", "filler: x"]), 0)
    assert the_sample(drafts).values == [5]
    assert builder.counts == {"duplicate": 1, "invalid": 4, "filler": 2}


def test_a_hostile_table_is_cut_off() -> None:
    builder = SampleBuilder("router", "snmp", primary=True)
    for poll in range(5):
        rows = [Reading("interface.up", True, {"interface": f"if{poll}-{row}"}) for row in range(1000)]
        assert len(the_sample(builder.take(Poll(rows), poll)).values) == 400
    assert builder.counts["truncated"] == 5 * 600


def test_identity_and_problem_are_told_on_change_only() -> None:
    builder = SampleBuilder("modem", "modem", primary=True, repeat_ms=60_000)
    told: list[tuple[int, str, object]] = []

    def take(at_s: int, poll: Poll) -> None:
        for draft in builder.take(poll, at_s * 1000):
            if isinstance(draft, EventDraft):
                told.append((at_s, draft.kind, {k: v for k, v in draft.body.items() if k != "input"}))

    take(0, Poll(identity=Identity(imei="1", iccid="2")))
    take(10, Poll(identity=Identity(imei="1")))  # the rest was not asked this time
    take(20, Poll(identity=Identity(imei="1", iccid="3")))
    take(30, Poll(problem="port is held"))
    take(40, Poll(problem="port is held"))
    take(50, Poll())
    take(60, Poll(problem="port is held"))
    take(95, Poll())
    assert told == [
        (0, "inventory", {"imei": "1", "iccid": "2"}),
        (20, "inventory", {"imei": "1", "iccid": "3"}),
        (30, "problem", {"problem": "port is held"}),
        (95, "problem", {"problem": ""}),  # what came and went within a minute is not told
    ]


def test_what_a_hostile_device_says_of_itself_is_cut_and_cleaned() -> None:
    builder = SampleBuilder("router", "snmp", primary=True)
    label = Reading("interface.up", True, {"interface": "a\nb"})
    drafts = builder.take(
        Poll([label], Identity(model="x" * 5000, vendor="\x1b[31m", serial=""), problem="\0" * 999), 0
    )
    assert builder.counts == {"invalid": 1}
    problem, inventory = [draft for draft in drafts if isinstance(draft, EventDraft)]
    assert problem.body["problem"] == "?" * 300
    assert inventory.body == {"input": "snmp", "model": "x" * 128, "vendor": "?[31m"}


def test_a_poll_without_any_reading_makes_no_sample() -> None:
    assert SampleBuilder("gnss", "gnss", primary=True).take(Poll(), 0) == []
