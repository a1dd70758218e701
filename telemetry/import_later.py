"""Modules that a library imports and hardly ever uses, or never: on a small box they are loaded when they are used."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


def import_later(name: str) -> None:
    """Let ``import name`` cost nothing until something of the module is asked for (PEP 562).

    Only for a module of a package. One that is loaded already stays.
    """
    if name in sys.modules:
        return

    def ask(attribute: str) -> Any:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
        return getattr(importlib.import_module(name), attribute)

    stand_in = ModuleType(name)
    vars(stand_in)["__getattr__"] = ask
    sys.modules[name] = stand_in
    parent, _, child = name.rpartition(".")
    setattr(importlib.import_module(parent), child, stand_in)


def import_without(name: str, backport: str) -> None:
    """Import a module that asks another one, where that is installed, for what this Python has itself."""
    if name in sys.modules or backport in sys.modules:
        return
    sys.modules[backport] = None  # type: ignore[assignment]  # as if it were not installed (importlib's documentation)
    try:
        importlib.import_module(name)
    finally:
        del sys.modules[backport]
