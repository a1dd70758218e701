"""A ticket told to people, in Chinese and English: each event in words, and how it stands. Pure."""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from collector.core.calendar import YearMissingError
from collector.core.contract import Contract
from collector.core.problems import Evidence, Forecast, ProblemRef
from collector.core.tickets import events as e
from collector.core.tickets.events import TicketEvent
from collector.core.tickets.hardware import Hardware
from collector.core.tickets.texts import TEXTS, Language, Texts
from collector.core.tickets.ticket import NOBODY, Ticket
from collector.core.tickets.timers import asks_call_back, call_back_due_ms
from telemetry.faults import FAULTS, SLA_NAMES

_FORM = "%Y-%m-%d %H:%M"
_MINUTE_MS = 60_000
_EXACT = "%Y-%m-%d %H:%M:%S"
_NAMED = frozenset({"how", "relation", "role", "answer", "source", "verb"})
"""Fields whose values have names of their own."""


def who_name(who: str, contract: Contract, language: Language) -> str:
    """Return how people call whoever did it: a name of the roster, or what kind of party it was."""
    if who in NOBODY:
        return TEXTS[language].parties[who]
    person = contract.roster.get(who)
    return person.name if person is not None else TEXTS[language].values.get(who, who)


def event_words(event: TicketEvent, contract: Contract, language: Language) -> str:
    """Return what an event says beside who, when and its name; empty: nothing."""
    texts, body = TEXTS[language], event.body
    shape = type(body).__name__
    parts = []
    for name in sorted(body.__struct_fields__, key=lambda name: name != "text"):  # words of a person come first
        value = getattr(body, name)
        if name == "event_ms" and value // _MINUTE_MS == event.at_ms // _MINUTE_MS:
            continue  # it stands before the event
        template = texts.says.get(f"{shape}.{name}", texts.says.get(name, ""))
        if template and value not in (None, "", (), False, 0):
            parts.append(template.format(_value(shape, name, value, texts, contract, language)))
    return texts.standing["between"].join(parts)


def _value(shape: str, name: str, value: Any, texts: Texts, contract: Contract, language: Language) -> str:
    between = texts.table["between"]
    if name in ("to", "among"):
        ids = value.split() if isinstance(value, str) else value
        return between.join(who_name(id, contract, language) for id in ids)
    if name == "clock":
        what = str(value).partition("/")[0]
        return texts.values.get(what) or texts.clocks.get(what, what)
    if name == "sla_class":
        return SLA_NAMES[value][0 if language == "zh" else 1]
    if (shape, name) == ("Wait", "reason"):
        return texts.wait_reasons.get(value, value)
    if isinstance(value, ProblemRef):
        fault = FAULTS.get(value.key.fault)
        named = value.key.fault if fault is None else (fault.zh if language == "zh" else fault.en)
        return " ".join(word for word in (named, value.vehicle, value.key.device) if word)
    if name in _NAMED or (name == "spare" and shape != "Resolution"):
        return texts.values.get(value, str(value))
    return _plain(name, value, contract)


def _plain(name: str, value: Any, contract: Contract) -> str:
    if isinstance(value, e.Caller):
        return f"{value.name} {value.phone}".strip()
    return _at(value, contract) if name.endswith("_ms") else str(value)


def _at(time_ms: int, contract: Contract, form: str = _FORM) -> str:
    return datetime.datetime.fromtimestamp(time_ms / 1000, zoneinfo.ZoneInfo(contract.time_zone)).strftime(form)


def standing(
    ticket: Ticket,
    events: Sequence[TicketEvent],
    contract: Contract,
    hardware: Hardware | None,
    now_ms: int,
    language: Language,
) -> list[str]:
    """Return the lines that say how a ticket stands beside its state and clocks: what it waits for, who is asked."""
    words = TEXTS[language].standing
    return [
        *_marks(ticket, contract, now_ms, language),
        *_call_back(ticket, events, contract, language),
        *([] if hardware is None else [_r8(hardware, words, TEXTS[language])]),
    ]


