"""The frame codec against its own description: CRC-32 by zlib, shapes by hand."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.outbox.frames import (
    HEADER_BYTES,
    MAGIC,
    MAX_PAYLOAD,
    Frame,
    FrameTooLarge,
    Gap,
    class_of,
    decode,
    encode,
    head,
    pack,
    scan,
)
from telemetry.records import Event, Sample

texts = st.text(min_size=1, max_size=40).map(lambda text: text.encode() + b"]")


def payloads(data: bytes) -> list[bytes]:
    return [part.payload for part in scan(data) if isinstance(part, Frame)]


def gaps(data: bytes) -> list[Gap]:
    return [part for part in scan(data) if isinstance(part, Gap)]


def test_layout_is_magic_length_checksum_payload() -> None:
    payload = b'[7,1000,"abcdef",[1]]'
    frame = pack(payload)
    assert frame[:2] == b"\xf5\x01"
    assert struct.unpack_from("<I", frame, 2) == (21,)
    assert struct.unpack_from("<I", frame, 6) == (zlib.crc32(payload, 21),)
    assert frame[10:] == payload
    assert HEADER_BYTES == 10


@given(st.lists(texts, max_size=20), st.integers(0, 5000))
def test_what_is_packed_is_found_and_zeros_behind_are_no_gap(parts: list[bytes], zeros: int) -> None:
    data = b"".join(map(pack, parts)) + bytes(zeros)
    assert payloads(data) == parts
    assert gaps(data) == []


@given(st.lists(texts, min_size=3, max_size=12), st.data())
def test_a_flipped_bit_costs_one_record_at_most(parts: list[bytes], data: st.DataObject) -> None:
    """T4, field note 8: a flipped bit anywhere, length and checksum too, costs the one frame it stands in."""
    frames = [pack(part) for part in parts]
    raw = bytearray(b"".join(frames))
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8
    hit, end = 0, len(frames[0])
    while end <= bit // 8:
        hit += 1
        end += len(frames[hit])
    assert payloads(bytes(raw)) == parts[:hit] + parts[hit + 1 :]
    assert len(gaps(bytes(raw))) == 1


@given(st.lists(texts, min_size=1, max_size=12), st.data())
def test_a_torn_tail_costs_the_last_record_and_is_told_from_damage(parts: list[bytes], data: st.DataObject) -> None:
    """T4: cut anywhere in the last frame, then zeros as pre-allocated."""
    whole = b"".join(pack(part) for part in parts[:-1])
    last = pack(parts[-1])
    cut = data.draw(st.integers(1, len(last) - 1))
    found = list(scan(whole + last[:cut] + bytes(data.draw(st.integers(0, 300)))))
    assert [part.payload for part in found if isinstance(part, Frame)] == parts[:-1]
    assert all(part.torn and part.frames == 1 for part in found if isinstance(part, Gap))
    assert sum(isinstance(part, Gap) for part in found) == 1


def test_a_damaged_last_record_is_not_torn() -> None:
    frame = bytearray(pack(b'[7,1000,"abcdef",[1]]'))
    frame[15] ^= 4
    assert gaps(bytes(frame) + bytes(99)) == [Gap(0, len(frame), 1, False)]


def test_a_zeroed_page_is_not_the_end() -> None:
    """T4: length 0 looks like the pre-allocated tail; 100 B a record, so a page costs 41 or 42."""
    parts = [b"[%089d]" % number for number in range(400)]
    raw = bytearray(b"".join(map(pack, parts)) + bytes(9000))
    raw[8192 : 8192 + 4096] = bytes(4096)
    found = payloads(bytes(raw))
    frame = len(pack(parts[0]))
    lost = range(8192 // frame, -(-12288 // frame))
    assert found == [part for number, part in enumerate(parts) if number not in lost]
    assert [(gap.offset, gap.end, gap.torn) for gap in gaps(bytes(raw))] == [
        (lost.start * frame, lost.stop * frame, False)
    ]


def test_a_megabyte_of_garbage_is_skipped() -> None:
    """Field note 8: no endless loop; the frames on both sides are found."""
    import random

    garbage = random.Random(5).randbytes(1 << 20)
    data = pack(b"[1]") + garbage + pack(b"[2]")
    assert payloads(data) == [b"[1]", b"[2]"]
    assert [(gap.offset, gap.end) for gap in gaps(data)] == [(13, 13 + len(garbage))]


def test_a_file_of_magics_is_skipped_in_linear_time() -> None:
    assert payloads(MAGIC * 500_000 + pack(b"[1]")) == [b"[1]"]


@given(st.binary(max_size=300))
def test_any_bytes_are_accounted_for(data: bytes) -> None:
    """T14: nothing raises, parts stand in order and cover everything but zeros at the end."""
    at = 0
    for part in scan(data):
        assert part.offset == at
        at = part.end
    assert not data[at:].strip(b"\0")


@pytest.mark.parametrize("size", [0, MAX_PAYLOAD + 1])
def test_payloads_that_do_not_fit_are_refused(size: int) -> None:
    with pytest.raises(FrameTooLarge, match=f"found {size}"):
        pack(bytes(size))


def test_the_largest_payload_is_found() -> None:
    assert len(payloads(pack(b"x" * MAX_PAYLOAD))[0]) == MAX_PAYLOAD


def test_a_sample_is_a_compact_array() -> None:
    frame = encode(Sample(3, 120000, "aB_-9z", [-90.5, None, True, "B3", 7]))
    assert frame[HEADER_BYTES:] == b'[3,120000,"aB_-9z",[-90.5,null,true,"B3",7]]'


values = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False)
)


@given(st.integers(0, 2**53), st.integers(0, 2**53), st.lists(values))
def test_samples_come_back_as_they_were(sequence: int, mono_ms: int, row: list[object]) -> None:
    sample = Sample(sequence, mono_ms, "aB_-9z", row)  # type: ignore[arg-type]
    payload = encode(sample)[HEADER_BYTES:]
    back = decode("sample", payload)
    assert isinstance(back, Sample)
    assert back == sample
    assert [type(value) for value in back.values] == [type(value) for value in row]
    assert head(payload) == (sequence, mono_ms)


def test_events_come_back_as_they_were() -> None:
    event = Event(9, 5, "problem", "camera", {"text": "不通", "n": [1, {"a": None}]})
    payload = encode(event)[HEADER_BYTES:]
    assert decode("event", payload) == event
    assert head(payload) == (9, 5)
    assert (class_of(event), class_of(Sample(0, 0, "", []))) == ("event", "sample")
