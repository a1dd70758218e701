"""The AT channel: bytes in, events out, no I/O and no clock (ITU-T V.250, 3GPP TS 27.007).

One command is under way at a time. The modem may echo it or not, end its lines with CR, LF or both in any number, and
put unsolicited codes anywhere. A line belongs to the reply if its name (``+CSQ``) was asked for or if it has no name;
any other named line is unsolicited, so the parts of a chained command may answer in any order::

    data = channel.send(Command("AT+CSQ;+CEREG?"), now)
    for event in channel.receive(received, now):
        ...                                    # Reply, Unsolicited, Garbage
    for event in channel.tick(now):
        ...                                    # Timeout

Memory is bounded: a line of more than ``MAX_LINE`` bytes is garbage, and a reply keeps ``MAX_LINES`` lines of
``MAX_REPLY`` characters in all.
Numeric result codes (``ATV0``) are not understood; no modem starts that way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

import msgspec

MAX_LINE: Final = 2048
MAX_LINES: Final = 256
MAX_REPLY: Final = 32_768

_NAME: Final = re.compile(r"([+^!#*$%][A-Z0-9_]+)\s*:", re.IGNORECASE)
_ASKED: Final = re.compile(r"[+^!#*$%&]?[A-Z0-9_]+", re.IGNORECASE)
# "+CME ERROR:" with nothing at all after the colon is a reply cut in two, with a blank it is an error without a cause.
_ERROR: Final = re.compile(r"\+(CME|CMS) ERROR:(.+)", re.IGNORECASE)
_FINAL_WORDS: Final = frozenset(
    ("OK", "ERROR", "NO CARRIER", "BUSY", "NO ANSWER", "NO DIALTONE", "NO DIAL TONE", "COMMAND NOT SUPPORT", "CONNECT")
)
_URC_WORDS: Final = frozenset(
    (
        "RDY",
        "RING",
        "PB DONE",
        "SMS DONE",
        "CALL READY",
        "SMS READY",
        "NORMAL POWER DOWN",
        "POWERED DOWN",
        "POWER DOWN",
        "APP RDY",
    )
)

_NOISE: Final = bytes((*range(0x00, 0x09), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F, 0xFF))
_CME_WORDS: Final = {
    "operation not allowed": 3,
    "operation not supported": 4,
    "invalid command line": 4,
    "ph-sim pin required": 5,
    "sim not inserted": 10,
    "sim pin required": 11,
    "sim pin": 11,
    "sim puk required": 12,
    "sim puk": 12,
    "sim failure": 13,
    "sim busy": 14,
    "sim wrong": 15,
    "sim pin2 required": 17,
    "sim puk2 required": 18,
    "no network service": 30,
    "network timeout": 31,
    "network not allowed - emergency calls only": 32,
    "emergency calls only": 32,
}
"""TS 27.007 section 9.2.1, with the shorter words that modems print."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command line to send.

    ``text`` begins with ``AT``. ``timeout`` is seconds until the final result code must be there. ``answers`` names
    replies that do not bear the name of what was asked (``AT+CICCID`` answers ``+ICCID:``).
    Raises ValueError for text that is not one printable ASCII line.
    """

    text: str
    timeout: float = 3.0
    answers: frozenset[str] = frozenset()
    names: frozenset[str] = field(init=False)
    """Names that may answer, upper case with their mark; empty where any may (``ATI``)."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[Aa][Tt][\x20-\x7e]*", self.text):
            raise ValueError(f"expected one line that begins with AT, found {self.text!r}")
        names: list[str] = []
        for part in re.findall(r'(?:[^;"]|"[^"]*"?)+', self.text[2:]):
            found = _ASKED.match(part.strip())
            if found is None or found[0][0] not in "+^!#*$%":
                names = []
                break
            names.append(found[0].upper())
        object.__setattr__(self, "names", frozenset(names) | (self.answers if names else frozenset()))


class Result(msgspec.Struct, frozen=True):
    """A final result code. ``text`` is the line, ``cause`` the number of a +CME ERROR, by its word too, if known."""

    text: str
    cause: int | None = None

    @property
    def ok(self) -> bool:
        """Whether the command was carried out."""
        return self.text == "OK" or self.text.startswith("CONNECT")

    @property
    def unsupported(self) -> bool:
        """Whether the modem does not know the command, or not in this form."""
        return self.text in ("ERROR", "COMMAND NOT SUPPORT") or self.cause in (3, 4, 50, 100)


class Reply(msgspec.Struct, frozen=True):
    """The answer to a command: its lines without echo and unsolicited codes, and the final result code.

    ``overflow`` counts the lines beyond the bounds, which were not kept.
    """

    command: Command
    lines: tuple[str, ...]
    result: Result
    overflow: int = 0


class Timeout(msgspec.Struct, frozen=True):
    """No final result code came in time; ``lines`` are the whole lines that did."""

    command: Command
    lines: tuple[str, ...]


class Unsolicited(msgspec.Struct, frozen=True):
    """A line that nobody asked for, or that came after its final result code."""

    line: str


class Garbage(msgspec.Struct, frozen=True):
    """Bytes that are no line of text: ``count`` of them, the first 32 in ``sample``."""

    count: int
    sample: bytes


Event = Reply | Timeout | Unsolicited | Garbage


