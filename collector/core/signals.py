"""Which of a vehicle's signals teach what is usual in a place: not those of a bad antenna, so it is no record. Pure.

They are held in slots of five minutes until the next slot is whole too. A slot teaches if neither it nor the next one
was weaker than usual, and no problem of the vehicle stood in its way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from collector.core.coverage import LINK, SERVICE, Coverage
from collector.core.journeys import Journey, Signal

SLOT_MS: Final = 300_000
AGAIN_MS: Final = 60_000
"""Who stays in a cell is taken so often."""
WEAKER_DB: Final = 5.0
"""A slot in which the power was so much weaker than usual is suspect."""
LEAST: Final = 3
"""Of fewer signals nothing is suspected."""
SPOILS: Final[Mapping[str, frozenset[str] | None]] = {
    "antenna_degraded": None,
    "packet_loss": frozenset({LINK}),
    "high_delay": frozenset({LINK}),
    "wan_no_data": frozenset({LINK}),
    "nr_fallback": frozenset({SERVICE}),
    "roaming": frozenset({SERVICE}),
}
"""Which legs a vehicle does not teach while a problem of it is active; ``None``: none at all."""


def take(journey: Journey, signal: Signal) -> None:
    """Hold a signal, unless the leg was taken in this cell within the minute."""
    cell, time_ms = journey.sampled.get(signal.leg, ("", 0))
    if cell == signal.cell and 0 <= signal.time_ms - time_ms < AGAIN_MS:
        return
    journey.sampled[signal.leg] = (signal.cell, signal.time_ms)
    journey.held.append(signal)


def teach(
    journey: Journey, vehicle: str, usual: Coverage, spans: Iterable[tuple[str, int, int | None]]
) -> tuple[list[Signal], int]:
    """Return what may teach by now, and how many signals do not; ``journey`` forgets both.

    ``usual`` is what judging goes by; ``spans`` are problems of the vehicle: (fault, from, to), ``None``: it lasts.
    """
    if not journey.held:
        return [], 0
    slots: dict[int, list[Signal]] = {}
    for signal in journey.held:
        slots.setdefault(signal.time_ms // SLOT_MS, []).append(signal)
    newest = max(signal.time_ms for signal in journey.held) // SLOT_MS
    told = list(spans)
    taught: list[Signal] = []
    refused = 0
    journey.held = []
    for slot, signals in sorted(slots.items()):
        if slot >= newest - 1:
            journey.held += signals
        elif _is_suspect(signals, vehicle, usual) or _is_suspect(slots.get(slot + 1, []), vehicle, usual):
            refused += len(signals)
        else:
            free = [signal for signal in signals if not _is_spoilt(signal, told)]
            refused += len(signals) - len(free)
            taught += free
    return taught, refused


def _is_suspect(signals: Iterable[Signal], vehicle: str, usual: Coverage) -> bool:
    residuals = []
    for signal in signals:
        power = signal.values.get("rsrp")
        expected = None if power is None else usual.expected(vehicle, signal.cell, signal.leg)
        if power is not None and expected is not None and expected.figures[0] is not None:
            residuals.append(power - expected.figures[0])
    return len(residuals) >= LEAST and sum(residuals) / len(residuals) < -WEAKER_DB


def _is_spoilt(signal: Signal, spans: Iterable[tuple[str, int, int | None]]) -> bool:
    for fault, from_ms, to_ms in spans:
        legs = SPOILS[fault]
        lasts = from_ms <= signal.time_ms and (to_ms is None or signal.time_ms <= to_ms)
        if lasts and (legs is None or signal.leg in legs):
            return True
    return False
