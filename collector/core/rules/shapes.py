"""The keys of rules files, as types: each is explained beside its field, and ``docs/rules.md`` is made of that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec

from collector.core.problems import Duty
from collector.core.rules.reducers import REDUCERS
from collector.core.rules.usual import UsualShape
from telemetry.durations import Span
from telemetry.faults import Severity, SlaClass
from telemetry.fleet import DeviceKind

_RENAME: Final = {"for_": "for", "class_": "class", "is_": "is"}


def _key(name: str) -> str:
    return _RENAME.get(name, name)


class FlappingShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often a problem must begin or end, within which time, to be flapping."""

    changes: Annotated[int, msgspec.Meta(ge=2, le=30)]
    """Beginnings and ends."""
    within: Span
    """The time in which they lie."""
    quiet: Span
    """How long it must be good then before it is over."""


class RuleShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=_key):
    """One rule: a condition, for how long it must hold, and the fault that it then shows."""

    fault: str
    """A fault of the catalogue."""
    condition: Any
    """What is bad: an indicator, the name of one, or a mapping with one key `all_of`, `any_of` (lists of conditions) or
    `not` (a condition). Unknown stays unknown: neither good nor bad."""
    indicators: dict[str, Any] = {}
    """Indicators by name, for conditions across devices and agents: what another device tells counts until its next
    sample but one."""
    only_if: Any = None
    """A condition on the same moment, without which a sample is no evidence of anything. `{works: true}`, `{works:
    false}`: only while something shows that the device does its work (a stream plays, a target behind it answers), or
    only while nothing does."""
    for_: Span = 0
    """How long it must be bad before the problem begins."""
    min_polls: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 0
    """And for so many of its source's polls at least, where chance alone may make a few of them bad."""
    clear_for: Span | None = None
    """How long it must be clear before the problem is over; as `for` if it is not given."""
    flapping: tuple[FlappingShape, ...] | None = None
    """When it counts as one problem that begins and ends again and again: it stays active, counts, and ends after a
    quiet time. By default 5 changes in an hour (30 minutes) or 10 in a day (4 hours); an empty list: never."""
    only_where: UsualShape | None = None
    """Only in places where this is usual (docs/coverage.md): a sample from elsewhere, or from a place without enough
    record, is no evidence."""
    except_where: UsualShape | None = None
    """Not in places where this is usual: a known bad place. A sample from there is no evidence."""
    max_gap: Span | None = None
    """The longest silence of the source that a row of bad, or of clear, samples survives; an hour by default."""
    when: tuple[Duty, ...] = ("on_duty", "on_mission", "parked")
    """What the vehicle must be doing for the problem to begin."""
    kinds: tuple[DeviceKind, ...] = ()
    """Kinds of device that it looks at; all if none is given."""
    sites: tuple[str, ...] = ()
    """Sites that it looks at; all if none is given."""
    vehicles: tuple[str, ...] = ()
    """Vehicles that it looks at; all if none is given."""
    devices: tuple[str, ...] = ()
    """Devices that it looks at; all if none is given."""
    class_: SlaClass | None = None
    """The contract's class of its ticket, where it is another one than the catalogue's."""
    severity: Severity | None = None
    """How grave its ticket is, where that is not what the class says."""
    version: Annotated[int, msgspec.Meta(ge=1)] = 1
    """Count it up when the meaning changes: what is pending begins anew, what is active goes on."""
    source: str = ""
    """Where the figures come from."""


class IndicatorKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=_key):
    """One series, what becomes of its samples, and what of that is bad."""

    metric: str | None = None
    """A metric of the catalogue: the series."""
    of: Any = None
    """With `share` and `count`: the condition whose samples are counted. Otherwise how label sets count: `each` for
    itself, `all` (bad if all that are known are), `any`."""
    above: float | str | None = None
    """Bad above this. A duration stands for its seconds."""
    below: float | str | None = None
    """Bad below this."""
    clear: float | str | None = None
    """Clear from here on (hysteresis); between the limits it is neither."""
    is_: tuple[bool | str, ...] = ()
    """States that are bad."""
    ignore: tuple[str, ...] = ()
    """States that prove nothing; `unknown` always does."""
    or_unknown: bool = False
    """An unknown value counts as bad."""
    unless_known: Literal["clear"] | None = None
    """Of an indicator by name, `clear`: what no source tells now is taken for clear."""
    group_by: tuple[str, ...] | None = None
    """Labels that tell problems from each other; all but `leg` and `sensor` if they are not given."""
    kinds: tuple[DeviceKind, ...] = ()
    """Kinds of device of which an indicator by name is read."""
    other_routers: bool = False
    """Bad if it is the `hardware_address` of a router of another vehicle of the site, by the fleet file."""
    without: Any = None
    """A condition on the same moment; a sample of which it is bad counts neither as good nor as bad. An indicator in it
    may say `of: all`: of all label sets."""
    plus: str | None = None
    """With `month`: another counter that is added to this one, as a plan counts both ways."""


IndicatorShape: Final[Any] = msgspec.defstruct(
    "IndicatorShape",
    [(word, reducer | None, None) for word, reducer in REDUCERS.items()],
    bases=(IndicatorKeys,),
    kw_only=True,
    frozen=True,
    forbid_unknown_fields=True,
    rename=_key,
)
"""The same with a key for each reducer."""


class OverrideShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule as it is for some. The most special one holds: device, model, vehicle, site."""

    rule: str
    """The rule's name."""
    sites: tuple[str, ...] = ()
    """Sites for which it is so; all if none is given."""
    vehicles: tuple[str, ...] = ()
    """Vehicles for which it is so; all if none is given."""
    models: tuple[str, ...] = ()
    """Models for which it is so, with `*` for anything; all if none is given."""
    devices: tuple[str, ...] = ()
    """Devices for which it is so; all if none is given."""
    set: dict[str, Any] = {}
    """The rule's keys that are different, mappings key by key."""
    disabled: bool = False
    """The rule does not hold there at all."""


class SettingsShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds that hold for all rules."""

    lateness: Span | None = None
    """What is older when it comes is figures only; so long missing records are waited for (72 h)."""
    future: Span | None = None
    """A value from further ahead is not judged (2 min)."""
    settle: Span | None = None
    """After this long a new run of an agent has told anew what it cannot read (6 min)."""
    gap: Span | None = None
    """After a silence of this long, and its sending interval, an agent has come back (1 min)."""
    fact: Span | None = None
    """How long the ignition's last word counts while its device is silent and others speak (10 min)."""


class FileShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rules file."""

    rules: dict[str, dict[str, Any]] = {}
    """Rules by name: small letters, digits and _."""
    overrides: tuple[OverrideShape, ...] = ()
    """What is different for some."""
    settings: SettingsShape = SettingsShape()
    """Bounds that hold for all rules."""


OLD_WORDS: Final[Mapping[str, str]] = {
    "kind": "'condition' alone: what stands in it says of which kind a rule is",
    "metric": "'condition: {metric: ...}'",
    "above": "'condition: {metric: ..., above: ...}'",
    "below": "'condition: {metric: ..., below: ...}'",
    "clear": "'condition: {metric: ..., clear: ...}'",
    "is": "'condition: {metric: ..., is: [...]}'",
    "neither": "'ignore' within the condition",
    "also": "'condition: {all_of: [...]}'",
    "either": "'condition: {all_of: [..., {any_of: [...]}]}'",
    "where": "'only_if'",
    "together": "'of: all' within the condition",
    "apart": "'group_by' within the condition",
    "bridge": "'max_gap'",
    "under": "nothing: the shipped topology and the fleet file's depends_on say what explains what",
    "working": "'only_if: {works: ...}'",
    "of": "'condition: {silence_of: ...}'",
    "event": "'condition: {event: ...}'",
    "begins": "'condition: {event: ..., starts_with: [...]}'",
    "share": "'condition: {silent_vehicles: {share: ...}}'",
    "least": "'condition: {silent_vehicles: {min_count: ...}}'",
}
"""Words of the first version's rules, and what has taken their place."""
