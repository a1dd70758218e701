"""The contract file and its command: what is wrong is said in one line, and a case is told aloud."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

from collector.contract import load_contract
from collector.core.clocks import DEFAULT_CLASSES
from kitwatch.contract import _warnings
from kitwatch.main import main
from telemetry.files import FileError


def test_without_a_file_the_contract_is_the_hospitals() -> None:
    agreed = load_contract(None)
    assert agreed.terms.classes == DEFAULT_CLASSES
    assert agreed.terms.waiting_stops == ("customer", "vehicle")
    assert agreed.contract.reopen_window_ms == 72 * 3_600_000


def test_every_key_counts(tmp_path: Path) -> None:
    file = tmp_path / "contract.yaml"
    file.write_text(
        """
start: 2026-04-01
classes:
  disaster: {response: 30m, on_site: 4h, recovery: 1d}
  hardware: {solution: {calendar_days: 5, after: notice, ends_with: resolve}}
waiting:
  parts: {stops_clock: false}
  weather: {stops_clock: true}
raise_asks_again: false
roll_off_holidays: true
parked_class: {general: general}
reopen_window: 24h
recurring_times: 5
call_back_tries: 2
corrections_within: 2h
"""
    )
    agreed = load_contract(file, "Asia/Urumqi")
    disaster = agreed.terms.classes["disaster"]
    assert (disaster.response_ms, disaster.on_site_ms, disaster.recovery_ms) == (1_800_000, 14_400_000, 86_400_000)
    assert disaster.solution is None
    hardware = agreed.terms.classes["hardware"].solution
    assert hardware is not None
    assert (hardware.days, hardware.counted) == (5, "calendar")
    assert agreed.terms.classes["general"] == DEFAULT_CLASSES["general"]
    assert agreed.terms.waiting_stops == ("customer", "vehicle", "weather")
    assert agreed.terms.start_ms == 1774980000000  # 1 April 2026 00:00 in Urumqi, UTC+6
    assert (agreed.terms.raise_asks_again, agreed.terms.roll_off_holidays) == (False, True)
    contract = agreed.contract
    assert contract.parked_class == {"disaster": "general", "general": "general"}
    assert (contract.reopen_window_ms, contract.recurring_times) == (86_400_000, 5)
    assert (contract.call_back_tries, contract.correction_ms) == (2, 7_200_000)
    assert set(contract.wait_reasons) == {"customer", "vehicle", "parts", "weather"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("classes: {general: {response: 2 hours}}", "classes.general.response: expected a duration .* found '2 hours'"),
        ("classes: {general: {response: 0s}}", "classes.general.response: expected more than nothing"),
        ("classes: {general: {solution: {after: notice}}}", "solution: expected either working_days or calendar_days"),
        (
            "classes: {general: {solution: {working_days: 3, calendar_days: 3, after: notice}}}",
            "expected either working_days or calendar_days",
        ),
        ("classes: {general: {solution: {working_days: 3}}}", "solution.after: expected a response clock"),
        ("classes: {urgent: {response: 1h}}", "urgent"),
        ("waiting: {parts: {}}", "waiting.parts"),
        ("calendar: elsewhere", "calendar: expected a folder, found none"),
        ("reopen: 72h", "reopen"),
        ("start: soon", "start: expected a day such as 2026-10-01, found 'soon'"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_key(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "contract.yaml"
    file.write_text(text)
    with pytest.raises(FileError, match=words) as told:
        load_contract(file)
    assert str(file) in str(told.value)


# --- calendars --------------------------------------------------------------------------------------------------------

DECREE = """
year: 2027
source: an example of a decree
holidays: [2027-01-01, 2027-01-02, 2027-01-03]
make_up: [2027-01-09]
"""


def test_a_year_that_is_put_in_makes_a_clock_computable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    contract, decree = tmp_path / "contract.yaml", tmp_path / "next.yaml"
    contract.write_text("{}")
    decree.write_text(DECREE)
    case = ["--notice", "2026-12-31 09:00", "--response", "2026-12-31 10:00", "--contract", str(contract), "--json"]
    assert main(["contract", "explain", *case]) == 0
    before = json.loads(capsys.readouterr().out)["clocks"][1]
    assert (before["due"], before["missing_year"], before["status"]) == (None, 2027, "not_computable")
    assert main(["contract", "calendar", "add", str(decree), "--contract", str(contract), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[-1]["source"] == "an example of a decree"
    assert main(["contract", "explain", *case]) == 0
    after = json.loads(capsys.readouterr().out)["clocks"][1]
    assert after["due"] == "2027-01-07 00:00"  # Monday 4, Tuesday 5, Wednesday 6


def test_a_decree_goes_where_the_contract_says_and_may_be_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contract, decree = tmp_path / "contract.yaml", tmp_path / "next.yaml"
    (tmp_path / "decrees").mkdir()
    contract.write_text("calendar: decrees")
    decree.write_text(DECREE)
    add = ["contract", "calendar", "add", str(decree), "--contract", str(contract)]
    for done in ("put in", "replaced"):
        assert main(add) == 0
        told = capsys.readouterr()
        assert f"decrees/2027.yaml: {done}: " in told.err
        assert "`kitwatch reload`" in told.err
        assert "(an example of a decree)" in told.out
    assert [path.name for path in (tmp_path / "decrees").iterdir()] == ["2027.yaml"]
    decree.write_text(DECREE.replace("year: 2027", "year: 2028"))
    assert main(add) == 2
    assert "holidays.0: expected a day of 2028" in capsys.readouterr().err
    for words in (["calendar", "put"], ["calendar", "add"], ["calendar", "add", str(decree)]):
        assert main(["contract", *words]) == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("2027-01-09", "2027-01-08"), "make_up.0: expected a Saturday or Sunday, found Friday"),
        (("2027-01-09", "2028-01-09"), "make_up.0: expected a day of 2027"),
        (("2027-01-09", "2027-01-02"), "expected a day that is no holiday"),
        (("2027-01-02", "2027-01-01"), "holidays.1: expected each day once"),
        (("year: 2027", "year: twenty"), "year"),
    ],
)
def test_a_decree_that_cannot_be_is_refused(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    folder = tmp_path / "calendar"
    folder.mkdir()
    (folder / "2027.yaml").write_text(DECREE.replace(*change, 1))
    (tmp_path / "contract.yaml").write_text("{}")
    with pytest.raises(FileError, match=words):
        load_contract(tmp_path / "contract.yaml")


def test_a_file_under_another_years_name_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "calendar"
    folder.mkdir()
    (folder / "2028.yaml").write_text(DECREE)
    (tmp_path / "contract.yaml").write_text("{}")
    with pytest.raises(FileError, match="year: expected 2028, as the file is named; found 2027"):
        load_contract(tmp_path / "contract.yaml")


# --- the command ------------------------------------------------------------------------------------------------------


def test_a_case_is_told_aloud_in_both_languages(capsys: pytest.CaptureFixture[str]) -> None:
    case = ["--notice", "2026-05-08 16:00", "--response", "2026-05-08 17:00", "--now", "2026-05-12 00:00"]
    assert main(["contract", "explain", *case, "--lang", "en"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "general fault, notice Fri 2026-05-08 16:00 (Asia/Shanghai)",
        "response (general fault): 2 h around the clock, from the notice, Fri 2026-05-08 16:00",
        "  due Fri 2026-05-08 18:00",
        "  ended Fri 2026-05-08 17:00: kept",
        "solution (general fault): 3 working days, from the response, Fri 2026-05-08 17:00; that day does not count",
        "  Sat 2026-05-09  make-up working day: counts",
        "  Sun 2026-05-10  weekend: does not count",
        "  Mon 2026-05-11  working day: counts",
        "  Tue 2026-05-12  working day: counts",
        "  due Wed 2026-05-13 00:00",
        "  running",
    ]
    assert main(["contract", "explain", *case]) == 0
    assert "  周六 2026-05-09  调休上班：计入" in capsys.readouterr().out.splitlines()


def test_what_waiting_stops_and_where_the_last_day_goes_is_told_aloud(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contract = tmp_path / "contract.yaml"
    contract.write_text("classes:\n  disaster: {response: 1h, on_site: 4h}\nroll_off_holidays: true\n")
    file = ["--contract", str(contract), "--lang", "en"]
    wait = ["--wait", "vehicle", "2026-03-02 11:00", "2026-03-02 13:00"]
    case = ["--class", "disaster", "--notice", "2026-03-02 10:00", "--now", "2026-03-02 13:30"]
    assert main(["contract", "explain", *file, *case, *wait]) == 0
    assert capsys.readouterr().out.splitlines()[-4:] == [
        "on site (disaster): 4 h around the clock, from the notice, Mon 2026-03-02 10:00",
        "  waiting: 120 minutes do not count",
        "  due Mon 2026-03-02 16:00",
        "  running",
    ]
    wait = ["--wait", "customer", "2026-10-08 10:00", "2026-10-08 16:00"]
    case = ["--class", "hardware", "--spare", "at_hand", "--notice", "2026-09-30 10:00", "--now", "2026-10-08 17:00"]
    assert main(["contract", "explain", *file, *case, *wait]) == 0
    assert capsys.readouterr().out.splitlines()[2:] == [
        "  Thu 2026-10-01  day: counts",
        "  Fri 2026-10-02  day: counts",
        "  Thu 2026-10-08  a last day that is not worked moves to the first working day",
        "  Thu 2026-10-08  waiting: 360 minutes do not count",
        "  Thu 2026-10-08  day: counts 1080 minutes",
        "  Fri 2026-10-09  day: counts 360 minutes",
        "  due Fri 2026-10-09 06:00",
        "  running",
    ]


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (["--notice", "yesterday"], "expected a time such as '2026-05-08 16:00', found 'yesterday'"),
        (["--notice", "2026-05-08 16:00", "--class", "urgent"], "expected one of disaster"),
        (["--notice", "2026-05-08 16:00", "--wait", "rain", "x", "y"], "expected a reason of the contract"),
        (["--notice", "2026-05-08 16:00", "--zone", "Mars"], "expected a zone"),
    ],
)
def test_a_wrong_case_is_one_line(case: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["contract", "explain", *case]) == 2
    told = capsys.readouterr()
    assert words in told.err
    assert told.err.count("\n") == 1
    assert told.out == ""


def test_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["contract", "check"]) == 0
    assert "general       response 2 h, 3 working days from the response to plan" in capsys.readouterr().out
    assert main(["contract", "check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["waiting"] == {"customer": True, "vehicle": True, "parts": False}


def test_check_says_what_will_hurt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    contract = tmp_path / "contract.yaml"
    contract.write_text("roster: {wang: {name: 王工, role: engineer}}")
    assert main(["contract", "check", "--contract", str(contract), "--json"]) == 0
    told = capsys.readouterr()
    warnings = json.loads(told.out)["warnings"]
    assert [line.removeprefix(f"kitwatch: {contract}: ") for line in told.err.splitlines()] == warnings
    assert "roster: nobody has a login: nobody can act on tickets" in warnings
    assert "escalation.response: nobody of the roster is information: that level tells nobody" in warnings
    assert [warning for warning in warnings if warning.startswith("call_back_by: expected two people")]
    contract.write_text("""
roster:
  wang: {name: 王工, role: engineer, login: wang}
  sun: {name: 孙经理, role: manager}
  li: {name: 李, role: information}
""")
    assert main(["contract", "check", "--contract", str(contract), "--json"]) == 0
    assert [one for one in json.loads(capsys.readouterr().out)["warnings"] if not one.startswith("calendar")] == []
    agreed = load_contract(contract)
    assert _warnings(agreed, datetime.date(2026, 11, 30)) == []
    missing = _warnings(agreed, datetime.date(2039, 12, 1))
    assert missing == [f"calendar: {year} is not loaded (kitwatch contract calendar add FILE)" for year in (2039, 2040)]
