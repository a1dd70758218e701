"""The agent's few notes of its own, kept beside the outbox: boots counted, and how the run before ended."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

import msgspec

log = logging.getLogger(__name__)
FILE: Final = "notes.json"


class Notes(msgspec.Struct, frozen=True):
    """``boots``: boots of this machine in which the agent ran. ``run``: the newest run. ``ended``: how that ended.

    ``ended`` is ``running`` until it did, so that a start that finds it knows that the run before was killed.
    """

    boot: str
    boots: int
    run: str
    ended: str = "running"


def load(directory: Path) -> Notes | None:
    """Return the notes, ``None`` where there are none that can be read."""
    try:
        return msgspec.json.decode((directory / FILE).read_bytes(), type=Notes)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        log.warning("%s: cannot be read, begun anew: %s", directory / FILE, error)
        return None


def save(directory: Path, notes: Notes) -> bool:
    """Write the notes in one step, durable. A disk that cannot be written stops nothing: returns ``False``."""
    new = directory / f"{FILE}.new"
    try:
        with new.open("wb") as file:
            file.write(msgspec.json.encode(notes))
            file.flush()
            os.fsync(file.fileno())
        new.replace(directory / FILE)
    except OSError as error:
        log.warning("%s: cannot be written: %s", directory / FILE, error)
        return False
    return True


def begun(before: Notes | None, boot: str, run: str) -> Notes:
    """Return the notes of a run that begins."""
    if before is None:
        return Notes(boot, 1, run)
    return Notes(boot, before.boots + (boot != before.boot), run)
