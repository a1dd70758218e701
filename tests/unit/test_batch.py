"""The log's codec."""

from __future__ import annotations

import json
import threading
from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.core.identities import ProblemKey
from collector.core.vehicle.events import Acknowledged, Acted, Born, Died, Left
from collector.store.batch import (
    FORMAT,
    Batch,
    BatchError,
    EditionTaken,
    Entry,
    Group,
    Heading,
    Packed,
    Stepped,
    Woken,
    check,
    decode,
    decode_groups,
    encode,
)
from telemetry.message import Moment
from telemetry.records import TRUST, Clock

RUN = "0123456789abcdef"
whole = st.integers(0, 2**53 - 1)
clocks = st.builds(Clock, whole, whole, whole, st.sampled_from(TRUST), whole)
values = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
)
entries: st.SearchStrategy[list[Any]] = st.tuples(st.text("abcXYZ_-", min_size=6, max_size=6), st.lists(values)).map(
    list
)
groups = st.builds(
    Group,
    vehicle=st.sampled_from(["v1", "v2"]),
    agent=st.sampled_from(["router", "tablet"]),
    run=st.just(RUN),
    lane=st.sampled_from(["live", "backlog"]),
    pairs=st.lists(st.tuples(whole, whole), max_size=3),
    clocks=st.dictionaries(st.integers(0, 9), clocks, max_size=2),
    moments=st.lists(
        st.builds(Moment, whole, st.none() | st.integers(0, 9), st.lists(entries, max_size=3)), max_size=3
    ),
)


steps = st.builds(
    Stepped,
    st.sampled_from(["v1", "v2"]),
    st.sampled_from(
        [
            Born("router", RUN, 3, "machine", 10.0, "1.2"),
            Left("router", RUN, 3, "parked"),
            Died("router", RUN, 3),
            Acted("workshop", "li"),
            Acknowledged(ProblemKey.of("firmware_changed", "cam1", {"leg": "a,b=c"}), "li"),
        ]
    ),
)
others = st.builds(Woken, st.lists(st.sampled_from(["v1", "v2"])), st.booleans()) | st.builds(
    EditionTaken, st.just("rules"), whole
)
headings = st.builds(Heading, st.none() | whole, whole, st.dictionaries(st.sampled_from(["rules", "fleet"]), whole))


def packed(batch: Batch) -> list[Group]:
    """Return a batch's groups by way of what keeps them as JSON; they come back as they went in."""
    found = Packed()
    for number, (vehicle, part) in enumerate(batch.parts()):
        assert vehicle == batch.groups[number].vehicle
        found.add(part, number)
    opened = found.open() if found.received_ms else []
    assert [received_ms for _, received_ms in opened] == list(range(len(opened)))
    return [group for group, _ in opened]


@settings(max_examples=60, deadline=None)
@given(st.lists(groups | steps | others, max_size=5), headings)
def test_what_went_in_comes_out_in_its_order(content: list[Entry], heading: Heading) -> None:
    assert decode(encode(content, heading)) == (heading, content)
    assert decode_groups(encode(content)) == [entry for entry in content if isinstance(entry, Group)]
    batch = Batch("north", 1, 0, 0, heading, content)
    sealed = Batch("north", 1, 0, 0, Heading(), [], "", encode(content, heading), batch.records)
    assert sealed.opened() == msgspec.structs.replace(batch, sealed=batch.records)
    assert (sealed.groups, sealed.records) == (batch.groups, batch.records)
    assert packed(sealed) == packed(batch) == batch.groups


def test_a_batch_of_the_first_format_is_read() -> None:
    plain = b'[1,[["v1","router","0123456789abcdef","live",[[0,0]],{"0":[0,5,1005,"ntp",3]},[[7,0,[["abcdef",[1]]]]]]]]'
    group = Group(
        "v1", "router", RUN, "live", [(0, 0)], {0: Clock(0, 5, 1005, "ntp", 3)}, [Moment(7, 0, [["abcdef", [1]]])]
    )
    assert decode(zstandard.ZstdCompressor().compress(plain)) == (Heading(), [group])
    assert packed(Batch("north", 1, 0, 0, Heading(), [], "", zstandard.ZstdCompressor().compress(plain))) == [group]


def test_it_is_json_in_zstd_so_that_anybody_can_read_it() -> None:
    group = Group(
        "v1", "router", RUN, "live", [(0, 0)], {0: Clock(0, 5, 1005, "ntp", 3)}, [Moment(7, 0, [["abcdef", [1]]])]
    )
    plain = zstandard.ZstdDecompressor().decompress(encode([group]))
    assert json.loads(plain) == [
        FORMAT,
        [None, 0, {}, 50],
        [["g", "v1", "router", RUN, "live", [[0, 0]], {"0": [0, 5, 1005, "ntp", 3]}, [[7, 0, [["abcdef", [1]]]]]]],
    ]


def test_a_flipped_byte_is_found() -> None:
    content = bytearray(encode([Group("v1", "router", RUN, "live", [(0, 999)], {}, [])]))
    content[-1] ^= 1
    with pytest.raises(BatchError, match="zstd"):
        decode(bytes(content))
    with pytest.raises(BatchError, match="zstd"):
        check(bytes(content))


@pytest.mark.parametrize(
    ("plain", "words"),
    [
        (b"[99,{}]", "expected format 2 at most, found 99"),
        (b"nonsense", "expected JSON"),
        (b'[1,[["v1"]]]', "array"),
        (b'[2,[null,0,{}],[["g","v1"]]]', "array"),
        (b'[2,[null,0,{}],[["x"]]]', "Invalid value"),
    ],
)
def test_what_it_cannot_read_it_names(plain: bytes, words: str) -> None:
    with pytest.raises(BatchError, match=words):
        decode(zstandard.ZstdCompressor().compress(plain))


def test_bytes_that_are_no_zstd() -> None:
    with pytest.raises(BatchError, match="expected zstd"):
        decode(b"\x00\x01\x02")


def test_threads_compress_one_after_the_other() -> None:
    big = [Group("v1", "router", RUN, "live", [(n, n)], {}, []) for n in range(500)]
    results: list[bool] = []

    def work() -> None:
        results.extend(decode_groups(encode(big)) == big for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 80
