"""A reading: what an input yields, before the sampler makes a sample of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from telemetry.metrics import Value


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of one metric at one poll."""

    metric: str
    """A name of the catalogue."""
    value: Value
    """Of that metric's type."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Only labels that the catalogue gives that metric; none where there is nothing to tell apart."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a device says it is. Travels as an inventory event, never in tags. Unknown parts are ``None``."""

    vendor: str | None = None
    model: str | None = None
    firmware: str | None = None
    serial: str | None = None
    hardware: str | None = None
    imei: str | None = None
    imsi: str | None = None
    iccid: str | None = None
