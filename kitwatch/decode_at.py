"""Reads an AT transcript as the agent would have read the modem: ``kitwatch decode at``.

A transcript has ``> `` lines that were sent, ``< `` lines that were received (CR and LF stripped) and ``#`` comments;
``# ---`` begins another moment or another unit. Also taken: the raw bytes of a port whose modem echoes (``.bin``), and
a table of single replies (solicited or not, the reply with C escapes, its meaning), each row of which is a block.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from agent.protocols.at import AtChannel, Command, Garbage, Reply, Timeout, Unsolicited
from agent.protocols.dialects.answers import Exchange
from agent.protocols.dialects.identity import identify
from agent.protocols.dialects.registry import choose, decode, spoken
from telemetry.readings import Identity

_HEADER_MODEL: Final = re.compile(r"#\s*model:\s*(.*?)(?:\s{2,}(?:firmware|situation|echo)\b.*)?$", re.IGNORECASE)
_HEADER_FIRMWARE: Final = re.compile(r"\bfirmware:\s*(\S+)", re.IGNORECASE)
_MODEL_WORD: Final = re.compile(r"(?<![\w.-])[A-Za-z][A-Za-z.-]*\d[\w-]*")
_UNNAMED: Final = re.compile(r"\bnot named\b|\bseveral\b|\bunnamed\b|\bmany\b", re.IGNORECASE)
_TABLE_ROW: Final = re.compile(r'([su?])\t"((?:[^"\\]|\\.)*)"\t')
_ESCAPES: Final = {"r": "\r", "n": "\n", "t": "\t"}
_ECHO: Final = re.compile(rb"[Aa][Tt][\x20-\x7e]*")


@dataclass(slots=True)
class _Block:
    """The traffic of one moment: pairs of (what was sent or None, the bytes received after it)."""

    turns: list[tuple[str | None, bytes]] = field(default_factory=list)

    def received(self, data: bytes) -> None:
        if not self.turns:
            self.turns.append((None, b""))
        command, before = self.turns[-1]
        self.turns[-1] = (command, before + data)


def decode_at(path: str | Path) -> dict[str, Any]:
    """Return ``model``, ``firmware``, ``dialect``, ``readings`` and ``flags`` of a transcript.

    A reading has ``metric``, ``value``, ``labels`` and ``block``, numbered from 1. Model and firmware are what the
    modem said; where it was not asked, what the transcript's header says. Raises OSError if the file cannot be read.
    """
    data = Path(path).read_bytes()
    text = data.decode("utf-8", errors="backslashreplace")
    garbage: list[Garbage] = []
    if re.search(r"^[<>]( |\r?$)", text, re.MULTILINE):
        blocks = [list(_exchanges(block, garbage)) for block in _transcript(text)]
        _mark_cut(text, blocks)
    elif _TABLE_ROW.search(text):
        blocks = [list(row) for row in _table(text)]
    else:
        blocks = [list(_exchanges(_raw(data), garbage))]
    everything = [exchange for block in blocks for exchange in block]
    identity = _identity(text, identify(everything))
    dialect = choose(identity.vendor, identity.model, identity.firmware).name
    readings: list[dict[str, Any]] = []
    flags = [f"unparsed modem.registration {event.count} bytes that are no text: {event.sample!r}" for event in garbage]
    for number, block in enumerate(blocks, start=1):
        own = identify(block)  # another unit than the file's first, perhaps
        who = own if own.model else identity
        found, seen = decode(block, " ".join(filter(None, (who.model, who.firmware))))
        flags += [flag for flag in dict.fromkeys(seen) if flag not in flags]
        readings += [
            {"metric": reading.metric, "value": reading.value, "labels": dict(reading.labels), "block": number}
            for reading in found
        ]
    return {
        "model": identity.model,
        "firmware": identity.firmware,
        "dialect": dialect if dialect != "3gpp" else spoken(everything),
        "readings": readings,
        "flags": flags,
    }


def _transcript(text: str) -> Iterator[_Block]:
    block = _Block()
    started = False
    for line in text.split("\n"):  # not splitlines: a form feed is no line end on this wire
        line = line.removesuffix("\r")
        if line.startswith("# ---"):
            if started:
                yield block
            block, started = _Block(), True
        elif line.startswith(("> ", "< ")) or line in ("<", ">"):
            started = True
            if line[0] == ">":
                block.turns.append((line[2:].strip(), b""))
            else:
                block.received(line[2:].encode("utf-8") + b"\r\n")
    if started:
        yield block


def _raw(data: bytes) -> _Block:
    """The bytes of a port: an echoed command line begins a turn."""
    block = _Block()
    for line in re.findall(rb"[^\r\n]*[\r\n]+|[^\r\n]+$", data):
        if _ECHO.fullmatch(line.strip()):
            block.turns.append((line.strip().decode("ascii"), b""))
        block.received(line)
    return block


def _exchanges(block: _Block, garbage: list[Garbage]) -> Iterator[Exchange]:
    """Play the block through the agent's own channel; what is no text is appended to ``garbage``."""
    channel = AtChannel()
    for sent, received in block.turns:
        if channel.busy:
            yield _exchange(channel.abandon())
        if sent is not None:
            try:
                channel.send(Command(sent), 0.0)
            except ValueError:
                channel.settled()  # something that is no command was sent: what follows is read all the same
        for event in channel.receive(received, 0.0):
            if isinstance(event, Garbage):
                garbage.append(event)
            else:
                yield _exchange(event)
    if channel.busy:
        yield _exchange(channel.abandon())


def _exchange(event: Reply | Timeout | Unsolicited) -> Exchange:
    if isinstance(event, Unsolicited):
        return Exchange(None, (event.line,))
    return Exchange(event.command.text, event.lines, event.result if isinstance(event, Reply) else None)


def _mark_cut(text: str, blocks: list[list[Exchange]]) -> None:
    """A recording whose last line is neither a final result code nor followed by an empty line may end within it."""
    last = text.rstrip("\r\n").rpartition("\n")[2]
    if blocks and blocks[-1] and last.startswith("< ") and last[2:].strip():
        final = blocks[-1][-1]
        if final.command is not None and final.result is None:
            blocks[-1][-1] = Exchange(final.command, final.lines, None, cut=True)


def _table(text: str) -> Iterator[list[Exchange]]:
    for line in text.splitlines():
        row = _TABLE_ROW.match(line)
        if row is None:
            continue
        reply = re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[1]), row[2])
        lines = [part for part in re.split(r"[\r\n]+", reply) if part.strip()]
        # "?" is a reply whose kind is not told; what was not sent unasked was asked for.
        yield [Exchange(None if row[1] == "u" else "AT", (part,)) for part in lines]


def _identity(text: str, said: Identity) -> Identity:
    """Complete what the modem said with the header of the transcript."""
    header = next((match[1] for match in map(_HEADER_MODEL.match, text.splitlines()) if match), "")
    head = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    named = None if _UNNAMED.search(header) else _MODEL_WORD.search(re.sub(r"\([^)]*\)", "", header))
    firmware = _HEADER_FIRMWARE.search(head)
    stated = firmware[1] if firmware and any(map(str.isdigit, firmware[1])) else None
    return Identity(
        vendor=said.vendor or header or None,
        model=said.model or (named[0] if named else None),
        firmware=said.firmware or stated,
        imei=said.imei,
        iccid=said.iccid,
    )
