"""Whether R8 applies: class, warranty on the day of the notice, and somebody's word that the spare part is at hand."""

from __future__ import annotations

import datetime

import pytest

from collector.core.tickets import events as e
from collector.core.tickets.hardware import Hardware, hardware_of
from telemetry.fleet import AgentPlan, Device, Site, SparePart, VehiclePlan
from telemetry.inputs import ModemInput
from tests.unit.desks import Desk, call

DAY = datetime.date(2026, 9, 21)
"""The day of the notice in Shanghai (``T0`` is 22:13 there)."""
SPARES = (SparePart(kind="modem", name="RM520N"), SparePart(kind="camera", name="M3065"))


def found(until: datetime.date | None, sla_class: str = "hardware", *words: str, device: str = "m1") -> Hardware | None:
    modem = Device(kind="modem", modem=ModemInput(port="/dev/null"), warranty_until=until)
    plan = VehiclePlan(agents={"router": AgentPlan(devices={"m1": modem})})
    desk = Desk()
    desk.act("opened", call(sla_class=sla_class, vehicle="amb-1", device=device), who="zhao")
    for word in words:
        desk.act("spare_noted", e.SpareWord(word))  # type: ignore[arg-type]
    return hardware_of(desk.ticket(), desk.rows[desk.last], Site(vehicles={"amb-1": plan}, spares=SPARES))


@pytest.mark.parametrize(
    ("until", "sla_class", "words", "lacks"),
    [
        (DAY, "hardware", ["at_hand"], ()),
        (DAY - datetime.timedelta(days=1), "hardware", ["at_hand"], ("warranty_over",)),
        (None, "hardware", ["at_hand"], ("warranty_unknown",)),
        (DAY, "general", ["at_hand"], ("class",)),
        (DAY, "hardware", [], ("spare_unsaid",)),
        (DAY, "hardware", ["ordered"], ("spare_ordered",)),
        (DAY, "hardware", ["ordered", "at_hand"], ()),
        (None, "general", ["at_hand", "none"], ("class", "warranty_unknown", "spare_none")),
    ],
)
def test_what_it_lacks(until: datetime.date | None, sla_class: str, words: list[str], lacks: tuple[str, ...]) -> None:
    told = found(until, sla_class, *words)
    assert told is not None
    assert (told.lacks, told.applies) == (lacks, not lacks)
    assert [spare.name for spare in told.spares] == ["RM520N"], "those of its kind"


def test_a_ticket_about_no_device_of_the_fleet_file_says_nothing() -> None:
    assert found(DAY, device="m2") is None
    assert found(DAY, device="") is None
