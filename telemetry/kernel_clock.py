"""The kernel's clock, and whether anybody keeps it: adjtimex(2) tells both at once."""

from __future__ import annotations

import ctypes
import functools
from typing import Any, Final, NamedTuple


class _Timeval(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("fraction", ctypes.c_long))


class _Timex(ctypes.Structure):
    """``struct timex`` of adjtimex(2); the kernel fills more than we name."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("time", _Timeval),
        ("rest", ctypes.c_long * 32),
    )


_STA_UNSYNC: Final = 0x0040
_STA_NANO: Final = 0x2000
_TIME_ERROR: Final = 5


class KernelClock(NamedTuple):
    """The machine's own clock."""

    wall_ms: int
    """UTC."""
    synchronised: bool
    """Whether NTP keeps it."""
    uncertainty_ms: int
    """What NTP says that it may be off by."""


@functools.cache
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def read() -> KernelClock | None:
    """Return the clock as it is now, ``None`` where the kernel does not tell."""
    timex = _Timex()
    state = _libc().adjtimex(ctypes.byref(timex))
    if state < 0:
        return None
    fraction = timex.time.fraction // (1_000_000 if timex.status & _STA_NANO else 1000)
    synchronised = state != _TIME_ERROR and not timex.status & _STA_UNSYNC
    return KernelClock(timex.time.seconds * 1000 + fraction, synchronised, 1 + timex.esterror // 1000)
