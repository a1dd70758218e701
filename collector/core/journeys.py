"""What a vehicle's words say of the places that it goes through: where contact is kept, where lost, where it is parked.

A drain over the log asks this, not judging: what is learnt comes to judging as an edition (``contact_gaps``). Pure.

A *pass* is a stay in a cell, however long, in which no word was missed. A *loss* is a silence after which the vehicle's
own backlog tells that it ran on; it belongs to the cell of the last fix before it, if that was at most a minute old. It
counts once it has been settled, so that a fault which the backlog tells of has been found by then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from collector.core.places import Cell, cell_of

SILENCE_MS: Final = 60_000
"""A shorter silence is none, beside the pace in which the vehicle speaks."""
FIX_MS: Final = 60_000
"""An older fix does not say where contact was lost."""
LONGEST_MS: Final = 2 * 3_600_000
"""A longer silence teaches nothing of the place."""
SHORTEST_PARKING_MS: Final = 180_000
"""A shorter silence that ends with a boot is a restart."""
SETTLED_MS: Final = 600_000
"""After its backlog has come a loss waits for so long: what the backlog tells is judged by then."""
GIVEN_UP_MS: Final = 72 * 3_600_000
"""A loss whose backlog has not come by then was none that the kit ran through."""
AGAIN_MS: Final = 600_000
"""Who comes back to a cell so soon has not passed it twice: fixes scatter over its edge."""
COVERED: Final = 0.8
"""So much of a loss must its backlog tell of."""
_BIN_MS: Final = 120_000
_EARLY_MS: Final = 10_000
_MOST_EARLY: Final = LONGEST_MS // _EARLY_MS
_MOST_WAITING: Final = 16
_MOST_RECENT: Final = 8
EXPLAINS: Final = frozenset(
    {
        *("sim_absent", "sim_locked", "registration_denied", "modem_hung", "modem_hot", "wan_no_data"),
        *("antenna_degraded", "router_dead", "router_reboot_loop", "power_lost", "supply_sag", "identity_clash"),
        *("site_unreachable", "broker_down"),
    }
)
"""Faults by which contact is lost wherever the vehicle is: such a loss says nothing of the place."""
_AT_ONCE: Final = frozenset({"power_lost"})
"""Those of them that explain what they begin, and nothing later: they end when a person has seen them."""


class Loss(msgspec.Struct, array_like=True):
    """A silence that has ended, and of which the backlog is awaited."""

    cell: Cell
    """Of the last fix before it."""
    from_ms: int
    """Event time of the last word before it."""
    to_ms: int
    """Event time of the first word after it."""
    heard_ms: int
    """When (our clock) that came."""
    seconds: int
    """How long nothing was heard, on our clock."""
    bins: int = 0
    """Bit n: the backlog has told of the n-th part of it."""
    covered_ms: int | None = None
    """When (our clock) the backlog had told of enough."""


class Signal(msgspec.Struct, frozen=True, array_like=True):
    """What a vehicle had in a place: values by the names of figures (``coverage.figures_of``)."""

    time_ms: int
    """Event time."""
    cell: Cell
    leg: str
    radio_cell: str
    values: dict[str, int]


class Journey(msgspec.Struct, omit_defaults=True):
    """What is remembered of one vehicle between two looks at the log."""

    heard_ms: int | None = None
    """When (our clock) a live record last came."""
    listening_ms: int | None = None
    """Since when we had listened then."""
    last_ms: int = 0
    """Event time of the newest of them."""
    left: bool = False
    """It said goodbye."""
    place: Cell | None = None
    """Of its last fix, however old."""
    fix_ms: int = 0
    """Event time of that."""
    cell: Cell | None = None
    """The one that it is passing; ``None`` after a loss, until the next fix."""
    recent: list[tuple[Cell, int]] = []
    """The last cells that it passed, and when (event time), the newest last."""
    agents: dict[str, tuple[str, int]] = {}
    """By agent: its boot, and when (our clock) a live record last came."""
    waiting: list[Loss] = []
    early: list[int] = []
    """Event times that a backlog has told since the last live record, thinned out: it may come before the next one."""
    held: list[Signal] = []
    """What it had in the last minutes: it teaches when the antenna is known to be well after it."""
    sampled: dict[str, tuple[Cell, int]] = {}
    """By leg: where and when (event time) it was last taken."""
    booted_ms: int = 0
    """When (our clock) it was last found to have booted after a silence."""


class Passed(msgspec.Struct, frozen=True):
    """A cell was passed, at this event time."""

    cell: Cell
    time_ms: int


class Lost(msgspec.Struct, frozen=True):
    """Contact was lost in a cell, and the kit ran on: between two event times, for so many seconds on our clock."""

    cell: Cell
    from_ms: int
    to_ms: int
    seconds: int


class Booted(msgspec.Struct, frozen=True):
    """A silence that began in a cell ended with a boot: heard at this time of our clock."""

    cell: Cell
    heard_ms: int


Finding = Passed | Lost | Booted
Fixes = Iterable[tuple[int, float, float]]
"""(event time, latitude, longitude), in order of time."""


def live(
    journey: Journey,
    agent: str,
    boot: str,
    now_ms: int,
    times: tuple[int, int],
    fixes: Fixes,
    listening_ms: int | None,
    pace_ms: int,
) -> list[Finding]:
    """Take live records of one agent, and return what they show; ``journey`` is changed.

    ``now_ms`` is when they came, ``times`` are the event times of the first and the last. ``listening_ms``: since when
    we listen, ``None``: not; ``pace_ms``: how far apart the vehicle's words are at most.
    """
    found: list[Finding] = []
    known_boot, known_ms = journey.agents.get(agent, ("", now_ms))
    new_boot = bool(boot and known_boot and boot != known_boot)
    journey.agents[agent] = (boot or known_boot, now_ms)
    parked = new_boot and now_ms - known_ms >= SHORTEST_PARKING_MS and now_ms - journey.booted_ms >= AGAIN_MS
    if parked and journey.place is not None:
        journey.booted_ms = now_ms
        found.append(Booted(journey.place, now_ms))
    before_ms, journey.heard_ms = journey.heard_ms, now_ms
    anew, journey.listening_ms = listening_ms != journey.listening_ms, listening_ms
    silent_ms = 0 if before_ms is None else now_ms - before_ms
    if before_ms is not None and anew and abs(told_ms := times[0] - journey.last_ms - silent_ms) > SILENCE_MS:
        anew, silent_ms = False, silent_ms + told_ms  # our clock was set meanwhile: the kit's own tells how long it was
    if before_ms is not None and silent_ms > SILENCE_MS + pace_ms:
        if not (anew or listening_ms is None or new_boot or journey.left) and silent_ms <= LONGEST_MS:
            _lose(journey, times[0], now_ms, silent_ms)
        journey.cell = None
    journey.left = False
    journey.early = []
    journey.last_ms = max(journey.last_ms, times[1])
    for time_ms, latitude, longitude in fixes:
        found += _move(journey, cell_of(latitude, longitude), time_ms)
    return found


def _lose(journey: Journey, back_ms: int, now_ms: int, silent_ms: int) -> None:
    """Await the backlog of a silence, if it is known where it began."""
    if journey.place is None or not 0 <= journey.last_ms - journey.fix_ms <= FIX_MS or back_ms <= journey.last_ms:
        return
    loss = Loss(journey.place, journey.last_ms, back_ms, now_ms, round(silent_ms / 1000))
    for time_ms in journey.early:
        _cover(loss, time_ms, now_ms)
    journey.waiting = [*journey.waiting, loss][-_MOST_WAITING:]


def _move(journey: Journey, cell: Cell, time_ms: int) -> list[Finding]:
    if time_ms < journey.fix_ms:
        return []
    passed = journey.cell
    journey.cell, journey.place, journey.fix_ms = cell, cell, time_ms
    if passed is None or passed == cell:
        return []
    known = dict(journey.recent)
    journey.recent = [*((one, at) for one, at in journey.recent if one != passed), (passed, time_ms)][-_MOST_RECENT:]
    return [] if time_ms - known.get(passed, -AGAIN_MS) < AGAIN_MS else [Passed(passed, time_ms)]


def backlog(journey: Journey, times: Iterable[int], now_ms: int) -> None:
    """Take the event times of records that came late: what they cover was no silence of the kit.

    Who is back may send them before the first live record, with which its loss is known.
    """
    for time_ms in times:
        for loss in journey.waiting:
            _cover(loss, time_ms, now_ms)
        if time_ms >= (journey.early[-1] if journey.early else journey.last_ms) + _EARLY_MS:
            journey.early = [*journey.early, time_ms][-_MOST_EARLY:]


def _cover(loss: Loss, time_ms: int, now_ms: int) -> None:
    if loss.from_ms < time_ms < loss.to_ms:
        parts = _parts(loss)
        loss.bins |= 1 << (time_ms - loss.from_ms) * parts // (loss.to_ms - loss.from_ms)
        if loss.covered_ms is None and loss.bins.bit_count() >= COVERED * parts:
            loss.covered_ms = now_ms


def _parts(loss: Loss) -> int:
    return max(2, math.ceil((loss.to_ms - loss.from_ms) / _BIN_MS))


def goodbye(journey: Journey) -> None:
    """Note that the vehicle said that it goes: what follows is no loss."""
    journey.left = True


def explains(fault: str, began_ms: int, ended_ms: int | None, from_ms: int, to_ms: int) -> bool:
    """Say whether a fault explains that contact was lost between two event times. ``ended_ms`` ``None``: not over."""
    if fault not in EXPLAINS:
        return False
    if fault in _AT_ONCE:
        ended_ms = began_ms + SILENCE_MS
    return began_ms < to_ms and (ended_ms is None or ended_ms > from_ms)


def settle(journey: Journey, now_ms: int, explained: Callable[[int, int], bool]) -> list[Finding]:
    """Return the losses that are settled by now; ``journey`` forgets them.

    ``explained`` says of two event times whether a fault of the kit, or of the centre, was there between them.
    """
    found: list[Finding] = []
    waiting = []
    for loss in journey.waiting:
        if loss.covered_ms is not None and now_ms - loss.covered_ms >= SETTLED_MS:
            if not explained(loss.from_ms, loss.to_ms):
                found.append(Lost(loss.cell, loss.from_ms, loss.to_ms, loss.seconds))
        elif now_ms - loss.heard_ms < GIVEN_UP_MS:
            waiting.append(loss)
    journey.waiting = waiting
    return found
