"""What is beyond a vehicle's quotas: refused, counted, told by one ticket, and judged again the same."""

from __future__ import annotations

from typing import get_args

from collector.core.rules.files import load_rules
from collector.site.quotas import Quotas, words_of
from collector.site.turns import Refusal
from collector.site.unit_of_work import UnitOfWork
from tests.unit.judged_again import judged_again, rows_of
from tests.unit.test_replay import FORCE, Site_

QUOTAS = Quotas()
HOUR_S = 3600


def refuse(site: Site_, quota: str, number: int = 1, vehicle: str = "amb-1") -> UnitOfWork:
    words = words_of(quota, QUOTAS)
    return site.do(lambda work: work.refuse(vehicle, quota, words, number))


def told(site: Site_) -> list[tuple[str, str, str]]:
    """(ticket, what, words) of every event of a ticket about a quota."""
    return [
        (one.ticket.id, one.event.what, str(getattr(one.event.body, "text", "")))
        for changes in site.commits
        for one in changes.recorded
        if one.ticket.fault == "quarantine_growing"
    ]


def test_one_ticket_says_which_quotas_and_ends_after_an_hour_without_a_refusal() -> None:
    site = Site_()
    site.drive(60, "amb-1")
    refuse(site, "records", 500)
    records, waiting = (words_of(quota, QUOTAS) for quota in ("records", "waiting_records"))
    assert records == "over quota: records (100000 at once, 500 a second)"
    assert told(site) == [("2026-0001", "opened", records)]
    site.drive(60, "amb-1")
    refuse(site, "waiting_records")
    assert told(site)[1:] == [("2026-0001", "noted", waiting)]
    for _ in range(40):
        site.drive(60, "amb-1")
        refuse(site, "records")
    assert len(told(site)) == 2, "it is told once"
    site.drive(HOUR_S + 60, "amb-1")
    assert [what for _, what, _ in told(site)[2:]] == ["problem_over", "self_healed"]
    assert not site.memory.vehicles["amb-1"].occurrences
    assert judged_again(FORCE, site.commits) == rows_of(site.commits)


def test_every_refusal_is_counted_and_the_log_hears_of_it_once_a_minute() -> None:
    site = Site_()
    batches = []
    for _ in range(100):
        refuse(site, "records", 1_000)
        batches.append(site.commits[-1].batch is not None)
        site.now += 1_000
    assert sum(changes.counters.get("over_quota.records", 0) for changes in site.commits) == 100_000
    assert sum(batches) <= 4


def test_every_quota_that_refuses_has_words() -> None:
    for quota in get_args(Refusal):
        assert words_of(quota, QUOTAS).startswith(f"over quota: {quota} (")


def test_a_topic_that_names_no_vehicle_is_counted_and_opens_nothing() -> None:
    site = Site_()
    refuse(site, "records", vehicle="no vehicle at all")
    assert site.commits[-1].counters == {"over_quota.records": 1}
    assert told(site) == []


def test_a_vehicle_in_the_workshop_has_the_ticket_too() -> None:
    assert "workshop" in load_rules().by_id["over_quota"].when