def final_result(line: str) -> Result | None:
    """Return the final result code that ``line`` is, or None for any other line."""
    upper = line.strip().upper()
    if upper in _FINAL_WORDS or upper.startswith("CONNECT "):
        return Result(upper)
    error = _ERROR.match(line)
    if error is None:
        return None
    words = error[2].strip()
    if error[1].upper() == "CMS":
        return Result(line.strip())
    cause = int(words) if re.fullmatch(r"\d{1,5}", words, re.ASCII) else _CME_WORDS.get(words.lower())
    return Result(line.strip(), cause)


def line_name(line: str) -> str | None:
    """Return the name a line bears (``+QENG``), upper case, or None."""
    found = _NAME.match(line)
    return found[1].upper() if found else None


class AtChannel:
    """One conversation with one modem; times are monotonic seconds."""

    def __init__(self) -> None:
        self.echo = False
        """Whether the modem has been seen to echo."""
        self._buffer = bytearray()
        self._skipped = 0
        self._skip_sample = b""
        self._command: Command | None = None
        self._deadline = 0.0
        self._lines: list[str] = []
        self._overflow = self._kept = 0
        self._echoed = False
        self._owed = 0

    @property
    def busy(self) -> bool:
        """Whether a command is under way."""
        return self._command is not None

    def send(self, command: Command, now: float) -> bytes:
        """Begin ``command`` and return the bytes to write. Raises ValueError while another is under way."""
        if self._command is not None:
            raise ValueError(f"{self._command.text} is under way")
        self._command = command
        self._deadline = now + command.timeout
        self._lines = []
        self._overflow = self._kept = 0
        self._echoed = False
        return command.text.encode("ascii") + b"\r"

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Take what was read and return what it means, in order."""
        events: list[Event] = []
        for piece in re.split(rb"([\r\n])", data):
            if piece not in (b"\r", b"\n"):
                self._grow(piece)
            elif self._skipped:
                events.append(Garbage(self._skipped, self._skip_sample))
                self._skipped = 0
            elif self._buffer:
                raw = bytes(self._buffer)
                self._buffer.clear()
                events.extend(self._line(raw))
        events.extend(self.tick(now))
        return events

    def tick(self, now: float) -> list[Event]:
        """Return a Timeout if the command under way has run out of time.

        A final result code whose line end is all that lacks counts as one.
        """
        if self._command is None or now < self._deadline:
            return []
        raw = bytes(self._buffer).strip(_NOISE + b" ")
        if final_result(_decode(raw)) is not None:
            self._buffer.clear()
            return self._line(raw)
        self._owed += 1
        return [self.abandon()]

    def abandon(self) -> Timeout:
        """Give up the command under way, whose answer is not to be expected any more.

        Raises ValueError when there is none.
        """
        if self._command is None:
            raise ValueError("no command is under way")
        timeout = Timeout(self._command, tuple(self._lines))
        self._command = None
        self._lines = []
        return timeout

    def settled(self) -> None:
        """Note that the line has fallen silent: nothing old can come any more."""
        self._owed = 0
        self._buffer.clear()
        self._skipped = 0

    def _grow(self, piece: bytes) -> None:
        if self._skipped:
            self._skipped += len(piece)
        elif len(self._buffer) + len(piece) > MAX_LINE:
            self._skip_sample = bytes(self._buffer[:32] or piece[:32])
            self._skipped = len(self._buffer) + len(piece)
            self._buffer.clear()
        else:
            self._buffer += piece

    def _line(self, raw: bytes) -> list[Event]:
        clean = raw.strip(_NOISE + b" \t")
        events: list[Event] = []
        if any(byte in _NOISE for byte in clean):
            return [Garbage(len(raw), raw[:32])]
        noise = len(raw) - len(raw.strip(_NOISE))
        if noise:
            events.append(Garbage(noise, raw[:32]))
        if clean:
            # "+CME ERROR: " is final by its blank, so blanks at the end stay until that is known.
            events.extend(self._classify(_decode(clean), _decode(raw.strip(_NOISE).lstrip(b" \t"))))
        return events

    def _classify(self, line: str, untrimmed: str) -> list[Event]:
        command = self._command
        if command is None:
            return [Unsolicited(line)]
        if line.upper() == command.text.strip().upper():
            # What came before its echo answers something older.
            late: list[Event] = [Unsolicited(old) for old in self._lines]
            self._lines = []
            self.echo = self._echoed = True
            return late
        result = final_result(untrimmed)
        if result is not None:
            if self._owed and self.echo and not self._echoed:
                self._owed -= 1
                late = [Unsolicited(old) for old in (*self._lines, line)]
                self._lines = []
                return late
            reply = Reply(command, tuple(self._lines), result, self._overflow)
            self._command = None
            self._lines = []
            return [reply]
        if self._unasked(command, line):
            return [Unsolicited(line)]
        if len(self._lines) >= MAX_LINES or self._kept + len(line) > MAX_REPLY:
            self._overflow += 1
        else:
            self._kept += len(line)
            self._lines.append(line)
        return []

    @staticmethod
    def _unasked(command: Command, line: str) -> bool:
        if line.upper() in _URC_WORDS or len(command.text) == 2:
            return True
        name = line_name(line)
        return name is not None and bool(command.names) and name not in command.names


def _decode(raw: bytes) -> str:
    return raw.decode("utf-8", errors="backslashreplace")
