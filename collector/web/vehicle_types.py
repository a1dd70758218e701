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
