"""RTP statistics. Expectations are RFC 3550's rules worked by hand on small streams."""

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.protocols.rtp import Report, Statistics, parse
from tests.unit.bounds import quick

RATE = 90_000


def packet(
    sequence: int, timestamp: int = 0, size: int = 100, *, source: int = 1, payload_type: int = 96, marker: bool = False
) -> bytes:
    second = payload_type | marker << 7
    return struct.pack("!BBHII", 0x80, second, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, source) + bytes(size)


def report(statistics: Statistics, end: float) -> Report:
    found = statistics.report(end)
    assert found is not None
    return found


def received(sequences: list[int]) -> Report:
    statistics = Statistics(RATE)
    for place, sequence in enumerate(sequences):
        statistics.receive(packet(sequence, 3600 * place), place * 0.04)
    return report(statistics, len(sequences) * 0.04)


def test_header_with_everything_in_it() -> None:
    # V=2 P=1 X=1 CC=2, M=1 PT=26; two CSRCs; an extension of one word; 3 bytes of payload, 2 of padding.
    data = bytes.fromhex("b29a 1234 00000e10 deadbeef 00000001 00000002 bede0001 aabbccdd 010203 0002".replace(" ", ""))
    found = parse(data)
    assert found is not None
    assert (found.payload_type, found.marker, found.sequence) == (26, True, 0x1234)
    assert (found.timestamp, found.source, found.payload_bytes) == (3600, 0xDEADBEEF, 3)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(12),  # version 0
        packet(1)[:11],
        b"\x8f" + bytes(11),  # 15 contributing sources that are not there
        b"\x90" + bytes(11),  # an extension that is not there
        b"\x90" + bytes(11) + b"\xbe\xde\x00\x05" + bytes(8),  # an extension longer than the packet
        b"\xa0" + bytes(11),  # padding of no bytes
        b"\xa0" + bytes(11) + b"\xff",  # more padding than packet
    ],
)
def test_what_is_no_rtp_is_counted_and_left_out(data: bytes) -> None:
    statistics = Statistics(RATE)
    statistics.receive(data, 0.0)
    assert (parse(data), statistics.invalid, statistics.report(1.0)) == (None, 1, None)


@pytest.mark.parametrize(
    ("sequences", "expected", "lost", "duplicates", "misordered"),
    [
        ([1, 2, 3, 4], 4, 0, 0, 0),
        ([1, 2, 5, 6], 6, 2, 0, 0),
        ([65533, 65534, 65535, 0, 1, 3], 7, 1, 0, 0),  # wraps
        ([1, 2, 4, 3, 5], 5, 0, 0, 1),
        ([1, 2, 2, 2, 3, 5], 5, 1, 2, 0),  # what came twice does not make up for what did not come
        ([10, 9, 11], 3, 0, 0, 1),  # the first was overtaken
        ([0, 65535, 1], 3, 0, 0, 1),
        ([5], 1, 0, 0, 0),
        ([1, 2, 40_000, 3, 4], 4, 0, 0, 0),  # a single stray is no restart
        ([1, 2, 3, 40_000, 40_001, 40_002], 5, 0, 0, 0),  # a restart is not 40,000 lost (A.1 drops its first packet)
    ],
)
def test_loss_by_extended_sequence_number(
    sequences: list[int], expected: int, lost: int, duplicates: int, misordered: int
) -> None:
    found = received(sequences)
    assert (found.expected, found.lost, found.duplicates, found.misordered) == (expected, lost, duplicates, misordered)
    assert found.loss_percent == pytest.approx(100 * lost / expected)


@pytest.mark.long
def test_loss_goes_on_over_many_wraps() -> None:
    statistics = Statistics(RATE)
    sent = 300_000
    for number in range(sent):
        if number % 1000 != 500:
            statistics.receive(packet(number, 0, 0), number / 1000)
    found = report(statistics, 300.0)
    assert (found.expected, found.lost) == (sent, 300)


