"""How long an agent waits before it connects again, and what shows that its link is up."""

from __future__ import annotations

import random
from pathlib import Path

from agent.machine import default_routes
from agent.uplink.reconnect import Reconnect


def agents(count: int) -> list[Reconnect]:
    chance = random.Random(1)
    return [Reconnect(base=1.0, cap=30.0, spread=5.0, stable=300.0, chance=chance) for _ in range(count)]


def test_after_a_stable_connection_500_agents_come_spread_out() -> None:
    waits = [reconnect.after(1000.0) for reconnect in agents(500)]
    assert max(waits) <= 5.0
    for second in range(5):
        assert 50 < sum(second <= wait < second + 1 for wait in waits) < 150  # 100 expected


def test_waits_grow_up_to_the_cap_and_only_stability_forgets() -> None:
    fleet = agents(500)
    means = []
    for _ in range(8):
        waits = [reconnect.after(None) for reconnect in fleet]
        assert max(waits) <= 30.0
        means.append(sum(waits) / 500)
    # full jitter: half of 2, 4, 8, 16, then of the cap
    for mean, expected in zip(means, [1, 2, 4, 8, 15, 15, 15, 15], strict=True):
        assert abs(mean - expected) < expected / 5
    assert sum(reconnect.after(10.0) for reconnect in fleet) / 500 > 10  # ten seconds are not stable
    assert max(reconnect.after(301.0) for reconnect in fleet) <= 5.0
    assert max(reconnect.after(None) for reconnect in fleet) <= 2.0


def test_a_regions_spread_may_exceed_the_cap() -> None:
    """Field note 54: 0 to 120 s for large fleets; the cap is for one vehicle that tries again."""
    chance = random.Random(2)
    firsts = [Reconnect(base=1, cap=30.0, spread=120.0, stable=300, chance=chance).first() for _ in range(500)]
    assert max(firsts) > 100
    assert max(firsts) <= 120


def test_default_routes_are_read_from_proc(tmp_path: Path) -> None:
    # columns as in proc(5): Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
    (tmp_path / "route").write_text(
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
        "wwan0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
        "eth0\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    )
    (tmp_path / "ipv6_route").write_text(
        f"{'0' * 32} 00 {'0' * 32} 00 fe80{'0' * 27}1 00000400 00000001 00000000 00450003     eth0\n"
        f"{'0' * 32} 00 {'0' * 32} 00 {'0' * 32} ffffffff 00000001 00000000 00200200       lo\n"
    )
    assert default_routes(tmp_path) == {"wwan0 0100000A", f"eth0 fe80{'0' * 27}1"}
    assert default_routes(tmp_path / "none") == frozenset()
