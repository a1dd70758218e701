"""Back to the page that somebody had asked for before signing in: own addresses alone. Pure.

They are told relative to the first page, so that they hold below any path of a proxy and can lead to no other host.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

MOST: Final = 500
_OWN: Final = re.compile(r"[A-Za-z0-9_~%?][A-Za-z0-9_.~%/?=&+,:@-]*")


def own(text: str) -> str:
    """Return an address of ours as a link relative to the first page (``./call``); that page for any other."""
    plain = unquote(unquote(text))
    path = plain.partition("?")[0]
    if len(text) > MOST or not _OWN.fullmatch(text) or ".." in plain or "//" in path or "\\" in plain or ":" in path:
        return "./"
    return f"./{text}"
