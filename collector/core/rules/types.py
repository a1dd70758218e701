"""What every rule has, whatever its kind: checked, durations in milliseconds, faults looked up.

A kind of rule is a type of its own, with how it is read and how it judges beside it; ``collector.core.kinds`` lists
them.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec

from collector.core.diagnosis import Topology
from collector.core.problems import Duty
from collector.core.rules.usual import UsualShape
from telemetry.faults import Fault, Severity, SlaClass
from telemetry.faults import severity as severity_of
from telemetry.fleet import Device, VehiclePlan

LEAST_SILENCE_MS: Final = 10_000
R = TypeVar("R", bound="Rule")


class Look(msgspec.Struct, frozen=True):
    """One thing that a rule looks at as time passes, of one vehicle."""

    rank: int
    """Lower ones come first: the vehicle before its agents, those before its devices."""
    at: Callable[[Any], None]
    """Takes the vehicle's draft."""
    listening: bool = True
    """It is about silence: only while we listen."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What every rule has. Durations are milliseconds; selectors that are empty take everything.

    ``when`` are the vehicle states in which it may open. ``working``: it holds only for a device that does its
    work all the same, or only for one of which nothing shows that (``Proof``); ``None``: for either.
    """

    id: str
    version: int
    fault: Fault
    for_ms: int
    clear_for_ms: int
    source: str = ""
    sla_class: SlaClass | None = None
    severity: Severity | None = None
    when: frozenset[str] = frozenset({"on_duty", "on_mission", "parked"})
    kinds: frozenset[str] = frozenset()
    sites: frozenset[str] = frozenset()
    vehicles: frozenset[str] = frozenset()
    devices: frozenset[str] = frozenset()
    working: bool | None = None
    only_where: UsualShape | None = None
    """Only in places where this is usual; where nothing is known it is not."""
    except_where: UsualShape | None = None
    """Not in places where this is usual."""

    def concerns(self, site: str, vehicle: str) -> bool:
        """Say whether the rule looks at this vehicle."""
        return (not self.sites or site in self.sites) and (not self.vehicles or vehicle in self.vehicles)

    def looks_at(self, device: str, kind: str) -> bool:
        """Say whether the rule looks at a device of this kind."""
        return (not self.kinds or kind in self.kinds) and (not self.devices or device in self.devices)

    def class_for(self, duty: Duty) -> tuple[SlaClass, Severity]:
        """Return class and severity of a ticket that opens while the vehicle is in this state (docs/faults.md)."""
        sla_class = self.sla_class or self.fault.sla_class
        if duty in ("parked", "workshop") and not self.fault.always:
            return "deferrable", severity_of("deferrable")
        return sla_class, self.severity or severity_of(sla_class)

    def looks_of_vehicle(self, vehicle: str, plan: VehiclePlan) -> Iterable[Look]:
        """Return what it looks at as time passes, of the vehicle as a whole."""
        return ()

    def looks_of_device(self, agent: str, device: str, plan: Device) -> Iterable[Look]:
        """Return what it looks at as time passes, of one device."""
        return ()

    def scaled(self: R, speed: float) -> R:
        """Return the rule with its durations divided by ``speed``."""
        durations = {
            name: max(0, round(getattr(self, name) / speed)) for name in self.__struct_fields__ if name.endswith("_ms")
        }
        return msgspec.structs.replace(self, **durations)


def scaled_silence(limit_ms: int, speed: float, least_ms: int) -> int:
    """Return a silence's limit divided by ``speed``, but no less than ``least_ms``: agents poll no faster for it."""
    return min(limit_ms, max(least_ms, round(limit_ms / speed)))


