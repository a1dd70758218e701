"""Summaries of vehicles as rows, and back. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from collector.core.vehicle.summary import Details, Summary

_encode = msgspec.json.Encoder().encode
_details = msgspec.json.Decoder(Details)


def summary_row(summary: Summary) -> tuple[Any, ...]:
    """Return the columns of ``vehicle_summary`` after ``vehicle``, but for ``revision``."""
    return (summary.state, summary.heard_ms, summary.silent_since_ms, _encode(summary.details).decode())


def read_details(content: str) -> Details:
    """Return what stands in ``details``. Raises ValueError for what this version cannot read."""
    return _details.decode(content)
