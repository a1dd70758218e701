"""The second opinion on who is told what stands on its own: it imports nothing of the product."""

import ast
from datetime import datetime
from pathlib import Path

from tests.week.plan import Plan
from tests.week.roster import instead, next_person, on_duty, quiet_until
from tests.week.scenario import local, week

WEEK = Path(__file__).parent.parent / "week"
ALONE = ("scenario", "roster", "plan", "comparison")


def test_the_second_opinion_imports_nothing_of_the_product() -> None:
    names = set()
    for module in ALONE:
        for node in ast.walk(ast.parse((WEEK / f"{module}.py").read_text())):
            names |= {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
            names |= {node.module or "."} if isinstance(node, ast.ImportFrom) else set()
    own = {f"tests.week.{module}" for module in ALONE}
    assert {name.split(".")[0] for name in names - own} <= {
        "random", "collections", "dataclasses", "datetime", "typing", "zoneinfo", "hashlib"
    }  # fmt: skip


def test_the_week_has_forty_tickets_of_all_classes() -> None:
    plan = Plan(week(0))
    assert len(plan.tickets) == 40
    assert {ticket.klass for ticket in plan.tickets.values()} == {
        "disaster", "general", "change", "consultation", "hardware", "deferrable"
    }  # fmt: skip


def test_duty_absence_and_quiet_hours_as_the_page_says() -> None:
    def duty(at: datetime) -> list[str]:
        return [person for person in ("qian", "zhao") if on_duty(person, at)]

    assert duty(local(4, "09:00")) == ["qian", "zhao"]  # a holiday: both
    assert duty(local(6, "08:00")) == ["zhao"]
    assert duty(local(6, "20:00")) == ["qian"]
    assert duty(local(9, "12:00")) == ["zhao"]  # the make-up Saturday
    assert duty(local(10, "12:00")) == []
    assert instead("zhao", local(7, "00:00")) == "qian"
    assert instead("zhao", local(8, "00:00")) == "zhao"
    assert quiet_until("sun", local(6, "22:00")) == local(7, "07:00")
    assert quiet_until("sun", local(7, "07:00")) == local(7, "07:00")
    assert next_person("qian", ["qian"], local(7, "10:00")) == "sun"  # the stand-in is away
