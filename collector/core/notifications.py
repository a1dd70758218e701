"""What people are told of a ticket, in words (docs/notifications.md). Pure.

A closed note gives none: it is over, nobody can do anything. The first words of a notification are the fact,
the last what to do first; the same text in Chinese and in English.
"""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from collector.core.contract import DEFAULT, Contract
from collector.core.recipients import Kind, Note, Recipients, kind_of, recipients_of
from collector.core.tickets import events as e
from collector.core.tickets.draft import Recorded
from collector.core.tickets.events import TicketEvent
from collector.core.tickets.telling import forecast_value
from collector.core.tickets.texts import TEXTS
from collector.core.tickets.ticket import Ticket
from telemetry.faults import FAULTS, SLA_NAMES, SlaClass
from telemetry.fleet import Site, VehiclePlan

MOST_SAID: Final = 120
"""So many characters of a caller's words stand in a text; the ticket has them all."""


class Notification(msgspec.Struct, frozen=True):
    """What people are told of one event. ``key`` names it within the site, ``body`` is JSON (``Body``)."""

    key: str
    ticket: str
    body: str
    created_ms: int
    what: Kind
    sla_class: SlaClass
    to: Recipients


class Text(msgspec.Struct, frozen=True):
    """The same in both languages, one line."""

    zh: str
    en: str


_NO_WORDS: Final = Text("", "")


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """What a channel is given to send; ``id`` is the notification's key.

    Times are UTC milliseconds; ``vehicle`` is empty for a ticket of the site.
    """

    id: str
    what: Kind
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
    """In full."""
    where: str = ""
    """Vehicle and device (or the site) as people call them."""
    link: str = ""
    """Where the ticket is shown; empty where the contract file does not say where people reach the pages."""
    folded: int = 1
    """How many notifications about the ticket this message stands for; the others are older than what it says."""
    person: str = ""
    """For whom of the roster it is; empty for a receiver of ``collector.yaml``."""
    address: str = ""
    """Where that person is reached over this channel."""


def notifications_of(
    recorded: Iterable[Recorded],
    site: Site,
    contract: Contract = DEFAULT,
    known: frozenset[str] = frozenset(),
    earlier: Callable[[str], Sequence[TicketEvent]] = lambda ticket: (),
) -> list[Notification]:
    """Return the notifications of a commit's events, in their order. ``site`` is what the fleet file says: the names.

    ``known`` are the names of the channels that there are, ``earlier`` gives what has happened to a ticket. The same
    events give the same notifications with the same keys, however often they are worked out. Of a ticket of the first
    version nobody is told until it is in the contract.
    """
    found, told = [], list(recorded)
    for one in told:
        kind = kind_of(one.event)
        if kind is None or not one.ticket.in_contract:
            continue
        events = {event.number: event for event in earlier(one.ticket.id)}
        events |= {other.event.number: other.event for other in told if other.ticket.id == one.ticket.id}
        if _is_told_by_another(one.event, events):
            continue
        before = [events[number] for number in sorted(events) if number < one.event.number]
        to = recipients_of(one.event, before, contract, known)
        found.append(_notification(one.ticket, one.event, kind, site, contract, to))
    return found


def _is_told_by_another(event: TicketEvent, events: Mapping[int, TicketEvent]) -> bool:
    """Say whether another event of the same moment says it too: a change of the cause is one notification.

    The end that is known with the cause is told with it, and a cause for which the ticket is opened again by that.
    """
    same = [other for other in events.values() if other.recorded_ms == event.recorded_ms and other.who == event.who]
    if event.what == "self_healed":
        return any(other.what == "taken_over" and other.number == event.number - 1 for other in same)
    if event.what == "taken_over":
        return any(other.what == "reopened" and other.number == event.number + 1 for other in same)
    return False


def _notification(
    ticket: Ticket, event: TicketEvent, what: Kind, site: Site, contract: Contract, to: Recipients
) -> Notification:
    key = f"{ticket.site}/{ticket.id}/{event.number}/{what}"
    base = contract.telling.link
    link = f"{base}/#{ticket.id}" if base else ""
    text, note = text_of(ticket, what, event, site, contract), _NOTES[to.note]
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
        text=Text(text.zh + note.zh, text.en + note.en),
        where=_where(ticket, site),
        link=link,
    )
    content = msgspec.json.encode(body).decode()
    return Notification(key, ticket.id, content, event.recorded_ms, what, ticket.sla_class, to)


_NOTES: Final[Mapping[Note, Text]] = {
    "": Text("", ""),
    "nobody_on_duty": Text(" (无人值班)", " (nobody is on duty)"),
    "not_reachable": Text(" (无法通知本人)", " (who is meant cannot be told)"),
}


def why_it_comes(handed_by: Sequence[str], failed_by: Sequence[str], contract: Contract) -> Text:
    """Return why a message comes to this person, or over this channel: who, and which channel, has not got it."""
    zh = en = ""
    if handed_by:
        names = _people(" ".join(handed_by), contract)
        zh, en = f"转自 {names.zh} (未能通知本人): ", f"passed on from {names.en}, who could not be told: "
    if failed_by:
        zh += f"{'、'.join(failed_by)} 未送达: "
        en += f"{', '.join(failed_by)} did not deliver it: "
    return Text(zh, en)


