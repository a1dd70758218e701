"""What a broker announces when it accepts a connection (MQTT 5.0, 3.2.2.3), and what that means for us. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

_LARGEST_HEADER: Final = 5
"""Packet type and the length of the rest (MQTT 5.0, 2.1)."""
_LARGEST_PROPERTIES: Final = 6
"""Their length, and the message expiry interval, the only one that we send (MQTT 5.0, 3.3.2.3)."""


class BrokerLimits(msgspec.Struct, frozen=True):
    """The defaults are the standard's for what is not announced.

    Topic Alias Maximum is kept by sending no alias, and a broker sends none either, because we announce no maximum.
    """

    receive_maximum: int = 65535
    """Messages of QoS 1 that may be unacknowledged at a time."""
    maximum_qos: int = 2
    """Messages are published with this at most."""
    retain_available: bool = True
    """Whether the broker keeps retained messages."""
    maximum_packet: int | None = None
    """Bytes of one packet; ``None``: no limit."""
    server_keep_alive: int | None = None
    """Seconds that count instead of the keep alive that we asked for; 0: none."""

    def room(self, topic: str) -> int | None:
        """Return how many bytes the payload of a message to ``topic`` may have, ``None`` for any number."""
        return None if self.maximum_packet is None else self.maximum_packet - publish_size(topic, 0)


def publish_size(topic: str, payload: int) -> int:
    """Return the most bytes that a PUBLISH with a payload of so many bytes takes (MQTT 5.0, 3.3)."""
    return _LARGEST_HEADER + 2 + len(topic.encode()) + 2 + _LARGEST_PROPERTIES + payload
