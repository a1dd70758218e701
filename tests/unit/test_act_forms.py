"""Forms for acts on tickets: which a ticket shows, what they ask, what is read back from them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from collector.core.contract import DEFAULT, Contract
from collector.core.roster import Person
from collector.core.tickets import events as e
from collector.core.tickets.events import TicketEvent
from collector.core.tickets.fold import fold
from collector.core.tickets.offered import CALL_BACKS, moved_on, offered
from collector.core.tickets.texts import TEXTS
from collector.core.tickets.transitions import TABLE
from collector.web import texts
from collector.web.act_forms import CALL_BACK, NEXT, Around, Field, fields_of, forms, moment, read, ticket_number, typed

ZONE = "Asia/Shanghai"
NOTICE = 1_778_227_245_000
"""2026-05-08 16:00:45."""
NOW = NOTICE + 3_600_000
ROSTER = {
    "wang": Person(name="王", role="engineer"),
    "zhao": Person(name="赵", role="dispatcher"),
    "xin": Person(name="信", role="information"),
}
CALLERS = (e.Caller("李护士", "8001"), e.Caller("周医生", "8002"))
BY_PEOPLE = [what for what, row in TABLE.items() if "person" in row.by and what != "opened"]


def around(*told: tuple[str, str, e.Body], who: str = "wang", call: bool = True) -> Around:
    opening = e.Opening(
        source="call" if call else "rule", fault="sim_absent", sla_class="general", severity="major", vehicle="amb-1",
        event_ms=NOTICE, detected_ms=NOTICE, caller=CALLERS[0] if call else None,
    )  # fmt: skip
    rows: list[tuple[str, str, e.Body]] = [("opened", "zhao", opening), *told]
    events = []
    for n, (what, by, body) in enumerate(rows, 1):
        at_ms = NOTICE + (n - 1) * 1000
        events.append(TicketEvent(number=n, what=what, at_ms=at_ms, recorded_ms=at_ms, who=by, body=body))
    contract: Contract = msgspec.structs.replace(DEFAULT, roster=ROSTER)
    return Around(
        ticket=fold("c1", "2026-0001", events), events=events, contract=contract, who=who, zone=ZONE, language="zh",
        now_ms=NOW, others=[("2026-0002", "急救02车")], problems=[("amb-1\tmodem_hot/modem", "模组过热")],
    )  # fmt: skip


RESOLVED = ("resolved", "wang", e.Resolution("换卡"))


def whats(one: Around) -> list[str]:
    rows = offered(one.who, one.ticket, one.events, one.contract, one.now_ms)
    return [form.what for form in forms(rows, one)]


def test_every_act_of_a_person_has_a_form_whose_every_word_there_is() -> None:
    for language in ("zh", "en"):
        groups = texts.GROUPS[language]
        for what in (*BY_PEOPLE, CALL_BACK):
            if what not in CALL_BACKS:
                assert what in groups["act"], (language, what)
                for one in fields_of(what, around()):
                    assert one.label in groups["field"], (language, what, one.label)
                    assert not one.hint or one.hint in groups["hint"]
    asked = {one.name for what in BY_PEOPLE for one in fields_of(what, around())}
    said = {name for what in BY_PEOPLE for name in TABLE[what].body.__struct_fields__}
    assert asked >= said - {
        "clock", "level", "due_ms", "severity", "role", "verb", "until_ms", "at_ms", "caller", "why_unrecovered",
    }  # fmt: skip


def test_the_table_decides_which_forms_there_are_and_the_state_which_comes_first() -> None:
    new = around()
    assert whats(new)[:2] == ["acknowledged", "responded"]
    assert {"goes_on", "taken_into_contract", CALL_BACK, "unmerged"} & set(whats(new)) == set()
    waiting = around(("waits", "wang", e.Wait("customer", "电话", NOW + 1)))
    assert whats(waiting)[0] == "goes_on"
    assert "responded" not in whats(around(("responded", "wang", e.Response("remote"))))
    assert whats(around(RESOLVED, who="zhao"))[0] == CALL_BACK
    assert CALL_BACK not in whats(around(RESOLVED)), "who worked on it does not call back"
    closed = around(RESOLVED, ("confirmed", "zhao", e.Satisfaction("good", CALLERS[0])))
    assert whats(closed)[0] == "reopened_by_hand"
    for state, likely in NEXT.items():
        for what in likely:
            rows = CALL_BACKS if what == CALL_BACK else (what,)
            assert all(state in TABLE[one].states for one in rows), (state, what)


@pytest.mark.parametrize(
    ("what", "given", "says"),
    [
        ("commented", {"text": "  两行\r\n备注 "}, {"text": "两行\n备注"}),
        ("responded", {"how": "on_site"}, {"how": "on_site"}),
        ("merged", {"into": "2"}, {"into": "2026-0002"}),
        ("call_attached", {"caller_name": "周", "caller_phone": "8"}, {"caller": {"name": "周", "phone": "8"}}),
        ("class_changed", {"sla_class": "disaster", "why": "x"},
         {"sla_class": "disaster", "why": "x", "severity": "critical"}),
        ("silenced", {"until": "2026-05-09T08:00", "why": "检修"}, {"until_ms": 1_778_284_800_000, "why": "检修"}),
        ("cancelled", {"reason": "误报", "callers_word": "yes"}, {"reason": "误报", "callers_word": True}),
        ("problem_attached", {"problem": "amb-1\tmodem_hot/modem"}, {"problem": ["amb-1", ["modem_hot", "modem", []]]}),
        ("corrected", {"number": "1", "at": "2026-05-08T16:00", "reason": "x"},
         {"number": 1, "at_ms": NOTICE, "reason": "x"}),
        ("resolved", {"done": "换卡", "spare_warranty_until": "2027-01-31"},
         {"done": "换卡", "spare_warranty_until": "2027-01-31"}),
    ],
)  # fmt: skip
def test_what_is_typed_is_what_the_act_says(what: str, given: dict[str, str], says: dict[str, Any]) -> None:
    found = read(what, given, around(who="zhao"))
    assert (found.what, found.problems) == (what, {})
    assert {key: list(map(_plain, value)) if key == "problem" else value for key, value in found.says.items()} == says


def _plain(value: Any) -> Any:
    return [list(part) if isinstance(part, tuple) else part for part in value] if isinstance(value, tuple) else value


@pytest.mark.parametrize(
    ("given", "what", "problems"),
    [
        ({}, "confirmed", {"reached": "needed"}),
        ({"reached": "no"}, "not_reached", {}),
        ({"reached": "yes"}, "confirmed", {"solved": "needed", "answer": "needed"}),
        ({"reached": "yes", "solved": "yes", "answer": "excellent"}, "confirmed", {}),
        ({"reached": "yes", "solved": "no", "answer": "good"}, "dissatisfied", {}),
        ({"reached": "yes", "solved": "yes", "answer": "bad"}, "dissatisfied", {}),
        ({"reached": "yes", "solved": "yes", "answer": "fine"}, "confirmed", {"answer": "no_choice"}),
    ],
)
def test_three_questions_make_one_of_three_acts(given: dict[str, str], what: str, problems: dict[str, str]) -> None:
    found = read(CALL_BACK, given, around(RESOLVED, who="zhao"))
    assert (found.what, found.problems) == (what, problems)
    assert ("answer" in found.says) == (what == "confirmed" and given.get("answer") == "excellent")


def test_of_several_callers_one_says_who_was_asked() -> None:
    two = around(("call_attached", "zhao", e.Call(CALLERS[1])), RESOLVED, who="zhao")
    given = {"caller": "周医生\t8002", "reached": "no"}
    assert read(CALL_BACK, given, two).says["caller"] == {"name": "周医生", "phone": "8002"}
    assert read(CALL_BACK, {"reached": "no"}, two).problems == {"caller": "needed"}


def test_what_is_missing_or_no_time_is_told_by_field() -> None:
    assert read("waits", {"reason": "weather", "until": "soon"}, around()).problems == {
        "reason": "no_choice", "evidence": "needed", "until": "no_time",
    }  # fmt: skip
    assert read("planned", {"at": "2026-05-08 16:00"}, around()).at_ms == NOTICE, "its minute is not before the notice"
    assert read("planned", {"at": "2026-05-08"}, around()).problems == {"at": "no_time"}


def test_acts_can_be_corrected_by_who_did_them_or_by_the_information_department() -> None:
    def numbers(one: Around) -> list[str]:
        (field,) = [field for field in fields_of("corrected", one) if field.name == "number"]
        return [value for value, _ in field.choices]

    told = (("acknowledged", "wang", e.Remark()), ("noted", "desk", e.Remark("x")))
    assert numbers(around(*told)) == ["2"]
    assert numbers(around(*told, who="xin")) == ["2", "1"]


def test_times_and_numbers_as_people_type_them() -> None:
    assert moment(typed(NOW, ZONE), ZONE) == NOW // 60_000 * 60_000
    assert ticket_number("153", NOW, ZONE) == "2026-0153"
    assert ticket_number("2026-0002 急救02车", NOW, ZONE) == "2026-0002"
    assert moment("2026-02-30T10:00", ZONE) is None


def test_words_and_the_desks_own_notes_do_not_make_a_form_stale() -> None:
    one = around(("commented", "zhao", e.Remark("x")), ("noted", "desk", e.Remark("x")), ("escalated", "desk",
                 e.Escalation("manager", "", "response/general", 1, NOW)))  # fmt: skip
    assert not moved_on(one.events, 1)
    assert moved_on(around(("assigned", "zhao", e.Assignment("wang"))).events, 1)
    assert moved_on(around(("self_healed", "rule", e.Remark())).events, 1)


def test_the_answers_are_the_contracts() -> None:
    (answer,) = [one for one in fields_of(CALL_BACK, around(RESOLVED)) if one.name == "answer"]
    assert isinstance(answer, Field)
    assert [value for value, _ in answer.choices] == ["excellent", "good", "bad"]
    assert [TEXTS["zh"].values["excellent"], TEXTS["zh"].values["good"]] == ["优", "良"]
