"""Who is told what, and when: the tables of docs/notifications.md."""

from __future__ import annotations

import datetime
import zoneinfo
from pathlib import Path

import msgspec
import pytest

from collector.contract import load_contract
from collector.core.contract import Contract
from collector.core.notifications import Body, message_of, notifications_of
from collector.core.recipients import Recipients, others_for, recipients_of, wait_ms
from collector.core.tickets import events as e
from collector.core.tickets.draft import Recorded
from collector.core.tickets.events import TicketEvent
from collector.core.tickets.ticket import Ticket
from collector.core.tickets.timers import coming
from collector.main import load as load_all
from collector.roster import check_channels
from collector.site.addressing import receivers_of
from collector.site.in_force import InForce, Receiver
from collector.store.rows import To
from kitwatch.main import main
from telemetry.files import FileError
from telemetry.fleet import Site

ZONE = zoneinfo.ZoneInfo("Asia/Shanghai")
KNOWN = frozenset({"sms", "mail"})
ROSTER = """
roster:
  zhao:
    name: 赵工
    role: engineer
    channels: [{by: sms, address: "1"}, {by: mail, address: zhao@example.com}]
    on_duty: [{days: [mon, tue, wed, thu, fri], from: "08:00", to: "20:00"}]
    stand_in: qian
    away: [{from: 2026-11-30, to: 2026-12-01}, {from: 2026-12-10, to: 2026-12-10, stand_in: sun}]
  qian:
    name: 钱工
    role: engineer
    channels: [{by: sms, address: "2"}]
    on_duty: [{from: "20:00", to: "08:00"}, {dates: [2026-12-05], from: "08:00", to: "20:00"}]
    quiet_hours: {from: "22:00", to: "07:00"}
  sun:
    name: 孙经理
    role: manager
    channels: [{by: mail, address: sun@example.com}]
    quiet_hours: {from: "22:00", to: "07:00"}
  wei: {name: 魏主任, role: information}
  li: {name: 李调度, role: dispatcher, channels: [{by: mail}], on_duty: []}
"""
NIGHT, NOON, SATURDAY, EXTRA = "12-02 23:30", "12-02 12:00", "12-06 12:00", "12-05 12:00"


def ms(text: str) -> int:
    local = datetime.datetime.strptime(f"2026-{text}", "%Y-%m-%d %H:%M").replace(tzinfo=ZONE)
    return round(local.timestamp() * 1000)


def contract_of(tmp_path: Path, text: str = ROSTER) -> Contract:
    path = tmp_path / "contract.yaml"
    path.write_text(text)
    return load_contract(path).contract


@pytest.fixture
def contract(tmp_path: Path) -> Contract:
    return contract_of(tmp_path)


def event(what: str, when: str, body: e.Body = e.NO_WORDS, number: int = 1, who: str = "rule") -> TicketEvent:
    return TicketEvent(number=number, what=what, at_ms=ms(when), recorded_ms=ms(when), who=who, body=body)


def to(*words: str) -> e.Escalation:
    return e.Escalation(" ".join(words), "")