class Settings(msgspec.Struct, frozen=True):
    """Bounds that hold for all rules, in milliseconds.

    ``lateness_ms``: what is older when it comes is figures only, and so long missing records are waited for.
    ``future_ms``: a value from further ahead is not judged (field note 25). ``settle_ms``: after this long a new run
    of an agent has told anew what it cannot read. ``gap_ms``: after a silence of this long, and the sending interval,
    an agent has come back. ``fact_ms``: how long the ignition's last word counts while its device is silent and others
    speak.
    """

    lateness_ms: int = 72 * 3_600_000
    future_ms: int = 120_000
    settle_ms: int = 360_000
    gap_ms: int = 60_000
    fact_ms: int = 600_000

    def scaled(self, speed: float) -> Settings:
        """Return them for judging ``speed`` times faster; how late data may be stays as it is.

        Agents poll no faster for it, so that a gap stays one of several polls.
        """
        return msgspec.structs.replace(
            self,
            settle_ms=round(self.settle_ms / speed),
            gap_ms=scaled_silence(self.gap_ms, speed, 15_000),
            fact_ms=round(self.fact_ms / speed),
        )


class Override(msgspec.Struct, frozen=True):
    """A rule as it is for some: ``rule`` is ``None`` where it is switched off. ``models`` are patterns with ``*``."""

    id: str
    rule: Rule | None
    sites: frozenset[str] = frozenset()
    vehicles: frozenset[str] = frozenset()
    devices: frozenset[str] = frozenset()
    models: tuple[str, ...] = ()

    @property
    def rank(self) -> int:
        """How special it is: site, vehicle, model, device."""
        return 8 * bool(self.devices) + 4 * bool(self.models) + 2 * bool(self.vehicles) + bool(self.sites)

    def fits(self, site: str, vehicle: str, device: str | None, model: str) -> bool:
        """Say whether it holds here. ``device`` is ``None`` where the question is about the whole vehicle."""
        if (self.sites and site not in self.sites) or (self.vehicles and vehicle not in self.vehicles):
            return False
        if self.devices and device not in self.devices:
            return False
        return not self.models or any(fnmatch.fnmatchcase(model, pattern) for pattern in self.models)


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules by id, what overrides them, the common settings. ``speed`` divides durations of the fleet file too."""

    by_id: Mapping[str, Rule]
    topology: Topology
    overrides: tuple[Override, ...] = ()
    settings: Settings = field(default_factory=Settings)
    speed: float = 1.0
    files: tuple[tuple[str, Any], ...] = ()
    """What they were read from: (name, plain data), the shipped ones first."""
    memory: dict[object, Any] = field(default_factory=dict, compare=False, repr=False)
    """What has been worked out from these rules before, by whoever worked it out; never changes an answer."""

    def scaled(self, speed: float) -> Rules:
        """Return the rules with their durations divided by ``speed``. Raises ValueError unless it is above 0."""
        if not speed > 0:
            raise ValueError(f"expected a speed above 0, found {speed}")
        return Rules(
            {id: rule.scaled(speed) for id, rule in self.by_id.items()},
            self.topology,
            tuple(
                msgspec.structs.replace(override, rule=override.rule and override.rule.scaled(speed))
                for override in self.overrides
            ),
            self.settings.scaled(speed),
            self.speed * speed,
            self.files,
        )

    def silence_ms(self, seconds: float) -> int:
        """Return a limit of the fleet file for a vehicle's silence in milliseconds; the site is always judged first."""
        return scaled_silence(round(seconds * 1000), self.speed, 2 * LEAST_SILENCE_MS)

    def of_site(self, site: str, kind: type[R]) -> tuple[R, ...]:
        """Return the rules of a kind that look at a site as a whole; worked out once."""
        found: tuple[R, ...] | None = self.memory.get(("of site", site, kind))
        if found is None:
            of_kind = tuple(rule for rule in self.effective(site, "") if isinstance(rule, kind))
            found = self.memory["of site", site, kind] = of_kind
        return found

    def effective(
        self, site: str, vehicle: str, device: str | None = None, kind: str | None = "", model: str = ""
    ) -> Iterator[Rule]:
        """Yield the rules that look at a device, or at a vehicle where ``device`` or its ``kind`` is ``None``.

        Of the overrides that fit, the most special one holds; among equals the one that was read last.
        """
        for id, base in self.by_id.items():
            rule: Rule | None = base
            rank = -1
            for override in self.overrides:
                if override.id == id and override.rank >= rank and override.fits(site, vehicle, device, model):
                    rule, rank = override.rule, override.rank
            if rule is None or not rule.concerns(site, vehicle):
                continue
            if device is None or kind is None or rule.looks_at(device, kind):
                yield rule
