"""Whose message is taken next: vehicles share the owner's time by records, and none may want all of it. Pure.

Deficit round robin (Shreedhar, Varghese: Efficient Fair Queuing using Deficit Round Robin, SIGCOMM 1995): each vehicle
with something waiting gets ``QUANTUM`` records a round, and what one of its messages costs more than that it waits for.
An identity belongs to the vehicle, so that its agents share its turn, whatever names it makes up for them. A token
bucket bounds what a vehicle may want in the long run. What holds: messages of one vehicle keep their order, but that
its backlog waits for all else of it; and one whose vehicle has nothing else waiting is taken within one round of all
others.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Generic, Literal, TypeVar

import msgspec

from collector.site.quotas import Quotas
from telemetry.message import MessageError, count_numbers

QUANTUM: Final = 100
"""Records of one vehicle's turn."""
RECORD_S: Final = 0.0001
"""CPU time of a record, at most: a message that takes longer costs more records than it names."""
RECORD_BYTES: Final = 100
"""On the wire: honest records have 4 to 40."""
MOST_DEBT: Final = 10_000
"""Records that a vehicle may owe the others at most: two of the largest messages."""
T = TypeVar("T")
CPU_OF_RECORD_S: Final = 0.0005
"""So much CPU time a record is given beside ``Quotas.cpu_s``: ten times what it takes."""
CPU_SHARE: Final = 0.05
"""Of one processor: so fast ``Quotas.cpu_s`` fills again."""
Refusal = Literal["records", "cpu_s", "waiting_records", "waiting_bytes"]
"""The quota that refuses a message when it comes in: too many, or too dear, in too short a time; too much that waits
here."""


def vehicle_of(topic: str) -> str:
    """Return the vehicle that a topic names, as the broker's access list lets it; empty for none."""
    parts = topic.split("/", 5)
    return parts[4] if len(parts) > 4 else ""


