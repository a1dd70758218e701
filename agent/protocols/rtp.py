"""RTP reception statistics (RFC 3550). Packets and arrival times in, figures out; no I/O, nothing is decoded.

What is seen: packets, gaps in their sequence, their timing, and access units ("frames"), because all packets of one
frame carry one RTP time stamp (RFC 6184 section 5.1 and its siblings). A picture is **frozen** when packets go on
arriving and none of them begins a new frame.

What is not seen: an encoder that sends the same picture again under new time stamps. Telling this from a quiet scene
needs decoding. Frames that are all of exactly one size are a hint at it, kept in ``same_size_run``; nothing follows.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

FREEZE: Final = 2.0
"""Seconds for which packets without a new frame make a frozen picture; half of the time played if that is shorter."""
_MAX_DROPOUT: Final = 3000
_MAX_MISORDER: Final = 100
"""RFC 3550 appendix A.1: a jump of the sequence by more is a restart of the sender, not loss or disorder."""
_MAX_STEP: Final = 10.0
"""Seconds; a time stamp that jumps further against the arrival is a new origin, not jitter."""
_HALF: Final = 1 << 31


class Packet(msgspec.Struct, frozen=True):
    """The header of an RTP packet (RFC 3550 section 5.1) and the number of its payload bytes."""

    payload_type: int
    sequence: int
    timestamp: int
    source: int
    marker: bool
    payload_bytes: int


def parse(data: bytes) -> Packet | None:
    """Return the packet, or None if ``data`` is no RTP: another version, cut short, or lengths that do not fit."""
    if len(data) < 12 or data[0] >> 6 != 2:
        return None
    first, second, sequence, timestamp, source = struct.unpack_from("!BBHII", data)
    begin = 12 + 4 * (first & 0x0F)
    if first & 0x10:
        if len(data) < begin + 4:
            return None
        begin += 4 + 4 * int.from_bytes(data[begin + 2 : begin + 4], "big")
    end = len(data)
    if first & 0x20:
        if data[-1] == 0:
            return None
        end -= data[-1]
    if begin > end:
        return None
    return Packet(second & 0x7F, sequence, timestamp, source, bool(second & 0x80), end - begin)


class Report(msgspec.Struct, frozen=True):
    """What was received between the first packet and the end.

    ``seconds`` is that time. ``expected`` counts by sequence number, ``lost`` of them never came; ``duplicates`` and
    ``misordered`` came again and late. ``jitter_ms`` is None with fewer than two packets. ``frames`` counts the
    beginnings of frames, ``frame_seconds`` is the time from the first to the last of these. ``markers`` counts packets
    with the marker bit, which ends a frame. ``same_size_run`` is the longest run of whole frames of exactly
    ``same_size`` bytes each.
    """

    seconds: float
    packets: int
    expected: int
    lost: int
    duplicates: int
    misordered: int
    payload_bytes: int
    jitter_ms: float | None
    frames: int
    frame_seconds: float
    markers: int
    frozen: bool
    same_size_run: int
    same_size: int

    @property
    def loss_percent(self) -> float:
        """Share of the expected packets that never came."""
        return 100.0 * self.lost / self.expected if self.expected else 0.0

    @property
    def bitrate_kbps(self) -> float:
        """Payload in kbit/s."""
        return self.payload_bytes * 8 / 1000 / self.seconds if self.seconds > 0 else 0.0

    @property
    def frames_per_second(self) -> float:
        """Frames after the first, a second: up to the last frame, or to the end if frames have stopped coming."""
        steps = self.frames - 1
        if steps <= 0 or self.seconds <= 0:
            return 0.0
        stopped = self.seconds - self.frame_seconds > 2 * self.frame_seconds / steps
        return steps / (self.seconds if stopped or self.frame_seconds <= 0 else self.frame_seconds)


class Statistics:
    """Takes the packets of one media stream as they arrive. Memory does not grow with their number.

    ``clock_rate`` is that of the payload format in Hz (the SDP's rtpmap), ``payload_types`` the ones that belong to the
    stream (empty: all). Others, such as retransmission or forward error correction, are counted in ``foreign``, and
    what is no RTP in ``invalid``.
    """

    def __init__(self, clock_rate: int, payload_types: frozenset[int] = frozenset()) -> None:
        if clock_rate <= 0:
            raise ValueError(f"clock rate: expected more than 0 Hz, found {clock_rate}")
        self._rate = clock_rate
        self._payload_types = payload_types
        self.foreign = 0
        self.invalid = 0
        self._first: float | None = None
        self._last = 0.0
        self._packets = self._duplicates = self._misordered = self._payload_bytes = self._markers = 0
        self._sequence = _Sequence()
        self._finished_expected = self._finished_received = 0
        self._source: int | None = None
        self._transit: float | None = None
        self._jitter: float | None = None
        self._frames = _Frames()

    def receive(self, data: bytes, arrival: float) -> None:
        """Take one packet that arrived at monotonic time ``arrival`` in seconds."""
        packet = parse(data)
        if packet is None:
            self.invalid += 1
            return
        if self._payload_types and packet.payload_type not in self._payload_types:
            self.foreign += 1
            return
        if packet.source != self._source:
            self._restart(packet.source)
        fate = self._sequence.take(packet.sequence)
        if fate == "restart":
            self._restart(packet.source)
            fate = self._sequence.take(packet.sequence)
        if self._first is None:
            self._first = arrival
        self._last = arrival
        self._packets += 1
        if fate in ("duplicate", "stray"):
            self._duplicates += fate == "duplicate"
            return
        self._payload_bytes += packet.payload_bytes
        self._markers += packet.marker
        self._time(packet.timestamp, arrival)
        if fate == "late":
            self._misordered += 1
        else:
            self._frames.take(packet, arrival)

    def report(self, end: float) -> Report | None:
        """Return the figures at monotonic time ``end``, None if no packet came."""
        if self._first is None:
            return None
        seconds = max(end - self._first, 0.0)
        expected = self._finished_expected + self._sequence.expected
        received = self._finished_received + self._sequence.received
        freeze = min(FREEZE, seconds / 2)
        return Report(
            seconds=seconds,
            packets=self._packets,
            expected=expected,
            lost=expected - received,
            duplicates=self._duplicates,
            misordered=self._misordered,
            payload_bytes=self._payload_bytes,
            jitter_ms=None if self._jitter is None else self._jitter / self._rate * 1000,
            frames=self._frames.count,
            frame_seconds=self._frames.began - self._first,
            markers=self._markers,
            frozen=freeze > 0 and self._last - self._frames.began > freeze,
            same_size_run=self._frames.longest_run,
            same_size=self._frames.longest_size,
        )

    def _restart(self, source: int) -> None:
        """Begin with a sender that is new, or has begun its sequence anew; what was counted stays counted."""
        self._finished_expected += self._sequence.expected
        self._finished_received += self._sequence.received
        self._sequence = _Sequence()
        self._source = source
        self._transit = None

    def _time(self, timestamp: int, arrival: float) -> None:
        """Update the interarrival jitter (RFC 3550 section 6.4.1 and appendix A.8), in units of the media clock."""
        transit = arrival * self._rate - timestamp
        before, self._transit = self._transit, transit
        if before is None:
            return
        # The time stamp wraps at 32 bits, the arrival does not.
        step = abs((transit - before + _HALF) % (2 * _HALF) - _HALF)
        if step > _MAX_STEP * self._rate:
            return
        self._jitter = (self._jitter or 0.0) + (step - (self._jitter or 0.0)) / 16


class _Sequence:
    """Extended sequence numbers of one sender (RFC 3550 appendix A.1), each counted once."""

    def __init__(self) -> None:
        self._base = 0
        self._highest = -1
        self._seen = 0
        """Bit n: the packet ``n`` before the highest has come. No wider than the disorder that is believed."""
        self._suspect: int | None = None
        self.received = 0

    @property
    def expected(self) -> int:
        return self._highest - self._base + 1 if self.received else 0

    def take(self, sequence: int) -> str:
        """Return ``new``, ``late``, ``duplicate``, ``stray`` or ``restart`` (the last two: it was not taken)."""
        if self._highest < 0:
            self._base = self._highest = (1 << 16) + sequence  # room below for a first packet that overtook others
            self._seen, self.received = 1, 1
            return "new"
        step = (sequence - self._highest) & 0xFFFF
        if 0 < step < _MAX_DROPOUT:
            self._suspect = None
            self._highest += step
            self._seen = ((self._seen << step) | 1) & ((1 << _MAX_MISORDER) - 1)
            self.received += 1
            return "new"
        behind = -step & 0xFFFF
        if behind < _MAX_MISORDER:
            if self._seen >> behind & 1:
                return "duplicate"
            self._seen |= 1 << behind
            self._base = min(self._base, self._highest - behind)
            self.received += 1
            return "late"
        # Two packets in a row far away: the sender has begun anew. A single one is a stray.
        if self._suspect == sequence:
            return "restart"
        self._suspect = (sequence + 1) & 0xFFFF
        return "stray"


class _Frames:
    """Access units: packets in sequence that share a time stamp."""

    def __init__(self) -> None:
        self.count = 0
        self.began = 0.0
        self.longest_run = 0
        self.longest_size = 0
        self._timestamp: int | None = None
        self._bytes = 0
        self._run = 0
        self._run_size = -1

    def take(self, packet: Packet, arrival: float) -> None:
        """Take a packet that is newer than all before it."""
        if packet.timestamp != self._timestamp:
            if self._timestamp is not None:
                self._end()
            self._timestamp = packet.timestamp
            self.count += 1
            self.began = arrival
            self._bytes = 0
        self._bytes += packet.payload_bytes

    def _end(self) -> None:
        self._run = self._run + 1 if self._bytes == self._run_size else 1
        self._run_size = self._bytes
        if self._run > self.longest_run:
            self.longest_run, self.longest_size = self._run, self._run_size
