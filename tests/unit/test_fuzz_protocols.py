"""Fuzz: the AT channel, the NMEA framer, RTP statistics and RTSP take any bytes within bounds of time and memory.

Inputs that once did harm, or were made to, are kept as examples. What the answers mean is tested elsewhere.
"""

from __future__ import annotations

import struct

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agent.protocols.at import MAX_LINE, AtChannel, Command, Event, Reply, Timeout
from agent.protocols.dialects.answers import Exchange
from agent.protocols.dialects.facts import MAX_FLAGS
from agent.protocols.dialects.registry import PARSERS, decode
from agent.protocols.fixes import Fixes
from agent.protocols.nmea import MAX_BINARY
from agent.protocols.rtp import Statistics
from agent.protocols.rtsp import Client, RtspError
from tests.unit.bounds import MOST, bounded, long_ones, quick

FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# --- AT ---------------------------------------------------------------------------------------------------------------

AT_PIECES = st.one_of(
    st.sampled_from(
        [b"\r\n", b"\r", b"\n", b"OK\r\n", b"ERROR\r\n", b"+CME ERROR: 10\r\n", b"NO CARRIER\r\n", b">", b"\0"]
    ),
    st.sampled_from([f"{name}: ".encode() for name in sorted(PARSERS)]),
    st.sampled_from(
        [b'"', b",", b",,,,", b"-", b"255,", b"FFFFFFF,", b'"LTE",', b'"NR5G-NSA",', b"1,4,", b"1,9,", b"\xff\xfe"]
    ),
    st.binary(max_size=20),
)


def through_channel(data: bytes, size: int) -> tuple[list[Event], list[str]]:
    """Ask one command, hand on the bytes in cuts, end by time-out; read what came in the dialects."""
    channel = AtChannel()
    channel.send(Command('AT+QENG="servingcell"', timeout=5.0), 0.0)
    events: list[Event] = []
    for at in range(0, len(data), size):
        events += channel.receive(data[at : at + size], 1.0)
        assert len(channel._buffer) <= MAX_LINE
    events += channel.tick(5.0)
    exchanges = [
        Exchange('AT+QENG="servingcell"', event.lines, event.result if isinstance(event, Reply) else None)
        for event in events
        if isinstance(event, Reply | Timeout)
    ]
    return events, decode(exchanges, "FM350-GL")[1]


@FUZZ
@given(st.one_of(st.lists(AT_PIECES, max_size=60).map(b"".join), long_ones(AT_PIECES)), st.integers(256, 8192))
@example(b"A" * MOST, 4096)  # a line without end
@example(b"\r\n+CSQ: 1,99" * 5000 + b"\r\nOK\r\n", 4096)  # a reply without end
@example(b"+GTCCINFO:\r\n" + b"1,4,460,00,1,1,1,1,103,100,1,1,1,1\r\n" * 1800 + b"OK\r\n", 4096)  # serving cells
@example(b'+COPS: 0,0,"' + b'"' * 60_000 + b"\r\nOK\r\n", 4096)  # quotes only
@example(b"\0\xff" * 32_000, 512)  # a modem in its boot loader
@example(b"OK\r\nOK\r\n" * 8_000, 512)  # final results that nobody asked for
@example(b'AT+QENG="servingcell"\r' * 2_900, 512)  # an echo that goes on
@example(b"+CREG: " + b"9" * 60_000 + b"\r\nOK\r\n", 4096)  # a number longer than Python converts
def test_the_at_channel(data: bytes, size: int) -> None:
    events, flags = bounded(lambda: through_channel(data, size))
    assert len([event for event in events if isinstance(event, Reply | Timeout)]) == 1
    assert len(flags) <= MAX_FLAGS


# --- NMEA -------------------------------------------------------------------------------------------------------------

