"""Where a rule holds: places of which the record says that something is usual there (docs/coverage.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from collector.core.coverage import FIGURES

LEG_OF: Final[Mapping[str, str]] = {figure: leg for leg, figures in FIGURES.items() for figure in figures}
"""Of a figure: the leg under which it is recorded."""


class UsualShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is usual in a place, by other vehicles' record or the vehicle's own."""

    usual: Literal["nr", "home", "loss", "rtt"]
    """`nr`: share of samples with 5G, `home`: with the home network, `loss`: mean loss, all in percent; `rtt`: median
    round trip in ms."""
    above: float
    """It is usual there if it is above this."""