def message_of(
    bodies: Sequence[Body], person: str, address: str, later: Body | None = None, why: Text = _NO_WORDS
) -> Body:
    """Return the one message that a person gets instead of these notifications about one ticket, oldest first.

    ``later`` is of what that person was told before, though it happened after them: its words stand in the message, so
    that the last that anybody reads about a ticket is how it stands. ``why`` stands before all (``why_it_comes``).
    """
    first, latest, many = bodies[0], bodies[-1] if later is None else later, len(bodies)
    text = latest.text
    if later is not None:
        text = Text(
            f"补发 {many} 条较早的通知, 最新: {text.zh}", f"{many} from before this, late; the latest: {text.en}"
        )
    elif many > 1:
        text = Text(f"共 {many} 条, 最新: {text.zh}", f"{many} notifications, the latest: {text.en}")
    return msgspec.structs.replace(
        latest,
        id=f"{first.id}/{person}",
        person=person,
        address=address,
        folded=many,
        text=Text(why.zh + text.zh, why.en + text.en),
    )


def text_of(ticket: Ticket, what: Kind, event: TicketEvent, site: Site, contract: Contract = DEFAULT) -> Text:
    """Return what a tired person reads: who, what, for how long, how grave, what to do first."""
    at_ms, body = event.recorded_ms, event.body
    fault = FAULTS.get(ticket.fault)
    zh, en = (fault.zh, fault.en) if fault else (ticket.fault or "报修", ticket.fault or "a request")
    where = _where(ticket, site)
    end_ms = at_ms if what != "resolved" or ticket.over_event_ms is None else ticket.over_event_ms
    long_zh, long_en = duration(end_ms - ticket.event_ms)
    if what == "resolved":
        done_zh = "已解决" if event.what == "resolved" else "已恢复"
        return Text(
            f"{where} {done_zh}: {zh}, 历时 {long_zh}, 工单 {ticket.id}",
            f"{where} resolved: {en}, lasted {long_en}, {ticket.id}",
        )
    if what in ("cancelled", "merged", "unmerged"):
        gone = _gone(event)
        return Text(f"{where} {zh}: 工单 {ticket.id} {gone.zh}", f"{where} {en}: {ticket.id} {gone.en}")
    if isinstance(body, e.TakeOver):
        return _renamed(where, Text(zh, en), ticket, body, Text(long_zh, long_en))
    if isinstance(body, e.Escalation):
        return _escalated(where, zh, en, ticket, body, at_ms, contract)
    if isinstance(body, e.Draw | e.Assignment):
        to = _people(body.to, contract)
        done = ("回访", "is to call back about") if what == "call_back" else ("处理", "is to deal with")
        return Text(
            f"{where} {zh}: 工单 {ticket.id} 请 {to.zh} {done[0]}", f"{where} {en}: {to.en} {done[1]} {ticket.id}"
        )
    class_zh, class_en = next((name for id, name in SLA_NAMES.items() if id == ticket.sla_class), ("", ""))
    if isinstance(body, e.Opening) and body.source != "rule":
        said = _said(body)
        return Text(
            f"{where} {zh}: 工单 {ticket.id} ({class_zh or ticket.sla_class}){said.zh}",
            f"{where} {en}: {ticket.id} ({class_en or ticket.sla_class}){said.en}",
        )
    if what == "reopened" and event.what != "reopened":
        return _reopened(where, Text(zh, en), ticket, event)
    again_zh, again_en = ("再次", " again") if what == "reopened" else ("", "")
    soon = _foreseen(body, contract)
    first_zh = f": {fault.first_zh}" if fault and fault.first_zh else ""
    first_en = f": {fault.first_en}" if fault and fault.first_en else ""
    return Text(
        f"{where} {again_zh}{zh} {soon.zh or long_zh} ({class_zh or ticket.sla_class}), 工单 {ticket.id}{first_zh}",
        f"{where} {en}{again_en} {soon.en or 'for ' + long_en} ({class_en or ticket.sla_class}), {ticket.id}{first_en}",
    )


def _reopened(where: str, about: Text, ticket: Ticket, event: TicketEvent) -> Text:
    """Return who opened a ticket again and with what words: somebody who called it unsolved, or anybody by hand."""
    body = event.body
    words = _short(getattr(body, "text", ""))
    caller = getattr(body, "caller", None)
    name = f"{caller.name} {caller.phone}".strip() if caller is not None else ""
    zh, en = (
        ("回访未解决", "call-back: not solved")
        if event.what == "dissatisfied"
        else ("人工重新打开", "reopened by hand")
    )
    zh, en = f"{zh} ({name})" if name else zh, f"{en} ({name})" if name else en
    said = f": {words}" if words else ""
    class_zh, class_en = SLA_NAMES[ticket.sla_class]
    return Text(
        f"{where} {about.zh}: 工单 {ticket.id} ({class_zh}) {zh}{said}",
        f"{where} {about.en}: {ticket.id} ({class_en}), {en}{said}",
    )


