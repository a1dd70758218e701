"""Live the days, record them as a collector does, and judge the record again."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collector.core.rules.files import load_rules, parse_rules
from collector.core.rules.types import Rules
from collector.replay import replay
from collector.site.in_force import InForce
from collector.store.rows import Changes
from collector.store.store import Store
from kitwatch.drill.centre import Centre
from kitwatch.drill.full import FullCentre
from kitwatch.drill.history import Compared, History, as_it_was, compare, judged_by, of_store
from kitwatch.drill.play import Play
from kitwatch.drill.scenario import Combination, Drill, Scenario, drill_of
from telemetry.files import convert, parse_yaml
from telemetry.fleet import Site
from tests.unit.judged_again import rows_of

SITE = "north"


def description() -> Mapping[str, Any]:
    """Return ``days.yaml``."""
    path = Path(__file__).with_name("days.yaml")
    found: Mapping[str, Any] = parse_yaml(path.read_text("utf-8"), path.name)
    return found


def scenario(days: int) -> Scenario:
    """Return so many days as a scenario of ``kitwatch drill``."""
    about = description()
    happens = []
    for day in range(days):
        for line in about["happens"]:
            one = copy.deepcopy(line)
            hours = int(re.fullmatch(r"(\d+)h", one["at"])[1])  # type: ignore[index]
            happens.append({**one, "at": f"{24 * day + hours}h"})
    plain = {
        "about": "days that are recorded", "because": "judged again they are the same", "lasts": f"{days}d",
        "jitter": "0s", "world": about["world"], "happens": happens,
    }  # fmt: skip
    return convert(plain, Scenario, "days.yaml")


class Recorded(Play):
    """The days, lived with a centre that commits into a database."""

    def __init__(self, drill: Drill, database: str) -> None:
        self._database = database
        self.commits: list[Changes] = []
        super().__init__(drill)

    def _make_centre(self, in_force: InForce) -> Centre:
        return FullCentre(in_force, self.drill.begins_ms, self.drill.lives.centre.offset_ms, self._database)

    def _take(self, at_ms: int, changes: Changes) -> None:
        super()._take(at_ms, changes)
        self.commits.append(changes)


@dataclass
class Again:
    """What came of judging the record again."""

    records: int
    batches: int
    tickets: int
    differing: list[str]
    """Kinds of rows that were not the same, byte for byte."""
    same_rules: Compared
    other_rules: Compared

    def wrong(self, days: int) -> Iterator[str]:
        """Yield what is not as it was written down."""
        about = description()
        for name in self.differing:
            yield f"{name}: expected the same bytes"
        if not self.same_rules.same:
            yield f"the same rules: expected no difference, found {self.same_rules}"
        other = self.other_rules
        only = sorted(f"{one['fault']} {one['at']}" for one in other.only_was)
        if only != sorted(about["only_then"]):
            yield f"other rules: expected {about['only_then']} to be missing, found {only}"
        if other.only_would_be or other.otherwise:
            yield f"other rules: expected nothing else, found {other.only_would_be} and {other.otherwise}"
        if other.problems != {fault: count * days for fault, count in about["problems"].items()}:
            yield f"other rules: expected {about['problems']} a day, found {other.problems}"


def go_through(days: int, database: str, seed: int) -> Again:
    """Live days into this empty database, and judge them again from it alone."""
    play = Recorded(drill_of("days", scenario(days), Combination(poll_s=60, vehicles=2, seed=seed)), database)
    came = play.run()
    assert isinstance(play.centre, FullCentre)
    play.centre.close()
    store = Store.open(database)
    try:
        history = of_store(store, SITE)
    finally:
        store.close()
    base = InForce(SITE, Site(vehicles={}), load_rules())
    first = history.snapshot.number
    committed = [one for one in play.commits if one.batch is not None and one.batch.number > first]
    then, now = rows_of(committed), rows_of(list(_again(history, base)))
    was = as_it_was(history, base)
    same, lost = judged_by(history, base, load_rules(), was)
    other, other_lost = judged_by(history, base, _other(), was)
    return Again(
        came.records,
        len(history.batches),
        len(was.tickets),
        [name for name in then if then[name] != now[name]],
        compare(SITE, was, same, lost),
        compare(SITE, was, other, other_lost),
    )


def _again(history: History, base: InForce) -> Iterator[Changes]:
    memory, in_force = history.begin(base)
    yield from replay(memory, in_force, history.batches, history.editions)


def _other() -> Rules:
    return parse_rules([*load_rules().files, ("other.yaml", description()["other_rules"])])
