"""What the notifiers of a site share about the people of its roster (docs/notifications.md).

When each was told last of a ticket, who has a message next, and what nobody takes. Kept by the monotonic clock; after a
restart the rows say it, as far as the clock can be believed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from collector.channels import deliveries
from collector.channels.deliveries import Waiting
from collector.channels.fail_over import FailOver
from collector.core.contract import DEFAULT, Contract, Telling
from collector.store.store import Store

_MOST_GROUPS: Final = 10_000


class Undelivered(NamedTuple):
    """A notification that nobody takes."""

    person: str
    """For whom it was last."""
    since_ms: int
    given_up: bool
    """All channels have refused it: told until that person takes something else."""
    words: str


class People:
    """The people of one site. ``contract`` gives what is in force, ``known`` the names of the channels there are."""

    def __init__(
        self,
        store: Store,
        site: str,
        contract: Callable[[], Contract] = lambda: DEFAULT,
        known: Iterable[str] = (),
        *,
        again_s: float = 60.0,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.undelivered: dict[str, Undelivered] = {}
        """Notifications that nobody takes, by key."""
        self.answered = False
        """Somebody has taken something since this process began."""
        self.wakes: list[Callable[[], None]] = []
        """Tell the site's notifiers that there is something to send."""
        self._store = store
        self._site = site
        self._contract = contract
        self._known = frozenset(known)
        self._again_ms = round(again_s * 1000)
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._told_s: dict[tuple[str, str], float] = {}
        """When a person took the last message about a ticket (monotonic); before all: none that is known."""
        self._turn = asyncio.Lock()

    @property
    def contract(self) -> Contract:
        """What is in force."""
        return self._contract()

    @property
    def telling(self) -> Telling:
        """How notifications wait, fold and fail over."""
        return self._contract().telling

    async def free_s(self, one: Waiting) -> float:
        """Return from when (monotonic) a person may have another message about the ticket."""
        group, interval_ms = (one.receiver, one.ticket), self.telling.group_interval_ms
        if not one.ticket:
            return 0.0
        if group not in self._told_s:
            last_ms = await asyncio.to_thread(deliveries.last_told_ms, self._store, self._site, *group)
            left_ms = 0 if last_ms is None else min(max(0, last_ms + interval_ms - self._now_ms()), interval_ms)
            self._note(group, self._monotonic() + (left_ms - interval_ms) / 1000)
        return self._told_s[group] + interval_ms / 1000

    def delivered(self, one: Waiting, keys: Iterable[str]) -> None:
        """Note that a person took a message that holds these notifications."""
        self.answered = True
        self._note((one.receiver, one.ticket), self._monotonic())
        for key in keys:
            self.undelivered.pop(key, None)
        self.undelivered = {
            key: told for key, told in self.undelivered.items() if told.person != one.receiver or not told.given_up
        }
        for wake in self.wakes:
            wake()  # what waits for this person on another channel may be next

    async def pass_on(self, one: Waiting, words: str, *, refused: bool = False, tried: bool = True) -> bool:
        """Let the next channel or person have a message (``FailOver``); say whether anything was done."""
        now_ms = self._now_ms()
        over = FailOver(self._store, self._site, self._contract(), self._known, now_ms)
        async with self._turn:
            passed = await asyncio.to_thread(
                over.pass_on, one, words, refused=refused, tried=tried, again_ms=self._again_ms
            )
        for key, given_up in passed.nobody.items():
            since_ms = self.undelivered[key].since_ms if key in self.undelivered else now_ms
            told = f"{one.ticket} to {one.receiver} by {one.channel}: {words}"
            self.undelivered[key] = Undelivered(one.receiver, since_ms, given_up, told)
        if passed.done:
            for wake in self.wakes:
                wake()
        return passed.done

    def _note(self, group: tuple[str, str], at_s: float) -> None:
        if len(self._told_s) >= _MOST_GROUPS:
            old_s = self._monotonic() - self.telling.group_interval_ms / 1000
            self._told_s = {one: told_s for one, told_s in self._told_s.items() if told_s > old_s}
        self._told_s[group] = at_s
