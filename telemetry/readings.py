"""A reading: what an input yields, before the sampler makes a sample of it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from telemetry.metrics import Value


class Reading(msgspec.Struct, frozen=True):
    """One value of one metric at one poll."""

    metric: str
    """A name of the catalogue."""
    value: Value
    """Of that metric's type."""
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Only labels that the catalogue gives that metric; none where there is nothing to tell apart."""


class Identity(msgspec.Struct, frozen=True):
    """Who a device says it is. Travels as an inventory event, never in tags. Unknown parts are ``None``."""

    vendor: str | None = None
    model: str | None = None
    firmware: str | None = None
    serial: str | None = None
    hardware: str | None = None
    imei: str | None = None
    imsi: str | None = None
    iccid: str | None = None
