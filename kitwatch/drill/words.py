"""A drill's result for people: one line a run, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kitwatch.drill.came import clock


def lines_of(result: Mapping[str, Any], *, in_full: bool = False) -> Iterator[str]:
    """Yield the lines of one run; ``in_full``: with every ticket and note that came."""
    names = f"poll {result['poll_s']}s, {result['vehicles']} vehicles, tablet {result['tablet']}, seed {result['seed']}"
    yield f"{'ok  ' if result['holds'] else 'FAIL'} {result['scenario']}  {names}"
    zero = result["begins_ms"]
    for one in result["missing"]:
        yield f"     missing     {' '.join(map(str, one.values()))}"
    for one in result["unexpected"]:
        at = clock(one["event_ms"], zero)
        yield f"     unexpected  {one.get('fault', one.get('note'))} {one['at']}, begun {at}, rule {one['rule']}"
    for one in result["differs"]:
        name = one.get("fault", one.get("note"))
        yield f"     differs     {name} {one['at']}: {one['what']}: expected {one['expected']}, came {one['came']}"
    if in_full:
        yield from _everything(result, zero)


def _everything(result: Mapping[str, Any], zero: int) -> Iterator[str]:
    for one in result["tickets"]:
        yield (
            f"     ticket {one['id']}  {one['fault']} {one['at']}  {one['class']}  {one['state']}  event "
            f"{clock(one['event_ms'], zero)}  opened {clock(one['opened_ms'], zero)}  over "
            f"{clock(one['over_event_ms'], zero)}"
        )
        for event in one["events"]:
            yield f"            {clock(event['recorded_ms'], zero)}  {event['what']}"
    for one in result["problems"]:
        yield (
            f"     problem {one['fault']} {one['at']}  {one['state']}  event {clock(one['event_ms'], zero)}  detected "
            f"{clock(one['detected_ms'], zero)}  over {clock(one['over_event_ms'], zero)}  cause {one['cause'] or '-'}"
        )
    for one in result["notes"]:
        span = f"{clock(one['began_ms'], zero)} to {clock(one['ended_ms'], zero)}"
        yield f"     note    {one['fault']} {one['at']}  {span}"
    for one in result["notifications"]:
        yield f"     told    {one['ticket']}  {clock(one['at_ms'], zero)}  {one['what']}"
