"""The drain of places on both databases: from the log to rows and editions, whatever is restarted in between."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert, select, update

from collector import retention
from collector.core.contact_gaps import ContactGaps
from collector.core.coverage import LINK, SERVICE, Coverage, Expected
from collector.core.places import cell_of, coarse_of
from collector.core.vehicle.events import Left
from collector.retention import Bounds, Keeper
from collector.sinks import places
from collector.sinks.places import NAME, Places
from collector.sinks.runner import SinkRunner
from collector.site.handover import Handover
from collector.site.in_force import COVERAGE, GAPS, digest
from collector.store import batch, editions, log, schema
from collector.store import places as stored_places
from collector.store.batch import Heading, Stepped
from collector.store.commit import SiteConnection
from collector.store.rows import BatchRow, Changes, EditionRow, RunRow
from collector.store.store import Store
from telemetry.fleet import AgentPlan, Device, Site, VehiclePlan
from telemetry.inputs import GnssInput
from telemetry.intervals import Intervals
from telemetry.message import Lane, Moment
from telemetry.records import Clock, ClockSource, Column, Schema
from tests.integration.test_site import owner, until
from tests.services.mosquitto import mosquitto
from tests.services.process import Server

SITE = "north"
DAY_S = 86_400
START = 1_790_000_000_000 // 86_400_000 * 86_400_000
"""Midnight UTC, eight in the morning of the site."""
GNSS = Schema("gnss", "gnss", (Column("gnss.latitude"), Column("gnss.longitude")))
NAMES = ("amb-1", "amb-2", "amb-3")
ONE = VehiclePlan(agents={"box": AgentPlan(devices={"gnss": Device(kind="gnss", gnss=GnssInput(port="/dev/g"))})})
PLAN = Site(vehicles=dict.fromkeys(NAMES, ONE))
STEP = 0.004


def cell(place: int) -> str:
    return cell_of(31.2 + STEP * place, 121.4)


class Town:
    """A site's log in virtual time, written by the real commit. Seconds after ``START``."""

    def __init__(self, store: Store) -> None:
        self.store = store
        found = SiteConnection.acquire(store, SITE, "test")
        assert found is not None
        self.owner = found
        self.handover = Handover()
        self.listening_ms: int | None = START - 1
        self.slow_s = 0
        """So much our clock is slow."""
        self.source: ClockSource = "ntp"
        self.boots = dict.fromkeys(NAMES, 1)
        self.sequences = dict.fromkeys(NAMES, 0)
        schemas = {(name, "box", GNSS.id()): GNSS for name in NAMES}
        self.owner.commit(Changes(schemas=schemas))
        for name in NAMES:
            self.boot(name)

    def boot(self, name: str) -> None:
        self.boots[name] += 1
        run, boot = f"{self.boots[name]:016x}", f"boot-{self.boots[name]}"
        self.owner.commit(Changes(runs=[RunRow(name, "box", run, boot=boot)]))

    def put(self, at: float, *entries: batch.Entry) -> None:
        now_ms = START + round(1000 * (at - self.slow_s))
        row = BatchRow(self.owner.last_batch + 1, now_ms, now_ms, 1, entries, Heading(self.listening_ms, 180_000))
        self.owner.commit(Changes(batch=row))

    def say(self, name: str, at: float, times: range, place: int | None, lane: Lane = "live") -> None:
        """Commit at ``at`` the fixes of these times."""
        fix = [None, None] if place is None else [31.2 + STEP * place, 121.4]
        moments = [Moment(1000 * one, 0, [[GNSS.id(), fix]]) for one in times]
        first = self.sequences[name]
        self.sequences[name] += len(moments)
        pairs = Intervals([(first, first + len(moments) - 1)]).pairs()
        run = f"{self.boots[name]:016x}"
        self.put(at, batch.Group(name, "box", run, lane, pairs, {0: Clock(0, 0, START, self.source, 5)}, moments))

    def stay(self, name: str, start: int, end: int, place: int | None, every: int = 20) -> None:
        for at in range(start, end, every):
            self.say(name, at, range(at, at + 1), place)

    def through_a_tunnel(self, name: str, start: int, *, lasts: int = 300, covered: bool = True) -> int:
        """Drive over cells 0, 1 and 2; contact is lost in 1. Return when it is over."""
        self.stay(name, start, start + 61, 0)
        self.stay(name, start + 80, start + 141, 1)
        back = start + 140 + lasts
        self.stay(name, back, back + 61, 2)
        if covered:
            self.say(name, back + 61, range(start + 150, back, 10), None, "backlog")
        self.stay(name, back + 80, back + 141, 3)
        return back + 141

    def along_the_road(self, name: str, start: int) -> int:
        for place in range(10, 14):
            self.stay(name, start + 40 * (place - 10), start + 40 * (place - 9), place)
        return start + 160

    def drain(self, now_s: float) -> SinkRunner:
        """Run a new drain, as after a restart, to the end of the log."""
        sink = Places(self.store, SITE, PLAN, self.handover, now_ms=lambda: START + round(1000 * now_s))
        runner = SinkRunner(self.store, SITE, sink)
        asyncio.run(runner.catch_up())
        return runner

    def gaps(self) -> dict[str, dict[str, Any]]:
        with self.store.engine.connect() as connection:
            rows = connection.execute(select(schema.gap).where(schema.gap.c.site == SITE)).mappings()
            return {row["cell"]: dict(row) for row in rows}

    def edition(self, now_s: float) -> ContactGaps | None:
        """Take what was offered, as the owner does."""
        taken = dict(self.handover.take())
        if GAPS not in taken:
            return None
        number = editions.latest(self.store, SITE).get(GAPS, (0,))[0] + 1
        content = taken[GAPS]
        row = EditionRow(GAPS, number, START + round(1000 * now_s), digest(content), content)
        self.owner.commit(Changes(editions=[row]))
        return ContactGaps.from_json(content)


