"""What one vehicle may cost, and what it has cost so far (docs/decisions/0040). Pure."""

from __future__ import annotations

from typing import Annotated

import msgspec

Bound = Annotated[int, msgspec.Meta(ge=1, le=2**31)]


class Quotas(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one vehicle may cost: whoever holds its certificate says what he likes.

    What is beyond is refused, counted and told by one ticket. What is refused is not receipted: an agent keeps it and
    sends it again.
    """

    records: Bound = 100_000
    """At once, a day of the standard kit: a bucket that `records_per_s` fills again. A message counts for the records
    that it names, and for one more per 100 µs of CPU beyond that."""
    records_per_s: Annotated[float, msgspec.Meta(gt=0)] = 500.0
    """For ever; an agent's backlog leaves it at a fifth of that."""
    waiting_records: Bound = 5_000
    """Come in and not yet taken."""
    waiting_bytes: Bound = 4 * 2**20
    """Of messages that have come in and are not yet taken."""


def words_of(quota: str, quotas: Quotas) -> str:
    """Return a quota in the words of the ticket that tells of it."""
    bound = getattr(quotas, quota)
    if quota == "records":
        bound = f"{bound} at once, {quotas.records_per_s:g} a second"
    return f"over quota: {quota} ({bound})"