def least_weight_of(payload: bytes) -> int:
    """Return for how many records a message counts at least, without reading it: by its size and its intervals.

    Of their number (LEB128) the first byte has the lower seven bits, and says whether there are 128 or more.
    """
    intervals = payload[9] if len(payload) > 9 else 0
    return max(1 + len(payload) // RECORD_BYTES, min(intervals, 128))


def weight_of(payload: bytes) -> int:
    """Return for how many records a message counts before it is taken.

    Those that its header names, or one for each ``RECORD_BYTES`` if that is more; one at least.
    """
    size = 1 + len(payload) // RECORD_BYTES
    try:
        return max(size, count_numbers(payload))
    except MessageError:
        return size


def cost_of(weight: int, took_s: float) -> int:
    """Return what a message of this weight has cost, in records."""
    return max(weight, round(took_s / RECORD_S))


class _Lane(msgspec.Struct, Generic[T], eq=False):
    """What is waiting of one vehicle."""

    tokens: float
    """Records in its bucket."""
    cpu_s: float
    """The same for CPU time beyond that of records."""
    at_s: float
    """When both were true."""
    items: deque[tuple[int, int, T]] = msgspec.field(default_factory=deque)
    """(weight, bytes, item)."""
    later: deque[tuple[int, int, T]] = msgspec.field(default_factory=deque)
    """The same of its backlog: it waits for all else of the vehicle."""
    weight: int = 0
    bytes: int = 0
    credit: int = 0
    """Records that it may still have in its turn; below 0: what it owes."""
    has_turn: bool = False
    full: Refusal | None = None
    """Why it was refused last, until something of it is taken: who floods is not weighed again and again."""
    wanted: int = 0
    """Records that were not in the bucket; until they are, it is empty."""

    @property
    def waiting(self) -> deque[tuple[int, int, T]]:
        """What of it comes next."""
        return self.items or self.later


class Turns(Generic[T]):
    """Messages that wait to be taken, by vehicle. Times are seconds of one monotonic clock."""

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas
        self._lanes: dict[str, _Lane[T]] = {}
        self._round: deque[_Lane[T]] = deque()
        """Those with something waiting; the first one has its turn."""
        self._number = 0

    def __len__(self) -> int:
        return self._number

    def admit(self, vehicle: str, weight: int, size: int, now_s: float, asked: int = 0) -> Refusal | None:
        """Say which quota refuses a message of so many records and bytes; take it out of the bucket where none does.

        ``asked``: ``refusal`` has just said at the same time that it refuses none of this weight.
        """
        refusal = self.refusal(vehicle, weight, size, now_s) if weight > asked else None
        if refusal is None:
            self._lanes[vehicle].tokens -= weight
        return refusal

    def refusal(self, vehicle: str, weight: int, size: int, now_s: float) -> Refusal | None:
        """Say which quota refuses a message. Ask with the least ``weight`` first: to weigh it costs time too."""
        quotas = self._quotas
        lane = self._lanes.get(vehicle)
        if lane is None:
            lane = self._lanes[vehicle] = _Lane(quotas.records, quotas.cpu_s, now_s)
        passed_s, lane.at_s = now_s - lane.at_s, now_s
        if passed_s:
            lane.tokens = min(quotas.records, lane.tokens + passed_s * quotas.records_per_s)
            if lane.cpu_s < quotas.cpu_s:
                lane.cpu_s = min(quotas.cpu_s, lane.cpu_s + passed_s * CPU_SHARE)
        if lane.cpu_s <= 0:
            return "cpu_s"
        if (weight > lane.tokens or lane.wanted) and lane.tokens < min(max(weight, lane.wanted), quotas.records):
            lane.wanted = max(weight, lane.wanted)
            return "records"
        lane.wanted = 0
        if lane.waiting and lane.full is None:
            if lane.weight + weight > quotas.waiting_records:
                lane.full = "waiting_records"
            elif lane.bytes + size > quotas.waiting_bytes:
                lane.full = "waiting_bytes"
        return lane.full

    def put(self, vehicle: str, weight: int, size: int, item: T, *, is_backlog: bool = False) -> None:
        """Let something wait that was admitted; a vehicle's backlog waits for all else of it."""
        lane = self._lanes[vehicle]
        if not lane.waiting:
            self._round.append(lane)
        (lane.later if is_backlog else lane.items).append((weight, size, item))
        lane.weight += weight
        lane.bytes += size
        self._number += 1

    def take(self) -> T:
        """Return whose turn it is. Raises IndexError where nothing waits."""
        while True:
            lane = self._round[0]
            if not lane.has_turn:
                lane.has_turn = True
                lane.credit += QUANTUM
            weight = lane.waiting[0][0]
            if weight <= lane.credit or len(self._round) == 1:
                break
            lane.has_turn = False
            self._round.rotate(-1)
        lane.credit = max(lane.credit - weight, -MOST_DEBT)
        return self._pop(lane, lane.waiting.popleft())

    def charge(self, vehicle: str, weight: int, took_s: float) -> list[T]:
        """Note what CPU time a message of this weight took, and return what may not wait any more because of that."""
        if took_s <= weight * RECORD_S:
            return []  # as nearly every one: no more than it was taken for
        lane = self._lanes[vehicle]
        beyond = cost_of(weight, took_s) - weight
        lane.tokens -= beyond
        lane.credit = max(lane.credit - beyond, -MOST_DEBT)
        lane.cpu_s -= max(0.0, took_s - weight * CPU_OF_RECORD_S)
        shed: list[T] = []
        while lane.waiting and lane.cpu_s <= 0:
            shed.append(self._pop(lane, (lane.later or lane.items).pop()))
        return shed

    def _pop(self, lane: _Lane[T], entry: tuple[int, int, T]) -> T:
        """Let something wait no more."""
        weight, size, item = entry
        lane.weight -= weight
        lane.bytes -= size
        lane.full = None
        self._number -= 1
        if not lane.waiting:  # a turn that is not used is over; what is owed stays
            lane.has_turn = False
            lane.credit = min(0, lane.credit)
            self._round.remove(lane)
        return item

    def clear(self) -> None:
        """Let nothing wait any more: the broker brings it again."""
        for lane in self._round:
            lane.items.clear()
            lane.later.clear()
            lane.weight = lane.bytes = 0
            lane.has_turn, lane.full = False, None
        self._round.clear()
        self._number = 0
