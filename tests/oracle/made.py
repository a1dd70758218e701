"""Makes cases: the same seed and number make the same case again."""

from __future__ import annotations

import datetime
import random
from dataclasses import replace

from tests.oracle.case import CLASSES, Act, Case, Class, Contract, Kind, Length, Unit
from tests.oracle.days import EPOCH, MAKE_UP_DAYS, minute_of

HOME = "Asia/Shanghai"
ELSEWHERE = ("Europe/Berlin", "Europe/Berlin", "America/New_York", "Africa/Cairo", "America/Santiago")
REASONS = ("customer", "vehicle", "parts")
YEARS = (2024, 2025, 2026)
DAY = 1440


def case(seed: int, number: int) -> Case:
    """The case of that number."""
    chance = random.Random(f"{seed}:{number}")
    notice, klass = _notice(chance), chance.choice(CLASSES)
    spare = chance.choice(("at_hand", "at_hand", "ordered", "none"))
    acts = _acts(chance, notice, klass, spare)
    last = max([notice, *(max(act.at, act.when) for act in acts)])
    now = last + chance.choice((0, 1, 30, chance.randrange(1, 200), chance.randrange(1, 20 * DAY)))
    zones = (HOME, chance.choice(ELSEWHERE)) if chance.random() < 0.25 else (HOME,)
    typed = notice + chance.randrange(-DAY, 120) if chance.random() < 0.03 else None
    contract, loaded = _contract(chance, notice), _loaded(chance)
    return Case(number, notice, typed, klass, spare, acts, now, zones, contract, loaded)


def _notice(chance: random.Random) -> int:
    """A minute of three years, often near where counting is hard."""
    kind = chance.random()
    if kind < 0.38:
        day = datetime.date(chance.choice((2024, 2025, 2025, 2026)), 12, 18) + datetime.timedelta(chance.randrange(14))
    elif kind < 0.68:
        day = datetime.date.fromordinal(chance.choice(sorted(MAKE_UP_DAYS)) - chance.randrange(7))
    elif kind < 0.78:  # the clocks are put forward or back in the other zones
        day = datetime.date(chance.choice(YEARS), *chance.choice(((3, 8), (3, 29), (4, 24), (9, 5), (10, 24), (11, 1))))
        day += datetime.timedelta(chance.randrange(-5, 4))
    else:
        day = datetime.date(2024, 1, 1) + datetime.timedelta(chance.randrange(3 * 365))
    day = max(day, datetime.date(2024, 1, 2))
    midnight = minute_of(f"{day} 00:00", HOME)
    return midnight + chance.choice((0, 1, DAY - 1, *(chance.randrange(DAY) for _ in range(7))))


def _gap(chance: random.Random) -> int:
    """How long until the next act: minutes, hours or days."""
    return 1 + chance.choice((chance.randrange(30), chance.randrange(180), 59, 119, chance.randrange(DAY),
                              chance.randrange(4 * DAY)))  # fmt: skip


def _acts(chance: random.Random, notice: int, klass: Class, spare: str) -> tuple[Act, ...]:
    """What is done to a ticket, each at a minute of its own, in an order in which it may be done."""
    acts: list[Act] = []
    at, waiting, ended = notice, False, False
    if chance.random() < 0.03:
        return (Act("heal", notice + _gap(chance)),)
    for _ in range(chance.choice((0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 8))):
        at += chance.randrange(1, 150) if at == notice and chance.random() < 0.5 else _gap(chance)
        weights = (30, 10, 6, 34, 25, 8, 2) if acts else (120, 10, 7, 28, 25, 8, 2)
        kind: Kind = chance.choices(("respond", "plan", "resolve", "wait", "class", "spare", "cancel"), weights)[0]
        if waiting and (kind == "wait" or chance.random() < 0.3):
            if acts[-1].kind == "wait" and at >= (acts[-1].until or 0):
                waiting = False
                continue
            acts.append(Act("go_on", at))
            waiting = False
        elif kind == "wait":
            until = (
                at + 1 + chance.choice((chance.randrange(300), chance.randrange(2 * DAY), chance.randrange(9 * DAY)))
            )
            acts.append(Act("wait", at, chance.choice(REASONS), until))
            waiting = True
        elif kind == "class":
            klass = chance.choice([other for other in CLASSES if other != klass])
            acts.append(Act("class", at, klass))
        elif kind == "spare":
            spare = chance.choice([other for other in ("at_hand", "ordered", "none") if other != spare])
            acts.append(Act("spare", at, spare))
        elif kind == "respond":
            acts.append(Act("respond", at, chance.choice(("remote", "on_site"))))
        else:
            acts.append(Act(kind, at))
            ended = kind in {"resolve", "cancel"}
            if kind == "resolve" and chance.random() < 0.4:
                at += _gap(chance)
                acts.append(Act("reopen", at))
                ended, waiting, spare = False, False, "none"
        if waiting and any(act.kind == "wait" and act.until is not None and act.until <= at for act in acts[-1:]):
            waiting = False
        if ended:
            break
    acts = _without_late_go_on(acts)
    return tuple(_corrected(chance, notice, acts)) if chance.random() < 0.15 else tuple(acts)


