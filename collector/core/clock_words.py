"""A clock told aloud, step by step, in Chinese and English, for tickets and ``kitwatch contract explain``. Pure."""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Iterator

from collector.core.clocks import Clock, Terms
from collector.core.counting import Step
from collector.core.tickets.texts import TEXTS, Language, Texts
from telemetry.faults import SLA_NAMES


def told(clock: Clock, terms: Terms, now_ms: int, language: Language) -> list[str]:
    """Return the lines that say how a clock was computed and how it stands at ``now_ms``."""
    texts = TEXTS[language]
    words, zone = texts.clocks, zoneinfo.ZoneInfo(terms.time_zone)
    promise = terms.classes[clock.sla_class]
    first, *rest = clock.steps
    start = words[f"from_{first.why}"].format(at=_moment(texts, zone, clock.start_ms))
    name = SLA_NAMES[clock.sla_class][0 if language == "zh" else 1]
    if clock.what == "solution" and promise.solution is not None:
        span = words[promise.solution.counted].format(days=promise.solution.days)
        if first.why in ("notice", "change"):
            start = words["and"].format(start=start, more=words["not_counted"])
    else:
        spans = {"response": promise.response_ms, "on_site": promise.on_site_ms, "recovery": promise.recovery_ms}
        span = words["hours"].format(hours=_hours(spans.get(clock.what) or 0, language))
    lines = [words["clock"].format(what=words[clock.what], sla_class=name, span=span, start=start)]
    working = promise.solution is not None and promise.solution.counted == "working"
    lines += _steps(rest, texts, zone, clock, working)
    if clock.due_ms is not None:
        lines.append("  " + words["due"].format(at=_moment(texts, zone, clock.due_ms)))
    status = clock.status(now_ms)
    if clock.ended_ms is not None and clock.ended_ms <= now_ms:
        ended = words["ended"].format(at=_moment(texts, zone, clock.ended_ms))
        lines.append("  " + words["how_ended"].format(ended=ended, status=words[status]))
    elif clock.due_ms is not None:
        lines.append(f"  {words[status]}")
    return lines


def _steps(steps: list[Step], texts: Texts, zone: zoneinfo.ZoneInfo, clock: Clock, working: bool) -> Iterator[str]:
    words = texts.clocks
    for step in steps:
        if step.day is not None:
            day = f"  {texts.weekdays[step.day.weekday()]} {step.day}"
            if step.what == "counts":
                full = step.minutes == 24 * 60
                what = words["counts"] if full else words["counts_minutes"].format(minutes=step.minutes)
                kind = words["day_make_up"] if step.why == "make_up" else words["day_working" if working else "day"]
                yield f"{day}  {words['of_day'].format(kind=kind, what=what)}"
            elif step.what == "skips":
                kind = words[f"day_{step.why}"]
                yield f"{day}  {words['of_day'].format(kind=kind, what=words['skips'])}"
            elif step.what == "waits":
                yield f"{day}  {words['waits'].format(minutes=step.minutes)}"
            elif step.what == "rolls":
                yield f"{day}  {words['rolls']}"
        elif step.what == "waits":
            yield "  " + words["waits"].format(minutes=step.minutes)
        elif step.what == "capped" and step.at_ms is not None:
            yield "  " + words["capped"].format(at=_moment(texts, zone, step.at_ms))
        elif step.what == "missing":
            yield "  " + words["missing"].format(year=clock.missing_year)


def moment(time_ms: int, terms: Terms, language: Language) -> str:
    """Return a time as people of the site write it: ``Fri 2026-05-08 16:00``."""
    return _moment(TEXTS[language], zoneinfo.ZoneInfo(terms.time_zone), time_ms)


def _moment(texts: Texts, zone: zoneinfo.ZoneInfo, time_ms: int) -> str:
    local = datetime.datetime.fromtimestamp(time_ms / 1000, zone)
    return f"{texts.weekdays[local.weekday()]} {local:%Y-%m-%d %H:%M}"


def _hours(span_ms: int, language: Language) -> str:
    hours, minutes = divmod(round(span_ms / 60_000), 60)
    if language == "zh":
        return "".join([f"{hours} 小时" if hours else "", f"{minutes} 分钟" if minutes else ""])
    return " ".join([*([f"{hours} h"] if hours else []), *([f"{minutes} min"] if minutes else [])])
