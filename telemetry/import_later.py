"""Modules that a library imports and hardly ever uses, or never: on a small box they are loaded when they are used."""

from __future__ import annotations

import importlib
import sys
import threading
from types import ModuleType
from typing import Any, Final

_ONE_ASKS: Final = threading.Lock()
"""What two threads ask for at once is not taken away from the first by the second."""


def import_later(name: str) -> None:
    """Let ``import name`` cost nothing until something of the module is asked for (PEP 562).

    In vain where whoever imports it takes a name of it (``from name import``) or derives a class: that asks at once. A
    module that is loaded already stays.
    """
    if name in sys.modules:
        return

    def ask(attribute: str) -> Any:
        with _ONE_ASKS:
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]
        return getattr(importlib.import_module(name), attribute)

    stand_in = ModuleType(name)
    vars(stand_in)["__getattr__"] = ask
    sys.modules[name] = stand_in
    parent, _, child = name.rpartition(".")
    if parent:
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
