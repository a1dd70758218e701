"""What the agent says over a connection, without a connection: messages and time in, messages out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from agent.clock import ClockKeeper
from agent.uplink import conversation
from agent.uplink.actions import Publish, Release, SendRecords, SendSchemas
from agent.uplink.conversation import Centre, Conversation, Speaker, Timing
from agent.uplink.packing import numbers_of
from agent.uplink.resend import Resend
from telemetry.intervals import Intervals
from telemetry.message import (
    DEFLATED,
    NUMBERED,
    PLAIN,
    Birth,
    Down,
    Header,
    Moment,
    Needed,
    Receipt,
    SchemaBody,
    Up,
    decode,
    records,
)
from telemetry.records import Clock, Column, Event, Record, Sample, Schema

RUN, EARLIER = "aa" * 8, "ee" * 8
BOOT, BOOT_BEFORE = "b" * 32, "0" * 32
SCHEMA = Schema("system", "tablet", (Column("host.load1"),))
NTP = Clock(0, 0, 1_800_000_000_000, "ntp", 5)
RTC = Clock(0, 0, 1_800_000_000_000, "rtc", 300_000)
TIMING = Timing(
    presence_ms=500,
    birth_repeat_ms=60_000,
    schema_repeat_ms=10_000,
    clock_patience_ms=30_000,
    send_interval_ms=0,
    live_expiry_s=600,
)


class Agent:
    """A conversation and an outbox that is a dictionary. ``do`` does all there is to do and returns what was sent."""

    def __init__(
        self,
        *,
        clocks: Sequence[Clock] = (NTP,),
        centre: Centre | None = None,
        timing: Timing = TIMING,
        boots: Mapping[str, str] | None = None,
    ) -> None:
        self.centre = centre or Centre()
        self.sending = Resend()
        self.clocks = list(clocks)
        self.keeper = ClockKeeper(clocks)
        self.outbox: dict[tuple[str, int], Record] = {}
        self.clocks_of: dict[str, list[Clock]] = {RUN: self.clocks}
        self.known = {SCHEMA.id(): SCHEMA}
        self.released: list[tuple[str, list[tuple[int, int]]]] = []
        self.sequence = 0
        self.boots = dict(boots or {})
        self.timing = timing
        self.session = 0
        self.connect()

    def connect(self) -> Conversation:
        self.session += 1
        speaker = Speaker(
            run=RUN,
            session=self.session,
            boot=BOOT,
            machine="m",
            version="1",
            interval_s=10.0,
            devices={"tablet": "host"},
            boots=self.boots,
            clocks=self.clocks,
        )
        self.said = Conversation(speaker, self.timing, sending=self.sending, keeper=self.keeper, centre=self.centre)
        return self.said

    def greet(self, now_ms: int, epoch: int = 1, formats: tuple[int, ...] = (PLAIN, DEFLATED)) -> list[Publish]:
        """Connect to a centre that is there and answers the birth."""
        self.said.begin(now_ms)
        self.said.on_presence(Up(epoch, formats), now_ms)
        sent = self.do(now_ms)
        self.receipt({}, now_ms, epoch=epoch)
        return sent + self.do(now_ms)

    def record(self, mono_ms: int, *, event: bool = False) -> Record:
        """Record something and tell the conversation."""
        record: Record = Event(self.sequence, mono_ms, "started") if event else self.sample(self.sequence, mono_ms)
        self.sequence += 1
        self.outbox[RUN, record.sequence] = record
        self.sending.keep(RUN, numbers_of([record]))
        self.said.recorded([record], mono_ms)
        return record

    def hold_earlier(self, run: str, count: int, boot: str) -> None:
        """An earlier run left this many samples."""
        self.boots[run] = boot
        self.clocks_of.setdefault(run, [])
        for number in range(count):
            self.outbox[run, number] = self.sample(number, 1000 * number)
        self.sending.hold(run, Intervals([(0, count - 1)]))

    def sample(self, sequence: int, mono_ms: int) -> Sample:
        return Sample(sequence, mono_ms, SCHEMA.id(), [0.5])

    def receipt(self, runs: dict[str, list[tuple[int, int]]], now_ms: int, *, epoch: int = 1, **more: Any) -> None:
        self.said.on_receipt(Receipt(epoch, (RUN, self.session), runs, **more), now_ms)

    def do(self, now_ms: int) -> list[Publish]:
        sent: list[Publish] = []
        while (action := self.said.next(now_ms)) is not None:
            match action:
                case Publish():
                    sent.append(action)
                case Release(run, numbers):
                    self.released.append((run, numbers.pairs()))
                case SendSchemas(run):
                    sent += self.said.schema_messages(action, self.known, self.clocks_of[run])
                case SendRecords(run=run):
                    there = [record for (of, n), record in self.outbox.items() if of == run and n in action.numbers]
                    sent += self.said.record_messages(action, there, self.known, self.clocks_of[run], now_ms)
        return sent


def birth_of(message: Publish) -> Birth:
    assert message.kind == "state"
    assert message.retain
    body: Birth = decode(message.payload, Birth)[1]
    return body


def header_of(message: Publish) -> Header:
    return decode(message.payload, list[Moment])[0]


def numbers_in(messages: Sequence[Publish], kind: str) -> list[int]:
    return [n for message in messages if message.kind == kind for n in header_of(message).sequences]


def kinds(messages: Sequence[Publish]) -> list[str]:
    return [message.kind for message in messages]


def test_the_birth_waits_half_a_second_for_the_presence_and_no_longer() -> None:
    agent = Agent()
    agent.said.begin(1000)
    assert agent.do(1499) == []
    assert agent.said.next_look_ms(1100) == 400
    [birth] = agent.do(1500)
    assert birth_of(birth).session == 1
    assert not agent.said.usable
    assert agent.do(1501) == []


def test_a_presence_that_is_there_brings_the_birth_at_once() -> None:
    agent = Agent()
    agent.said.on_presence(Up(1, (PLAIN,)), 1000)  # the retained message may come before the SUBACK
    agent.said.begin(1010)
    assert kinds(agent.do(1010)) == ["state"]
    assert agent.said.usable


def test_records_wait_for_the_birth_then_go_live_after_schema_and_clock() -> None:
    agent = Agent()
    agent.said.begin(0)
    agent.record(100)
    assert agent.do(200) == []
    sent = agent.greet(300)
    assert kinds(sent) == ["state", "schema", "backlog"]  # what was recorded before waits for the receipt
    live = agent.record(400)
    sent = agent.do(400)
    assert kinds(sent) == ["live"]
    assert sent[0].expiry_s == 600
    header, body = decode(sent[0].payload, list[Moment])
    assert [placed.record for placed in records(header, body)] == [live]
    assert [placed.clock for placed in records(header, body)] == [0]


def test_the_backlog_waits_for_the_receipt_that_answers_this_birth() -> None:
    agent = Agent()
    agent.hold_earlier(EARLIER, 10, BOOT_BEFORE)
    agent.said.begin(0)
    agent.said.on_presence(Up(1, (PLAIN,)), 0)
    [birth] = agent.do(0)
    assert birth_of(birth).runs[EARLIER].last == 9
    agent.said.on_receipt(Receipt(1, (RUN, 99), {EARLIER: [(0, 3)]}), 10)  # answers another birth
    assert agent.do(10) == []
    assert agent.released == [(EARLIER, [(0, 3)])]
    agent.receipt({EARLIER: [(0, 5)]}, 20)
    sent = agent.do(20)
    assert agent.released == [(EARLIER, [(0, 3)]), (EARLIER, [(4, 5)])]
    assert numbers_in(sent, "backlog") == [6, 7, 8, 9]


def test_an_unanswered_birth_is_said_again_after_a_minute() -> None:
    agent = Agent()
    agent.said.begin(0)
    agent.said.on_presence(Up(1, (PLAIN,)), 0)
    agent.do(0)
    assert agent.do(59_999) == []
    assert kinds(agent.do(60_000)) == ["state"]
    agent.receipt({}, 60_100)
    assert agent.do(120_001) == []


def test_a_lower_epoch_is_ignored_and_a_higher_one_brings_a_birth_and_everything_anew() -> None:
    agent = Agent()
    agent.greet(0, epoch=5)
    agent.record(100)
    assert kinds(agent.do(100)) == ["schema", "live"]
    agent.said.on_presence(Up(4, (PLAIN,)), 200)
    agent.said.on_presence(Down(4), 200)
    agent.receipt({RUN: [(0, 0)]}, 200, epoch=4)
    assert agent.do(200) == []
    assert agent.released == []
    agent.said.on_presence(Up(6, (PLAIN,)), 300)
    agent.receipt({RUN: [(0, 0)]}, 300, epoch=6)  # retained, said before it heard our birth
    assert kinds(agent.do(300)) == ["state"]
    assert agent.released == []
    agent.receipt({}, 400, epoch=6)
    assert kinds(agent.do(400)) == ["schema", "backlog"]
    assert agent.centre.epoch == 6


def test_nothing_goes_while_the_collector_is_away_and_all_of_it_goes_after() -> None:
    agent = Agent()
    agent.greet(0)
    agent.said.on_presence(Down(1), 100)
    for mono_ms in range(200, 1000, 100):
        agent.record(mono_ms)
    assert agent.do(1000) == []
    agent.said.on_presence(Up(1, (PLAIN,)), 2000)
    sent = agent.do(2000)
    assert numbers_in(sent, "backlog") == list(range(8))


def test_a_collector_that_goes_while_records_are_looked_up_gets_them_later() -> None:
    agent = Agent()
    agent.greet(0)
    record = agent.record(100)
    action = agent.said.next(100)
    assert isinstance(action, SendRecords)
    agent.said.on_presence(None, 101)
    assert agent.said.record_messages(action, [record], agent.known, agent.clocks, 102) == []
    agent.said.on_presence(Up(1, (PLAIN,)), 200)
    assert numbers_in(agent.do(200), "backlog") == [0]


def test_what_can_be_read_no_more_is_held_no_more() -> None:
    agent = Agent()
    agent.hold_earlier(EARLIER, 5, BOOT_BEFORE)
    del agent.outbox[EARLIER, 2]
    assert numbers_in(agent.greet(0), "backlog") == [0, 1, 3, 4]
    assert 2 not in agent.sending.held()[EARLIER]


def test_what_the_centre_misses_is_told_once_in_ten_seconds_and_its_records_go_again() -> None:
    agent = Agent()
    agent.greet(0)
    agent.record(100)
    agent.do(100)
    needed = {RUN: Needed((SCHEMA.id(),), (0,))}
    agent.receipt({}, 200, needed=needed)
    sent = agent.do(200)
    assert kinds(sent) == ["schema", "backlog"]
    body: SchemaBody = decode(sent[0].payload, SchemaBody)[1]
    assert (list(body.schemas), body.clocks) == ([SCHEMA.id()], (NTP,))
    agent.receipt({}, 10_199, needed=needed)
    assert agent.do(10_199) == []
    agent.receipt({}, 10_200, needed=needed)
    assert kinds(agent.do(10_200)) == ["schema", "backlog"]


def test_a_schema_that_is_known_no_more_is_said_to_be_unknown() -> None:
    agent = Agent()
    agent.greet(0)
    agent.receipt({}, 100, needed={RUN: Needed(("xxxxxx",), ())})
    [message] = agent.do(100)
    body: SchemaBody = decode(message.payload, SchemaBody)[1]
    assert body.unknown_schemas == ("xxxxxx",)


@pytest.mark.parametrize(("clocks", "goes_at"), [((), None), ((RTC,), 30_000), ((NTP,), 0)])
def test_records_wait_at_home_for_a_clock_that_is_worth_something(clocks: Sequence[Clock], goes_at: int | None) -> None:
    agent = Agent(clocks=clocks)
    agent.greet(0)
    for at in (0, 29_999, 30_000):
        agent.record(at)
        sent = agent.do(at)
        assert bool(numbers_in(sent, "live")) == (goes_at is not None and at >= goes_at), at


def test_a_boot_that_is_over_and_knew_only_its_rtc_says_that_no_clock_will_come() -> None:
    agent = Agent()
    ahead = Clock(0, 0, NTP.wall_ms + 86_400_000, "rtc", 300_000)
    agent.clocks_of[EARLIER] = [ahead]
    agent.hold_earlier(EARLIER, 1, BOOT_BEFORE)
    sent = agent.greet(1000)
    body: SchemaBody = decode(sent[1].payload, SchemaBody)[1]
    assert body.no_clock
    header, moments = decode(sent[2].payload, list[Moment])
    assert [placed.clock for placed in records(header, moments)] == [None]  # it would lie in the future


def test_a_thrifty_agent_gathers_samples_until_the_interval_ends_and_events_never_wait() -> None:
    thrifty = Timing(
        presence_ms=500,
        birth_repeat_ms=60_000,
        schema_repeat_ms=10_000,
        clock_patience_ms=30_000,
        send_interval_ms=10_000,
        live_expiry_s=600,
    )
    agent = Agent(timing=thrifty)
    agent.greet(0)
    agent.record(1000)
    agent.record(2000)
    assert agent.do(2000) == []
    assert agent.said.next_look_ms(9500) == 501
    assert numbers_in(agent.do(10_000), "live") == [0, 1]
    agent.record(11_000)
    agent.record(12_000, event=True)
    assert numbers_in(agent.do(12_000), "live") == [2, 3]


def test_two_backlog_messages_at_most_are_on_their_way_and_live_goes_before_the_next() -> None:
    agent = Agent()
    agent.hold_earlier(EARLIER, 1000, BOOT_BEFORE)
    sent = agent.greet(0)
    assert kinds(sent) == ["state", "schema", "backlog", "backlog"]
    agent.record(100)
    agent.said.acknowledged(sent[-1], 0)
    assert [kind for kind in kinds(agent.do(100)) if kind != "schema"] == ["live", "backlog"]
    assert agent.do(100) == []


def test_a_link_that_acknowledges_nothing_gets_no_more_live_messages() -> None:
    agent = Agent()
    agent.greet(0)
    for at in range(conversation.LIVE_UNACKNOWLEDGED + 5):
        agent.record(at)
        agent.do(at)
    assert agent.sending.in_flight("live") == conversation.LIVE_UNACKNOWLEDGED


def test_refusals_of_the_broker_are_counted() -> None:
    agent = Agent()
    agent.greet(0)
    sent = []
    for at in range(3):
        agent.record(at)
        sent += [message for message in agent.do(at) if message.kind == "live"]
    for message, code in zip(sent, (0x87, 0x10, 0x87), strict=True):
        agent.said.acknowledged(message, code)
    assert agent.centre.refused == 2


def test_a_birth_names_a_long_crash_loop_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "RUNS_NAMED", 3)
    agent = Agent()
    runs = [f"{number:016x}" for number in range(7)]
    for run in runs:
        agent.hold_earlier(run, 1, BOOT_BEFORE)
    named: list[str] = []
    messages = agent.greet(0)
    for now_ms in range(1, 30):
        named += [run for message in messages if message.kind == "state" for run in birth_of(message).runs]
        if len(named) == len(runs):
            break
        agent.receipt({run: [(0, 0)] for run in named}, now_ms)
        messages = agent.do(now_ms)
        for message in messages:
            if message.lane is not None:
                agent.said.acknowledged(message, 0)
    assert named == runs


def test_before_a_planned_end_live_records_go_and_receipts_are_carried_out() -> None:
    hourly = Timing(
        presence_ms=500,
        birth_repeat_ms=60_000,
        schema_repeat_ms=10_000,
        clock_patience_ms=30_000,
        send_interval_ms=3_600_000,
        live_expiry_s=600,
    )
    agent = Agent(timing=hourly)
    agent.greet(0)
    agent.record(100)
    agent.hold_earlier(EARLIER, 1, BOOT_BEFORE)
    agent.receipt({EARLIER: [(0, 0)]}, 200)
    assert agent.said.last() == Release(EARLIER, Intervals([(0, 0)]))
    live = agent.said.last()
    assert isinstance(live, SendRecords)
    assert live.lane == "live"
    assert agent.said.last() is None


def test_the_end_returns_what_was_not_let_go_and_the_next_connection_sends_the_rest() -> None:
    agent = Agent()
    agent.greet(0)
    agent.record(100)
    agent.do(100)
    agent.record(200)
    agent.receipt({RUN: [(0, 0)]}, 300)
    assert agent.said.end() == [Release(RUN, Intervals([(0, 0)]))]
    agent.record(400)  # while the connection ends
    assert agent.said.next(400) is None
    agent.connect()
    assert numbers_in(agent.greet(500), "backlog") == [1, 2]


def test_no_format_is_used_that_the_collector_does_not_list() -> None:
    agent = Agent()
    agent.greet(0, formats=(PLAIN,))
    agent.record(100)
    assert {message.payload[0] for message in agent.do(100)} == {PLAIN}
    agent.said.on_presence(Up(1, (PLAIN, DEFLATED)), 200)
    agent.record(200)
    assert {message.payload[0] for message in agent.do(200)} == {DEFLATED}
    agent.said.on_presence(Up(2, (PLAIN, DEFLATED, NUMBERED, 77)), 300)
    agent.do(300)
    agent.record(300)
    assert {message.payload[0] for message in agent.do(300)} == {NUMBERED}


def test_a_record_that_a_receipt_names_before_it_was_sent_stays_and_that_is_told_once() -> None:
    agent = Agent()
    agent.greet(0)
    agent.record(100)
    receipt = Receipt(1, (RUN, 1), {RUN: [(0, 500)]}, uncommitted={RUN: [(0, 500)]})
    assert [agent.said.on_receipt(receipt, 100) for _ in range(2)] == [True, False]
    assert agent.released == []
    (live,) = [message for message in agent.do(101) if message.kind == "live"]
    assert (live.run, live.numbers) == (RUN, Intervals([(0, 0)]))
    assert agent.said.on_receipt(receipt, 102) is False
    assert agent.do(102) == []
    assert agent.released == [], "sent, and the broker may not have it: somebody else may have named it"
    agent.said.acknowledged(live, 0)
    assert agent.said.releasing
    agent.do(103)
    assert agent.released == [(RUN, [(0, 0)])]
