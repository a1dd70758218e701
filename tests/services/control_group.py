"""A control group of the kernel's with a hard limit of memory, as systemd makes one for ``MemoryMax``."""

from __future__ import annotations

import contextlib
import os
import secrets
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

_V1: Final = Path("/sys/fs/cgroup/memory")
_V2: Final = Path("/sys/fs/cgroup")


class ControlGroup:
    """One group. ``join`` is a ``preexec_fn``: what is started with it, and its children, belong to the group."""

    def __init__(self, folder: Path, second: bool) -> None:
        self._folder = folder
        self._second = second

    def join(self) -> None:
        """Move this process into it."""
        (self._folder / "cgroup.procs").write_text(str(os.getpid()))

    @property
    def killed(self) -> int:
        """How many of its processes the kernel has killed, because they needed more."""
        events = self._folder / ("memory.events" if self._second else "memory.oom_control")
        return next(int(line.split()[1]) for line in events.read_text().splitlines() if line.startswith("oom_kill "))


@contextlib.contextmanager
def control_group(memory: int) -> Iterator[ControlGroup]:
    """Make a group that may hold so many bytes. Skips loudly where that is not allowed, fails under ``CI=true``."""
    second = not _V1.is_dir()
    folder = (_V2 if second else _V1) / f"kitwatch-test-{secrets.token_hex(4)}"
    try:
        folder.mkdir()
    except OSError as error:
        _do_without(str(error))
    try:
        try:
            (folder / ("memory.max" if second else "memory.limit_in_bytes")).write_text(str(memory))
        except OSError as error:
            _do_without(str(error))
        yield ControlGroup(folder, second)
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _do_without(reason: str) -> None:
    message = f"no control group with a limit of memory can be made ({reason}): MemoryMax is NOT tested"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    warnings.warn(message, stacklevel=3)
    pytest.skip(message)
