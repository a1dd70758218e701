"""Which of what a unit of work holds makes its commit fail. Pure.

A commit that fails says nothing of which message, or which act of a person, is to blame. So the next units hold half as
much, until one is alone: that is blamed, and after ``BLAMED_AFTER`` times refused.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from collector.site.intake import Incoming
from collector.store.rows import Action

UNIT_MESSAGES: Final = 1_000
"""Most messages that one unit of work takes in."""
BLAMED_AFTER: Final = 3
"""What alone made the commit fail so often is refused: a message is set aside unread."""
MOST_BLAMED: Final = 1_000
"""So many of them are remembered."""

Doubtful = Incoming | Action


class Caution(msgspec.Struct):
    """How much one unit of work may hold, and who is to blame; it outlasts the ownerships of a site."""

    limit: int = UNIT_MESSAGES
    """Messages and acts."""
    blamed: Counter[str] = msgspec.field(default_factory=Counter)
    """How often, by digest."""
    reasons: dict[str, str] = msgspec.field(default_factory=dict)
    """What was raised at last, by digest."""

    @property
    def is_cautious(self) -> bool:
        """Whether a commit has failed of late."""
        return self.limit < UNIT_MESSAGES

    def failed(self, of_it: Sequence[Doubtful], why: str) -> None:
        """Note a unit whose commit failed, with all that it held."""
        if len(of_it) == 1:
            what = "message" if isinstance(of_it[0], Incoming) else "act"
            self._note(of_it[0], 1, f"the commit of this {what} alone failed again and again: {why}")
        self.limit = max(1, min(self.limit, len(of_it)) // 2)

    def worked(self) -> None:
        """Note a unit whose commit worked."""
        self.limit = min(UNIT_MESSAGES, self.limit * 2)

    def refuses(self, one: Doubtful) -> bool:
        """Say whether a message is to be set aside unread, or an act refused."""
        return bool(self.blamed) and self.blamed[digest_of(one)] >= BLAMED_AFTER

    def blame(self, message: Incoming, why: str) -> str:
        """Note that taking this message raised, which needs no second time; return its digest."""
        return self._note(message, BLAMED_AFTER, why)

    def reason(self, one: Doubtful) -> str:
        """Return why it is refused, with the digest by which the log names it."""
        digest = digest_of(one)
        return f"{self.reasons.get(digest, '')} (digest {digest})"

    def _note(self, one: Doubtful, times: int, why: str) -> str:
        digest = digest_of(one)
        if digest not in self.blamed and len(self.blamed) >= MOST_BLAMED:
            oldest = next(iter(self.blamed))
            del self.blamed[oldest], self.reasons[oldest]
        self.blamed[digest] += times
        self.reasons[digest] = why[:300]
        return digest


def digest_of(one: Doubtful) -> str:
    """Return what tells a message (by topic and payload) or an act (by its id) from others, 32 hex digits."""
    if isinstance(one, Incoming):
        said = one.topic.encode(errors="replace") + b"\0" + one.payload
    else:
        said = f"act {one.id}".encode()
    return hashlib.blake2b(said, digest_size=16).hexdigest()
