"""What a sink promises (docs/components.md). A new one is a file beside this and its line in ``registry.py``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal, NamedTuple

import msgspec
from sqlalchemy import Connection

from collector.store.batch import Batch


class NotNow(Exception):  # noqa: N818 - it is an answer, not a mistake
    """The other side takes nothing now. ``after_s`` is what it asked us to wait, if it did.

    ``refusing``: it answers, and refuses whatever it is sent (credentials, database, disk); else it is away or busy.
    """

    def __init__(self, words: str, after_s: float | None = None, *, refusing: bool = False) -> None:
        super().__init__(words)
        self.after_s = after_s
        self.refusing = refusing


class Refused(Exception):  # noqa: N818
    """The other side will not take this as it is; its words. ``at`` says which items, where it named them."""

    def __init__(self, words: str, at: dict[int, str] | None = None) -> None:
        super().__init__(words)
        self.at = at or {}


class Item(msgspec.Struct, frozen=True, gc=False):
    """One thing to send: a line of text without a line end, and the number of the batch that it comes from."""

    batch: int
    text: str


class Letter(NamedTuple):
    """Lines that the other side does not have, and why. ``retry``: to be tried again at leisure, else ``held``."""

    batch: int
    content: str
    reason: str
    state: Literal["held", "retry"] = "held"


class Portion(msgspec.Struct):
    """What some batches become."""

    items: list[Item] = msgspec.field(default_factory=list)
    """What is to be sent, in order."""
    letters: list[Letter] = msgspec.field(default_factory=list)
    """What is not even tried."""
    write: Callable[[Connection], None] | None = None
    """What goes into this database, in the transaction that moves the cursor."""
    counts: Counter[str] = msgspec.field(default_factory=Counter)
    """Added to what is told, once that transaction is done."""


class Sink(ABC):
    """One place where what was committed goes. The runner has cursor, waits, retries, dead letters and figures."""

    name: ClassVar[str]
    """In the tables ``cursor`` and ``dead_letter``."""
    every_s: float = 1.0
    """Least time between two looks at the log: what comes meanwhile goes together."""
    hears: ClassVar[bool] = False
    """Whether it is handed what was committed, for one that looks at once, rather than reading it from the log."""
    sealed: ClassVar[bool] = False
    """Whether it is given batches that are not decoded (``Batch.content``), for one that looks at minutes at once."""
    records_a_look: int = 5_000
    items_a_write: int = 5_000

    @abstractmethod
    def prepare(self, batches: Sequence[Batch]) -> Portion:
        """Return what these batches become. Runs in a thread; may read the database, changes nothing.

        The same batches give the same items: after a crash they are sent again.
        """

    async def send(self, items: Sequence[str]) -> None:
        """Send items once; sending them twice is the same as once. Raises NotNow or Refused.

        A sink into this database sends nothing; what it has set aside stays so when it is tried again.
        """
        raise Refused("there is nobody to send this to")

    async def prove(self) -> None:  # noqa: B027 - a sink into this database proves nothing
        """Show that the other side takes something at all; raises NotNow if not.

        Asked before anything is blamed on an item, where nothing was taken.
        """

    async def divide(self, items: Sequence[Item], refused: Refused) -> tuple[list[Item], list[Letter]]:
        """Return (what to try again, what to set aside) as far as the refusal tells; else all items and nothing."""
        return list(items), []

    def is_limit(self, refused: Refused) -> bool:
        """Say whether a refusal is a limit of the other side, which no item is to blame for and somebody must raise."""
        return False

    def blamed(self, item: Item, words: str) -> None:  # noqa: B027 - most have no kin
        """Hear that an item is refused for good, so that its kin can be held back."""

    async def reset(self) -> None:  # noqa: B027 - nothing to let go of is no mistake
        """Let go of connections and secrets: called after every failure and at the end."""
