"""``kitwatch contract``: is the contract file sound; a case computed aloud; the working calendar."""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import sys
import zoneinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from kitwatch import local_time

_ADD_FILE = 2
_DECEMBER = 12
if TYPE_CHECKING:
    from collector.contract import Agreed
    from collector.core.clocks import Facts
    from collector.core.roster import Hours


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the subcommand takes."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="check|explain|calendar")
    check = actions.add_parser("check", help="check a contract file and the calendars beside it")
    _common(check)
    check.add_argument(
        "--config", type=Path, metavar="FILE", help="collector.yaml, whose channels people are to be told by"
    )
    explain = actions.add_parser("explain", help="compute the clocks of a case, step by step")
    _common(explain)
    when = "'2026-05-08 16:00', local time"
    explain.add_argument("--class", dest="sla_class", default="general", help="class at the notice")
    explain.add_argument("--notice", required=True, metavar="TIME", help=f"effective notice: {when}")
    explain.add_argument("--response", action="append", default=[], metavar="TIME", help="a response; may be repeated")
    explain.add_argument("--plan", action="append", default=[], metavar="TIME", help="a solution was proposed")
    explain.add_argument("--resolved", metavar="TIME", help="it was resolved")
    explain.add_argument(
        "--change",
        action="append",
        default=[],
        nargs=2,
        metavar=("TIME", "CLASS"),
        help="a change of class",
    )
    explain.add_argument(
        "--wait", action="append", default=[], nargs=3, metavar=("REASON", "FROM", "UNTIL"), help="the ticket waited"
    )
    explain.add_argument("--spare", choices=("at_hand", "ordered", "none"), help="where the spare part is")
    explain.add_argument("--now", metavar="TIME", help="how the clocks stand then (default: now)")
    explain.add_argument("--lang", choices=("zh", "en"), default="zh", help="language (default: zh)")
    calendar = actions.add_parser("calendar", help="list the years that are loaded, or put one in")
    _common(calendar)
    calendar.add_argument("add", nargs="*", metavar="add FILE", help="a decree: year, source, holidays, make_up")


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--contract", type=Path, metavar="FILE", help="contract.yaml (default: the contract itself)")
    parser.add_argument("--zone", default="Asia/Shanghai", help="the site's time zone")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def run(args: argparse.Namespace) -> int:
    """Run it. Raises FileError with the first thing that is wrong."""
    from collector.contract import load_contract

    if problem := local_time.zone_problem(args.zone):
        print(f"kitwatch: {problem}", file=sys.stderr)
        return 2
    agreed = load_contract(args.contract, args.zone)
    if args.action == "check":
        if args.contract is not None and args.config is not None:
            _check_channels(agreed, args.contract, args.config)
        return _check(agreed, args)
    if args.action == "calendar":
        return _calendar(agreed, args)
    return _explain(agreed, args)


def _check_channels(agreed: Agreed, contract: Path, config: Path) -> None:
    """Raise FileError for a person whom no channel of the collector's configuration reaches."""
    from collector.config import load_config
    from collector.roster import check_channels

    check_channels(contract, agreed.contract.roster, [to.name for to in load_config(config).notifications], config)


