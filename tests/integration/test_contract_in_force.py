"""A year that a clock needs is missed and put in, and another contract judges nobody afterwards: the real collector."""

from __future__ import annotations

import asyncio
import datetime
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import collector.site.health
from collector.calendars import library_years
from collector.main import Running
from kitwatch.main import main
from tests.integration.test_centre_health import collector_of, ticket
from tests.integration.test_collector import write
from tests.services.contract import in_force
from tests.services.mosquitto import mosquitto

CONTRACT = """
roster:
  root: {name: 根, role: engineer, login: root}
  qian: {name: 钱工, role: dispatcher}
"""
SOON = """
overrides:
  - {rule: calendar_missing, set: {for: 1s}}
"""
KNOWN = library_years()[-1].year
THIS = datetime.datetime.now(datetime.UTC).year
MISSING = max(KNOWN, THIS) + 1


def decree(year: int) -> str:
    return f"""
year: {year}
source: an example of a decree
holidays: [{year}-01-01]
make_up: []
"""


@pytest.mark.timeout(400)
def test_a_missing_year_is_said_on_the_ticket_and_is_a_ticket_until_it_is_put_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector.site.health, "CALENDAR_S", 0.2)
    socket, contract = tmp_path / "collector.sock", tmp_path / "contract.yaml"
    contract.write_text(CONTRACT)
    (tmp_path / "soon.yaml").write_text(SOON)
    (tmp_path / "decree.yaml").write_text(decree(MISSING))
    (tmp_path / "calendar").mkdir()
    for year in range(KNOWN + 1, MISSING):  # where the library is older than this test's day
        (tmp_path / "calendar" / f"{year}.yaml").write_text(decree(year))

    def kitwatch(*words: str, json_: bool = True) -> Any:
        result = subprocess.run(
            [sys.executable, "-m", "kitwatch.main", *words, *(["--json"] if json_ else [])],
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout) if json_ else result.stdout

    def tickets(*words: str, json_: bool = True) -> Any:
        return kitwatch("tickets", words[0], "--socket", str(socket), *words[1:], json_=json_)

    def solution(found: dict[str, Any]) -> dict[str, Any]:
        (clock,) = [clock for clock in found["clocks"] if clock["clock"] == "solution"]
        return dict(clock)

    async def scene(running: Running, config: Path) -> None:
        def do(*words: str, json_: bool = True) -> Any:
            return asyncio.to_thread(tickets, *words, json_=json_)

        settled = (await do("open", "no picture", "--vehicle", "amb-3"))["id"]
        await do("plan", settled, "-m", "a new cable")
        before = solution(await do("resolve", settled, "--done", "a new cable"))
        id = (await do("open", "no picture", "--vehicle", "amb-3"))["id"]
        assert "3 working days" in solution(await do("respond", id, "--how", "remote"))["told"]["en"][0]
        until = f"{MISSING}-01-03 00:00"
        waits = await do("wait", id, "--reason", "customer", "--evidence", "a letter", "--until", until)
        clock = solution(waits)
        assert (clock["due_at"], clock["missing_year"], clock["status"]) == (None, MISSING, "not_computable")
        assert f"无法计算：{MISSING} 年工作日历未载入" in await do("show", id, json_=False)
        missed = await ticket(running, "calendar_missing", seconds=100)
        assert (missed["vehicle"], missed["sla_class"]) == ("", "deferrable")
        assert f"the working calendar of {MISSING} is not loaded" in str(missed["evidence"])

        def attach(key: str) -> subprocess.CompletedProcess[str]:
            words = ["attach-problem", id, "--problem", key, "--socket", str(socket), "--lang", "en"]
            return subprocess.run(
                [sys.executable, "-m", "kitwatch.main", "tickets", *words],
                capture_output=True, text=True, check=False, timeout=120,
            )  # fmt: skip

        for key, said in (
            ("calendar_missing/collector", "Another ticket is about this problem: merge the two."),
            ("influx_unreachable/collector", "There is no such problem."),
            ("calendar_missing", "--problem: expected fault/device"),
        ):
            refused = await asyncio.to_thread(attach, key)
            assert refused.returncode in (1, 2)
            assert said in refused.stderr, refused.stderr

        add = ["contract", "calendar", "add", str(tmp_path / "decree.yaml"), "--contract", str(contract)]
        assert await asyncio.to_thread(main, add) == 0
        with contract.open("a") as file:
            file.write("classes: {general: {response: 2h, solution: {working_days: 5, ends_with: plan}}}\n")
        await asyncio.to_thread(kitwatch, "reload", "--config", str(config))
        await ticket(running, "calendar_missing", "closed", seconds=100)
        after = solution(await do("show", id))
        assert (after["missing_year"], after["due_at"][:4]) == (None, str(MISSING)), "counted anew"
        assert "5 working days" in after["told"]["en"][0], "of another contract"
        same = solution(await do("show", settled))
        assert (same["due_at"], same["status"]) == (before["due_at"], "met"), "what was resolved stays as it was"
        assert "3 working days" in same["told"]["en"][0]

    async def with_collector(config: Path) -> None:
        async with collector_of(config) as running:
            await in_force(running.store, "north")
            await scene(running, config)

    with mosquitto(tmp_path / "mosquitto") as broker:
        config = write(tmp_path, broker.port, rules=["soon.yaml"], contract="contract.yaml", socket=str(socket))
        asyncio.run(with_collector(config))
