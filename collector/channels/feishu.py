"""A Feishu (Lark) group robot (飞书). Source: Feishu Open Platform, "Custom bot usage guide".

``code``: 0 sent, 9499 the message is not one, 19024 its words are not those that the robot asks for. Any other is about
the robot (19021 signature, 19022 address, 19001 address of the hook, 11232 too many: 100 a minute).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

from collector.channels.channel import Channel
from collector.channels.robot import Robot, RobotChannel


class Feishu(Robot, frozen=True, tag="feishu"):
    """A Feishu robot: its address stands in ``url_file``."""

    def open(self) -> Channel:
        """Return the channel."""
        return FeishuChannel(self)


class FeishuChannel(RobotChannel):
    """Text; signed by HMAC-SHA-256 of nothing under time and key."""

    code = "code"
    refused = frozenset({9499, 19024})
    busy = frozenset({11232})
    most_a_minute = 100

    def message(self, text: str) -> dict[str, Any]:
        """Return a message of type text."""
        return {"msg_type": "text", "content": {"text": text}}

    def sign(self, key: str, at_s: float) -> tuple[dict[str, str], dict[str, str]]:
        """Return the fields ``timestamp`` (seconds) and ``sign``."""
        at = str(int(at_s))
        mac = hmac.new(f"{at}\n{key}".encode(), digestmod=hashlib.sha256).digest()
        return {"timestamp": at, "sign": base64.b64encode(mac).decode()}, {}
