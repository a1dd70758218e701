"""The earliest time that can be now: this program did not exist before. A floor for clocks and certificates."""

from __future__ import annotations

from typing import Final

EARLIEST_S: Final = 1_767_225_600
"""2026-01-01 UTC in seconds since 1970."""
EARLIEST_MS: Final = EARLIEST_S * 1000
