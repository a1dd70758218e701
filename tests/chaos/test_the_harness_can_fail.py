"""The oracle harness catches what it is there for.

Each sabotage strikes at a forced point, so that it is caught by rule and not by chance; and the same story without the
sabotage holds, so that it is the sabotage that is caught.
"""

from __future__ import annotations

import contextlib
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulator.scenario import Scenario
from tests.chaos.faults import Fault, Planned, inject
from tests.chaos.judge import Verdict, judge, judge_notifications
from tests.chaos.oracle import Oracle
from tests.chaos.world import World, execute, rows, world

AGENT = ("amb-01", "tablet")
NAME = "amb-01-tablet"
RECOVERY_S = 60.0


@contextlib.contextmanager
def small(tmp_path: Path) -> Iterator[World]:
    """One agent that watches its own machine, on SQLite; nothing runs yet but the servers."""
    with world(tmp_path / "world", None, Scenario(name="quiet"), agents=[AGENT], hosts=2) as one:
        yield one


def recover(oracle: Oracle) -> None:
    took_s = oracle.recovered(RECOVERY_S)
    assert took_s is not None, oracle.world.log("collector") + oracle.world.log(NAME)


def story(tmp_path: Path, *sabotages: str) -> tuple[Verdict, World]:
    """Let a collector with each of the sabotages take its turn, then the real one; return what the judge says."""
    with small(tmp_path) as one:
        oracle = Oracle(one)
        one.start_agent(*AGENT)
        for number, sabotage in enumerate(sabotages):
            marker = one.directory / f"marker-{number}"
            one.start_collector(sabotage=[sabotage, str(marker)])
            one.wait(marker.exists, 60, f"{sabotage} happens")
            if sabotage == "forgets_seen":
                recover(oracle)  # it lives on, and the agent sends again what is missing in the receipt
                recover(oracle)
                one.stop("collector")
            else:
                one.wait(lambda: one.processes["collector"].poll() is not None, 60, "it kills itself")
                one.kill("collector")
        one.start_collector()
        recover(oracle)
        return oracle.rest(), one


def test_no_two_faults_are_at_one_target_at_once_however_late_the_first_began() -> None:
    told: list[str] = []
    slow = Fault(["server"], lambda _: time.sleep(0.6))
    kill = Fault(["agent"], lambda _: told.append("killed"), lambda _: told.append("started"))
    plan = [Planned(0.0, "slow", "server", 0.1), Planned(0.1, "kill", "agent", 0.4), Planned(0.7, "kill", "agent", 0.1)]
    counts: Counter[str] = Counter()
    inject(lambda: None, {"slow": slow, "kill": kill}, plan, counts)
    assert told == ["killed", "started"] * 2
    assert counts == {"slow": 1, "kill": 2}


@pytest.mark.timeout(600)
def test_a_kill_just_before_and_just_after_the_commit_does_no_harm(tmp_path: Path) -> None:
    """The real collector, killed where the sabotage below strikes; the messages come again and are known."""
    verdict, one = story(tmp_path, "killed_before_commit", "killed_after_commit")
    assert verdict.holds, str(verdict)
    assert verdict.obligations > 10
    (duplicates,) = rows(one.database, "SELECT value FROM counter WHERE name = 'duplicates'")
    assert duplicates[0] > 0, "what was committed and not acknowledged came again"


@pytest.mark.timeout(600)
def test_a_receipt_before_the_commit_is_caught(tmp_path: Path) -> None:
    verdict, _ = story(tmp_path, "receipts_before_commit")
    assert verdict.lost, str(verdict)
    assert not verdict.doubled


@pytest.mark.timeout(600)
def test_a_forgotten_seen_interval_is_caught(tmp_path: Path) -> None:
    verdict, _ = story(tmp_path, "forgets_seen")
    assert verdict.doubled, str(verdict)
    assert not verdict.lost


@pytest.mark.timeout(600)
@pytest.mark.parametrize("disk", ["volatile", "forgetful"])
def test_an_outbox_that_drops_the_sync_is_caught(tmp_path: Path, disk: str) -> None:
    """The power fails while the link is cut: what was not synced is gone (``tests.chaos.volatile``)."""
    with small(tmp_path) as one:
        oracle = Oracle(one)
        one.start_collector()
        one.start_agent(*AGENT, disk)
        recover(oracle)
        one.set_links("cut")
        before = len(one.obligations())
        one.wait(lambda: len(one.obligations()) > before + 10, 60, "more records")
        one.kill(NAME)
        one.start_agent(*AGENT)
        one.set_links("pass")
        recover(oracle)
        verdict = oracle.rest()
    if disk == "volatile":
        assert verdict.holds, str(verdict)
    else:
        assert len(verdict.lost) > 5, str(verdict)


