"""Silence counts only while our own beat comes back behind the queue (docs/architecture.md, Listening)."""

from collector.site.heartbeat import Ear
from telemetry.message import Beat


def _ear() -> Ear:
    return Ear(epoch=7, interval_ms=5_000, patience=3, reconnect_ms=180_000)


def test_not_listening_before_a_beat_came_back() -> None:
    ear = _ear()
    assert ear.beat(0) is None, "no connection, no beat"
    ear.connected()
    assert ear.beat(0) == Beat(7, 1)
    assert ear.listening(1_000).since_ms is None


def test_listening_begins_when_the_beat_comes_back_and_lasts() -> None:
    ear = _ear()
    ear.connected()
    for second in range(0, 60, 5):
        beat = ear.beat(second * 1000)
        assert beat is not None
        ear.heard(beat, second * 1000 + 40)
        assert ear.listening(second * 1000 + 4_999).since_ms == 40
    assert ear.listening(60_000).reconnect_ms == 180_000


def test_beats_are_five_seconds_apart() -> None:
    ear = _ear()
    ear.connected()
    sent = [ms for ms in range(0, 20_000, 500) if ear.beat(ms)]
    assert sent == [0, 5_000, 10_000, 15_000]


def test_deaf_after_three_beats_and_listening_anew_later() -> None:
    ear = _ear()
    ear.connected()
    ear.heard(Beat(7, ear.beat(0).nonce), 10)  # type: ignore[union-attr]
    assert ear.listening(15_010).since_ms == 10
    assert ear.listening(15_011).since_ms is None
    late = ear.beat(20_000)
    assert late is not None
    ear.heard(late, 20_010)
    assert ear.listening(20_010).since_ms == 20_010


def test_a_stopped_process_does_not_take_its_own_sleep_for_silence() -> None:
    ear = _ear()
    ear.connected()
    before = ear.beat(0)
    assert before is not None
    ear.heard(before, 10)
    queued = ear.beat(5_000)
    assert queued is not None
    # stopped for an hour: the first thing read afterwards is a beat of before the stop, with other words behind it
    ear.heard(queued, 3_600_000)
    assert ear.listening(3_600_000).since_ms is None
    fresh = ear.beat(3_600_000)
    assert fresh is not None
    ear.heard(fresh, 3_600_020)
    assert ear.listening(3_600_020).since_ms == 3_600_020


def test_a_beat_of_before_the_reconnect_proves_nothing() -> None:
    ear = _ear()
    ear.connected()
    old = ear.beat(0)
    assert old is not None
    ear.disconnected()
    assert ear.listening(1).since_ms is None
    ear.connected()
    ear.heard(old, 100)
    assert ear.listening(100).since_ms is None
    new = ear.beat(100)
    assert new is not None
    assert new.nonce > old.nonce
    ear.heard(new, 130)
    assert ear.listening(130).since_ms == 130


def test_a_beat_of_another_epoch_proves_nothing() -> None:
    ear = _ear()
    ear.connected()
    ear.beat(0)
    ear.heard(Beat(6, 1), 5)
    assert ear.listening(5).since_ms is None


def test_a_clock_that_steps_back_ends_listening_rather_than_guess() -> None:
    ear = _ear()
    ear.connected()
    beat = ear.beat(100_000)
    assert beat is not None
    ear.heard(beat, 100_010)
    assert ear.listening(50_000).since_ms is None
