"""What was learnt of a site's places, as judging is given it: numbered editions (docs/coverage.md). Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from collector.core import contact_gaps, coverage
from collector.core.contact_gaps import ContactGaps
from collector.core.coverage import Coverage


@dataclass(frozen=True, slots=True)
class Learnt:
    """All of it."""

    gaps: ContactGaps = field(default=contact_gaps.NOTHING)
    coverage: Coverage = field(default=coverage.NOTHING)


NOTHING: Final = Learnt()
"""Where nothing was learnt yet."""
