"""What a commit writes of vehicles, made when it is asked for: by who commits, and in a drill by nobody. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from collector.core.vehicle.state import Vehicle

T = TypeVar("T")


class Later(Mapping[str, T]):
    """What ``make`` makes of each vehicle. Neither they nor what it goes by may change until it is asked."""

    def __init__(self, vehicles: Mapping[str, Vehicle], make: Callable[[str, Vehicle], T]) -> None:
        self._vehicles = vehicles
        self._make = make

    def __getitem__(self, name: str) -> T:
        return self._make(name, self._vehicles[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._vehicles)

    def __len__(self) -> int:
        return len(self._vehicles)