MODEM = Schema(
    "modem",
    "modem",
    (
        Column("modem.rsrp_dbm", {"leg": "lte"}), Column("modem.rsrq_db", {"leg": "lte"}),
        Column("modem.sinr_db", {"leg": "lte"}), Column("modem.cell_id", {"leg": "lte"}),
        Column("modem.technology"), Column("modem.registration"),
    ),
)  # fmt: skip
LINK_ = Schema(
    "probe", "uplink", (Column("link.loss_percent", {"target": "a"}), Column("link.rtt_ms", {"target": "a"}))
)


class Radio(Town):
    """The same with a modem and a way to the centre: -88 dBm, less what the antenna loses."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        known = {(name, "box", one.id()): one for name in NAMES for one in (MODEM, LINK_)}
        self.owner.commit(Changes(schemas=known))

    def drive(self, name: str, start: int, minutes: int, *, loses: float = 0.0, lane: Lane = "live") -> int:
        """Go up and down the road of cells 10 to 19, one in a minute; return when that is over."""
        run, made = f"{self.boots[name]:016x}", []
        for at in range(start, start + 60 * minutes, 20):
            step = at // 60 % 18
            entries = [
                [MODEM.id(), [-88.0 - loses, -10.0, 15.0, 4711, "5g_nsa", "home"]],
                [GNSS.id(), [31.2 + STEP * (10 + min(step, 18 - step)), 121.4]],
                [LINK_.id(), [0.0, 41.0]],
            ]
            first = self.sequences[name]
            self.sequences[name] += len(entries)
            pairs = [(first, first + len(entries) - 1)]
            clock = {0: Clock(0, 0, START, "ntp", 5)}
            group = batch.Group(name, "box", run, lane, pairs, clock, [Moment(1000 * at, 0, entries)])
            if lane == "live":
                self.put(at, group)
            else:
                made.append(group)
        if made:
            self.put(start + 60 * minutes, *made)
        return start + 60 * minutes

    def rows(self, vehicle: str, cell: str, leg: str) -> list[dict[str, Any]]:
        t = schema.coverage
        with self.store.engine.connect() as connection:
            query = select(t).where(t.c.vehicle == vehicle, t.c.cell == cell, t.c.leg == leg)
            return [dict(row) for row in connection.execute(query.order_by(t.c.radio_cell)).mappings()]

    def learnt(self, now_s: float) -> Coverage | None:
        """Let an edition be offered and put in force."""
        self.stay(NAMES[0], round(now_s), round(now_s) + 1, 50)
        self.drain(now_s)
        taken = dict(self.handover.take())
        if COVERAGE not in taken:
            return None
        number = editions.latest(self.store, SITE).get(COVERAGE, (0,))[0] + 1
        content = taken[COVERAGE]
        row = EditionRow(COVERAGE, number, START + round(1000 * now_s), digest(content), content)
        self.owner.commit(Changes(editions=[row]))
        return Coverage.from_json(content)


@pytest.fixture
def radio(store: Store) -> Iterator[Radio]:
    it = Radio(store)
    yield it
    it.owner.close()


def test_what_two_have_is_expected_of_the_third_whose_bad_antenna_does_not_become_the_record(radio: Radio) -> None:
    for n, name in enumerate(NAMES[1:]):
        end = radio.drive(name, 7200 * n, 60)
        radio.drain(end)
    first = radio.learnt(20_000)
    assert first is not None
    assert first.expected("amb-1", cell(15), "lte") == Expected((-88.0, -10.0, 15.0), 2, "2 other vehicles")
    assert first.expected("amb-1", cell(15), SERVICE) == Expected((100.0, 100.0), 2, "2 other vehicles")
    assert first.expected("amb-1", cell(15), LINK) == Expected((0.0, 40.0), 2, "2 other vehicles")
    assert first.expected("amb-2", cell(15), "lte") is None, "there is one other, and an hour of its own"
    (row,) = radio.rows("amb-2", cell(15), "lte")
    assert (row["radio_cell"], row["days"]) == ("4711", 1)
    assert radio.rows("amb-2", coarse_of(cell(15)), "lte")[0]["n"] > row["n"]
    end = radio.drive("amb-1", 21_600, 40)
    radio.drain(end)
    before = {name: sum(row["n"] for row in radio.rows("amb-1", coarse_of(cell(15)), "lte")) for name in ("amb-1",)}
    end = radio.drive("amb-1", end, 60, loses=12)
    radio.drain(end)
    (row,) = radio.rows("amb-1", coarse_of(cell(15)), "lte")
    assert msgspec.json.decode(row["histogram"])["rsrp"].keys() == {"-88"}
    end = radio.drive("amb-1", end, 40)
    radio.drain(end)
    (row,) = radio.rows("amb-1", coarse_of(cell(15)), "lte")
    assert row["n"] > before["amb-1"]
    assert msgspec.json.decode(row["histogram"])["rsrp"].keys() == {"-88"}


def test_late_data_teach_too_and_a_problem_keeps_its_vehicle_from_teaching(radio: Radio) -> None:
    radio.drain(radio.drive("amb-2", 0, 30, lane="backlog"))
    assert radio.rows("amb-2", cell(15), "lte")
    values = {"site": SITE, "vehicle": "amb-3", "key": "k", "fault": "antenna_degraded", "device": "modem",
              "state": "active", "event_ms": START, "ticket": "", "content": "{}"}  # fmt: skip
    with radio.store.transaction() as connection:
        connection.execute(insert(schema.problem).values(values))
    radio.drain(radio.drive("amb-3", 3600, 30))
    assert radio.rows("amb-3", cell(15), "lte") == []


def test_five_days_make_its_own_past_whatever_is_restarted_and_editions_come_once_an_hour(radio: Radio) -> None:
    for day in range(5):
        end = radio.drive("amb-1", day * DAY_S, 72)
        radio.drain(end - 600)  # another drain, in the middle
        radio.drain(end)
    learnt = radio.learnt(5 * DAY_S)
    assert learnt is not None
    expected = learnt.expected("amb-1", cell(15), "lte")
    assert expected is not None
    assert (expected.others, expected.figures) == (0, (-88.0, -10.0, 15.0))
    radio.drain(radio.drive("amb-2", 5 * DAY_S + 100, 40))
    assert radio.learnt(5 * DAY_S + 3599) is None
    assert radio.learnt(5 * DAY_S + 3600) is not None
    assert radio.learnt(5 * DAY_S + 7300) is None, "nothing new"


def test_a_large_edition_comes_less_often(radio: Radio, monkeypatch: pytest.MonkeyPatch) -> None:
    for n, name in enumerate(NAMES):
        radio.drain(radio.drive(name, 7200 * n, 40))
    first = radio.learnt(30_000)
    assert first is not None
    monkeypatch.setattr(places, "BYTES_AN_HOUR", len(first.to_json()) // 3)
    radio.drain(radio.drive("amb-1", 31_000, 60, loses=3))
    assert radio.learnt(30_000 + 2 * 3600) is None
    assert radio.learnt(30_000 + 4 * 3600) is not None


def test_of_a_cell_that_many_know_no_more_vehicles_are_kept(radio: Radio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_places, "MOST_VEHICLES", 2)
    for n, name in enumerate(NAMES):
        runner = radio.drain(radio.drive(name, 7200 * n, 40))
    assert runner.progress.counts["signals_of_enough_others"] > 0
    assert [bool(radio.rows(name, cell(15), "lte")) for name in NAMES] == [True, True, False]


@pytest.fixture
def town(store: Store) -> Iterator[Town]:
    it = Town(store)
    yield it
    it.owner.close()


@pytest.mark.parametrize("restarts", [False, True])
def test_from_the_log_to_rows_and_an_edition(town: Town, restarts: bool) -> None:
    """A tunnel that two vehicles go through on three days, and a road; with a new drain in the middle of each loss."""
    for day in range(3):
        for n, name in enumerate(NAMES[:2]):
            start = day * DAY_S + 1000 * n
            if restarts:
                town.stay(name, start, start + 61, 0)
                town.stay(name, start + 80, start + 141, 1)
                town.drain(start + 300)
                town.stay(name, start + 440, start + 501, 2)
                town.drain(start + 510)
                town.say(name, start + 511, range(start + 150, start + 440, 10), None, "backlog")
                town.drain(start + 511)
                town.stay(name, start + 520, start + 581, 3)
            else:
                town.through_a_tunnel(name, start)
            town.along_the_road(name, start + 600)
        town.stay("amb-3", day * DAY_S + 5000, day * DAY_S + 5020, 50)
        town.drain(day * DAY_S + 5020)
    gaps = town.gaps()
    tunnel, road = gaps[cell(1)], gaps[cell(11)]
    assert (tunnel["lost"], tunnel["passes"], tunnel["p50_s"], tunnel["p95_s"], tunnel["vehicles"]) == (
        6,
        0,
        300,
        300,
        2,
    )
    assert (road["lost"], road["passes"], road["days"]) == (0, 6, 3)
    assert log.position(town.store, SITE, NAME) == town.owner.last_batch
    learnt = town.edition(3 * DAY_S)
    assert learnt is not None
    assert learnt.limit(cell(1), None).seconds == 1.5 * 300 + 60
    assert learnt.limit(cell(11), None).seconds == 240
    assert learnt.limit(cell(50), None).seconds == 600


@pytest.mark.parametrize(
    ("slow_s", "source", "learnt"),
    [(660, "gnss", 1), (3600, "ntp", 1), (660, "centre", 0), (250, "centre", 1), (7300, "gnss", 0)],
)
def test_our_own_clock_may_be_slow(town: Town, slow_s: int, source: ClockSource, learnt: int) -> None:
    """Found by a quiet life: a tunnel that one had gone through while our clock was eleven minutes slow was unknown."""
    town.slow_s, town.source = slow_s, source
    end = town.through_a_tunnel("amb-1", 10_000)
    town.stay("amb-3", end + 1000, end + 1020, 50)
    town.drain(end + 1020 - slow_s)
    assert town.gaps().get(cell(1), {"lost": 0})["lost"] == learnt


def test_what_a_fault_explains_and_what_no_backlog_covers_teaches_nothing(town: Town) -> None:
    def problem(vehicle: str, fault: str, since: int, until: int | None) -> None:
        content = msgspec.json.encode({"over_event_ms": None if until is None else START + 1000 * until}).decode()
        row = {"site": SITE, "vehicle": vehicle, "key": f"{fault}/{since}", "fault": fault, "device": "modem",
               "state": "active", "event_ms": START + 1000 * since, "ticket": "", "content": content}  # fmt: skip
        with town.store.transaction() as connection:
            connection.execute(insert(schema.problem).values(row))

    at = 0
    for vehicle, fault, begins, ends in (
        ("amb-1", "sim_absent", 200, 300),
        ("amb-1", "modem_hung", 200, None),
        ("", "site_unreachable", 200, 300),
        ("amb-2", "camera_down", 200, 300),  # this one explains no silence
        ("amb-2", "sim_absent", 500, 600),  # nor does one after it
    ):
        at += 10_000
        problem(vehicle, fault, at + begins, None if ends is None else at + ends)
        town.through_a_tunnel(vehicle or "amb-3", at)
        town.stay("amb-3", at + 5000, at + 5020, 50)
        town.drain(at + 5020)
        with town.store.transaction() as connection:
            connection.execute(schema.problem.delete())
    with town.store.transaction() as connection:
        note = {"site": SITE, "vehicle": "amb-1", "device": "modem", "key": "x", "fault": "registration_denied",
                "rule": "r", "rule_version": 1, "began_ms": START + 100_200_000, "ended_ms": START + 100_300_000,
                "noted_ms": START}  # fmt: skip
        connection.execute(insert(schema.closed_note).values(note))
    town.through_a_tunnel("amb-1", 100_000)
    town.through_a_tunnel("amb-1", 110_000, covered=False)
    town.stay("amb-3", 120_000, 120_020, 50)
    town.drain(120_020)
    assert (town.gaps()[cell(1)]["lost"], town.gaps()[cell(1)]["vehicles"]) == (2, 1)


def test_a_goodbye_and_our_own_outage_are_no_losses_and_boots_make_parking_places(town: Town) -> None:
    town.stay("amb-1", 0, 61, 1)
    town.put(61, Stepped("amb-1", Left("box", "x", 1, "parked")))
    town.stay("amb-1", 700, 761, 2)
    town.say("amb-1", 762, range(70, 700, 10), None, "backlog")
    town.stay("amb-1", 780, 801, 2)
    town.listening_ms = START + 900_000
    town.stay("amb-1", 1400, 1461, 2)
    town.say("amb-1", 1462, range(790, 1400, 10), None, "backlog")
    for start, name in ((2000, "amb-1"), (3000, "amb-2")):
        town.stay(name, start, start + 61, 7)
        town.boot(name)
        town.stay(name, start + 50_000, start + 50_061, None)
    town.drain(80_000)
    gaps = town.gaps()
    assert sum(row["lost"] for row in gaps.values()) == 0
    assert gaps[cell(7)]["boots"] == 2
    learnt = town.edition(80_000)
    assert learnt is not None
    assert learnt.is_parking(cell(7))


def test_at_most_one_edition_an_hour_and_none_without_news(town: Town) -> None:
    for n in range(2):
        at = town.through_a_tunnel("amb-1", 3000 * n)
        town.stay("amb-3", at + 700, at + 701, 50)
    town.drain(5000)
    assert town.edition(5000) is not None
    town.through_a_tunnel("amb-1", 6000)
    town.stay("amb-3", 8000, 8001, 50)
    town.drain(5000 + 3599)
    assert town.edition(5000 + 3599) is None, "not within the hour"
    town.stay("amb-3", 8600, 8601, 50)
    town.drain(5000 + 3600)
    second = town.edition(5000 + 3600)
    assert second is not None
    assert len(second.lost[cell(1)]) == 3
    town.stay("amb-3", 20_000, 20_001, 50)
    town.drain(20_000)
    assert town.edition(20_000) is None, "nothing new"
    with town.store.transaction() as connection:
        connection.execute(update(schema.edition).where(schema.edition.c.kind == GAPS).values(digest="another"))
    town.stay("amb-3", 20_010, 20_011, 50)
    town.drain(20_010)
    assert town.edition(20_010) == second, "one that no owner took is offered again"


def test_retention_lets_go_old_places_too_many_and_editions_before_the_log(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MOST_CELLS", 3)
    day_ms = 86_400_000
    row = dict.fromkeys(("passes", "days", "day", "lost", "boots", "p50_s", "p95_s", "vehicles"), 0)
    with town.store.transaction() as connection:
        for n, ago in enumerate((91, 89, 50, 20, 10)):
            last_ms = START - ago * day_ms
            connection.execute(
                insert(schema.gap).values(row | {"site": SITE, "cell": f"{n}", "last_ms": last_ms, "detail": b""})
            )
            connection.execute(
                insert(schema.coverage).values(
                    site=SITE, cell=f"{n}", leg="lte", vehicle="v", radio_cell="", days=1, day=1, n=1, last_ms=last_ms,
                    histogram=b"",
                )
            )  # fmt: skip
        for number, ago in ((1, 9), (2, 8), (3, 6), (4, 5)):
            for kind in (GAPS, "rules"):
                values = {
                    "site": SITE,
                    "kind": kind,
                    "number": number,
                    "at_ms": START - ago * day_ms,
                    "digest": "",
                    "content": b"{}",
                }
                connection.execute(insert(schema.edition).values(values))
    town.put(-7 * DAY_S, Stepped("amb-1", Left("box", "x", 1, "parked")))
    Keeper(town.store, SITE, [], Bounds(log_days=8), now_ms=lambda: START).sweep()
    with town.store.engine.connect() as connection:
        assert sorted(connection.execute(select(schema.gap.c.cell)).scalars()) == ["2", "3", "4"]
        assert sorted(connection.execute(select(schema.coverage.c.cell)).scalars()) == ["1", "2", "3", "4"]
        given_up = select(schema.counter.c.value).where(schema.counter.c.name == "places_given_up")
        assert connection.scalar(given_up) == 1
    assert sorted(number for kind, number in editions.contents(town.store, SITE) if kind == GAPS) == [2, 3, 4]
    assert sorted(number for kind, number in editions.contents(town.store, SITE) if kind == "rules") == [1, 2, 3, 4]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with mosquitto(tmp_path_factory.mktemp("mosquitto")) as running:
        yield running


def test_the_sites_owner_puts_it_into_the_log_and_the_next_owner_goes_by_it(store: Store, broker: Server) -> None:
    gaps = ContactGaps(kept=frozenset({cell(1)}))

    async def scene() -> None:
        async with owner(store, broker.port) as first:
            await until(lambda: len(editions.latest(store, SITE)) == 3)
            first.handover.offer(GAPS, gaps.to_json())
            await until(lambda: first.status.editions.get(GAPS) == 1, why=lambda: first.status)
        async with owner(store, broker.port) as second:
            await until(lambda: second.status.editions.get(GAPS) == 1, why=lambda: second.status)
            second.handover.offer(GAPS, gaps.to_json() + b" ")
            await until(lambda: second.status.editions.get(GAPS) == 2, why=lambda: second.status)

    asyncio.run(scene())
    taken = [
        entry for one in log.read(store, SITE, 0, 100) for entry in one.entries if isinstance(entry, batch.EditionTaken)
    ]
    assert [(one.kind, one.number) for one in taken if one.kind == GAPS] == [(GAPS, 1), (GAPS, 2)]
