"""Mutants that no scenario can notice, each with the reason. The table prints them."""

from __future__ import annotations

from typing import Final

EQUIVALENT: Final[dict[str, str]] = {}
