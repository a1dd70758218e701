"""What the API answers, as types: what makes an answer is checked against them, and ``openapi.json`` shows them.

Tickets and vehicles have modules of their own. Times are ISO 8601 in UTC, ``null`` where there is none. The names of a
language are ``zh`` and ``en``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import msgspec

from collector.accounts.roles import Kind, Permission, Role
from collector.channels.deliveries import State as DeliveryState
from collector.read.sites import SiteCondition

Time = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]


class Words(TypedDict):
    """The same in Chinese and in English."""

    zh: str
    en: str


class Lines(TypedDict):
    """The same in Chinese and in English, line by line."""

    zh: list[str]
    en: list[str]


class Unshown(TypedDict):
    """In place of a row that is damaged: what names it, and why it cannot be shown."""

    problem: str
    """What is wrong with it."""
    site: NotRequired[str]
    id: NotRequired[str | int]
    """Of a ticket or notification."""
    vehicle: NotRequired[str]
    device: NotRequired[str]
    fault: NotRequired[str]
    ticket: NotRequired[str]


class SparePart(TypedDict):
    """A spare part that the site keeps."""

    kind: str
    name: str
    place: str


class Sink(TypedDict):
    """How far a sink is behind what is committed."""

    batches_behind: int
    oldest_at: Time | None
    error: str
    """Why it does not get on, as far as this collector writes it."""


class SiteNotifications(TypedDict):
    """What people of a site are still to be told."""

    waiting: int
    oldest_at: Time | None
    failed: int
    """Refused or given up."""


class SilentVehicle(TypedDict):
    """A vehicle that ought to speak and does not."""

    vehicle: str
    since: Time | None


class SiteVehicles(TypedDict):
    """How many vehicles of the fleet file are heard, as far as whoever asks may see them."""

    planned: int
    heard: int
    """Ever."""
    silent: list[SilentVehicle]
    never_heard: list[str]


class Site(TypedDict):
    """A site and how it gets on. What may be missing is missing for one that no collector has ever owned."""

    site: str
    name: str
    time_zone: str
    hotline: str
    spares: list[SparePart]
    """Spare parts that it keeps."""
    state: SiteCondition | Literal["never_owned", "unknown"]
    since: Time | None
    owned: NotRequired[bool]
    owner: NotRequired[str]
    epoch: NotRequired[int]
    alive_at: NotRequired[Time | None]
    """When its owner last lived."""
    connected: NotRequired[bool]
    """Whether its session with the broker stands."""
    listening_since: NotRequired[Time | None]
    heard_at: NotRequired[Time | None]
    committed_at: NotRequired[Time | None]
    waiting_messages: NotRequired[int]
    oldest_waiting_at: NotRequired[Time | None]
    error: NotRequired[str]
    editions: NotRequired[dict[str, int]]
    """The editions in force, by kind."""
    differing: NotRequired[list[str]]
    """Kinds of which its owner's own files say otherwise."""
    over_quota: NotRequired[dict[str, list[str]]]
    begun_anew: NotRequired[list[str]]
    damaged: NotRequired[list[str]]
    sinks: NotRequired[dict[str, Sink]]
    notifications: NotRequired[SiteNotifications]
    vehicles: SiteVehicles
    problem: NotRequired[str]


class Sites(TypedDict):
    """All sites."""

    now: Time
    """By the clock of the database, which all collectors share."""
    sites: list[Site]


class PersonAtSite(TypedDict):
    """Who somebody is in a site's roster."""

    id: str
    name: str
    role: str


class Me(TypedDict):
    """Who asks, and what that allows."""

    kind: Kind
    name: str
    login: str
    """The user of this machine; empty but over the socket."""
    roles: Mapping[str, Role]
    """By site, or `*` for all of them."""
    departments: list[str] | None
    """Of whose vehicles alone; `null`: of all."""
    may: list[Permission]
    sites: dict[str, PersonAtSite]
    csrf_token: str | None
    """For the header `X-CSRF-Token`; `null` without a session."""


class Kept(TypedDict):
    """What is wanted is kept: the site's owner does it, and the action says when."""

    action: int
    status: Literal["waiting"]
    url: str
    """Where the action is; its last part is the number."""


class MissionKept(TypedDict):
    """The mission is kept."""

    action: int
    url: str


class Action(TypedDict):
    """What somebody wants of a vehicle or ticket, and what became of it."""

    action: int
    status: Literal["waiting", "taken", "refused"]
    site: str
    vehicle: str
    kind: str
    body: Any
    by: str
    """The person of the roster who wants it."""
    created_at: Time | None
    taken_at: Time | None
    error: str
    """Why it was refused, in Chinese and English."""
    ticket: str
    """On which it acted."""


class Actions(TypedDict):
    """A page of actions, the newest first."""

    actions: list[Action]
    next: str | None
    """The next page's `after`; `null`: this was the last."""


class Delivery(TypedDict):
    """A notification, and what became of it for one receiver over one channel."""

    notification: int
    site: str
    ticket: str
    key: str
    created_at: Time | None
    receiver: str
    channel: str
    of_roster: bool
    """Whether the receiver is a person of the roster."""
    folded_into: str | None
    """The notification in whose message it goes."""
    state: DeliveryState
    attempts: int
    next_at: Time | None
    """When it is tried next; `null` but for one that waits."""
    settled_at: Time | None
    """When it was settled; `null` for one that waits."""
    error: str
    body: Any


class Deliveries(TypedDict):
    """A page of deliveries, those of the newest notification first."""

    deliveries: list[Delivery]
    next: str | None
    """The next page's `after`; `null`: this was the last."""


class Retried(TypedDict):
    """What is sent again."""

    notification: int
    retried: int
    """How many deliveries."""


class ChangedTicket(TypedDict):
    """A ticket that has changed."""

    site: str
    id: str


class Change(TypedDict):
    """The data of an event of the stream: what has changed since the one before."""

    revision: str
    """Also the event's id: `since` and `Last-Event-ID` go on from here."""
    reset: bool
    """Read everything anew: this is the beginning, or what has changed cannot be named."""
    vehicles: list[str]
    tickets: list[ChangedTicket]
    sites: list[str]
    """Sites that get on otherwise than before."""
