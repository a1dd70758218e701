"""Whose message is taken next: vehicles share the owner's time by records, and none may want all of it. Pure.

Deficit round robin (Shreedhar, Varghese: Efficient Fair Queuing using Deficit Round Robin, SIGCOMM 1995): each vehicle
with something waiting gets ``QUANTUM`` records a round, and what one of its messages costs more than that it waits for.
An identity belongs to the vehicle, so that its agents share its turn, whatever names it makes up for them. A token
bucket bounds what a vehicle may want in the long run. What holds: messages of one vehicle keep their order, and one
whose vehicle has nothing else waiting is taken within one round of all others.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final, Generic, Literal, TypeVar

from collector.site.quotas import Quotas
from telemetry.message import MessageError, decode_header

QUANTUM: Final = 100
"""Records of one vehicle's turn."""
MOST_DEBT: Final = 10_000
"""Records that a vehicle may owe the others at most: two of the largest messages."""
T = TypeVar("T")
Refusal = Literal["records", "waiting_records", "waiting_bytes"]
"""The quota that refuses a message when it comes in: too many in too short a time; too much that waits here."""


def vehicle_of(topic: str) -> str:
    """Return the vehicle that a topic names, as the broker's access list lets it; empty for none."""
    parts = topic.split("/", 5)
    return parts[4] if len(parts) > 4 else ""


def weight_of(payload: bytes) -> int:
    """Return for how many records a message counts before it is read: those that its header names, one at least."""
    try:
        header, _ = decode_header(payload)
    except MessageError:
        return 1
    return max(1, len(header.sequences))


@dataclass(slots=True)
class _Lane(Generic[T]):
    """What is waiting of one vehicle."""

    tokens: float
    at_s: float
    """When ``tokens`` was true."""
    items: deque[tuple[int, int, T]] = field(default_factory=deque)
    """(weight, bytes, item)."""
    weight: int = 0
    bytes: int = 0
    credit: int = 0
    """Records that it may still have in its turn; below 0: what it owes."""
    has_turn: bool = False


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

    def admit(self, vehicle: str, weight: int, size: int, now_s: float) -> Refusal | None:
        """Say which quota refuses a message of so many records and bytes; take it out of the bucket where none does."""
        quotas = self._quotas
        lane = self._lanes.get(vehicle)
        if lane is None:
            lane = self._lanes[vehicle] = _Lane(quotas.records, now_s)
        lane.tokens = min(quotas.records, lane.tokens + (now_s - lane.at_s) * quotas.records_per_s)
        lane.at_s = now_s
        if lane.tokens < min(weight, quotas.records):
            return "records"
        if lane.items and lane.weight + weight > quotas.waiting_records:
            return "waiting_records"
        if lane.items and lane.bytes + size > quotas.waiting_bytes:
            return "waiting_bytes"
        lane.tokens -= weight
        return None

    def put(self, vehicle: str, weight: int, size: int, item: T) -> None:
        """Let something wait that was admitted."""
        lane = self._lanes[vehicle]
        if not lane.items:
            self._round.append(lane)
        lane.items.append((weight, size, item))
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
            weight, size, item = lane.items[0]
            if weight <= lane.credit or len(self._round) == 1:
                break
            lane.has_turn = False
            self._round.rotate(-1)
        lane.items.popleft()
        lane.weight -= weight
        lane.bytes -= size
        lane.credit = max(lane.credit - weight, -MOST_DEBT)
        self._number -= 1
        if not lane.items:  # a turn that is not used is over; what is owed stays
            lane.has_turn = False
            lane.credit = min(0, lane.credit)
            self._round.popleft()
        return item

    def charge(self, vehicle: str, weight: int) -> None:
        """Note that a message has cost so many records more than it counted for."""
        lane = self._lanes.get(vehicle)
        if lane is not None:
            lane.tokens -= weight
            lane.credit = max(lane.credit - weight, -MOST_DEBT)

    def clear(self) -> None:
        """Let nothing wait any more: the broker brings it again."""
        for lane in self._round:
            lane.items.clear()
            lane.weight = lane.bytes = 0
            lane.has_turn = False
        self._round.clear()
        self._number = 0
