"""Reading the packets that a broker sends (MQTT 5.0, 2.1): PUBLISH in place, all others by the codec ``mqtt5``."""

from __future__ import annotations

import mqtt5

from telemetry.mqtt import Message, MqttError


def read_publish(data: bytes, offset: int) -> tuple[Message, int] | None:
    """Return the PUBLISH at ``offset`` and where it ends, ``None`` while its end has not come (MQTT 5.0, 3.3).

    Read here and not by the codec, because it is the one packet whose content comes from strangers, and the codec
    panics at a topic that is no UTF-8. Such a message is handed on without a topic, so that it is set aside and
    acknowledged: if it ended the connection, the broker would bring it again for ever. Properties are skipped: none of
    them means anything to us. Raises MqttError where the parts do not fit.
    """
    length = _length(data, offset)
    if length is None:
        return None
    rest, start = length
    end = start + rest
    if end > len(data):
        return None
    flags = data[offset]
    qos = flags >> 1 & 3
    place = start + 2
    after_topic = place + (data[start] << 8 | data[start + 1] if rest > 1 else end)
    after_id = after_topic + 2 if qos else after_topic
    if after_id >= end or qos == 3:
        raise _malformed("a PUBLISH whose parts do not fit")
    number = data[after_topic] << 8 | data[after_topic + 1] if qos else 0
    properties = data[after_id]
    if properties < 0x80:
        payload = after_id + 1 + properties
    else:
        skipped = _length(data, after_id - 1)
        payload = end + 1 if skipped is None else skipped[1] + skipped[0]
    if payload > end:
        raise _malformed("a PUBLISH whose properties do not fit")
    try:
        topic = str(data[place:after_topic], "utf-8")
    except UnicodeDecodeError:
        topic = ""
    return Message(topic, data[payload:end], qos, flags & 1 == 1, flags & 8 == 8, number), end


def _length(data: bytes, offset: int) -> tuple[int, int] | None:
    """Return the variable byte integer behind ``offset`` and what comes after it; ``None`` where it is cut off.

    Raises MqttError for one of more than four bytes (MQTT 5.0, 1.5.5).
    """
    value, shift = 0, 0
    for place in range(offset + 1, min(offset + 5, len(data))):
        byte = data[place]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place + 1
        shift += 7
    if shift == 28:
        raise _malformed("a length of more than four bytes")
    return None


def packet_size(data: bytes, offset: int) -> int | None:
    """Return how many bytes the packet at ``offset`` has, ``None`` while that has not come. Raises MqttError."""
    length = _length(data, offset)
    return None if length is None else length[1] - offset + length[0]


def decoded(packet: bytes) -> mqtt5.Packet:
    """Return a packet that the broker made. Raises MqttError for one that is malformed."""
    try:
        return mqtt5.read(memoryview(packet))[0]
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the codec's panics are no Exception
        raise _malformed(str(error)) from None


def _malformed(what: str) -> MqttError:
    return MqttError(f"the broker sent a malformed packet: {what}", 0x81)
