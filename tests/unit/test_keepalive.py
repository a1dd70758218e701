"""When a broker is asked whether it is there, and when a connection that stands still is over."""

from __future__ import annotations

from telemetry.keepalive import UNANSWERED_S, Keepalive, Motion, Verdict


def course(
    alive: Keepalive, seconds: int, *, came: int = 0, taken: int = 0, queued: int = 0, waiting: bool = False
) -> list[Verdict]:
    """Look once a second while everything stays as it is; return what was not NOTHING."""
    motion = Motion(came, taken, queued, False, waiting)
    began = alive._looked_s
    found = [alive.look(began + second, motion) for second in range(1, seconds + 1)]
    return [one for one in found if one is not Verdict.NOTHING]


def test_a_quiet_broker_is_asked_and_its_silence_ends_it() -> None:
    alive = Keepalive(60, 30.0, 0.0)
    assert course(alive, 59) == []
    assert course(alive, 1) == [Verdict.PING]
    assert course(alive, 29) == []
    assert course(alive, 1) == [Verdict.OVER]


def test_its_answer_begins_the_wait_anew() -> None:
    alive = Keepalive(60, 30.0, 0.0)
    assert course(alive, 60) == [Verdict.PING]
    assert course(alive, 59, came=1) == []
    assert course(alive, 2, came=1) == [Verdict.PING]


def test_who_waits_for_nothing_is_left_alone_without_a_keep_alive() -> None:
    assert course(Keepalive(0, 30.0, 0.0), 10_000) == []


def test_half_a_minute_with_something_open_and_nothing_coming_back() -> None:
    assert course(Keepalive(600, 30.0, 0.0), 30, waiting=True) == []
    assert course(Keepalive(600, UNANSWERED_S, 0.0), 31, waiting=True) == [Verdict.OVER]
    assert course(Keepalive(600, 30.0, 0.0), 31, queued=5) == [Verdict.OVER]  # nobody takes what was written


def test_bytes_that_leave_and_packets_that_come_are_signs_of_life() -> None:
    alive = Keepalive(0, 30.0, 0.0)
    for round in range(1, 100):
        assert course(alive, 29, taken=round, queued=100 - round, waiting=True) == []
    for round in range(1, 100):
        assert course(alive, 29, taken=99, came=round, waiting=True) == []


def test_who_takes_every_byte_and_says_nothing_is_not_believed_for_as_long_as_we_speak() -> None:
    alive = Keepalive(0, 30.0, 0.0)
    assert course(alive, 1, waiting=True) == []
    told = [verdict for second in range(1, 40) for verdict in course(alive, 1, taken=100 * second, waiting=True)]
    assert told[0] is Verdict.OVER
    assert len(told) == 10  # from the thirtieth second on


def test_on_a_slow_link_the_answer_to_a_ping_may_be_late_while_bytes_leave() -> None:
    alive = Keepalive(60, 30.0, 0.0)
    for second in range(1, 60):
        assert course(alive, 1, taken=second, queued=1000 - second) == []
    assert course(alive, 1, taken=60, queued=940) == [Verdict.PING]
    for second in range(61, 600):  # asked once, not again and again
        assert course(alive, 1, taken=second, queued=1000 - second) == []


def test_a_process_that_was_stopped_has_not_been_waiting() -> None:
    alive = Keepalive(600, 30.0, 0.0)
    waits = Motion(0, 0, 0, False, True)
    assert alive.look(1.0, waits) is Verdict.NOTHING
    assert alive.look(3600.0, waits) is Verdict.PING


def test_a_keep_alive_that_is_shorter_is_the_patience() -> None:
    assert course(Keepalive(5, 30.0, 0.0), 6, waiting=True) == [Verdict.PING, Verdict.OVER]
    assert course(Keepalive(5, 30.0, 0.0), 10) == [Verdict.PING, Verdict.OVER]
