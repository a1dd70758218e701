"""Silence counts only while our own beat comes back behind the queue (docs/architecture.md, Listening)."""

from collector.site.heartbeat import Heartbeat
from telemetry.message import Beat


def _heartbeat() -> Heartbeat:
    return Heartbeat(epoch=7, interval_ms=5_000, patience=3, reconnect_ms=180_000)


def test_not_listening_before_a_beat_came_back() -> None:
    heartbeat = _heartbeat()
    assert heartbeat.beat(0) is None, "no connection, no beat"
    heartbeat.connected()
    assert heartbeat.beat(0) == Beat(7, 1)
    assert heartbeat.listening(1_000).since_ms is None


def test_listening_begins_when_the_beat_comes_back_and_lasts() -> None:
    heartbeat = _heartbeat()
    heartbeat.connected()
    for second in range(0, 60, 5):
        beat = heartbeat.beat(second * 1000)
        assert beat is not None
        heartbeat.heard(beat, second * 1000 + 40)
        assert heartbeat.listening(second * 1000 + 4_999).since_ms == 40
    assert heartbeat.listening(60_000).reconnect_ms == 180_000


def test_beats_are_five_seconds_apart() -> None:
    heartbeat = _heartbeat()
    heartbeat.connected()
    sent = [ms for ms in range(0, 20_000, 500) if heartbeat.beat(ms)]
    assert sent == [0, 5_000, 10_000, 15_000]


def test_deaf_after_three_beats_and_listening_anew_later() -> None:
    heartbeat = _heartbeat()
    heartbeat.connected()
    heartbeat.heard(Beat(7, heartbeat.beat(0).nonce), 10)  # type: ignore[union-attr]
    assert heartbeat.listening(15_010).since_ms == 10
    assert heartbeat.listening(15_011).since_ms is None
    late = heartbeat.beat(20_000)
    assert late is not None
    heartbeat.heard(late, 20_010)
    assert heartbeat.listening(20_010).since_ms == 20_010


def test_a_stopped_process_does_not_take_its_own_sleep_for_silence() -> None:
    heartbeat = _heartbeat()
    heartbeat.connected()
    before = heartbeat.beat(0)
    assert before is not None
    heartbeat.heard(before, 10)
    queued = heartbeat.beat(5_000)
    assert queued is not None
    # stopped for an hour: the first thing read afterwards is a beat of before the stop, with other words behind it
    heartbeat.heard(queued, 3_600_000)
    assert heartbeat.listening(3_600_000).since_ms is None
    fresh = heartbeat.beat(3_600_000)
    assert fresh is not None
    heartbeat.heard(fresh, 3_600_020)
    assert heartbeat.listening(3_600_020).since_ms == 3_600_020


def test_a_beat_of_before_the_reconnect_proves_nothing() -> None:
    heartbeat = _heartbeat()
    heartbeat.connected()
    old = heartbeat.beat(0)
    assert old is not None
    heartbeat.disconnected()
    assert heartbeat.listening(1).since_ms is None
    heartbeat.connected()
    heartbeat.heard(old, 100)
    assert heartbeat.listening(100).since_ms is None
    new = heartbeat.beat(100)
    assert new is not None
    assert new.nonce > old.nonce
    heartbeat.heard(new, 130)
    assert heartbeat.listening(130).since_ms == 130


def test_a_beat_of_another_epoch_proves_nothing() -> None:
    heartbeat = _heartbeat()
    heartbeat.connected()
    heartbeat.beat(0)
    heartbeat.heard(Beat(6, 1), 5)
    assert heartbeat.listening(5).since_ms is None


def test_a_clock_that_steps_back_ends_listening_rather_than_guess() -> None:
    heartbeat = _heartbeat()
    heartbeat.connected()
    beat = heartbeat.beat(100_000)
    assert beat is not None
    heartbeat.heard(beat, 100_010)
    assert heartbeat.listening(50_000).since_ms is None


def test_asking_about_an_earlier_moment_forgets_nothing() -> None:
    """A commit that gathered is about the moment at which it began."""
    heartbeat = _heartbeat()
    heartbeat.connected()
    beat = heartbeat.beat(0)
    assert beat is not None
    heartbeat.heard(beat, 1_000)
    assert heartbeat.listening(999).since_ms is None
    assert heartbeat.listening(1_000).since_ms == 1_000
