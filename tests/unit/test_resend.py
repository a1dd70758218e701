"""What is sent again: each rule alone, then all in a world where everything breaks (seconds of virtual time)."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.uplink.resend import Need, Resend
from telemetry.intervals import Intervals
from telemetry.message import Lane

A, B = "a" * 16, "b" * 16


def publish(sending: Resend, lane: Lane, records: Intervals, at_ms: int, needs: list[Need] | None = None) -> None:
    sending.keep(A, records)
    sending.published(lane, A, records, at_ms, needs or [])


def numbers(*pairs: tuple[int, int]) -> Intervals:
    return Intervals(pairs)


def test_the_backlog_waits_for_the_fresh_receipt_and_then_goes_oldest_run_first() -> None:
    sending = Resend()
    sending.hold(A, numbers((5, 9)))
    sending.hold(B, numbers((0, 449)))
    assert sending.next_backlog() is None
    assert sending.receipt({A: [(0, 6)]}, 0) == {A: numbers((5, 6))}
    assert sending.next_backlog() is None  # an old receipt releases, but does not say what is still on its way
    sending.receipt({}, 0, fresh=True)
    sent = []
    while (message := sending.next_backlog()) is not None:
        sent.append(message)
        sending.published("backlog", *message, now_ms=0)
    assert sent == [(A, numbers((7, 9))), (B, numbers((0, 199))), (B, numbers((200, 399))), (B, numbers((400, 449)))]


def test_runs_that_cannot_be_placed_in_time_stay_at_home() -> None:
    sending = Resend()
    sending.hold(A, numbers((0, 9)))
    sending.hold(B, numbers((0, 9)))
    sending.receipt({}, 0, fresh=True)
    assert sending.next_backlog(lambda run: run == B) == (B, numbers((0, 9)))


def test_sixteen_messages_in_flight_and_no_more_until_one_is_receipted() -> None:
    sending = Resend()
    sending.hold(A, numbers((0, 9999)))
    sending.receipt({}, 0, fresh=True)
    for _ in range(16):
        message = sending.next_backlog()
        assert message is not None
        assert len(message[1]) == 200
        sending.published("backlog", *message, now_ms=0)
    assert sending.next_backlog() is None
    sending.receipt({A: [(0, 399)]}, 1000)
    assert sending.in_flight("backlog") == 14
    assert sending.next_backlog() == (A, numbers((3200, 3399)))


def test_what_was_overtaken_on_its_lane_is_sent_again_and_nothing_else() -> None:
    sending = Resend()
    sending.receipt({}, 0, fresh=True)
    for first in (0, 10, 20):
        publish(sending, "live", numbers((first, first + 9)), first)
    publish(sending, "backlog", numbers((100, 109)), 5)
    sending.receipt({A: [(10, 19)]}, 100)
    assert sending.next_backlog() == (A, numbers((0, 9)))  # neither 20..29 nor the other lane's
    assert sending.resent.overtaken == 10
    assert sending.held() == {A: numbers((0, 9), (20, 29), (100, 109))}


def test_after_five_minutes_of_being_connected_and_not_waiting() -> None:
    sending = Resend(resend_after_ms=300_000)
    sending.receipt({}, 0, fresh=True)
    publish(sending, "live", numbers((0, 0)), 0)
    sending.pause(100_000)
    sending.tick(900_000)
    assert sending.next_backlog() is None  # the centre is away: time stands still
    sending.resume(1_000_000)
    sending.tick(1_199_999)
    assert sending.next_backlog() is None
    sending.tick(1_200_000)
    assert sending.next_backlog() == (A, numbers((0, 0)))
    assert sending.resent.overdue == 1


def test_what_is_needed_sends_again_exactly_what_needs_it() -> None:
    sending = Resend()
    sending.receipt({}, 0, fresh=True)
    needs = [Need("s1", 0, numbers((0, 1))), Need("s2", 0, numbers((2, 2))), Need(None, None, numbers((3, 3)))]
    publish(sending, "live", numbers((0, 3)), 0, needs)
    assert sending.send_needing(A, ["s2"], []) == 1
    assert sending.next_backlog() == (A, numbers((2, 2)))
    assert sending.send_needing(A, [], [-1]) == 1
    assert sending.next_backlog() == (A, numbers((2, 3)))
    assert sending.send_needing(A, [], [0]) == 2
    assert sending.send_needing(A, [], [0]) == 0  # once is enough
    assert sending.send_needing("unknown", ["s1"], [0]) == 0


def test_a_new_connection_forgets_what_was_published() -> None:
    sending = Resend()
    sending.receipt({}, 0, fresh=True)
    publish(sending, "live", numbers((0, 9)), 0)
    sending.start_over()
    assert not sending.fresh
    sending.receipt({A: [(0, 4)]}, 10, fresh=True)
    assert sending.next_backlog() == (A, numbers((5, 9)))


def test_what_was_never_published_no_receipt_releases() -> None:
    """Whoever holds the vehicle's certificate can name coming numbers; the collector then says that it has them."""
    sending = Resend()
    sending.hold(B, numbers((0, 4)))
    sending.keep(A, numbers((0, 9)))
    sending.published("live", A, numbers((0, 4)), 0)
    released = sending.receipt({A: [(0, 30)], B: [(0, 30)]}, 0, fresh=True)
    assert released == {A: numbers((0, 4)), B: numbers((0, 4))}, "of B an earlier process may have sent anything"
    assert sending.named_unsent == 5
    assert sending.held() == {A: numbers((5, 9))}
    sending.published("live", A, numbers((5, 9)), 1)
    assert sending.receipt({A: [(0, 30)]}, 2) == {A: numbers((5, 9))}


