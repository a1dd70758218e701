"""Which schemas and clocks the centre was told over one connection, and which it must be told first. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from agent.uplink.packing import portions
from telemetry.message import MAX_SCHEMA_NUMBER, SchemaBody
from telemetry.records import Clock, Schema, SchemaRef, clock_for

FUTURE_MS: Final = 300_000
"""A time of an RTC that lies so far ahead of now is no time."""


class _Told(msgspec.Struct):
    schemas: set[str] = msgspec.field(default_factory=set)
    clocks: int = 0
    no_clock: bool = False
    """That the run will never have a better clock than an RTC."""
    begun: bool = False


class Announcements:
    """See the module. ``run`` and ``boot`` are the current ones, ``boots`` those of the earlier runs, by run."""

    def __init__(self, run: str, boot: str, boots: Mapping[str, str]) -> None:
        self._run = run
        self._boot = boot
        self._boots = boots
        self._told: dict[str, _Told] = {}

    def boot_of(self, run: str) -> str:
        """Return the boot in which a run was."""
        return self._boots.get(run, self._boot)

    def clear(self) -> None:
        """Nobody was told anything: another collector is there."""
        self._told.clear()

    def forget(self, run: str) -> None:
        """The centre does not have what it was told of a run."""
        self._told.pop(run, None)

    def numbers(self, run: str, schemas: Mapping[str, Schema]) -> dict[str, int]:
        """Return the numbers of a run's schemas, by name: their places in the order in which they came up.

        Only the run that goes on has numbers: of the earlier ones the outbox keeps no order, their samples go by name.
        """
        if run != self._run:
            return {}
        return {name: number for number, name in enumerate(schemas) if number <= MAX_SCHEMA_NUMBER}

    def names(self, run: str, wanted: Iterable[SchemaRef], schemas: Mapping[str, Schema]) -> list[str]:
        """Return the names of schemas that the centre asks for by name or by number."""
        by_number = {number: name for name, number in self.numbers(run, schemas).items()}
        found = (ref if isinstance(ref, str) else by_number.get(ref) for ref in wanted)
        return [name for name in found if name is not None]

    def bodies(
        self,
        run: str,
        wanted: Sequence[str],
        schemas: Mapping[str, Schema],
        clocks: Sequence[Clock],
        *,
        numbered: bool = False,
    ) -> list[SchemaBody]:
        """Return what of a run's schemas and clocks was not told yet; it counts as told from now on.

        ``wanted`` are schemas that must be told of, be it that they are no longer known. ``numbered``: with the numbers
        of the schemas, so that samples may use them.
        """
        told = self._told.setdefault(run, _Told())
        unknown = tuple(name for name in wanted if name not in schemas and name not in told.schemas)
        new = {name: schema for name, schema in schemas.items() if name not in told.schemas}
        # A boot that is over and knew only its RTC, or nothing, will never know better.
        boot_over = run != self._run and self._boots.get(run) != self._boot
        no_clock = boot_over and all(clock.source == "rtc" for clock in clocks)
        if told.begun and not new and not unknown and len(clocks) == told.clocks:
            return []
        told.schemas.update(new, unknown)
        told.clocks, told.no_clock, told.begun = len(clocks), no_clock, True
        numbers = self.numbers(run, schemas) if numbered else {}
        return [
            SchemaBody(
                self.boot_of(run),
                part,
                tuple(clocks),
                unknown if at == 0 else (),
                no_clock,
                {name: numbers[name] for name in part if name in numbers} or msgspec.UNSET,
            )
            for at, part in enumerate(portions(new))
        ]

    def clock_number(self, run: str, clocks: Sequence[Clock], mono_ms: int, wall_ms: int | None) -> int | None:
        """Return the number of the clock that places a record, ``None`` for none.

        ``wall_ms`` is now (UTC), if that is known: an RTC of an earlier boot that ran ahead of it gives no time.
        """
        clock = clock_for(clocks, mono_ms)
        if clock is None:
            return None
        if self._told[run].no_clock and wall_ms is not None and clock.place(mono_ms) > wall_ms + FUTURE_MS:
            return None  # better no time than a wrong one
        return clock.number