def evidence_lines(evidence: Evidence, contract: Contract, language: Language) -> list[str]:
    """Return what a problem rests on, in lines: the rule and its words, the samples, the whole kit as it was then."""
    words, between = TEXTS[language].standing, TEXTS[language].table["between"]
    rule = words["by_rule"].format(rule=evidence.rule, version=evidence.rule_version)
    lines = [words["event"].format(what=rule, words=evidence.text) if evidence.text else rule]
    for sample in evidence.samples:
        shows = between.join(words[f"shows_{word}"] for word in str(sample.get("shows", "")).split())
        labels = between.join(str(value) for value in dict(sample.get("labels") or {}).values())
        what = " ".join(word for word in (sample.get("device", ""), sample.get("metric", ""), labels) if word)
        at = _time(sample.get("time_ms"), words, contract)
        said = words["sample"].format(shows=shows, at=at, what=what, value=_of_sample(sample.get("value")))
        lines.append("  " + (said if shows else said.lstrip(":： ")))
    if evidence.forecast is not None:
        soon = evidence.forecast
        what = " ".join(word for word in (soon.device, soon.what, between.join(soon.labels.values())) if word)
        at = _at(soon.at_ms, contract)
        lines.append("  " + words["forecast"].format(what=what, value=forecast_value(soon), at=at))
    if evidence.kit:
        lines.append(words["kit"].format(between.join(_kit(one, words, contract) for one in evidence.kit)))
    return lines


def forecast_value(forecast: Forecast) -> str:
    """Return the value that a forecast is about, with its unit; bytes in the unit in which plans are sold."""
    if forecast.unit == "B":
        return f"{forecast.reaches / 1e9:g} GB"
    return f"{forecast.reaches:g} {forecast.unit}".strip()


def _kit(one: Mapping[str, Any], words: Mapping[str, str], contract: Contract) -> str:
    if "more" in one:
        return words["kit_more"].format(more=one["more"])
    who = f"{one['device']} ({one['agent']})"
    return words[f"kit_{one['says']}"].format(who=who, at=_time(one.get("time_ms"), words, contract))


def _time(time_ms: int | None, words: Mapping[str, str], contract: Contract) -> str:
    return words["never"] if time_ms is None else _at(time_ms, contract, _EXACT)


def _of_sample(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _marks(ticket: Ticket, contract: Contract, now_ms: int, language: Language) -> Iterator[str]:
    texts = TEXTS[language]
    words = texts.standing
    if not ticket.in_contract:
        yield words["not_in_contract"]
    if ticket.is_waiting(now_ms) and ticket.waiting is not None:
        reason = texts.wait_reasons.get(ticket.waiting.reason, ticket.waiting.reason)
        yield words["waiting"].format(reason=reason, until=_at(ticket.waiting.until_ms, contract))
    if ticket.is_silenced(now_ms) and ticket.silenced_until_ms is not None:
        yield words["silenced"].format(until=_at(ticket.silenced_until_ms, contract))
    if ticket.is_open and ticket.over_event_ms is not None:
        yield words["readings_good"].format(since=_at(ticket.over_event_ms, contract))
    if ticket.is_open and ticket.unjudged is not None:
        yield words[ticket.unjudged.what].format(since=_at(ticket.unjudged.since_ms, contract))
    if ticket.is_open and ticket.recurring:
        yield words["recurring"]
    if ticket.state == "merged":
        yield words["merged"].format(ticket=ticket.merged_into)


def last_draw(ticket: Ticket, events: Sequence[TicketEvent]) -> e.Draw | None:
    """Return the draw of a resolved ticket's round; ``None``: nobody could be drawn, or it is not resolved."""
    for event in reversed(events if ticket.state == "resolved" else ()):
        if isinstance(event.body, e.Draw):
            return event.body
        if event.what == "resolved":
            break
    return None


def _call_back(ticket: Ticket, events: Sequence[TicketEvent], contract: Contract, language: Language) -> Iterator[str]:
    if ticket.state != "resolved" or not asks_call_back(ticket, contract):
        return
    texts = TEXTS[language]
    words = texts.standing
    try:
        due = _at(call_back_due_ms(ticket, events, contract), contract)
    except YearMissingError:
        due = words["call_back_no_date"]
    callers = texts.table["between"].join(
        _plain("caller", caller, contract) or words["nameless"] for caller in ticket.to_ask()
    )
    draw = last_draw(ticket, events)
    if draw is None:
        yield words["call_back_nobody"].format(due=due, callers=callers)
    else:
        yield words["call_back"].format(who=who_name(draw.to, contract, language), due=due, callers=callers)


def _r8(hardware: Hardware, words: Any, texts: Texts) -> str:
    between = texts.table["between"]
    until = hardware.warranty_until
    warranty = words["warranty_none"] if until is None else words["warranty"].format(until=until)
    listed = between.join(
        " ".join(word for word in (one.name or one.kind, one.place) if word) for one in hardware.spares
    )
    spares = words["spares"].format(spares=listed) if listed else words["spares_none"]
    if hardware.applies:
        return str(words["r8"].format(warranty=warranty, spares=spares))
    lacks = between.join(words[f"lack_{lack}"] for lack in hardware.lacks)
    return str(words["not_r8"].format(lacks=lacks, warranty=warranty, spares=spares))
