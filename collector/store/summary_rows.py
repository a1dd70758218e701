"""Summaries of vehicles as rows, and back. Pure.

``details`` are compressed: of a page of 1,024 bytes they take a third, and all of a site's are written every 30 s.
"""

from __future__ import annotations

from typing import Any

import msgspec
import zstandard

from collector.core.vehicle.summary import Details, Summary
from collector.store.batch import compress, decompress

_encode = msgspec.json.Encoder().encode
_details = msgspec.json.Decoder(Details)


def summary_row(summary: Summary, revision: int) -> tuple[Any, ...]:
    """Return the columns of ``vehicle_summary`` after ``vehicle``; ``revision`` is the number of the commit."""
    return (summary.state, summary.heard_ms, summary.silent_since_ms, revision, details_content(summary.details))


def details_content(details: Details) -> bytes:
    """Return what stands in ``details``."""
    return compress(_encode(details))


def read_details(content: bytes) -> Details:
    """Return what stands in ``details``. Raises ValueError for what this version cannot read."""
    try:
        plain = decompress(content)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from None
    return _details.decode(plain)