def test_a_new_source_begins_anew_and_what_was_counted_stays() -> None:
    statistics = Statistics(RATE)
    for sequence in (1, 2, 4):
        statistics.receive(packet(sequence, source=7), 0.0)
    for sequence in (30_000, 30_001, 30_004):
        statistics.receive(packet(sequence, source=8), 0.1)
    found = report(statistics, 1.0)
    assert (found.expected, found.lost) == (4 + 5, 1 + 2)


def test_jitter_by_hand() -> None:
    # Arrivals 0, 25, 40, 60 ms of packets stamped 0, 20, 40, 60 ms: transit 0, 5, 0, 0; steps 5, 5, 0.
    statistics = Statistics(1000)
    for place, arrival in enumerate((0.0, 0.025, 0.040, 0.060)):
        statistics.receive(packet(place, 20 * place), arrival)
    jitter = 0.0
    for step in (5, 5, 0):
        jitter += (step - jitter) / 16
    assert report(statistics, 1.0).jitter_ms == pytest.approx(jitter)
    assert jitter == pytest.approx(0.567627, abs=1e-6)


def test_jitter_over_the_wrap_of_the_time_stamp_and_over_a_jump() -> None:
    def jitter(stamps: list[int]) -> float | None:
        statistics = Statistics(RATE)
        for place, stamp in enumerate(stamps):
            statistics.receive(packet(place, stamp), 100.0 + place * 0.04)
        return report(statistics, 101.0).jitter_ms

    even = [3600 * place for place in range(6)]
    assert jitter(even) == pytest.approx(0, abs=1e-6)
    assert jitter([stamp - 7200 for stamp in even]) == pytest.approx(0, abs=1e-6)
    # A camera that sets its clock: the new origin says nothing of the network.
    assert jitter([*even[:3], *(stamp + 90_000 * 3600 for stamp in even[3:])]) == pytest.approx(0, abs=1e-6)
    assert jitter([5]) is None


def test_frames_are_the_time_stamps_and_bits_are_the_payload() -> None:
    statistics = Statistics(RATE)
    for frame in range(50):
        for part in range(3):
            statistics.receive(packet(frame * 3 + part, 3600 * frame, 500, marker=part == 2), frame * 0.04)
    found = report(statistics, 2.0)
    assert (found.frames, found.markers, found.frozen) == (50, 50, False)
    assert found.frames_per_second == pytest.approx(25)
    assert found.bitrate_kbps == pytest.approx(50 * 3 * 500 * 8 / 1000 / 2)


def test_frames_in_decoding_order_are_each_one() -> None:
    statistics = Statistics(RATE)
    for place, shown in enumerate((0, 3, 1, 2, 6, 4, 5)):  # I P B B P B B
        statistics.receive(packet(place, 3600 * shown), place * 0.04)
    assert report(statistics, 0.28).frames == 7


def test_a_late_packet_of_an_old_frame_begins_none() -> None:
    statistics = Statistics(RATE)
    for sequence, stamp in ((1, 0), (3, 3600), (2, 0), (4, 3600), (5, 7200)):
        statistics.receive(packet(sequence, stamp), sequence * 0.01)
    assert report(statistics, 1.0).frames == 3


def play(stamp_of: list[int], step: float, end: float) -> Report:
    statistics = Statistics(RATE)
    for place, stamp in enumerate(stamp_of):
        statistics.receive(packet(place, stamp), place * step)
    return report(statistics, end)


def test_frozen_is_packets_without_a_new_frame() -> None:
    # 5 s at 25 packets a second.
    assert play([3600 * place for place in range(125)], 0.04, 5.0).frozen is False
    frozen = play([3600 * min(place, 50) for place in range(125)], 0.04, 5.0)
    assert frozen.frozen is True
    assert frozen.frames_per_second == pytest.approx(50 / 5)
    assert play([3600 * min(place, 90) for place in range(125)], 0.04, 5.0).frozen is False  # 1.4 s without
    assert play([0] * 125, 0.04, 5.0).frozen is True


