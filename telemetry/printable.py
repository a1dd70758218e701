"""What is shown of words that others wrote: nothing that speaks to a terminal, and no password of a URL. Pure."""

from __future__ import annotations

import re
from typing import Final

_SPEAKS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""C0 and C1 controls but tab and line feed (ECMA-48), and what turns the direction of writing (Unicode UAX 9)."""
_USERINFO: Final = re.compile(r"(?<=://)[^\s/?#@'\"]*(?=@)")


def plain(text: str) -> str:
    r"""Return a text in which what a terminal would obey is written out, as JSON and Python do: ``\u001b``."""
    return _SPEAKS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def without_password(text: str) -> str:
    """Return a text whose URLs show neither user nor password (RFC 3986, 3.2.1): ``http://***@host/``."""
    return _USERINFO.sub("***", text)


def readable(text: str) -> str:
    """Return what a device said with a question mark for whatever cannot be printed: kit is hostile."""
    return text if text.isprintable() else "".join(letter if letter.isprintable() else "?" for letter in text)
