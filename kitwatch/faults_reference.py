"""``docs/faults.md``: the fault catalogue as a page."""

from __future__ import annotations

from telemetry.faults import FAULTS, SLA_NAMES

_HEAD = """# Faults

Written by `kitwatch rules faults` from the catalogue (`telemetry/faults.py`); do not edit it by hand. Rules, problems,
tickets and notifications name faults by these ids, which never change once released.

*Root* is the kind of device that the ticket names. *Class* is the [contract](contract.md)'s while the vehicle is on
duty; the contract file and a rule may say otherwise. A fault of a vehicle that is parked opens one step lower (disaster
becomes general, all others deferrable) unless it says *always*. `kitwatch rules check` lists which rule finds which
fault; no shipped rule finds a fault that it does not list.

| id | 中文 | English | root | class | first thing to do |
|---|---|---|---|---|---|
"""


def markdown() -> str:
    """Return the page."""
    rows = [
        f"| `{fault.id}` | {fault.zh} | {fault.en} | {', '.join(fault.roots)} |"
        f" {SLA_NAMES[fault.sla_class][1]}{', *always*' if fault.always else ''} |"
        f" {f'{fault.first_zh} · {fault.first_en}' if fault.first_en else ''} |"
        for fault in FAULTS.values()
    ]
    return _HEAD + "\n".join(rows) + "\n"
