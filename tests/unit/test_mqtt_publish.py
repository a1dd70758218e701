"""Reading a PUBLISH: the codec is the oracle for what is sound; what is not raises nothing but MqttError."""

from __future__ import annotations

import mqtt5
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from collector.site.packets import read_publish
from telemetry.mqtt import MqttError

TOPICS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00+#"), min_size=1, max_size=40)
PROPERTIES = st.lists(st.tuples(TOPICS, TOPICS), max_size=8)


@given(
    topic=TOPICS,
    payload=st.binary(max_size=300),
    qos=st.sampled_from([0, 1]),
    retain=st.booleans(),
    duplicate=st.booleans(),
    number=st.integers(1, 65535),
    expiry=st.none() | st.integers(0, 2**32 - 1),
    properties=PROPERTIES,
    before=st.binary(max_size=5),
    after=st.binary(max_size=5),
)
def test_what_the_codec_writes_is_read(
    topic: str,
    payload: bytes,
    qos: int,
    retain: bool,
    duplicate: bool,
    number: int,
    expiry: int | None,
    properties: list[tuple[str, str]],
    before: bytes,
    after: bytes,
) -> None:
    packet = mqtt5.PublishPacket(
        topic,
        payload,
        qos=mqtt5.QoS.AT_LEAST_ONCE if qos else mqtt5.QoS.AT_MOST_ONCE,
        packet_id=number if qos else None,
        retain=retain,
        duplicate=duplicate,
        message_expiry_interval=expiry,
        user_properties=properties,
    ).write()
    read = read_publish(before + packet + after, len(before))
    assert read is not None
    message, end = read
    assert end == len(before) + len(packet)
    assert (message.topic, message.payload, message.qos, message.retain, message.duplicate) == (
        topic,
        payload,
        qos,
        retain,
        duplicate,
    )
    assert message.mid == (number if qos else 0)
    for cut in range(len(packet)):
        assert read_publish(packet[:cut], 0) is None


@given(st.integers(0x30, 0x3F), st.binary(max_size=60))
@example(0x32, b"\x02\xff\xff")
@example(0x30, b"\x00")
@example(0x30, b"\x01\x00")
@example(0x32, b"\x05\x00\x01t\x00\x07")
@example(0x30, b"\x04\x00\x01t\xff")
@example(0x30, b"\xff\xff\xff\xff\x01")
def test_nothing_else_comes_out_than_a_message_or_an_mqtt_error(flags: int, rest: bytes) -> None:
    data = bytes([flags]) + rest
    try:
        read = read_publish(data, 0)
    except MqttError:
        return
    if read is not None:
        message, end = read
        assert 0 < end <= len(data)
        assert message.qos in (0, 1, 2)


def test_a_topic_that_is_no_utf8_is_no_topic() -> None:
    """The codec panics at it."""
    read = read_publish(b"\x32\x0a\x00\x03a\xff\xfe\x00\x07\x00xy", 0)
    assert read is not None
    assert (read[0].topic, read[0].payload, read[0].mid) == ("", b"xy", 7)


@pytest.mark.parametrize("size", [126, 127, 128, 129, 16383, 16384, 20000])
def test_lengths_around_each_size_of_the_integer(size: int) -> None:
    packet = mqtt5.PublishPacket("t", b"x" * size, user_properties=[("k", "v" * (size % 16384 % 5000))]).write()
    read = read_publish(packet, 0)
    assert read is not None
    assert len(read[0].payload) == size
    assert read[1] == len(packet)