@pytest.mark.parametrize(
    ("what", "when", "body", "people", "note"),
    [
        ("opened", NOON, e.NO_WORDS, ("zhao",), ""),
        ("opened", NIGHT, e.NO_WORDS, ("qian",), ""),
        ("opened", "12-02 07:59", e.NO_WORDS, ("qian",), ""),
        ("opened", "12-02 08:00", e.NO_WORDS, ("zhao",), ""),
        ("opened", "12-02 20:00", e.NO_WORDS, ("qian",), ""),
        ("opened", SATURDAY, e.NO_WORDS, ("qian", "zhao"), "nobody_on_duty"),
        ("opened", EXTRA, e.NO_WORDS, ("qian",), ""),  # a Saturday that the dates name
        ("opened", "12-01 12:00", e.NO_WORDS, ("qian",), ""),  # zhao is away, qian stands in although not on duty
        ("opened", "12-10 12:00", e.NO_WORDS, ("sun",), ""),  # another stand-in for that day
        ("reopened", NOON, e.NO_WORDS, ("zhao",), ""),
        ("dissatisfied", NIGHT, e.NO_WORDS, ("qian",), ""),
        ("escalated", NOON, to("engineer"), ("zhao",), ""),
        ("escalated", NOON, to("manager"), ("sun",), ""),
        ("escalated", NOON, to("zhao", "manager", "engineer"), ("zhao", "sun"), ""),
        ("escalated", NOON, to("information"), ("zhao", "qian"), "nobody_on_duty"),  # who has no channels
        ("escalated", NOON, to("wei"), ("qian", "zhao"), "not_reachable"),
        ("escalated", NOON, to("dispatcher"), ("li",), "nobody_on_duty"),  # never on duty by itself
        ("escalated", NOON, to("dispatcher", "manager"), ("li", "sun"), "nobody_on_duty"),
        ("assigned", NOON, e.Assignment("qian"), ("qian",), ""),  # on duty or not
        ("assigned", "11-30 12:00", e.Assignment("zhao"), ("qian",), ""),
        ("call_back_drawn", NOON, e.Draw("li", ("li",), ""), ("li",), ""),
        ("asked", NOON, to("qian"), ("qian",), ""),
    ],
)
def test_for_whom_a_notification_is(
    contract: Contract, what: str, when: str, body: e.Body, people: tuple[str, ...], note: str
) -> None:
    found = recipients_of(event(what, when, body), (), contract, KNOWN)
    assert (set(found.people), found.note) == (set(people), note)
    assert len(found.people) == len(people)


def test_resolved_is_for_those_who_were_told_in_this_round(contract: Contract) -> None:
    earlier = [
        event("opened", NIGHT, number=1),
        event("resolved", NIGHT, number=2),
        event("reopened", NOON, number=3),
        event("escalated", NOON, to("manager"), number=4),
        event("assigned", NOON, e.Assignment("li"), number=5),
    ]
    found = recipients_of(event("self_healed", "12-03 12:00", number=6), earlier, contract, KNOWN)
    assert found == Recipients(("li", "sun", "zhao"), frozenset({"engineer", "manager", "dispatcher"}))
    by_zhao = recipients_of(event("resolved", NOON, number=6, who="zhao"), earlier, contract, KNOWN)
    assert by_zhao.people == ("li", "sun")


@pytest.mark.parametrize("what", ["cancelled", "merged", "unmerged"])
def test_who_was_told_of_a_ticket_is_told_that_it_is_gone(contract: Contract, what: str) -> None:
    """Whoever is under way to the vehicle turns round; and hears it if there is something to do all the same."""
    earlier = [
        event("opened", NIGHT, number=1),
        event("reopened", NOON, number=2),
        event("escalated", NOON, to("manager"), number=3),
        event("merged", NOON, e.MergeInto("2026-0009"), number=4, who="sun"),
    ]
    by_sun = recipients_of(event(what, "12-03 12:00", number=5, who="sun"), earlier, contract, KNOWN)
    assert by_sun == Recipients(("zhao",), frozenset({"engineer", "manager"}))


def test_nobody_is_told_what_he_did_himself_and_nobody_in_his_place(contract: Contract) -> None:
    own = event("assigned", NOON, e.Assignment("zhao"), who="zhao")
    assert recipients_of(own, (), contract, KNOWN).people == ()


def test_whoever_no_channel_reaches_is_left_out(contract: Contract) -> None:
    assert recipients_of(event("opened", NOON), (), contract, frozenset({"sms"})).people == ("zhao",)
    assert recipients_of(event("escalated", NOON, to("manager")), (), contract, frozenset({"sms"})).people == (
        "qian", "zhao",
    )  # fmt: skip
    assert recipients_of(event("opened", NOON), (), contract, frozenset()) == Recipients((), frozenset({"engineer"}))


