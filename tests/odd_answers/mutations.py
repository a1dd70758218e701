"""Odd bytes made of good ones. Pure: chance is an argument."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

LONG: Final = 65_536
_NUMBERS: Final = (
    b"-1",
    b"0",
    b"999999999999999999999",
    b"1e999",
    b"NaN",
    b"0x",
    b"4294967296",
    b"\xd9\xa1\xd9\xa2",
    b"",
)
_TOKENS: Final = (
    b"\x00", b"\xff\xfe", b"\x1b[2J", b"\r\n", b"\r\n\r\n", b"'\"`", b"%s%n", b"\xed\xa0\x80", b"{", b"]", b"<", b"&x;",
    b",,,,", b"::", b"\\ud800", b"\xf0\x9f\x9a\x91", b"OK", b"ERROR", b"$GP", b"RTSP/1.0 ", b"HTTP/1.1 ", b"\x30\x84",
)  # fmt: skip
_DIGITS: Final = b"0123456789"


def odd(chance: random.Random, good: bytes) -> bytes:
    """Return something like ``good``, changed in one to four places; now and then the good one, or nothing like it."""
    way = chance.random()
    if way < 0.05:
        return good
    if way < 0.10:
        return chance.randbytes(chance.randrange(300))
    for _ in range(chance.randrange(1, 5)):
        good = chance.choice(_CHANGES)(chance, good)
    return good


def _place(chance: random.Random, data: bytes) -> int:
    return chance.randrange(len(data) + 1)


def _flip(chance: random.Random, data: bytes) -> bytes:
    at = _place(chance, data)
    return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]


def _cut(chance: random.Random, data: bytes) -> bytes:
    return data[: _place(chance, data)]


def _leave_out(chance: random.Random, data: bytes) -> bytes:
    first, last = sorted((_place(chance, data), _place(chance, data)))
    return data[:first] + data[last:]


def _insert(chance: random.Random, data: bytes) -> bytes:
    at = _place(chance, data)
    return data[:at] + chance.choice(_TOKENS) + data[at:]


def _repeat(chance: random.Random, data: bytes) -> bytes:
    first, last = sorted((_place(chance, data), _place(chance, data)))
    part = data[first:last] or chance.choice(_TOKENS)
    times = chance.choice((2, 3, 10, LONG // len(part) + 1 if chance.random() < 0.02 else 20))
    return (data[:first] + part * times + data[last:])[: 2 * LONG]


def _number(chance: random.Random, data: bytes) -> bytes:
    """Put another number in the place of one."""
    digits = [at for at, byte in enumerate(data[:2000]) if byte in _DIGITS]
    if not digits:
        return _insert(chance, data)
    first = last = chance.choice(digits)
    while last < len(data) and data[last] in _DIGITS:
        last += 1
    return data[:first] + chance.choice(_NUMBERS) + data[last:]


def _swap(chance: random.Random, data: bytes) -> bytes:
    first, last = sorted((_place(chance, data), _place(chance, data)))
    return data[last:] + data[first:last] + data[:first]


_CHANGES: Final[tuple[Callable[[random.Random, bytes], bytes], ...]] = (
    _flip, _flip, _cut, _leave_out, _insert, _insert, _repeat, _number, _number, _number, _swap,
)  # fmt: skip
