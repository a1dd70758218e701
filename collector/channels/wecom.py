"""A WeCom (企业微信) group robot. Source: WeCom developer centre, "Group robot configuration", global error codes.

``errcode``: 0 sent, 40008 and 44004 the message is not one, 45002 it is too long. Any other is about the robot (93000
its address, 45009 too many: 20 a minute). Its key is part of the address; it knows no signature.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Self

from collector.channels.channel import Channel
from collector.channels.robot import Robot, RobotChannel
from telemetry.files import FileError

MOST_BYTES: Final = 2048
"""Of a text, in UTF-8."""


class WeCom(Robot, frozen=True, tag="wecom"):
    """A WeCom robot: its address with the key stands in ``url_file``."""

    def checked(self, file: Path, key: str) -> Self:
        """Return the settings with absolute paths. Raises FileError."""
        if self.signing_key_file is not None:
            raise FileError(file, f"{key}.signing_key_file", "expected none: WeCom's robots know no signature")
        return super().checked(file, key)

    def open(self) -> Channel:
        """Return the channel."""
        return WeComChannel(self)


class WeComChannel(RobotChannel):
    """Text."""

    code = "errcode"
    refused = frozenset({40008, 44004, 45002})
    busy = frozenset({45009})
    most_a_minute = 20

    def message(self, text: str) -> dict[str, Any]:
        """Return a message of type text, cut to what is taken."""
        return {"msgtype": "text", "text": {"content": text.encode()[:MOST_BYTES].decode(errors="ignore")}}