def _without_late_go_on(acts: list[Act]) -> list[Act]:
    """Going on after the waiting ended by itself is no act, and waiting begins only when none is on."""
    kept: list[Act] = []
    until = 0
    for act in acts:
        if act.kind == "go_on":
            if act.at >= until:
                continue
            until = 0
        elif act.kind == "wait":
            if act.at < until:
                continue
            until = act.until or 0
        elif act.kind == "resolve":
            until = 0
        kept.append(act)
    return kept


def _corrected(chance: random.Random, notice: int, acts: list[Act]) -> list[Act]:
    """The time of an act was typed wrong, once or twice: the right one lies between its neighbours'."""
    changed = list(acts)
    for place, act in enumerate(acts):
        if act.kind not in {"respond", "plan", "resolve", "wait", "go_on"} or chance.random() < 0.5:
            continue
        low = changed[place - 1].when + 1 if place else notice + 1
        high = (acts[place + 1].at if place + 1 < len(acts) else act.at + 1) - 1
        if act.kind == "wait":
            assert act.until is not None
            high = min(high, act.until - 1)
        before = [other for other in changed[:place] if other.kind == "wait"]
        if act.kind == "go_on" and before:
            high = min(high, (before[-1].until or high + 1) - 1)
        if act.kind == "wait" and before and not any(
            other.kind == "go_on" and other.when > before[-1].when for other in changed[:place]
        ):  # fmt: skip
            low = max(low, before[-1].until or 0)
        if low < high:
            times = tuple(chance.randrange(low, high + 1) for _ in range(chance.choice((1, 1, 2))))
            changed[place] = replace(act, corrected=times)
    return changed


def _contract(chance: random.Random, notice: int) -> Contract:
    """The contract's defaults, or some of its keys changed."""
    contract = Contract()
    if chance.random() < 0.5:
        return contract
    for _ in range(chance.choice((1, 1, 2, 3))):
        key = chance.randrange(7)
        if key == 0:
            klass = chance.choice(CLASSES)
            first = {**contract.first, klass: Length(chance.choice((1, 2, 3, 4, 8, 24)), "hours")}
            contract = replace(contract, first=first)
        elif key == 1:
            klass = chance.choice(("general", "change", "hardware", "deferrable"))
            units: tuple[Unit, ...] = ("working_days", "calendar_days")
            length = Length(chance.randrange(1, 9), chance.choice(units))
            contract = replace(contract, second={**contract.second, klass: length})
        elif key == 2:
            klass = chance.choice(("disaster", "consultation"))
            length = Length(chance.choice((2, 4, 8, 24)), "hours")
            contract = replace(contract, on_site={**contract.on_site, klass: length})
        elif key == 3:
            klass = chance.choice(("disaster", "consultation"))
            length = Length(chance.choice((1, 4, 24, 72)), "hours")
            contract = replace(contract, recovery={**contract.recovery, klass: length})
        elif key == 4:
            contract = replace(contract, roll_off_holidays=True)
        elif key == 5:
            stopping = frozenset(reason for reason in REASONS if chance.random() < 0.5)
            contract = replace(contract, stopping=stopping)
        else:
            contract = replace(contract, raise_asks_again=False)
    if chance.random() < 0.05:
        contract = replace(contract, start=notice + chance.choice((-1, 0, 1, 1000)))
    return contract


def _loaded(chance: random.Random) -> frozenset[int]:
    """Nearly always all three years."""
    if chance.random() < 0.7:
        return frozenset(YEARS)
    return frozenset(year for year in YEARS if chance.random() < 0.5)


def told(case: Case) -> str:
    """A case as somebody would tell it, in UTC."""

    def text(minute: int) -> str:
        return f"{EPOCH + datetime.timedelta(minutes=minute):%Y-%m-%d %H:%M}"

    lines = [f"case {case.number}: {case.klass}, spare {case.spare}, notice {text(case.notice)}, zones {case.zones},"
             f" years {sorted(case.loaded)}"]  # fmt: skip
    for act in case.acts:
        until = f" until {text(act.until)}" if act.until is not None else ""
        corrected = f" typed {text(act.at)}" if act.corrected else ""
        lines.append(f"  {text(act.when)} {act.kind} {act.what}{until}{corrected}")
    standard = Contract()
    changed = {name: value for name, value in vars(case.contract).items() if value != getattr(standard, name)}
    return "\n".join([*lines, f"  {text(case.now)} now; contract {changed or 'as it stands'}"])
