"""A DingTalk group robot (钉钉). Source: DingTalk Open Platform, "Custom robot access" and its global error codes.

``errcode``: 0 sent, 400105 and 40035 the message is not one, 430101 to 430104 its words are not allowed. Any other is
about the robot (310000 keyword, signature or address, 400013 no such group, 410100 and 130101 too many: 20 a minute).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

from collector.channels.channel import Channel
from collector.channels.robot import Robot, RobotChannel


class DingTalk(Robot, frozen=True, tag="dingtalk"):
    """A DingTalk robot: its address with the token stands in ``url_file``."""

    def open(self) -> Channel:
        """Return the channel."""
        return DingTalkChannel(self)


class DingTalkChannel(RobotChannel):
    """Text; signed by HMAC-SHA-256 of time and key under the key, in the address."""

    code = "errcode"
    refused = frozenset({40035, 400105, 430101, 430102, 430103, 430104})
    busy = frozenset({130101, 410100})
    most_a_minute = 20

    def message(self, text: str) -> dict[str, Any]:
        """Return a message of type text."""
        return {"msgtype": "text", "text": {"content": text}}

    def sign(self, key: str, at_s: float) -> tuple[dict[str, str], dict[str, str]]:
        """Return the parameters ``timestamp`` (milliseconds) and ``sign``."""
        at = str(int(at_s * 1000))
        mac = hmac.new(key.encode(), f"{at}\n{key}".encode(), hashlib.sha256).digest()
        return {}, {"timestamp": at, "sign": base64.b64encode(mac).decode()}
