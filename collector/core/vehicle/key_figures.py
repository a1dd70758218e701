"""The few readings of a vehicle that lists show: its radio, its way out, its streams, its supply. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from collector.core.vehicle.events import Observed
from telemetry.metrics import Value

CARRIED_MS: Final = 600_000
"""So old a figure of before an owner began may be and still be shown."""
MOST: Final = 60
"""Of one vehicle: a summary is written over and over, and a device may have any number of columns."""


class KeyFigure(msgspec.Struct, frozen=True, array_like=True):
    """The last live value of one series."""

    metric: str
    device: str
    label: str
    """The values of its labels, joined; empty for a series without."""
    value: Value
    time_ms: int
    """Event time."""


def key_figures(samples: Iterable[Observed], carried: Iterable[KeyFigure] = ()) -> list[KeyFigure]:
    """Return the key figures of a vehicle's last samples, one of each source; what is unknown is not there.

    ``carried`` are figures of before its site's owner began: each counts until its device has spoken again.
    """
    found, heard = [], set[str]()
    for sample in samples:
        compiled, values = sample.compiled, sample.values
        heard.add(compiled.device)
        for metric, label, place in compiled.key_columns:
            value = values[place]
            if value is not None:
                found.append(KeyFigure(metric, compiled.device, label, value, sample.time_ms))
    found += [one for one in carried if one.device not in heard]
    return found[:MOST]