@pytest.mark.timeout(600)
def test_the_judge_sees_whatever_is_wrong(tmp_path: Path) -> None:
    """A world in order, then one thing after another is put wrong by hand."""
    with small(tmp_path) as one:
        oracle = Oracle(one)
        one.start_collector()
        one.start_agent(*AGENT)
        recover(oracle)
        verdict = oracle.rest()
        assert verdict.holds, str(verdict)

        def counts() -> dict[str, int]:
            found = judge(one).counts()
            judged_otherwise.append(found.pop("judged_otherwise"))
            return {name: count for name, count in found.items() if count}

        judged_otherwise: list[int] = []

        (host,) = one.influx.query("SELECT uptime_s FROM host WHERE device = 'tablet' LIMIT 1")
        at = host["values"][0][0]
        tags = "host,site=centre,vehicle=amb-01,agent=tablet,device=tablet"
        _write(one, f"{tags} uptime_s=1i {at}")
        assert counts() == {"different": 1}, "another value"
        _write(one, f"{tags} uptime_s={host['values'][0][1]}i {at}")
        _write(one, f"{tags} uptime_s=1i {at + 7}")
        assert counts() == {"unknown": 1}, "another time"
        one.influx.query(f"DELETE FROM host WHERE time = {at + 7}ms")
        assert counts() == {}
        one.influx.query(f"DELETE FROM host WHERE device = 'tablet' AND time = {at}ms")
        assert counts() == {"lost": 1}, "a point is gone"

        first = "number = (SELECT min(number) FROM batch WHERE records > 0)"
        columns = "site, number + 1000, received_ms, now_ms, records, content"
        execute(one.database, f"INSERT INTO batch SELECT {columns} FROM batch WHERE {first}")
        assert counts()["doubled"] > 0, "a batch stands there twice"
        judged_otherwise.pop()  # no owner wrote it: time goes back with it
        execute(one.database, "DELETE FROM batch WHERE number > 1000")
        columns = "'centre', 'amb-01', '', 600000, 'tablet', 0, 0, records, content"
        execute(one.database, f"INSERT INTO chunk SELECT {columns} FROM batch WHERE {first}")
        assert counts() == {"lost": 1, "doubled": _records(one)}, "two chunks hold the same records"
        execute(one.database, "DELETE FROM chunk WHERE rowid = (SELECT max(rowid) FROM chunk)")
        assert counts() == {"lost": 1}
        body = (
            '{"source":"rule","fault":"router_dead","sla_class":"disaster","severity":"critical","detected_ms":1000,'
            '"problem":["amb-01",["router_dead","router",[]]],"event_ms":1000}'
        )
        event = "INSERT INTO ticket_event VALUES ('centre', 't', {}, '{}', 1000, 1000, 'rule', '{}')"
        execute(one.database, event.format(1, "opened", body))
        assert not any(judged_otherwise), "the log is as it was"
        assert counts() == {"lost": 2}, "an event of a ticket that is not there"
        assert judged_otherwise[-1] == 1, "and that no judging has brought"
        _insert_ticket(one, "t")
        assert counts() == {"lost": 1, "different": 1}, "its row says something else than its events"
        execute(one.database, event.format(2, "reopened", body))
        assert counts() == {"lost": 1, "different": 1, "twin_tickets": 1}, (
            "a problem that began twice at the same moment"
        )
        execute(one.database, event.format(3, "problem_over", body))
        execute(one.database, event.format(4, "problem_over", body))
        assert counts() == {"lost": 1, "different": 1, "twin_tickets": 1, "doubled": 1}, (
            "it was over twice at the same moment"
        )
        execute(one.database, event.format(6, "noted", "{}"))
        assert counts()["lost"] == 2, "an event is gone"
        execute(one.database, "DROP INDEX ticket_problem_one_live")
        for ticket in ("t", "u"):
            row = f"('centre', '{ticket}', 'amb-01', 'router_dead/router', 'root', 1)"
            execute(one.database, f"INSERT INTO ticket_problem VALUES {row}")
        assert counts()["twin_tickets"] == 2, "two live tickets about one problem"
        execute(one.database, "DELETE FROM hour")
        assert counts()["lost"] > 1, "nothing was observed, the hours say"
        execute(one.database, "DELETE FROM batch WHERE number = 1")
        assert counts()["lost"] > 1, "a batch is gone"


def _insert_ticket(one: World, id: str) -> None:
    """Write a ticket's projection with something in every column."""
    columns = rows(one.database, "SELECT name, type FROM pragma_table_info('ticket')")
    values = ", ".join(f"'{id}'" if name == "id" else "'x'" if kind == "TEXT" else "0" for name, kind in columns)
    execute(one.database, f"INSERT INTO ticket VALUES ({values})")


def test_the_judge_sees_notifications_that_are_missing_or_come_too_often() -> None:
    """Once at least, and at most once more a crash."""
    delivered = {"a": 1, "b": 2, "c": 3}
    assert judge_notifications(["a", "b"], {"a": 1, "b": 2}, crashes=1) == ([], [])
    assert judge_notifications(["a", "b", "c"], delivered, crashes=1) == ([], [("notification", "c", 3)])
    assert judge_notifications(["a", "b", "d"], delivered, crashes=5) == ([("notification", "d")], [])


def _records(one: World) -> int:
    """Return how many records the first batch has that has any: the one before it took the editions."""
    ((count,),) = rows(one.database, "SELECT records FROM batch WHERE records > 0 ORDER BY number LIMIT 1")
    return int(count)


def _write(one: World, line: str) -> None:
    """Write one line to InfluxDB itself, past the collector."""
    query = urllib.parse.urlencode({"db": one.influx.bucket, "precision": "ms"})
    url = f"http://127.0.0.1:{one.influx.influxd.port}/write?{query}"
    urllib.request.urlopen(url, line.encode(), timeout=60).close()