GGA = b"$GPGGA,092725.00,4717.11399,N,00833.91590,E,1,08,1.01,499.6,M,48.0,M,,*5B\r\n"
NMEA_PIECES = st.one_of(
    st.sampled_from(
        [GGA, GGA[:30], b"$", b"!", b"*", b"*00", b"\r\n", b"\n", b"$GNRMC,", b"$GPGSV,4,1,", b",", b"\\g:1*00\\"]
    ),
    st.sampled_from(
        [b"\xb5\x62", b"\xb5\x62\x01\x02\xff\xff", b"\xa0\xa2", b"\xa0\xa2\x07\xff", b"\xd3\x00", b"\xd3\x03\xff"]
    ),
    st.binary(max_size=20),
)


def through_framer(data: bytes, size: int) -> int:
    """Return the epochs."""
    fixes = Fixes()
    epochs = 0
    for number, at in enumerate(range(0, len(data), size)):
        epochs += len(fixes.feed(data[at : at + size], float(number)))
        assert fixes.framer.held <= MAX_BINARY + 8
    return epochs


@FUZZ
@given(st.one_of(st.lists(NMEA_PIECES, max_size=60).map(b"".join), long_ones(NMEA_PIECES)), st.integers(64, 4096))
@example(b"$" * MOST, 4096)
@example(b"\xb5\x62" * (MOST // 2), 4096)  # beginnings of binary only
@example(b"\xb5\x62\x01\x02\xff\xff" * (MOST // 6), 512)  # frames that say they are long
@example(b"\xa0\xa2\x07\xff" + b"$GPGGA," * 9_000, 512)
@example(GGA * (MOST // len(GGA)), 512)
@example(b"$GPGSV," + b"," * 60_000 + b"*00\r\n", 4096)
@example(b"\\" * MOST, 4096)  # tag blocks of NMEA 4
@example(b"\n\xa0\xa2" * (MOST // 3), 64)  # found here: each of these frames said to be 2,720 bytes long
@example(b"\xa0\xa2\x04\x00\xb0\xb3" * (MOST // 6), 64)  # the same with the right bytes at the end of each
def test_the_nmea_framer(data: bytes, size: int) -> None:
    # 64 KiB are a minute of a serial line, of which all together may take a two-hundredth.
    epochs = bounded(lambda: through_framer(data, size), seconds=0.1 + len(data) * 6e-6)
    assert epochs <= len(data) // 6


# --- RTP and RTSP -----------------------------------------------------------------------------------------------------

HEADS = st.builds(
    lambda flags, kind, sequence, stamp, source, rest: (
        struct.pack("!BBHII", flags, kind, sequence, stamp, source) + rest
    ),
    st.sampled_from([0x80, 0x90, 0x8F, 0xA0, 0xBF, 0x00, 0xC0]),
    st.sampled_from([96, 0x80 | 96, 0, 26, 127]),
    st.one_of(st.integers(0, 65_535), st.sampled_from([0, 1, 32_767, 32_768, 65_535])),
    st.one_of(st.integers(0, 2**32 - 1), st.sampled_from([0, 2**31, 2**32 - 1])),
    st.integers(0, 3),
    st.binary(max_size=30),
)
ARRIVALS = st.floats(min_value=-1e9, max_value=1e9, allow_nan=False)


def through_statistics(packets: list[tuple[bytes, float]], times: int) -> Statistics:
    statistics = Statistics(90_000, frozenset({96}))
    for _ in range(times):
        for data, arrival in packets:
            statistics.receive(data, arrival)
    return statistics


def rtp(sequence: int, stamp: int = 0, source: int = 1) -> bytes:
    return struct.pack("!BBHII", 0x80, 96, sequence & 0xFFFF, stamp & 0xFFFFFFFF, source) + b"payload"


@FUZZ
@given(
    st.lists(st.tuples(st.one_of(HEADS, st.binary(max_size=40)), ARRIVALS), min_size=1, max_size=20), st.integers(1, 50)
)
@example([(rtp(0), 0.0), (rtp(30_000), 0.0), (rtp(30_001), 0.0)], 300)  # a sender that begins anew all the time
@example([(rtp(number, source=number), 0.0) for number in range(20)], 50)  # another sender with each packet
@example([(rtp(number * 99), 0.0) for number in range(20)], 50)  # gaps just below what counts as a new beginning
@example([(rtp(1, 2**31), 1e9), (rtp(2, 0), -1e9)], 400)
@example(
    [(b"\xbf\x60" + bytes(14), 0.0), (b"\x90\x60" + bytes(10) + b"\xff\xff\xff\xff", 0.0)], 400
)  # lengths that lie
def test_rtp_statistics(packets: list[tuple[bytes, float]], times: int) -> None:
    statistics = bounded(lambda: through_statistics(packets, times), memory=1 << 20)
    report = statistics.report(1e9)
    if report is not None:
        assert 0 <= report.loss_percent <= 100
        assert report.jitter_ms is None or report.jitter_ms >= 0
        assert report.packets <= len(packets) * times


RTSP_PIECES = st.one_of(
    st.sampled_from(
        [
            b"RTSP/1.0 200 OK\r\n",
            b"RTSP/1.0 401 No\r\n",
            b"CSeq: 1\r\n",
            b"CSeq: 2\r\n",
            b"\r\n",
            b"Session: 1;timeout=9\r\n",
        ]
    ),
    st.sampled_from(
        [
            b"Content-Length: 262144\r\n",
            b"Content-Length: -1\r\n",
            b"$\0\xff\xff",
            b"$",
            b"OPTIONS * RTSP/1.0\r\n",
            b"m=video 0 RTP/AVP 96\r\n",
        ]
    ),
    st.sampled_from(
        [b'WWW-Authenticate: Digest realm="', b"WWW-Authenticate: Digest " + b'a="\\' * 50, b" folded\r\n"]
    ),
    st.binary(max_size=20),
)


def through_client(data: bytes, size: int) -> None:
    client = Client("rtsp://h/s", cnonce=lambda: "c", user="u", password="p")
    client.begin()
    try:
        for at in range(0, len(data), size):
            list(client.receive(data[at : at + size]))
    except RtspError:
        pass
    client.stop()


@FUZZ
@given(st.one_of(st.lists(RTSP_PIECES, max_size=60).map(b"".join), long_ones(RTSP_PIECES)), st.integers(64, 4096))
@example(b"RTSP/1.0 200 OK\r\n" + b"A: b\r\n" * 10_000, 512)  # a head without end, a little at a time
@example(b"RTSP/1.0 200 OK\r\nContent-Length: 262144\r\n\r\n" + b"x" * 60_000, 64)
@example(b"R" * MOST, 4096)
@example(b"$\0\xff\xff" + b"$" * 60_000, 4096)
@example(b'RTSP/1.0 401 No\r\nCSeq: 1\r\nWWW-Authenticate: Digest a="' + b"\\" * 15_000 + b"\r\n\r\n", 4096)
def test_the_rtsp_client(data: bytes, size: int) -> None:
    bounded(lambda: through_client(data, size))


@pytest.mark.parametrize("size", [1, 7])
def test_bytes_that_trickle_cost_no_more_than_their_number(size: int) -> None:
    """One byte at a time is how a serial line at 9,600 baud comes: a second's worth in each of the readers."""
    data = (GGA + b"\xb5\x62\x01\x02\x00\x02ab" + b"+CSQ: 1,99\r\n")[:960]
    bounded(lambda: through_framer(data, size))
    bounded(lambda: through_channel(data, size))
    bounded(lambda: through_client(data, size))


def test_the_bounds_bite() -> None:
    with pytest.raises(AssertionError, match="ms of processor time"):
        quick(lambda: sum(range(10**6)), seconds=0.001)
    with pytest.raises(AssertionError, match="bytes"):
        bounded(lambda: bytes(10**6), memory=10**5)
