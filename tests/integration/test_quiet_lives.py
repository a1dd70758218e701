"""A day of a site of vehicles without a fault, in every trouble (``make quiet``: more): nothing comes of it."""

from __future__ import annotations

import pytest

from tests.lives.draw import wirings
from tests.lives.run import Which, live

SEED = 13
VEHICLE_DAYS = 12.0
"""Of all wirings together; a whole day of a site of three each at least."""


@pytest.mark.parametrize("wiring", wirings())
def test_a_quiet_day_tells_nobody_of_a_vehicle(wiring: str) -> None:
    lived = live(Which(wiring, SEED, VEHICLE_DAYS / len(wirings())))
    assert lived.wrong == []
    assert lived.records > 50_000
    assert lived.troubles[wiring]["handover"] > 30
