"""``kitwatch tickets``: list and show them, open one for a call, act on one.

It speaks to the collector's API (``collector_api.py``): over its socket, which sees whose login this is, or at its
address with a token; the contract's roster says which person that is. The acts are the rows of ``transitions.TABLE``
that persons bring about: a new row is a new subcommand.
"""

from __future__ import annotations

import argparse
import datetime
import http.client
import json
import sys
import time
import zoneinfo
from collections.abc import Iterator
from typing import Any, Final, Literal, get_args, get_origin
from urllib.parse import quote, urlencode

from kitwatch import collector_api, local_time
from kitwatch.collector_api import Told as _Told
from kitwatch.collector_api import api_of

VERBS: Final = {
    "taken_into_contract": "take-in", "assigned": "assign", "commented": "comment", "linked": "link",
    "call_attached": "attach-call", "problem_attached": "attach-problem", "acknowledged": "acknowledge",
    "responded": "respond", "planned": "plan", "resolved": "resolve", "waits": "wait", "goes_on": "go-on",
    "escalated": "escalate", "spare_noted": "spare", "silenced": "silence", "class_changed": "change-class",
    "confirmed": "call-back", "dissatisfied": "call-back-bad", "not_reached": "call-back-missed",
    "reopened_by_hand": "reopen", "merged": "merge", "unmerged": "unmerge", "cancelled": "cancel",
    "corrected": "correct",
}  # fmt: skip
"""How one says it; a row that is not here is called by its name."""
_WAIT_S: Final = 15.0
_TICKETS: Final = ("other", "into")
"""Fields of acts that name another ticket."""
_LEFT_OUT: Final = frozenset({"clock", "level", "due_ms", "severity"})
"""What no person says: the desk's own fields, and what follows from the class."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the subcommand takes."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    table = actions.add_parser("table", help="print the table of transitions as Markdown")
    table.add_argument("--language", choices=("zh", "en"), default="en", help="default: en")
    ls = _speaking(actions, "ls", "list them, the last opened first")
    for name in ("state", "vehicle", "site"):
        ls.add_argument(f"--{name}", help=f"only of this {name}")
    ls.add_argument("--limit", type=int, default=200, help="at most so many (default %(default)s)")
    show = _speaking(actions, "show", "show one with its history, clocks and evidence")
    show.add_argument("ticket", metavar="TICKET", help="such as 2026-0153; 153: this year's")
    show.add_argument("--site", help="needed where two sites have one of this number")
    draw = _speaking(actions, "draw", "draw again who is to call back, and compare")
    draw.add_argument("ticket", metavar="TICKET", help="such as 2026-0153; 153: this year's")
    draw.add_argument("--site", help="needed where two sites have one of this number")
    _speaking(actions, "me", "say who you are to the collector")
    _add_open(_speaking(actions, "open", "open one for a call, fax or form"))
    for what, body in _acts():
        _add_act(_speaking(actions, VERBS.get(what, what), _says(what)), what, body)


def _speaking(actions: Any, name: str, says: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=says, description=says)
    collector_api.add_arguments(parser)
    parser.add_argument("--zone", default="Asia/Shanghai", help="of times on the command line (default %(default)s)")
    parser.add_argument("--lang", choices=("zh", "en"), default="zh", help="of what is told (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    return parser


def _acts() -> Iterator[tuple[str, Any]]:
    from collector.core.tickets.transitions import TABLE

    yield from (
        (what, row.body) for what, row in TABLE.items()
        if "person" in row.by and what != "opened"
    )  # fmt: skip


def _says(what: str) -> str:
    from collector.core.tickets.texts import TEXTS

    return f"{TEXTS['en'].events[what]} ({TEXTS['zh'].events[what]})"


def _add_open(parser: argparse.ArgumentParser) -> None:
    from collector.core.tickets.events import Source
    from telemetry.faults import SLA_CLASSES

    parser.add_argument("text", metavar="TEXT", nargs="?", default="", help="what is said to be wrong")
    for name in ("site", "vehicle", "device", "fault"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--class", dest="sla_class", choices=SLA_CLASSES, help="default: the fault's, else general")
    parser.add_argument("--source", choices=[one for one in get_args(Source) if one != "rule"], default="call")
    parser.add_argument("--caller", metavar="NAME")
    parser.add_argument("--phone", default="")
    parser.add_argument("--spare", choices=("at_hand", "ordered", "none"))
    parser.add_argument("--at", metavar="TIME", help="when the notice came, such as '2026-05-08 16:00' (default: now)")
    parser.add_argument("--event-at", metavar="TIME", help="when it happened")


def _add_act(parser: argparse.ArgumentParser, what: str, body: Any) -> None:
    import msgspec

    parser.set_defaults(what=what)
    parser.add_argument("ticket", metavar="TICKET", help="such as 2026-0153; 153: this year's")
    parser.add_argument("--site", help="needed where two sites have one of this number")
    fields = {field.name: field for field in msgspec.structs.fields(body) if field.name not in _LEFT_OUT}
    timed = "at_ms" in fields
    if not timed:
        parser.add_argument("--at", metavar="TIME", help="when that was, such as '2026-05-08 16:00' (default: now)")
    for name, field in fields.items():
        flag = "--" + name.removesuffix("_ms").replace("_", "-")
        if name == "text":
            parser.add_argument("-m", "--text", metavar="TEXT", default="", help="in words")
        elif name == "caller":
            parser.add_argument("--caller", metavar="NAME", required=field.required, help="whose call it is")
            parser.add_argument("--phone", default="")
        elif name == "problem":
            parser.add_argument("--problem", metavar="FAULT/DEVICE", required=True, help="its key, as --json shows it")
            parser.add_argument("--vehicle", default="", help="whose it is; none: the site's")
        elif name == "sla_class":
            parser.add_argument("--class", dest=name, choices=get_args(field.type), required=field.required)
        elif field.type is bool:
            parser.add_argument(flag, action="store_true")
        elif get_origin(field.type) is Literal:
            parser.add_argument(flag, choices=get_args(field.type), required=field.required)
        else:
            kind = int if field.type is int and not name.endswith("_ms") else str
            metavar = "TIME" if name.endswith("_ms") else "TICKET" if name in _TICKETS else name.upper()
            parser.add_argument(flag, type=kind, metavar=metavar, required=field.required)


def run(args: argparse.Namespace) -> int:
    """Run it; return the exit status: 1 for an act that is refused, 2 where nobody can be asked."""
    if args.action == "table":
        from collector.core.tickets.texts import table

        print(table(args.language), end="")
        return 0
    if problem := local_time.zone_problem(args.zone):
        print(f"kitwatch: {problem}", file=sys.stderr)
        return 2
    for name in ("ticket", *_TICKETS):  # as one says it on the telephone: this year's
        if (said := getattr(args, name, None) or "").isdecimal():
            year = datetime.datetime.now(zoneinfo.ZoneInfo(args.zone)).year
            setattr(args, name, f"{year}-{int(said):04d}")
    try:
        work = {"ls": _list, "show": _show, "me": _me, "open": _open, "draw": _draw}.get(args.action, _act)
        return work(args)
    except _Told as told:
        print(f"kitwatch: {told}", file=sys.stderr)
        return told.status
    except (OSError, http.client.HTTPException) as error:
        print(
            f"kitwatch: {args.url or args.socket}: expected a collector that answers, found: {error}", file=sys.stderr
        )
        return 2


# --- looking ----------------------------------------------------------------------------------------------------------


def _list(args: argparse.Namespace) -> int:
    query = {name: value for name in ("state", "vehicle", "site") if (value := getattr(args, name))}
    found = _ask(args, "GET", f"/api/tickets?{urlencode({**query, 'limit': args.limit})}")
    if args.json:
        print(json.dumps(found, ensure_ascii=False))
        return 0
    from collector.core.tickets.texts import TEXTS
    from telemetry.faults import SLA_NAMES

    for one in found["tickets"]:
        name = one["fault_name"][args.lang] or TEXTS[args.lang].standing["request"]
        sla_class = SLA_NAMES[one["sla_class"]][0 if args.lang == "zh" else 1]
        where = " ".join(word for word in (one["vehicle"] or one["site"], one["device"]) if word)
        print(f"{one['id']}  {one['state_name'][args.lang]}  {sla_class}  {_local(args, one['opened_at'])}  "
              f"{where}  {name}")  # fmt: skip
    return 0


def _show(args: argparse.Namespace) -> int:
    found = _ask(args, "GET", _path(args, f"/api/tickets/{quote(args.ticket, safe='')}"))
    _print_ticket(args, found)
    return 0


def _print_ticket(args: argparse.Namespace, found: dict[str, Any]) -> None:
    if args.json:
        print(json.dumps(found, ensure_ascii=False))
        return
    lang = args.lang
    where = " ".join(word for word in (found["vehicle"] or found["site"], found["device"]) if word)
    from collector.core.tickets.texts import TEXTS
    from telemetry.faults import SLA_NAMES

    sla_class = SLA_NAMES[found["sla_class"]][0 if lang == "zh" else 1]
    what = found["fault_name"][lang] or ": ".join(
        word for word in (TEXTS[lang].standing["request"], found["text"]) if word
    )
    print("  ".join(word for word in (found["id"], found["state_name"][lang], sla_class, where, what) if word))
    for line in found["standing"][lang]:
        print(f"  {line}")
    for clock in found["clocks"]:
        print("\n".join(clock["told"][lang]))
    first = found["first"][lang]
    if first and found["open"]:
        print("  " + TEXTS[lang].standing["first"].format(first))
    for evidence in found["evidence"]:
        print("\n".join(f"  {line}" for line in evidence["words"][lang]))
    for event in found["history"]:
        at = _local(args, event["at"])
        if event["corrected_at"]:
            at = f"{at} [{TEXTS[lang].standing['corrected'].format(at=_local(args, event['corrected_at']))}]"
        what, words = event["what_name"][lang], event["words"][lang]
        if words:
            what = TEXTS[lang].standing["event"].format(what=what, words=words)
        print(f"{event['number']:>3}  {at}  {event['who_name'][lang]}  {what}")


def _draw(args: argparse.Namespace) -> int:
    """Draw again from what stands on the ticket, and say how: the same seed gives the same person."""
    from collector.core.tickets.timers import drawn, seed_number

    found = _ask(args, "GET", _path(args, f"/api/tickets/{quote(args.ticket, safe='')}"))
    draws = [event for event in found["history"] if event["what"] == "call_back_drawn"]
    results = []
    for event in draws:
        says = event["says"]
        among = list(says["among"])
        again = drawn(says["seed"], among)
        results.append({
            "seed": says["seed"], "number": seed_number(says["seed"]), "among": among, "to": says["to"],
            "again": again, "same": again == says["to"],
        })  # fmt: skip
    if args.json:
        print(json.dumps({"ticket": found["id"], "draws": results}, ensure_ascii=False))
    for one in () if args.json else results:
        place = one["number"] % len(one["among"])
        print(f"BLAKE2b-64({one['seed']!r}) = {one['number']}")
        print(f"{one['number']} mod {len(one['among'])} = {place}: {', '.join(one['among'])} -> {one['again']}")
        same = {"zh": "与工单记录一致", "en": "as the ticket says"}[args.lang]
        other = {"zh": f"与工单记录不符：{one['to']}", "en": f"the ticket says {one['to']}"}[args.lang]
        print(f"  {same if one['same'] else other}")
    if not draws:
        raise _Told(
            {"zh": f"工单 {found['id']} 没有抽取过回访人", "en": f"nobody was drawn for {found['id']}"}[args.lang], 1
        )
    return 0 if all(one["same"] for one in results) else 1


def _me(args: argparse.Namespace) -> int:
    found = _ask(args, "GET", "/api/me")
    if args.json:
        print(json.dumps(found, ensure_ascii=False))
        return 0
    for site, person in found["sites"].items():
        print(f"{site}: {person['id']} ({person['name']}, {person['role']})")
    return 0


# --- acting -----------------------------------------------------------------------------------------------------------


def _open(args: argparse.Namespace) -> int:
    body: dict[str, Any] = {
        name: getattr(args, name) for name in ("text", "site", "vehicle", "device", "fault", "source")
    }
    if args.sla_class:
        body["sla_class"] = args.sla_class
    if args.spare:
        body["spare"] = args.spare
    if args.caller:
        body["caller"] = {"name": args.caller, "phone": args.phone}
    for name in ("at", "event_at"):
        if getattr(args, name):
            body[name] = _time(args, f"--{name.replace('_', '-')}", getattr(args, name))
    return _done(args, _ask(args, "POST", "/api/tickets", body))


def _act(args: argparse.Namespace) -> int:
    import msgspec

    body = dict(_acts())[args.what]
    says: dict[str, Any] = {}
    for field in msgspec.structs.fields(body):
        name = field.name
        if name in _LEFT_OUT:
            continue
        value = getattr(args, name.removesuffix("_ms"))
        if name == "caller" and args.caller:
            says[name] = {"name": args.caller, "phone": args.phone}
        elif name == "problem":
            says[name] = _problem(args.vehicle, value)
        elif name.endswith("_ms") and value:
            says[f"{name.removesuffix('_ms')}_at"] = _time(args, f"--{name.removesuffix('_ms')}", value)
        elif value is not None and (value != "" or field.required):  # no words where some are needed: refused in words
            says[name] = value
    if "severity" in body.__struct_fields__:
        from telemetry.faults import severity

        says["severity"] = severity(says["sla_class"])
    wish: dict[str, Any] = {"act": args.what, "says": says}
    if "at_ms" not in body.__struct_fields__ and args.at:
        wish["at"] = _time(args, "--at", args.at)
    return _done(args, _ask(args, "POST", _path(args, f"/api/tickets/{quote(args.ticket, safe='')}/acts"), wish))


def _problem(vehicle: str, text: str) -> list[Any]:
    """Return a problem as the API takes it. Raises _Told for what is no key."""
    from collector.core.identities import IdentityError, ProblemKey

    try:
        return [vehicle, ProblemKey.parse(text)]
    except IdentityError as error:
        raise _Told(f"--problem: {error}", 2) from None


def _done(args: argparse.Namespace, kept: dict[str, Any]) -> int:
    """Wait until the site's owner has taken it, and show the ticket."""
    end = time.monotonic() + _WAIT_S
    while (action := _ask(args, "GET", kept["url"]))["status"] == "waiting":
        if time.monotonic() >= end:
            raise _Told(f"action {kept['action']} is kept, but no collector has taken it within {_WAIT_S:g} s", 1)
        time.sleep(0.1)
    if action["status"] == "refused":
        zh, _, en = action["error"].partition("\n")
        raise _Told(zh if args.lang == "zh" else en or zh, 1)
    ticket = _ask(args, "GET", f"/api/tickets/{quote(action['ticket'], safe='')}?{urlencode({'site': action['site']})}")
    _print_ticket(args, ticket)
    return 0


def _path(args: argparse.Namespace, path: str) -> str:
    return f"{path}?{urlencode({'site': args.site})}" if args.site else path


# --- asking -----------------------------------------------------------------------------------------------------------


def _ask(args: argparse.Namespace, method: str, path: str, body: object = None) -> Any:
    return api_of(args).ask(method, path, body)


def _time(args: argparse.Namespace, flag: str, text: str) -> str:
    """Return a time of the command line as ISO 8601."""
    try:
        return local_time.read(text, args.zone).isoformat()
    except ValueError as error:
        raise _Told(f"{flag}: {error}", 2) from None


def _local(args: argparse.Namespace, iso: str) -> str:
    return local_time.show(datetime.datetime.fromisoformat(iso), args.zone)
