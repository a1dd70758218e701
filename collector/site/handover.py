"""From a drain, which learns beside the judging, to the site's owner, who puts it into the log: editions."""

from __future__ import annotations


class Handover:
    """What drains have learnt and no commit has taken yet: of each kind of edition the newest content.

    One that is lost with its owner is no harm: the drain offers it again as long as the database has another one.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, bytes] = {}

    def __bool__(self) -> bool:
        """Say whether anything waits."""
        return bool(self._waiting)

    def offer(self, kind: str, content: bytes) -> None:
        """Let the site be judged by this from its owner's next commit on. May be called from any thread."""
        self._waiting[kind] = content

    def take(self) -> list[tuple[str, bytes]]:
        """Return what waits as (kind, content), in the kinds' order; nothing waits then."""
        waiting, self._waiting = self._waiting, {}
        return sorted(waiting.items())