def test_stand_ins_that_stand_in_for_each_other_end(tmp_path: Path) -> None:
    text = """
roster:
  a: {name: a, role: engineer, channels: [{by: sms}], stand_in: b, away: [{from: 2026-12-01, to: 2026-12-31}]}
  b: {name: b, role: engineer, channels: [{by: sms}], stand_in: a, away: [{from: 2026-12-02, to: 2026-12-02}]}
  c: {name: c, role: manager, channels: [{by: sms}]}
"""
    contract = contract_of(tmp_path, text)
    assert recipients_of(event("opened", "12-03 12:00"), (), contract, KNOWN).people == ("b",)
    nobody = recipients_of(event("opened", "12-02 12:00"), (), contract, KNOWN)
    assert nobody == Recipients(("c",), frozenset({"engineer"}), "nobody_on_duty")


@pytest.mark.parametrize(
    ("person", "sla_class", "when", "until"),
    [
        ("zhao", "general", NOON, 30),
        ("zhao", "disaster", NOON, 0),
        ("qian", "general", "12-02 21:59", ms("12-03 07:00")),  # the half minute ends within the quiet hours
        ("qian", "general", "12-02 22:00", ms("12-03 07:00")),
        ("qian", "general", "12-03 03:00", ms("12-03 07:00")),
        ("qian", "general", "12-03 07:00", 30),
        ("qian", "disaster", "12-03 03:00", 0),
        ("nobody", "general", NOON, 30),
    ],
)
def test_when_somebody_may_be_told(contract: Contract, person: str, sla_class: str, when: str, until: int) -> None:
    at_ms = ms(when) + (30_000 if when == "12-02 21:59" else 0)
    found = wait_ms(contract, person, sla_class, at_ms)  # type: ignore[arg-type]
    assert found == (until - at_ms if until > 1000 else until * 1000)


def test_who_is_turned_to(contract: Contract) -> None:
    assert others_for(contract, "zhao", KNOWN, ms(NOON)) == ("qian", "sun")
    assert others_for(contract, "qian", KNOWN, ms(NOON)) == ("sun",)
    assert others_for(contract, "sun", KNOWN, ms(NOON)) == ()
    assert others_for(contract, "zhao", frozenset({"sms"}), ms(NOON)) == ("qian",)


# --- rows and words ---------------------------------------------------------------------------------------------------


TICKET = Ticket(
    id="2026-0007", site="north", source="rule", vehicle="amb-3", device="cam1", fault="camera_down", severity="major",
    sla_class="general", event_ms=ms(NOON), detected_ms=ms(NOON), opened_ms=ms(NOON), notice_ms=ms(NOON),
    changed_ms=ms(NOON),
)  # fmt: skip


OPENING = e.Opening(
    source="rule", fault="camera_down", sla_class="general", severity="major", event_ms=ms(NOON), detected_ms=ms(NOON)
)


def rows(contract: Contract, *receivers: Receiver, one: TicketEvent | None = None) -> tuple[To, ...]:
    force = InForce("north", Site(vehicles={}), None, receivers, contract)  # type: ignore[arg-type]
    (told,) = notifications_of(
        [Recorded(TICKET, one or event("opened", NOON))], force.site, contract, force.channels
    )  # fmt: skip
    return receivers_of(told, force)


def test_receivers_that_no_person_names_are_told_everything(contract: Contract) -> None:
    group = Receiver("group", "wecom")
    found = rows(contract, Receiver("sms", "webhook"), Receiver("mail", "apprise"), group)
    assert found == (To("group", "wecom"), To("zhao", "sms", True, "1", 30_000))
    assert rows(Contract(), Receiver("sms", "webhook"), group) == (To("sms", "webhook"), To("group", "wecom"))


