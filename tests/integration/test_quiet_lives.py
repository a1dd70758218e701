"""Days of a site of vehicles without a fault, in every trouble (``make quiet``: more): nothing comes of them."""

from __future__ import annotations

import pytest

from tests.lives.draw import wirings
from tests.lives.run import Which, live

SEEDS = (13, 14)
VEHICLE_DAYS = 100.0
"""Of all lives together."""


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("wiring", wirings())
def test_quiet_days_tell_nobody_of_a_vehicle(wiring: str, seed: int) -> None:
    lived = live(Which(wiring, seed, VEHICLE_DAYS / len(wirings()) / len(SEEDS)))
    assert lived.wrong == []
    assert lived.records > 150_000
    assert lived.troubles[wiring]["handover"] > 30
