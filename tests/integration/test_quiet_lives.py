"""A day of a vehicle without a fault, in every trouble (``make quiet``: more of each wiring): nothing comes of it."""

from __future__ import annotations

import pytest

from tests.lives.run import Which, live


@pytest.mark.parametrize("wiring", ["always", "goodbye"])
def test_a_quiet_day_tells_nobody_of_a_vehicle(wiring: str) -> None:
    lived = live(Which(wiring, 5, 1.0))
    assert lived.wrong == []
    assert lived.records > 20_000
    assert lived.troubles["handover"] > 10
