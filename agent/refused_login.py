"""When a login that a device refused is tried again: neither never nor in a storm. Pure.

Makers lock an address after some wrong passwords, and the password may be put right on either side. So a refused login
rests for less than an hour, a changed secret is tried at once, and in a day there are 25 tries at most. The words that
are told meanwhile begin with ``login refused: `` and stay the same, so that a rule can match them.
"""

from __future__ import annotations

from typing import Final

PAUSE: Final = 3500.0
"""Seconds that a refused login rests: under an hour, and 25 times in a day."""
A_DAY: Final = 25
DAY: Final = 86_400.0
TOLD: Final = "login refused: "


class RefusedLogin:
    """The refusals of one device's login. ``login`` names it: the user and where, never the password.

    Times are monotonic seconds; ``mark`` is a digest of the secret, which tells whether it was changed.
    """

    def __init__(self, login: str) -> None:
        self._login = login
        self._times: list[float] = []
        self._resting = False
        self._mark = b""
        self._why = ""

    @property
    def told(self) -> str:
        """What a poll says while the login is refused."""
        return f"{TOLD}{self._login} ({self._why}); tried again within the hour"

    def refuse(self, now: float, why: str, mark: bytes) -> None:
        """Note that the device refused the login."""
        self._times = [*(time for time in self._times if time > now - DAY), now]
        self._resting, self._why, self._mark = True, why, mark

    def accept(self) -> None:
        """Note that the device took the login. What it refused before still counts for the day."""
        self._resting = False

    def rests(self, now: float, mark: bytes) -> bool:
        """Return whether the login is not to be tried now. An unreadable secret has the mark ``b""`` and rests."""
        if not self._resting:
            return False
        if sum(time > now - DAY for time in self._times) >= A_DAY:
            return True
        return now < self._times[-1] + PAUSE and mark in (self._mark, b"")
