"""What the API answers about vehicles, as types (``answer_types.py``)."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from collector.core.problems import ProblemState
from collector.core.vehicle.summary import VehicleState
from collector.web.answer_types import Time, Words
from collector.web.ticket_types import TicketRow


class Agent(TypedDict):
    """An agent of a vehicle."""

    heard_at: Time | None
    version: str
    left: str
    """The reason of its goodbye, until it is back."""
    lost: bool
    """The broker has lost it, and it is not back."""


class VehicleDevice(TypedDict):
    """A device of a vehicle, as its agent last read it."""

    device: str
    agent: str
    kind: str
    name: str
    heard_at: Time | None
    current_until: Time | None
    """Until when its last word says how it is."""
    problem: str
    """Why its agent cannot read it."""
    open_tickets: list[str]
    identity: NotRequired[dict[str, str | None] | None]
    """Who it says it is (of one vehicle alone)."""


class VehicleProblem(TypedDict):
    """What is wrong with a vehicle, ticket or not."""

    key: str
    device: str
    fault: str
    fault_name: Words
    state: ProblemState
    event_at: Time | None
    detected_at: Time | None
    times: int
    cause: str | None
    """The key of the problem that explains it."""


class Place(TypedDict):
    """A place, in degrees of WGS 84; `null` for a role that needs no positions."""

    latitude: float | None
    longitude: float | None


class VehicleRow(TypedDict):
    """A vehicle as lists show it."""

    site: str
    vehicle: str
    name: str
    plate: str
    phone: str
    department: str
    home: Place | None
    """Where it stands off duty; `null` for a role that needs no positions."""
    time_zone: str
    in_fleet_file: bool
    state: VehicleState | Literal["unknown"]
    parked_inferred: bool
    """Nobody said that it is parked: it stands, or is where others parked."""
    heard_at: Time | None
    silent_since: Time | None
    agents: dict[str, Agent]
    devices: list[VehicleDevice]
    problems: list[VehicleProblem]
    open_tickets: list[TicketRow]
    problem: str
    """Why less is shown of it than there should be."""


class Note(TypedDict):
    """A fault that was over before we heard of it."""

    device: str
    fault: str
    rule: str
    began_at: Time | None
    ended_at: Time | None
    noted_at: Time | None


class Vehicle(VehicleRow):
    """One vehicle with its devices, tickets and notes."""

    tickets: list[TicketRow]
    """The last 200."""
    notes: list[Note]


class Vehicles(TypedDict):
    """A page of vehicles."""

    vehicles: list[VehicleRow]
    next: str | None
    """The next page's `after`; `null`: this was the last."""
    revision: str
    """Where `since` goes on: all changes up to here are in it."""


# --- what was read, and what stands in the fleet file -----------------------------------------------------------------

Quality = Literal["good", "stale", "unknown"]


class Reading(TypedDict):
    """The last value of a series."""

    device: str
    agent: str
    """By which it was read."""
    metric: str
    """Of the catalogue, such as `modem.rsrp_dbm`."""
    labels: dict[str, str]
    """What tells it from other series of the metric: a target, a leg, a stream."""
    value: float | bool | str
    unit: str
    """Empty for a metric without one."""
    at: Time | None
    """When it was read, on the kit's clock."""
    quality: Quality
    """`good`: its device's last word still says how it is; `stale`: that is too long ago; `unknown`: the device has
    answered since and did not know it any more."""


class Readings(TypedDict):
    """The last value of each series of a vehicle."""

    site: str
    vehicle: str
    heard_at: Time | None
    """The vehicle's last word."""
    readings: list[Reading]


class HistorySeries(TypedDict):
    """A series over time."""

    device: str
    metric: str
    labels: dict[str, str]
    unit: str
    values: list[float | bool | str | None]
    """One of each step; `null` where nothing was read."""


History = TypedDict(
    "History",
    {
        "site": str,
        "vehicle": str,
        "from": Time | None,
        "until": Time | None,
        "step": int,
        "series": list[HistorySeries],
    },
)


class Device(TypedDict):
    """A device as the fleet file has it, and who it says it is."""

    site: str
    vehicle: str
    device: str
    agent: str
    """Empty for one that does not stand in the fleet file."""
    kind: str
    name: str
    depends_on: list[str]
    """Devices of the vehicle that it cannot work without."""
    circuit: str
    """`ignition`: without power while the vehicle is parked; `always`."""
    warranty_until: str | None
    """The last day of its maker's warranty; `null`: the fleet file does not say it."""
    in_fleet_file: bool
    identity: dict[str, str | None]
    """Vendor, model, firmware and such, as it said last; without IMEI, IMSI and ICCID for a role that needs none."""
    seen_at: Time | None
    """When it said that first."""


class Devices(TypedDict):
    """A page of devices."""

    devices: list[Device]
    next: str | None
    """The next page's `after`; `null`: this was the last."""