def test_no_packets_are_not_a_frozen_picture_and_few_frames_are_none_either() -> None:
    stopped = play([3600 * place for place in range(25)], 0.04, 5.0)
    assert stopped.frozen is False
    assert stopped.frames_per_second == pytest.approx(24 / 5)
    rare = play([90_000 * 4 * place for place in range(3)], 4.0, 10.0)  # a frame in four seconds
    assert rare.frozen is False
    assert rare.frames_per_second == pytest.approx(0.25)


def test_frames_of_one_size_are_counted_as_a_hint() -> None:
    def run(sizes: list[int]) -> tuple[int, int]:
        statistics = Statistics(RATE)
        for place, size in enumerate(sizes):
            statistics.receive(packet(place, 3600 * place, size), place * 0.04)
        found = report(statistics, 2.0)
        return found.same_size_run, found.same_size

    assert run([9000, 40, 40, 40, 40, 9000]) == (4, 40)
    assert run([1, 2, 3, 4])[0] == 1


def test_other_payload_types_are_counted_apart() -> None:
    statistics = Statistics(RATE, frozenset({96}))
    statistics.receive(packet(1), 0.0)
    statistics.receive(packet(900, payload_type=97), 0.0)
    assert (statistics.foreign, report(statistics, 1.0).packets) == (1, 1)


@pytest.mark.parametrize("rate", [0, -1])
def test_a_clock_rate_must_be_one(rate: int) -> None:
    with pytest.raises(ValueError, match="clock rate"):
        Statistics(rate)


@given(st.integers(min_value=0, max_value=2**32), st.integers(min_value=0, max_value=60))
@settings(max_examples=100, deadline=None)
def test_against_a_count_by_hand_with_loss_disorder_and_doubling(seed: int, percent: int) -> None:
    chance = random.Random(seed)
    first = chance.randrange(65536)
    sent = list(range(400))
    kept = [number for number in sent if chance.random() * 100 >= percent]
    # Disorder of up to five places, and some twice.
    order = sorted(kept, key=lambda number: number + chance.uniform(0, 5))
    stream = [number for number in order for _ in range(2 if chance.random() < 0.1 else 1)]
    if len(kept) < 2:
        return
    statistics = Statistics(RATE)
    for number in stream:
        statistics.receive(packet(first + number, 3600 * number), number * 0.04)
    found = report(statistics, 20.0)
    assert found.expected == max(kept) - min(kept) + 1
    assert found.lost == found.expected - len(kept)
    assert found.duplicates == len(stream) - len(kept)


@given(st.lists(st.tuples(st.binary(max_size=40), st.floats(min_value=0, max_value=1e6)), max_size=50))
@settings(max_examples=300, deadline=None)
def test_whatever_comes_the_figures_stay_figures(stream: list[tuple[bytes, float]]) -> None:
    statistics = Statistics(RATE)
    for data, arrival in stream:
        # Half of it with a header that is believed.
        statistics.receive(data, arrival)
        statistics.receive(b"\x80\x60" + data.ljust(12, b"\0"), arrival)
    found = statistics.report(1e6)
    if found is not None:
        assert 0 <= found.loss_percent <= 100
        assert found.lost >= 0
        assert found.jitter_ms is None or found.jitter_ms >= 0
        assert found.frames_per_second >= 0


def test_ten_thousand_packets_of_noise_hang_nobody() -> None:
    chance = random.Random(5)
    packets = [packet(chance.randrange(65536), chance.randrange(2**32)) for _ in range(10_000)]

    def through() -> None:
        statistics = Statistics(RATE)
        for data in packets:
            statistics.receive(data, 1.0)

    quick(through, seconds=0.0001 * len(packets))