@pytest.mark.parametrize(
    ("tells", "opened", "escalated"),
    [(("opened",), True, False), (("manager",), False, True), ((), False, False), (("engineer",), True, False)],
)
def test_a_receiver_may_say_what_it_is_told(
    contract: Contract, tells: tuple[str, ...], opened: bool, escalated: bool
) -> None:
    both = [To("sms", "webhook")]
    receiver = Receiver("sms", "webhook", tells)
    up = event("escalated", NOON, to("manager"), number=2)
    assert [one for one in rows(contract, receiver) if not one.of_roster] == both * opened
    assert [one for one in rows(contract, receiver, one=up) if not one.of_roster] == both * escalated


def body(what: str = "opened", when: str = SATURDAY, contract: Contract | None = None, number: int = 1) -> Body:
    one = event(what, when, to("manager") if what == "escalated" else e.NO_WORDS, number)
    force = contract or Contract()
    (told,) = notifications_of([Recorded(TICKET, one)], Site(vehicles={}), force, KNOWN)
    return msgspec.json.decode(told.body, type=Body)


def test_the_text_says_when_nobody_is_on_duty(contract: Contract) -> None:
    text = body(contract=contract).text
    assert text.zh.endswith("(无人值班)")
    assert text.en.endswith("(nobody is on duty)")
    assert "无人" not in body(contract=Contract()).text.zh


def test_a_message_says_how_many_it_stands_for_and_the_latest(tmp_path: Path) -> None:
    contract = contract_of(tmp_path, ROSTER + 'notifications: {link: "https://kw.example.org/"}')
    bodies = [body("opened", NOON, contract), body("escalated", NOON, contract, 2), body("resolved", NOON, contract, 3)]
    one = message_of(bodies[:1], "zhao", "1")
    assert (one.id, one.folded, one.person, one.address) == ("north/2026-0007/1/opened/zhao", 1, "zhao", "1")
    assert (one.text, one.link) == (bodies[0].text, "https://kw.example.org/#2026-0007")
    three = message_of(bodies, "zhao", "1")
    assert (three.id, three.what, three.folded) == ("north/2026-0007/1/opened/zhao", "resolved", 3)
    assert three.text.zh == f"共 3 条, 最新: {bodies[2].text.zh}"
    assert three.text.en == f"3 notifications, the latest: {bodies[2].text.en}"