def test_what_is_not_committed_is_released_when_the_broker_has_it_from_us() -> None:
    sending = Resend()
    sending.hold(A, numbers((0, 9)))
    named = {A: [(0, 9)]}
    assert sending.receipt(named, 0, fresh=True, uncommitted={A: [(2, 9)]}) == {A: numbers((0, 1))}
    sending.published("backlog", A, numbers((2, 5)), 0)
    assert sending.receipt(named, 0, uncommitted={A: [(2, 9)]}) == {}
    assert sending.delivered(A, numbers((2, 5))) == numbers((2, 5)), "the receipt came before the acknowledgement"
    assert sending.in_flight("backlog") == 0
    sending.published("backlog", A, numbers((6, 9)), 0)
    assert sending.delivered(A, numbers((6, 6))) == numbers((6, 6))
    sending.start_over()
    assert sending.receipt(named, 0, fresh=True, uncommitted={A: [(7, 9)]}) == {}, "of this connection, not the last"
    sending.published("backlog", A, numbers((7, 9)), 0)
    assert sending.delivered(A, numbers((7, 8))) == numbers((7, 8))
    assert sending.receipt(named, 0, uncommitted={}) == {A: numbers((9, 9))}, "now it is committed"


def test_evicted_records_are_not_sent() -> None:
    sending = Resend()
    sending.hold(A, numbers((0, 9)))
    sending.receipt({}, 0, fresh=True)
    sending.published("backlog", A, numbers((8, 9)), now_ms=0)
    sending.forget(A, [(0, 4), (8, 8)])
    assert sending.held() == {A: numbers((5, 7), (9, 9))}
    assert sending.next_backlog() == (A, numbers((5, 7)))


# --- a world ----------------------------------------------------------------------------------------------------------


@dataclass
class World:
    """Agent, link, broker, collector; one step is one second.

    The broker queues for the collector's session, drops one in ten messages in silence and can be killed and wiped; the
    collector commits what it gets after a second, receipts every ``receipt_every`` seconds, can be away (its session
    goes on) or crash (what it had not committed is delivered again, its epoch rises).
    """

    seed: int
    backlog: int
    wait_for_fresh: bool = True
    loss: float = 0.1
    receipt_every: int = 30
    now: int = 0
    sending: Resend = field(default_factory=Resend)
    next_live: int = 0
    link: bool = True
    connected: bool = False
    epoch: int = 1
    there: bool = True
    birth: int = 0
    heard_birth: int = 0
    queue: deque[tuple[str, Intervals]] = field(default_factory=deque)
    taken: dict[str, Intervals] = field(default_factory=lambda: {A: Intervals(), B: Intervals()})
    released: dict[str, Intervals] = field(default_factory=lambda: {A: Intervals(), B: Intervals()})
    doubled: int = 0
    sent: int = 0
    last_receipt: int = -1000
    changed: bool = False

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.sending.hold(A, numbers((0, self.backlog - 1)))
        self.sending.hold(B, Intervals())

    @property
    def usable(self) -> bool:
        return self.connected and self.there

    def step(self) -> None:
        self.now += 1
        if self.link and not self.connected and self.random.random() < 0.3:
            self.connected = True
            self.start_over()
        if self.now % 10 == 0:
            fresh = numbers((self.next_live, self.next_live + 7))
            self.next_live += 8
            if self.usable:
                self.publish("live", B, fresh)
            else:
                self.sending.hold(B, fresh)
        if self.usable:
            self.sending.tick(self.now * 1000)
            for _ in range(4):
                message = self.sending.next_backlog()
                if message is None:
                    break
                self.publish("backlog", *message)
        self.collect()

    def start_over(self) -> None:
        self.birth += 1
        self.sending.start_over()
        if not self.wait_for_fresh:
            self.sending.receipt({}, self.now * 1000, fresh=True)

    def publish(self, lane: Lane, run: str, records: Intervals) -> None:
        self.sent += len(records)
        self.sending.keep(run, records)
        self.sending.published(lane, run, records, self.now * 1000)
        if self.random.random() >= self.loss:
            self.queue.append((run, records.copy()))

    def collect(self) -> None:
        if not self.there:
            return
        while self.queue:
            run, records = self.queue.popleft()
            new = records.minus(self.taken[run])
            self.doubled += len(records) - len(new)
            self.taken[run].update(new)
            self.changed = True
        asked = self.connected and self.heard_birth != self.birth
        if asked or (self.changed and self.now - self.last_receipt >= self.receipt_every):
            self.heard_birth = self.birth if self.connected else self.heard_birth
            self.last_receipt, self.changed = self.now, False
            if self.connected and (asked or self.random.random() >= self.loss):
                pairs = {run: taken.lowest(256) for run, taken in self.taken.items()}
                for run, gone in self.sending.receipt(pairs, self.now * 1000, fresh=asked).items():
                    assert not gone.minus(self.taken[run]), "released what the centre does not have"
                    self.released[run].update(gone)

    def break_something(self) -> None:
        what = self.random.choice(["link", "broker", "away", "crash"])
        self.breaks = what
        if what in ("link", "broker"):
            self.link = self.connected = False
        if what == "broker":
            self.queue.clear()
        if what == "away":
            self.there = False
            self.sending.pause(self.now * 1000)
        if what == "crash":
            self.there = False

    def mend(self) -> None:
        self.link = True
        if not self.there:
            self.there = True
            if self.breaks == "crash":
                self.epoch += 1
                self.heard_birth = -1
                if self.connected:
                    self.start_over()
            self.sending.resume(self.now * 1000)

    @property
    def lost(self) -> int:
        return self.backlog + self.next_live - len(self.taken[A]) - len(self.taken[B])