def _check(agreed: Agreed, args: argparse.Namespace) -> int:
    years = sorted(agreed.calendar.years)
    warnings = _warnings(agreed, datetime.datetime.now(zoneinfo.ZoneInfo(args.zone)).date())
    for warning in warnings:
        print(f"kitwatch: {args.contract or 'the contract itself'}: {warning}", file=sys.stderr)
    if args.json:
        import msgspec

        classes = {name: msgspec.to_builtins(terms) for name, terms in agreed.terms.classes.items()}
        waiting = {name: reason.stops_clock for name, reason in agreed.contract.wait_reasons.items()}
        print(
            json.dumps(
                {"classes": classes, "waiting": waiting, "years": years, "warnings": warnings}, ensure_ascii=False
            )
        )
        return 0
    for sla_class, terms in agreed.terms.classes.items():
        promises = []
        if terms.response_ms is not None:
            promises.append(f"response {terms.response_ms / 3_600_000:g} h")
        if terms.solution is not None:
            solution = terms.solution
            promises.append(
                f"{solution.days} {solution.counted} days from the {solution.after} to {solution.ends_with}"
            )
        print(f"{sla_class:<13} {', '.join(promises) or 'no clock'}")
    for name, reason in agreed.contract.wait_reasons.items():
        print(f"waiting for {name}: {'stops' if reason.stops_clock else 'does not stop'} the second clock")
    for id, person in agreed.contract.roster.items():
        if person.channels:
            duty = "always" if person.on_duty is None else "; ".join(map(_hours, person.on_duty)) or "never"
            print(f"{id} ({person.role}): told by {', '.join(way.by for way in person.channels)}; on duty {duty}")
    print(f"sound; working calendar {years[0]} to {years[-1]}" if years else "sound; no working calendar is loaded")
    return 0


def _hours(hours: Hours) -> str:
    """Return hours of duty as the file says them: the days, if it names any, and from when to when."""
    from collector.roster import Weekday

    days = [get_args(Weekday)[number] for number in hours.weekdays] + [str(date) for date in hours.dates]
    begin, end = (f"{minutes // 60:02}:{minutes % 60:02}" for minutes in (hours.from_min, hours.to_min))
    return " ".join([*days, f"{begin}-{end}"])


def _warnings(agreed: Agreed, today: datetime.date) -> list[str]:
    """Return what is sound and yet will hurt, a line each: nobody to act, to be told, to call back; a year too few."""
    contract = agreed.contract
    roles = {person.role for person in contract.roster.values()}
    found = []
    if not any(person.login for person in contract.roster.values()):
        found.append("roster: nobody has a login: nobody can act on tickets")
    for clock, levels in contract.escalation.items():
        lost = {who for level in levels for who in level.to if who not in roles and who not in contract.roster}
        found += [f"escalation.{clock}: nobody of the roster is {who}: that level tells nobody" for who in sorted(lost)]
    callers = [id for id, person in contract.roster.items() if person.role in contract.call_back_by]
    if len(callers) <= 1 and "manager" not in roles:
        whom = ", ".join(contract.call_back_by)
        found.append(f"call_back_by: expected two people who are {whom}, or a manager, found {len(callers)}: whoever "
                     "worked on a ticket may not call back")  # fmt: skip
    wanted = [today.year, *([today.year + 1] if today.month == _DECEMBER else [])]
    found += [f"calendar: {year} is not loaded (kitwatch contract calendar add FILE)" for year in wanted
              if year not in agreed.calendar.years]  # fmt: skip
    return found


def _calendar(agreed: Agreed, args: argparse.Namespace) -> int:
    if args.add:
        if args.add[0] != "add" or len(args.add) != _ADD_FILE:
            found = " ".join(args.add)
            print(f"kitwatch: calendar: expected nothing or `add FILE`, found {found!r}", file=sys.stderr)
            return 2
        if args.contract is None:
            print(
                "kitwatch: calendar add: expected --contract FILE too: the calendar stands beside it", file=sys.stderr
            )
            return 2
        agreed = _add_year(args.contract, Path(args.add[1]), args.zone)
    years = [agreed.calendar.years[number] for number in sorted(agreed.calendar.years)]
    if args.json:
        print(
            json.dumps(
                [
                    {
                        "year": year.year,
                        "source": year.source,
                        "holidays": [str(day) for day in sorted(year.holidays)],
                        "make_up": [str(day) for day in sorted(year.make_up)],
                    }
                    for year in years
                ],
                ensure_ascii=False,
            )
        )
        return 0
    for year in years:
        print(f"{year.year}  {len(year.holidays):>2} days off, {len(year.make_up):>2} made up  ({year.source})")
    return 0


