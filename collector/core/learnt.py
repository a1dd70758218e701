"""What was learnt of a site's places, as judging is given it: numbered editions (docs/coverage.md). Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from collector.core import contact_gaps, coverage
from collector.core.contact_gaps import ContactGaps
from collector.core.coverage import Coverage


class Learnt(msgspec.Struct, frozen=True):
    """All of it."""

    gaps: ContactGaps = msgspec.field(default=contact_gaps.NOTHING)
    coverage: Coverage = msgspec.field(default=coverage.NOTHING)


NOTHING: Final = Learnt()
"""Where nothing was learnt yet."""