def test_reminders_of_what_nobody_has_acknowledged(contract: Contract) -> None:
    def reminders(ticket: Ticket, contract: Contract, *told: TicketEvent) -> list[tuple[str, int]]:
        dues = coming(ticket, [event("opened", NOON, OPENING), *told], contract)
        return [(due.clock, (due.at_ms - ms(NOON)) // 3_600_000) for due in dues if due.clock.startswith("ack")]

    assert reminders(TICKET, contract) == [("acknowledge/1", 4)]
    thrice = msgspec.structs.replace(contract.telling, repeat_most=3)
    contract = msgspec.structs.replace(contract, telling=thrice)
    assert reminders(TICKET, contract) == [("acknowledge/1", 4), ("acknowledge/1", 8), ("acknowledge/1", 12)]
    assert reminders(TICKET, Contract()) == []  # nobody of the roster is told by a channel: as ever
    for change in ({"state": "acknowledged"}, {"sla_class": "deferrable"}, {"recurring": True}):
        assert reminders(msgspec.structs.replace(TICKET, **change), contract) == []
    once = msgspec.structs.replace(contract.telling, repeat_most=1, repeat_ms=3_600_000)
    assert reminders(TICKET, msgspec.structs.replace(contract, telling=once)) == [("acknowledge/1", 1)]
    again = msgspec.structs.replace(TICKET, round=2)
    earlier = event("asked", NOON, e.Escalation("engineer", "", "acknowledge/1", 1), 2)
    assert reminders(again, contract, earlier) == [("acknowledge/2", 4), ("acknowledge/2", 8)]
    comment = event("commented", NOON, e.Remark("on my way"), 3, who="zhao")
    assert len(reminders(again, contract, earlier, comment)) == 3, "somebody has done something"


# --- what the file may say --------------------------------------------------------------------------------------------


PERSON = (
    "roster: {{zhao: {{name: 赵, role: engineer, channels: [{{by: sms}}], {}}}, qian: {{name: 钱, role: engineer}}}}"
)


@pytest.mark.parametrize(
    ("keys", "key", "words"),
    [
        ("stand_in: nobody", "roster.zhao.stand_in", "expected another one of the roster, found 'nobody'"),
        ("stand_in: zhao", "roster.zhao.stand_in", "expected another one of the roster, found 'zhao'"),
        ("stand_in: qian", "roster.zhao.stand_in", "expected somebody with channels, found 'qian', who has none"),
        ("quiet_hours: {from: '25:00', to: '07:00'}", "roster.zhao.quiet_hours.from", "25:00"),
        ("quiet_hours: {from: '07:00', to: '07:00'}", "roster.zhao.quiet_hours.to", "expected another time than from"),
        ("on_duty: [{from: '24:00', to: '07:00'}]", "roster.zhao.on_duty.0.from", "expected a time before 24:00"),
        ("on_duty: [{days: [funday]}]", "roster.zhao.on_duty.0.days.0", "funday"),
        ("away: [{from: 2026-02-02, to: 2026-02-01}]", "roster.zhao.away.0.to", "expected 2026-02-02 or later"),
        ("away: [{from: soon, to: 2026-03-01}]", "roster.zhao.away.0.from", "soon"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, keys: str, key: str, words: str) -> None:
    with pytest.raises(FileError) as refused:
        contract_of(tmp_path, PERSON.format(keys))
    assert key in str(refused.value)
    assert words in str(refused.value)


def test_a_channel_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"roster\.a\.channels\.1\.by: expected each channel once, found 'sms' again"):
        contract_of(tmp_path, "roster: {a: {name: a, role: crew, channels: [{by: sms}, {by: sms}]}}")


def test_a_channel_that_the_collector_does_not_know_is_refused(
    tmp_path: Path, contract: Contract, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "contract.yaml"
    with pytest.raises(FileError, match=r"roster\.zhao\.channels\.1\.by: expected a channel of c\.yaml \(sms\), found"):
        check_channels(path, contract.roster, ["sms"], Path("c.yaml"))
    with pytest.raises(FileError, match=r"roster\.zhao: expected another id than a receiver's of c\.yaml"):
        check_channels(path, contract.roster, ["sms", "mail", "zhao"], Path("c.yaml"))
    fleet, config = tmp_path / "fleet.yaml", tmp_path / "collector.yaml"
    fleet.write_text("sites: {north: {vehicles: {}}}")
    config.write_text(
        "broker: {host: 127.0.0.1, port: 1}\ndatabase: sqlite:///x.sqlite\nfleet: fleet.yaml\ncontract: contract.yaml\n"
        "notifications: [{channel: webhook, receiver: sms, url: 'http://127.0.0.1:1/'}]\n"
    )
    from collector.config import load_config

    with pytest.raises(FileError, match=r"roster\.zhao\.channels\.1\.by"):
        load_all(load_config(config), config)
    assert main(["contract", "check", "--contract", str(path), "--config", str(config)]) != 0
    assert "roster.zhao.channels.1.by: expected a channel of" in capsys.readouterr().err
    assert main(["contract", "check", "--contract", str(path)]) == 0
    told = capsys.readouterr().out
    assert "zhao (engineer): told by sms, mail; on duty mon tue wed thu fri 08:00-20:00\n" in told
    assert "; on duty 20:00-08:00; 2026-12-05 08:00-20:00\n" in told
    assert "li (dispatcher): told by mail; on duty never\n" in told