def _add_year(contract: Path, decree: Path, zone: str) -> Agreed:
    """Put a decree beside a contract file. Raises FileError for what is no decree; then nothing has changed."""
    from collector.calendars import read_year
    from collector.contract import calendar_folder, load_contract

    year = read_year(decree)
    folder = calendar_folder(contract)
    folder.mkdir(exist_ok=True)
    target = folder / f"{year.year}.yaml"
    done = "replaced" if target.exists() else "put in"
    new = target.with_suffix(".new")
    shutil.copyfile(decree, new)
    new.replace(target)
    print(
        f"{target}: {done}: {len(year.holidays)} days off, {len(year.make_up)} made up; "
        "a running collector goes by it after `kitwatch reload`",
        file=sys.stderr,
    )
    return load_contract(contract, zone)


def _explain(agreed: Agreed, args: argparse.Namespace) -> int:
    from collector.core.clock_words import moment, told
    from collector.core.clocks import clocks
    from collector.core.tickets.texts import TEXTS
    from telemetry.faults import SLA_NAMES

    try:
        facts = _facts(agreed, args)
        now_ms = (
            _time(args.now, args.zone) if args.now else round(datetime.datetime.now(datetime.UTC).timestamp() * 1000)
        )
    except ValueError as error:
        print(f"kitwatch: {error}", file=sys.stderr)
        return 2
    found = clocks(facts, agreed.terms, agreed.calendar)
    if args.json:
        rows: list[dict[str, Any]] = [
            {
                "clock": clock.what,
                "class": clock.sla_class,
                "start": _local(clock.start_ms, args.zone),
                "due": None if clock.due_ms is None else _local(clock.due_ms, args.zone),
                "ended": None if clock.ended_ms is None else _local(clock.ended_ms, args.zone),
                "missing_year": clock.missing_year,
                "status": clock.status(now_ms),
                "steps": told(clock, agreed.terms, now_ms, args.lang),
            }
            for clock in found
        ]
        print(json.dumps({"clocks": rows}, ensure_ascii=False))
        return 0
    words = TEXTS[args.lang].clocks
    name = SLA_NAMES[args.sla_class][0 if args.lang == "zh" else 1]
    notice = moment(facts.notice_ms, agreed.terms, args.lang)
    print(words["case"].format(sla_class=name, notice=notice, zone=args.zone))
    for clock in found:
        print("\n".join(told(clock, agreed.terms, now_ms, args.lang)))
    if not found:
        print(words["none"])
    return 0


def _facts(agreed: Agreed, args: argparse.Namespace) -> Facts:
    """Return the case. Raises ValueError, whose text says which argument is wrong."""
    from collector.core.clocks import Facts
    from telemetry.faults import SLA_CLASSES

    for name in (args.sla_class, *(change[1] for change in args.change)):
        if name not in SLA_CLASSES:
            raise ValueError(f"class: expected one of {', '.join(SLA_CLASSES)}, found {name!r}")
    for reason, _, _ in args.wait:
        if reason not in agreed.contract.wait_reasons:
            known = ", ".join(agreed.contract.wait_reasons)
            raise ValueError(f"--wait: expected a reason of the contract ({known}), found {reason!r}")
    notice_ms = _time(args.notice, args.zone)
    resolved_ms = None if args.resolved is None else _time(args.resolved, args.zone)
    plans = tuple(sorted(_time(text, args.zone) for text in args.plan))
    responses = sorted(_time(text, args.zone) for text in args.response)
    changes = sorted((_time(when, args.zone), name) for when, name in args.change)
    return Facts(
        notice_ms,
        ((notice_ms, args.sla_class), *changes),
        responses=tuple(responses) or tuple(plans[:1]) or (() if resolved_ms is None else (resolved_ms,)),
        plans=plans,
        resolved_ms=resolved_ms,
        waits=tuple((why, _time(first, args.zone), _time(last, args.zone)) for why, first, last in args.wait),
        spares=() if args.spare is None else ((notice_ms, args.spare),),
    )


def _time(text: str, zone: str) -> int:
    return round(local_time.read(text, zone).timestamp() * 1000)


def _local(time_ms: int, zone: str) -> str:
    return local_time.show(datetime.datetime.fromtimestamp(time_ms / 1000, datetime.UTC), zone)