def live_through(world: World) -> World:
    for _ in range(12):
        for _ in range(world.random.randrange(20, 240)):
            world.step()
        world.break_something()
        for _ in range(world.random.randrange(5, 90)):
            world.step()
        world.mend()
    for _ in range(3000):
        world.step()
    return world


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nothing_is_lost_and_little_is_doubled_whatever_breaks(seed: int) -> None:
    world = live_through(World(seed, backlog=64_800))
    assert world.epoch > 1 or world.birth > 3
    held = sum(map(len, world.sending.held().values()))
    assert world.lost <= 8 * 10  # the newest moments: lost by the broker and not overtaken yet
    assert world.lost <= held
    assert len(world.released[A]) == 64_800
    assert world.doubled < world.sent / 200


def test_without_waiting_for_the_fresh_receipt_thousands_are_doubled() -> None:
    patient, hasty = (live_through(World(1, backlog=64_800, wait_for_fresh=wait)) for wait in (True, False))
    assert hasty.doubled > 1000
    assert hasty.doubled > 10 * patient.doubled


def test_a_day_drains_in_about_a_quarter_of_an_hour_and_live_goes_on_beside_it() -> None:
    world = World(5, backlog=64_800, loss=0.0)
    while len(world.released[A]) < 64_800:
        world.step()
        assert world.now < 1200
    assert world.now > 300  # 16 messages of 200 records every 30 s: about 13 minutes
    assert world.doubled == 0


@given(st.lists(st.sampled_from("hprtsl"), max_size=60), st.randoms(use_true_random=False))
def test_waiting_is_held_and_never_in_flight(actions: list[str], chance: random.Random) -> None:
    sending, now, top = Resend(per_message=3, in_flight=4), 0, 0
    for action in actions:
        now += chance.randrange(200_000)
        match action:
            case "h":
                sending.hold(A, numbers((top, top + 4)))
                top += 5
            case "p":
                message = sending.next_backlog()
                if message:
                    sending.published("backlog", *message, now_ms=now, needs=[Need("s", 0, message[1])])
            case "r" if top:
                first = chance.randrange(top)
                sending.receipt({A: [(first, first + 2)]}, now, fresh=chance.random() < 0.5)
            case "t":
                sending.tick(now)
            case "s":
                sending.start_over()
            case "l":
                sending.send_needing(A, ["s"], [])
        held = sending.held().get(A, Intervals())
        flying = Intervals()
        for publication in sending._of_run(A):
            assert publication.open
            flying.update(publication.open)
        waiting = sending._runs[A].waiting if A in sending._runs else Intervals()
        assert not waiting.minus(held)
        assert not flying.minus(held)
        assert not flying.intersection(waiting)
        assert len(flying) + len(waiting) == len(held)  # nothing is forgotten
