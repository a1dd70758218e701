"""What has come of what somebody wanted: the site's owner takes an action in its own time, a page waits a little."""

from __future__ import annotations

import asyncio
import time
from typing import Final, Literal

import msgspec

from collector.core.tickets.texts import TEXTS, Language
from collector.site.acts import TICKET_ACTION, TicketBody
from collector.store import queries
from collector.store.rows import Action
from collector.web.app import Sources

WAIT_S: Final = 5.0
"""How long a page waits for the owner before it says that nobody has taken it yet."""
_LOOK_S: Final = 0.05


class Outcome(msgspec.Struct, frozen=True):
    """How an action stands."""

    action: Action
    status: Literal["waiting", "taken", "refused"]
    what: str
    """What it was, in words; empty for what is done to no ticket."""
    words: str
    """Why it was refused."""

    @classmethod
    def of(cls, action: Action, language: Language) -> Outcome:
        """Return how an action stands, in a language."""
        what = _what(action, language)
        if action.taken_ms is None:
            return cls(action, "waiting", what, "")
        chinese, _, english = action.error.partition("\n")
        words = chinese if language == "zh" else english or chinese
        return cls(action, "refused" if action.error else "taken", what, words)


def _what(action: Action, language: Language) -> str:
    try:
        what = msgspec.json.decode(action.body, type=TicketBody).what if action.kind == TICKET_ACTION else ""
    except msgspec.DecodeError:
        return ""
    return TEXTS[language].events.get(what, what)


async def wait_for(sources: Sources, id: int, language: Language, wait_s: float = WAIT_S) -> Outcome:
    """Return what has come of an action, at the latest after so long."""
    end_s = time.monotonic() + wait_s
    while True:
        action = await asyncio.to_thread(queries.action, sources.store.engine, id)
        assert action is not None, "whoever waits has kept it"
        found = Outcome.of(action, language)
        if found.status != "waiting" or time.monotonic() >= end_s:
            return found
        await asyncio.sleep(_LOOK_S)


def shown(sources: Sources, text: str | None, site: str, language: Language) -> Outcome | None:
    """Return the outcome that an address names (``?done=``), ``None`` for none of this site. Blocks."""
    if text is None or not (text.isascii() and text.isdecimal() and len(text) <= 18):
        return None
    action = queries.action(sources.store.engine, int(text))
    return None if action is None or action.site != site else Outcome.of(action, language)
