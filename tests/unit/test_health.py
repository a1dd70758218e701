"""The centre's own parts: what their reports come to, at once and as time passes; and judged again, the same."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from collector.core.health import PartReport, PartState
from collector.core.problems import ProblemChange
from collector.core.rules.files import parse_rules, shipped_files
from collector.core.rules.types import Rules
from collector.core.survey import SiteState, reported, survey
from collector.core.vehicle.events import Listening
from collector.outgoing import Progress
from collector.site import health
from collector.site.health import (
    CertificateFile,
    CertificateHealth,
    DiskHealth,
    DropsHealth,
    InfluxHealth,
    QuarantineHealth,
    ReceiverHealth,
    Watched,
)
from collector.site.status import Status, stuck, unwell
from collector.store.batch import Reported
from telemetry.files import FileError, parse_yaml
from tests.services.certificates import Authority
from tests.unit.judged_again import batches_of, judged_again, rows_of
from tests.unit.judging import SHIPPED, T0, Story
from tests.unit.test_replay import FORCE, SITE, Site_

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


class Centre:
    """A site without vehicles whose parts are reported; times are milliseconds after ``T0``."""

    def __init__(self, rules: Rules = SHIPPED) -> None:
        self.rules = rules
        self.state = SiteState.new("north")
        self.changes: list[ProblemChange] = []
        self.wake: int | None = None

    def report(self, at: int, part: str, state: PartState = "ok", since: int | None = None, **more: object) -> None:
        start = at if since is None else since
        report = PartReport(part, state=state, since_ms=T0 + start, **more)  # type: ignore[arg-type]
        self.state = reported(self.state, report, self.rules, T0 + at)
        self.survey(at)

    def survey(self, at: int) -> None:
        before = self.state.to_json()
        after, verdict, changes = survey(self.state, [], Listening(None), T0 + at, self.rules)
        assert self.state.to_json() == before, "survey changed its argument"
        self.state = SiteState.from_json(after.to_json())
        assert self.state == after
        self.changes += changes
        self.wake = None if verdict.wake_ms is None else verdict.wake_ms - T0

    def pass_time(self, until: int) -> None:
        """Look when that was asked for, and only then."""
        while self.wake is not None and self.wake <= until:
            self.survey(self.wake)

    def said(self) -> list[tuple[str, str, int]]:
        return [
            (change.problem.key.text(), change.news, (change.problem.over_ms or change.problem.detected_ms) - T0)
            for change in self.changes
        ]


def test_a_broker_that_is_away_for_a_minute_is_a_problem_of_the_site_until_it_is_back_for_half_of_one() -> None:
    centre = Centre()
    centre.report(10_000, "broker", "unreachable", 0, words="Connection refused")
    assert (centre.said(), centre.wake) == ([], MINUTE)
    centre.pass_time(HOUR)
    assert centre.said() == [("broker_down/north", "began", MINUTE)]
    problem = centre.changes[0].problem
    assert (problem.vehicle, problem.event_ms, problem.evidence[0].text) == (
        "",
        T0,
        "broker: unreachable: Connection refused",
    )
    centre.report(HOUR, "broker", "ok")
    assert len(centre.changes) == 1
    centre.pass_time(2 * HOUR)
    assert centre.said()[1:] == [("broker_down/north", "over", HOUR + 30_000)]
    assert centre.changes[1].problem.over_event_ms == T0 + HOUR
    assert centre.wake is None


def test_a_broker_that_comes_back_for_a_moment_is_still_away() -> None:
    centre = Centre()
    for start in range(0, 5 * MINUTE, 30_000):
        centre.report(start, "broker", "not_listening")
        centre.report(start + 25_000, "broker", "ok")
        centre.pass_time(start + 29_999)
    assert centre.said() == [("broker_down/north", "began", MINUTE)]


def test_what_is_not_reported_again_stays_as_it_was_known() -> None:
    centre = Centre()
    centre.report(0, "influxdb", "unreachable")
    centre.pass_time(DAY)
    centre.report(DAY, "broker", "ok")
    assert centre.said() == [("influx_unreachable/collector", "began", 5 * MINUTE)]


def test_influxdb_that_refuses_is_another_fault_than_one_that_is_away() -> None:
    centre = Centre()
    centre.report(0, "influxdb", "unreachable")
    centre.pass_time(6 * MINUTE)
    centre.report(6 * MINUTE, "influxdb", "refusing", words="401: authorization failed")
    centre.pass_time(20 * MINUTE)
    assert (
        centre.said()
        == [
            ("influx_unreachable/collector", "began", 5 * MINUTE),
            ("influx_unreachable/collector", "over", 7 * MINUTE),
            ("influx_refuses/collector", "began", 7 * MINUTE),
        ]
        or [what for _, what, _ in centre.said()].count("began") == 2
    )


def test_each_receiver_is_a_problem_of_its_own_and_what_it_refused_is_told_at_once() -> None:
    centre = Centre()
    centre.report(0, "receiver", "undelivered", name="on-call", words="410: gone")
    centre.report(0, "receiver", "failing", name="desk")
    assert centre.said() == [("notice_undelivered/collector/receiver=on-call", "began", 0)]
    centre.report(MINUTE, "receiver", "failing", name="on-call")
    centre.pass_time(10 * MINUTE)
    assert centre.said()[1:] == [
        ("notice_undelivered/collector/receiver=on-call", "over", MINUTE),
        ("notice_undelivered/collector/receiver=desk", "began", 5 * MINUTE),
        ("notice_undelivered/collector/receiver=on-call", "again", 6 * MINUTE),
    ]


def test_what_is_measured_of_the_centre_begins_and_ends() -> None:
    centre = Centre()
    for at, part, name, value in (
        (0, "sink", "influxdb", 50.0),
        (1, "sink", "influxdb", 60.0),
        (2, "sink", "influxdb", 20.0),
        (3, "sink", "influxdb", 10.0),
        (4, "quarantine", "", 50.0),
        (5, "quarantine", "", 100.0),
        (6, "quarantine", "", 5.0),
        (7, "broker_drops", "", 1.0),
        (8, "broker_drops", "", 0.0),
        (9, "certificate", "broker", 30.0),
        (10, "certificate", "broker", 29.0),
        (11, "certificate", "collector", -3.0),
        (12, "certificate", "broker", 365.0),
    ):
        centre.report(at, part, value=value, name=name)
    assert centre.said() == [
        ("sink_behind/collector/sink=influxdb", "began", 1),
        ("sink_behind/collector/sink=influxdb", "over", 3),
        ("quarantine_growing/collector", "began", 5),
        ("quarantine_growing/collector", "over", 6),
        ("broker_drops/collector", "began", 7),
        ("broker_drops/collector", "over", 8),
        ("certificate_expiring/collector/certificate=broker", "began", 10),
        ("certificate_expiring/collector/certificate=collector", "began", 11),
        ("certificate_expiring/collector/certificate=broker", "over", 12),
    ]


def test_what_a_broker_drops_is_counted_from_when_we_came_and_over_its_restart() -> None:
    ask = DropsHealth()
    assert ask(T0) is None, "it has not told"
    for payload, at, value in (
        (b"500", 0, 0),  # of before
        (b"503", 1, 2),
        (b"2", 2, 5),  # it was started anew: 3 and 2
        (b"nonsense", 3, 5),
        (b"2", HOUR + MINUTE, 0),
    ):
        ask.heard(payload)
        report = ask(T0 + at)
        assert report is not None
        assert report.value == value, payload


def test_what_is_set_aside_is_told_in_steps_and_forgotten_after_an_hour() -> None:
    counts: Counter[str] = Counter()
    ask = QuarantineHealth(counts)
    found = []
    for number in range(130):
        counts["quarantined_unreadable"] += 1
        counts["records"] += 5
        found.append(ask(T0 + number))
    assert {one.value for one in found if one is not None} == {1, 2, 5, 10, 20, 50, 100}
    assert found[-1] is found[-10], "the same report until it says something else"
    last = ask(T0 + HOUR + MINUTE)
    assert last is not None
    assert last.value == 0


def test_a_renewed_certificate_is_seen_within_an_hour(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("collector")
    now = [time.time_ns() // 1_000_000]
    ends = CertificateFile(str(pair.certificate), lambda: now[0])
    ask = CertificateHealth("collector", ends)
    report = ask(now[0])
    assert report is not None
    assert (report.name, report.value) == ("collector", 0)
    assert report.words.startswith("ends on 20")
    pair.certificate.write_text("nonsense")
    assert ask(now[0] + MINUTE) is report
    now[0] += HOUR
    assert ask(now[0]) is None


def test_a_disk_nearly_full_and_one_that_will_be_within_a_week() -> None:
    centre = Centre()
    centre.report(0, "disk", value=9.5)
    centre.pass_time(HOUR)
    centre.report(HOUR, "disk", value=11.0)
    centre.pass_time(2 * HOUR)
    centre.report(2 * HOUR, "disk", value=12.5)
    centre.pass_time(3 * HOUR)
    key = "centre_disk_filling/collector"
    assert centre.said() == [(key, "began", 5 * MINUTE), (key, "over", 2 * HOUR + 5 * MINUTE)]
    for hour in range(48):
        centre.report(10 * HOUR + hour * HOUR, "disk", value=80 - hour * 0.5)
    assert centre.said()[2][:2] == (key, "again"), "half a percent an hour: full within a week"
    forecast = centre.changes[2].problem.evidence[0].forecast
    assert forecast is not None
    assert (forecast.what, forecast.reaches) == ("disk", 0)
    assert abs(forecast.at_ms - T0 - 170 * HOUR) < 2 * HOUR, "80 % at half a percent an hour, from the tenth hour on"
    slow = Centre()
    for hour in range(100):
        slow.report(hour * HOUR, "disk", value=round(80 - hour * 0.1, 1))
    assert slow.said() == [], "a month is left"


def test_a_year_of_the_calendar_is_missed_until_it_is_there() -> None:
    asked: list[int] = []
    missing, seconds = [2027], [0.0]

    def years(now_ms: int) -> list[int]:
        asked.append(now_ms)
        return missing

    watch = health.CalendarHealth(years, lambda: seconds[0])
    first = watch(T0)
    assert first == PartReport("calendar", "", "missing", T0, "the working calendar of 2027 is not loaded")
    seconds[0] = 30.0
    assert (watch(T0 + 30_000), len(asked)) == (first, 1), "counting every clock costs: once a minute"
    missing, seconds[0] = [], 61.0
    assert watch(T0 + 61_000) == PartReport("calendar", "", "ok", T0 + 61_000)
    centre = Centre()
    centre.report(0, "calendar", "missing")
    centre.pass_time(HOUR - 1)
    assert centre.said() == []
    centre.pass_time(HOUR)
    centre.report(2 * HOUR, "calendar")
    assert centre.said() == [
        ("calendar_missing/collector", "began", HOUR),
        ("calendar_missing/collector", "over", 2 * HOUR),
    ]


def test_a_part_that_is_no_longer_configured_is_asked_about() -> None:
    centre = Centre()
    centre.report(0, "influxdb", "refusing")
    centre.pass_time(HOUR)
    centre.report(HOUR, "influxdb", "gone")
    assert [what for _, what, _ in centre.said()] == ["began", "orphaned"]
    assert centre.state.problems == {}


def test_a_rule_that_is_switched_off_leaves_no_problem_behind() -> None:
    centre = Centre()
    centre.report(0, "broker", "unreachable")
    centre.pass_time(HOUR)
    files = [(name, parse_yaml(text, name)) for name, text in shipped_files()]
    centre.rules = parse_rules([*files, ("mine", {"overrides": [{"rule": "broker_down", "disabled": True}]})])
    centre.survey(HOUR)
    assert [what for _, what, _ in centre.said()] == ["began", "orphaned"]


@pytest.mark.parametrize(
    "condition",
    [
        {"part": "broker"},
        {"part": "disk", "below": 1, "above": 2},
        {"part": "disk", "above": 1, "until": {"over": "1d", "reaches": 0}},
        {"part": "weather", "is": ["ok"]},
        {"part": "broker", "is": ["sleepy"]},
        {"part": "disk", "below": "soon"},
    ],
)
def test_a_wrong_condition_is_one_error(condition: dict[str, object]) -> None:
    with pytest.raises(FileError, match=r"mine: rules\.x\.condition"):
        parse_rules([("mine", {"rules": {"x": {"fault": "broker_down", "condition": condition}}})])


# --- what is reported -------------------------------------------------------------------------------------------------


def test_a_sink_is_away_refuses_is_limited_or_well_and_unknown_before_its_first_answer() -> None:
    progress = Progress()
    ask = InfluxHealth(progress)
    assert ask(T0) is None
    progress.failing_since_ms, progress.error = T0 - 5, "401: no"
    assert ask(T0) == PartReport("influxdb", "", "unreachable", T0 - 5, "401: no")
    progress.refusing = True
    assert ask(T0) == PartReport("influxdb", "", "refusing", T0 - 5, "401: no")
    progress.failing_since_ms, progress.answered = None, True
    assert ask(T0) == PartReport("influxdb", "", "ok", T0)
    progress.limited_ms, progress.last_refusal = T0, "max-series-per-database"
    found = ask(T0 + health.LIMITED_MS - 1)
    assert found == PartReport("influxdb", "", "limited", T0, "max-series-per-database")
    found = ask(T0 + health.LIMITED_MS)
    assert found is not None
    assert found.state == "ok"
    progress.counts["refused"] += health.MOST_REFUSED + 1
    found = ask(T0 + health.LIMITED_MS + 1)
    assert found is not None
    assert found.state == "refusing"


def test_a_receiver_fails_refuses_or_is_well() -> None:
    progress = Progress()
    ask = ReceiverHealth("desk", progress)
    assert ask(T0) is None
    progress.refused_ms, progress.last_refusal = T0, "410: gone"
    assert ask(T0) == PartReport("receiver", "desk", "undelivered", T0, "410: gone")
    progress.failing_since_ms, progress.error = T0 + 1, "away"
    assert ask(T0) == PartReport("receiver", "desk", "failing", T0 + 1, "away")
    progress.failing_since_ms = progress.refused_ms = None
    progress.answered = True
    assert ask(T0) == PartReport("receiver", "desk", "ok", T0)


def test_a_disk_is_told_hourly_and_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Volume:
        f_frsize, f_blocks, f_bavail = 2**20, 1000, 500

    now_s = 0.0
    monkeypatch.setattr("os.statvfs", lambda path: Volume)
    ask = DiskHealth(tmp_path / "kitwatch.sqlite", lambda: now_s)
    first = ask(T0)
    assert first is not None
    assert (first.value, first.words) == (50.0, "0.5 GiB where kitwatch.sqlite is")
    Volume.f_bavail = 495
    now_s = 61
    assert ask(T0 + 61_000) is first
    Volume.f_bavail = 89
    now_s = 100
    assert ask(T0 + 100_000) is first, "asked once a minute"
    now_s = 130
    found = ask(T0 + 130_000)
    assert found is not None
    assert found.value == 8.9
    now_s = 4000
    assert ask(T0 + 4_000_000) != found


def test_news_is_what_has_changed() -> None:
    now: dict[str, PartReport | None] = {"broker": None, "disk": PartReport("disk", "", "ok", 5, "", 40.0)}
    watched = [Watched("broker", "", lambda ms: now["broker"]), Watched("disk", "", lambda ms: now["disk"])]
    known: list[PartReport] = []
    assert [one.part for one in health.news(watched, known, T0)] == ["disk"]
    for part, is_news in (("disk", True), ("certificate", True), ("sink", False), ("quarantine", False)):
        report = PartReport(part, "", "ok", 5, "", 0.0)  # type: ignore[arg-type]
        found = health.news([Watched(report.part, "", lambda ms, report=report: report)], [], T0)  # type: ignore[misc]
        assert found == ([report] if is_news else []), "nothing of it is well, or the end"
    known = [PartReport("disk", "", "ok", 5, "", 40.0)]
    now["broker"] = PartReport("broker", "", "ok", 7)
    assert health.news(watched, known, T0) == [], "well from the beginning"
    now["broker"] = PartReport("broker", "", "unreachable", 7, "a")
    found = health.news(watched, known, T0)
    assert found == [now["broker"]]
    known += found
    now["broker"] = PartReport("broker", "", "unreachable", 9, "in other words")
    assert health.news(watched, known, T0) == []
    now["broker"] = PartReport("broker", "", "ok", 9)
    known.append(PartReport("influxdb", "", "refusing", 1))
    assert health.news(watched, known, T0) == [now["broker"], PartReport("influxdb", "", "gone", T0)]


def test_a_site_that_fails_costs_the_others_no_restart_and_one_that_hangs_does() -> None:
    well, failing, hanging = (Status(alive_s=100.0) for _ in range(3))
    failing.failing_s, failing.error = 30.0, "CommitFailed: no"
    hanging.alive_s = 60.0
    words = {"b": "nothing committed for 70 s: CommitFailed: no"}
    assert stuck({"a": well, "b": failing}, 100.0) == {}
    assert unwell({"a": well, "b": failing}, 100.0) == words, "the log tells it all the same"
    assert stuck({"b": failing}, 100.0) == words
    assert stuck({"b": failing}, 89.0) == {}
    assert stuck({"a": well, "c": hanging}, 100.0) == {"c": "no progress for 40 s"}
    assert stuck({"b": failing, "c": hanging}, 100.0) == {**words, "c": "no progress for 40 s"}


# --- in the log -------------------------------------------------------------------------------------------------------


def test_reports_stand_in_the_log_and_judged_again_come_to_the_same_tickets() -> None:
    site = Site_()
    site.drive(60, "amb-1")

    def say(*reports: PartReport) -> None:
        def all_of_them(work: object) -> None:
            for report in reports:
                work.report(report)  # type: ignore[attr-defined]

        site.do(all_of_them)

    say(PartReport("influxdb", "", "refusing", site.now, "401: authorization failed"))
    site.drive(120, "amb-1", sim="absent")
    say(PartReport("receiver", "desk", "undelivered", site.now, "410"), PartReport("disk", "", "ok", 0, "", 3.0))
    say(*health.unattended(site.now - 90_000, site.now, "no collector owned the site"))
    site.pass_time(600)
    site.new_owner()
    say(PartReport("influxdb", "", "ok", site.now))
    site.pass_time(600)
    rows = rows_of(site.commits)
    faults = Counter(row[2] for row in rows["problem"].values())
    ours = ("influx_refuses", "notice_undelivered", "centre_disk_filling", "platform_module_down")
    assert [faults[fault] for fault in ours] == [1, 1, 1, 1]
    assert {key[0] for key, row in rows["problem"].items() if row[2] in ours} == {""}, "of the site, of no vehicle"
    assert judged_again(FORCE, site.commits) == rows
    kinds = {type(entry) for batch in batches_of(SITE, site.commits) for entry in batch.entries}
    assert Reported in kinds


# --- of vehicles ------------------------------------------------------------------------------------------------------


def test_an_outbox_that_is_not_on_disk_is_a_ticket_of_its_vehicle() -> None:
    story = Story(rules=SHIPPED)
    for at in range(0, 200, 10):
        story.sample("agent", {"agent.outbox_volatile": True}, at, input="agent")
    for at in range(200, 400, 10):
        story.sample("agent", {"agent.outbox_volatile": False}, at, input="agent")
    assert [life[:3] for life in story.life()] == [("outbox_volatile", "over", 0)]


def test_a_login_that_is_refused_for_an_hour_is_a_ticket_until_it_is_taken() -> None:
    story = Story(rules=SHIPPED)
    why = "login refused: admin at 10.0.0.9 (401); tried again within the hour"
    story.tell("problem", "modem", {"problem": why}, 10)
    for at in range(60, 3_720, 60):
        story.heat(60, at)
        story.tick(at)
        assert ("login_refused" in story.faults()) == (at > 3_610)
    (problem,) = [one for one in story.problems() if one.key.fault == "login_refused"]
    assert (problem.key.device, problem.event_ms, problem.evidence[0].text) == ("modem", T0 + 10_000, why)
    story.tell("problem", "modem", {"problem": ""}, 4_000)
    story.tick(4_001)
    assert ("login_refused", "over") in [life[:2] for life in story.life()]
