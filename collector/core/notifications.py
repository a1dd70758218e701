"""Which people are told of what: a ticket that opens, opens again, goes up, is resolved (docs/architecture.md). Pure.

A closed note gives none: it is over, nobody can do anything. The first words of a notification are the fact,
the last what to do first; the same text in Chinese and in English.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

import msgspec

from collector.core.tickets import events as e
from collector.core.tickets.draft import Recorded
from collector.core.tickets.events import TicketEvent
from collector.core.tickets.ticket import Ticket
from telemetry.faults import FAULTS, SLA_NAMES
from telemetry.fleet import Site, VehiclePlan

Told = Literal["opened", "reopened", "resolved", "escalated", "call_back"]
_TOLD: Final[Mapping[str, Told]] = {
    "opened": "opened",
    "reopened": "reopened",
    "dissatisfied": "reopened",
    "reopened_by_hand": "reopened",
    "self_healed": "resolved",
    "resolved": "resolved",
    "escalated": "escalated",
    "asked": "escalated",
    "call_back_drawn": "call_back",
}
"""By the event of a ticket: what people read."""


class Notification(msgspec.Struct, frozen=True):
    """One message to people. ``key`` is its idempotency key within the site, ``body`` JSON (``Body``)."""

    key: str
    ticket: str
    body: str
    created_ms: int


class Text(msgspec.Struct, frozen=True):
    """The same in both languages, one line."""

    zh: str
    en: str


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """What a channel is given to send; ``id`` is the notification's key.

    Times are UTC milliseconds; ``vehicle`` is empty for a ticket of the site.
    """

    id: str
    what: Told
    site: str
    vehicle: str
    device: str
    ticket: str
    fault: str
    severity: str
    sla_class: str
    event_ms: int
    detected_ms: int
    resolved_event_ms: int | None
    text: Text
    where: str = ""
    """Vehicle and device (or the site) as people call them."""


def notifications_of(recorded: Iterable[Recorded], site: Site) -> list[Notification]:
    """Return the notifications of a commit's events, in their order. ``site`` is what the fleet file says: the names.

    The same events give the same notifications with the same keys, however often they are worked out. Of a ticket of
    the first version nobody is told until it is in the contract.
    """
    return [
        _notification(one.ticket, one.event, _TOLD[one.event.what], site)
        for one in recorded
        if one.event.what in _TOLD and one.ticket.in_contract
    ]


def _notification(ticket: Ticket, event: TicketEvent, what: Told, site: Site) -> Notification:
    key = f"{ticket.site}/{ticket.id}/{event.number}/{what}"
    body = Body(
        id=key,
        what=what,
        site=ticket.site,
        vehicle=ticket.vehicle,
        device=ticket.device,
        ticket=ticket.id,
        fault=ticket.fault,
        severity=ticket.severity,
        sla_class=ticket.sla_class,
        event_ms=ticket.event_ms,
        detected_ms=ticket.detected_ms,
        resolved_event_ms=ticket.over_event_ms,
        text=text_of(ticket, what, event, site),
        where=_where(ticket, site),
    )
    return Notification(key, ticket.id, msgspec.json.encode(body).decode(), event.recorded_ms)


def text_of(ticket: Ticket, what: Told, event: TicketEvent, site: Site) -> Text:
    """Return what a tired person reads: who, what, for how long, how grave, what to do first."""
    at_ms, body = event.recorded_ms, event.body
    fault = FAULTS.get(ticket.fault)
    zh, en = (fault.zh, fault.en) if fault else (ticket.fault or "报修", ticket.fault or "a request")
    where = _where(ticket, site)
    end_ms = at_ms if what != "resolved" or ticket.over_event_ms is None else ticket.over_event_ms
    long_zh, long_en = duration(end_ms - ticket.event_ms)
    if what == "resolved":
        done_zh = "已解决" if event.what == "resolved" else "已恢复"
        return Text(f"{where} {done_zh}: {zh}, 历时 {long_zh}", f"{where} resolved: {en}, lasted {long_en}")
    if isinstance(body, e.Escalation):
        return _escalated(where, zh, en, ticket, body, at_ms)
    if isinstance(body, e.Draw):
        return Text(
            f"{where} {zh}: 工单 {ticket.id} 请 {body.to} 回访",
            f"{where} {en}: {body.to} is to call back about {ticket.id}",
        )
    class_zh, class_en = next((name for id, name in SLA_NAMES.items() if id == ticket.sla_class), ("", ""))
    again_zh, again_en = ("再次", " again") if what == "reopened" else ("", "")
    first_zh = f": {fault.first_zh}" if fault and fault.first_zh else ""
    first_en = f": {fault.first_en}" if fault and fault.first_en else ""
    return Text(
        f"{where} {again_zh}{zh} {long_zh} ({class_zh or ticket.sla_class}){first_zh}",
        f"{where} {en}{again_en} for {long_en} ({class_en or ticket.sla_class}){first_en}",
    )


_CLOCKS: Final[Mapping[str, tuple[str, str]]] = {
    "response": ("响应时限", "response"),
    "solution": ("解决时限", "solution"),
    "on_site": ("到场时限", "on-site visit"),
    "recovery": ("恢复时限", "recovery"),
    "call_back": ("回访时限", "call-back"),
}


_ASKED: Final[Mapping[str, tuple[str, str]]] = {
    "readings_good": ("读数已恢复 {zh}, 请 {to} 确认后解决", "readings good for {en}: {to} to look and resolve"),
    "data_missing": ("已 {zh} 没有数据, 请 {to} 查看", "no data for {en}: {to} to look"),
    "orphaned": ("车辆、设备或规则已不在, 请 {to} 决定如何处理", "vehicle, device or rule is gone: {to} to decide"),
}


def _escalated(where: str, zh: str, en: str, ticket: Ticket, body: e.Escalation, at_ms: int) -> Text:
    """Return which clock runs out or has run out, and who is asked."""
    asked = _ASKED.get(body.clock.partition("/")[0])
    if asked is not None and body.due_ms is not None:
        long_zh, long_en = duration(at_ms - body.due_ms)
        told_zh, told_en = (text.format(zh=long_zh, en=long_en, to=body.to) for text in asked)
        return Text(f"{where} {zh}: 工单 {ticket.id} {told_zh}", f"{where} {en}: {ticket.id}, {told_en}")
    clock = _CLOCKS.get(body.clock.partition("/")[0])
    if clock is None or body.due_ms is None:
        return Text(
            f"{where} {zh}: 工单 {ticket.id} 升级至 {body.to}: {body.why}",
            f"{where} {en}: {ticket.id} goes up to {body.to}: {body.why}",
        )
    long_zh, long_en = duration(abs(body.due_ms - at_ms))
    left_zh, left_en = (
        ("已超 " + long_zh, "overdue by " + long_en) if at_ms >= body.due_ms else ("还剩 " + long_zh, long_en + " left")
    )
    return Text(
        f"{where} {zh}: 工单 {ticket.id} {clock[0]}{left_zh}, 请 {body.to} 处理",
        f"{where} {en}: {ticket.id}, {clock[1]} {left_en}, for {body.to}",
    )


def duration(ms: int) -> tuple[str, str]:
    """Return a time span in Chinese and English, rounded down, in the one or two units that matter."""
    seconds = max(ms, 0) // 1000
    if seconds < 60:
        return f"{seconds} 秒", f"{seconds} s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    if minutes < 60:
        return f"{minutes} 分钟", f"{minutes} min"
    if hours < 24:
        return f"{hours} 小时 {minutes % 60} 分钟", f"{hours} h {minutes % 60} min"
    return f"{days} 天 {hours % 24} 小时", f"{days} d {hours % 24} h"


def _where(ticket: Ticket, site: Site) -> str:
    return " ".join(word for word in _names(ticket, site) if word)


def _names(ticket: Ticket, site: Site) -> tuple[str, str]:
    """Return how people call the vehicle and the device; the id where the fleet file gives no name."""
    if not ticket.vehicle:
        return site.name or ticket.site, ""
    plan = site.vehicles.get(ticket.vehicle) or VehiclePlan(agents={})
    devices = {id: device.name for _, id, device in plan.devices()}
    device = "" if ticket.device in ("", "vehicle", ticket.vehicle) else devices.get(ticket.device) or ticket.device
    return plan.name or plan.plate or ticket.vehicle, device
