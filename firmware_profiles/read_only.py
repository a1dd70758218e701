"""Which HTTP requests only read: no profile may ask a device to switch, restart or write anything. Pure."""

from __future__ import annotations

import re
from typing import Final

_SWITCHING: Final = re.compile(
    r"reboot|restart|reset|restore|upgrade|firmware.?update|factory|shutdown|poweroff|power.?off|\bformat\b(?!=)|"
    r"\bset[A-Z_]|[?&/_]set\b|goform_set|setconfig|action=(?!get|list|info|factory\.instance\b)|"
    r"delete|remove|\bput\b|write|apply|control|switch|disconnect|\bdial\b|\bptz|unlock|import|insert|update",
    re.IGNORECASE,
)


def switches(text: str) -> str | None:
    """Return the word by which an HTTP path or body looks as if it would switch, restart or write, or None."""
    found = _SWITCHING.search(text)
    return found[0] if found else None
