"""What is remembered of the run before, beside the outbox: how it ended, and how many boots there were."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

import msgspec

log = logging.getLogger(__name__)
FILE: Final = "notes.json"


class LastRun(msgspec.Struct, frozen=True):
    """What is kept of the newest run."""

    boot: str
    boots: int
    """Boots of this machine in which the agent ran."""
    run: str
    ended: str = "running"
    """How the run ended; ``running`` until it did, so that a start that finds it knows that the run was killed."""


def load(directory: Path) -> LastRun | None:
    """Return what is kept, ``None`` where nothing can be read."""
    try:
        return msgspec.json.decode((directory / FILE).read_bytes(), type=LastRun)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        log.warning("%s: cannot be read, begun anew: %s", directory / FILE, error)
        return None


def save(directory: Path, this: LastRun) -> bool:
    """Write it in one step, durable. A disk that cannot be written stops nothing: returns ``False``."""
    new = directory / f"{FILE}.new"
    try:
        with new.open("wb") as file:
            file.write(msgspec.json.encode(this))
            file.flush()
            os.fsync(file.fileno())
        new.replace(directory / FILE)
    except OSError as error:
        log.warning("%s: cannot be written: %s", directory / FILE, error)
        return False
    return True


def begun(before: LastRun | None, boot: str, run: str) -> LastRun:
    """Return what to keep of a run that begins."""
    if before is None:
        return LastRun(boot, 1, run)
    return LastRun(boot, before.boots + (boot != before.boot), run)