def _foreseen(body: object, contract: Contract) -> Text:
    """Return what is forecast for when, where a ticket is about that; in place of how long it has lasted."""
    evidence = body.evidence if isinstance(body, e.Opening | e.Reopening) else ()
    soon = next((one.forecast for one in evidence if one.forecast is not None), None)
    if soon is None:
        return Text("", "")
    at = datetime.datetime.fromtimestamp(soon.at_ms / 1000, zoneinfo.ZoneInfo(contract.time_zone))
    value = forecast_value(soon)
    return Text(f"预计 {at:%Y-%m-%d %H:%M} 达到 {value}", f"(forecast: {value} at {at:%Y-%m-%d %H:%M})")


def _gone(event: TicketEvent) -> Text:
    """Return why nobody has to do anything about a ticket any more, or that somebody has to again."""
    body = event.body
    if isinstance(body, e.Cancellation):
        why = _short(body.reason)
        return Text(f"是误报, 已取消: {why}", f"was a false alarm, cancelled: {why}")
    if isinstance(body, e.MergeInto):
        return Text(f"已并入 {body.into}, 请看该工单", f"goes on in {body.into}")
    return Text("已从另一工单拆出, 单独处理", "is a ticket of its own again")


def _short(words: str) -> str:
    """Return a person's words in one line, of ``MOST_SAID`` characters at most."""
    words = " ".join(words.split())
    return words if len(words) <= MOST_SAID else words[: MOST_SAID - 1] + "…"


def _said(body: e.Opening) -> Text:
    """Return who asked for a ticket and with what words, in one line."""
    caller = body.caller
    who = f"{caller.name} {caller.phone}".strip() if caller is not None else ""
    words = _short(body.text)
    zh, en = f", 报修人 {who}" if who else "", f", from {who}" if who else ""
    return Text(zh + (f": {words}" if words else ""), en + (f": {words}" if words else ""))


def _people(to: str, contract: Contract) -> Text:
    """Return the names of roles and people."""
    names = {id: person.name for id, person in contract.roster.items()}
    words = to.split()
    zh = "、".join(names.get(word) or TEXTS["zh"].values.get(word, word) for word in words)
    return Text(zh, ", ".join(names.get(word, word) for word in words))


def _renamed(where: str, now: Text, ticket: Ticket, body: e.TakeOver, lasted: Text) -> Text:
    """Return what a ticket turned out to be about, whether that is over, and what to do first where it is not."""
    was = FAULTS.get(body.was.key.fault)
    was_zh, was_en = (was.zh, was.en) if was else (body.was.key.fault, body.was.key.fault)
    zh, en = f"{where} {was_zh} 实为 {now.zh}", f"{where} {was_en}: it was {now.en}"
    if ticket.over_event_ms is not None:
        long_zh, long_en = duration(ticket.over_event_ms - ticket.event_ms)
        return Text(f"{zh}, 历时 {long_zh}, 已恢复, 工单 {ticket.id}", f"{en}, lasted {long_en}, is over, {ticket.id}")
    fault = FAULTS.get(ticket.fault)
    first_zh = f": {fault.first_zh}" if fault and fault.first_zh else ""
    first_en = f": {fault.first_en}" if fault and fault.first_en else ""
    return Text(f"{zh} {lasted.zh}, 工单 {ticket.id}{first_zh}", f"{en} for {lasted.en}, {ticket.id}{first_en}")


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
    "acknowledge": ("{zh}无人受理, 请 {to} 处理", "nobody has acknowledged it for {en}: for {to}"),
}


def _escalated(
    where: str, zh: str, en: str, ticket: Ticket, body: e.Escalation, at_ms: int, contract: Contract
) -> Text:
    """Return which clock runs out or has run out, and who is asked."""
    to = _people(body.to, contract)
    asked = _ASKED.get(body.clock.partition("/")[0])
    if asked is not None and body.due_ms is not None:
        long_zh, long_en = duration(at_ms - body.due_ms)
        told_zh = asked[0].format(zh=long_zh, to=to.zh)
        told_en = asked[1].format(en=long_en, to=to.en)
        return Text(f"{where} {zh}: 工单 {ticket.id} {told_zh}", f"{where} {en}: {ticket.id}, {told_en}")
    clock = _CLOCKS.get(body.clock.partition("/")[0])
    if clock is None or body.due_ms is None:
        return Text(
            f"{where} {zh}: 工单 {ticket.id} 升级至 {to.zh}: {body.why}",
            f"{where} {en}: {ticket.id} goes up to {to.en}: {body.why}",
        )
    long_zh, long_en = duration(abs(body.due_ms - at_ms))
    if at_ms < body.due_ms:
        left_zh, left_en = "还剩 " + long_zh, long_en + " left"
    elif at_ms < body.due_ms + 60_000:
        left_zh, left_en = "已到", "due now"
    else:
        left_zh, left_en = "已超 " + long_zh, "overdue by " + long_en
    return Text(
        f"{where} {zh}: 工单 {ticket.id} {clock[0]}{left_zh}, 请 {to.zh} 处理",
        f"{where} {en}: {ticket.id}, {clock[1]} {left_en}, for {to.en}",
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
