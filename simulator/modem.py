"""A 5G modem at its AT port: 3GPP TS 27.007 commands beside the maker's own, which are data in ``modems/``."""

from __future__ import annotations

import functools
import importlib.resources
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Literal, get_args

import msgspec

from simulator.pty import SerialLine
from simulator.world import KitState
from telemetry.files import convert, parse_yaml

Maker = Literal["quectel", "fibocom", "tdtech"]
MAKERS: tuple[Maker, ...] = get_args(Maker)
Answers = Mapping[str, tuple[str, ...]]
"""Command without ``AT``, in capitals -> the lines of its answer, in which ``{name}`` is filled in (``_figures``)."""


class Speech(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one modem answers: ``always``, and by the state of SIM and network. See ``_layers`` for which goes first."""

    vendor: str
    model: str
    firmware: str
    always: Answers = {}
    absent: Answers = {}
    locked: Answers = {}
    idle: Answers = {}
    ready: Answers = {}
    denied: Answers = {}
    registered: Answers = {}
    lte: Answers = {}
    nr: Answers = {}


@functools.cache
def speech(name: str) -> Speech:
    """Return a maker's file, or ``3gpp`` for what is common to all. Raises FileError for one that is wrong."""
    file = importlib.resources.files("simulator").joinpath("modems", f"{name}.yaml")
    return convert(parse_yaml(file.read_text("utf-8"), file.name), Speech, file.name)


def reply(command: str, state: KitState, imei: str, maker: Maker = "quectel", *, numeric: bool = False) -> list[str]:
    """Return the lines that answer one command, final result last. Pure.

    ``numeric``: operators are told by number (``+COPS=3,2``).
    """
    name = command.upper().removeprefix("AT")
    own, common = speech(maker), speech("3gpp")
    for layer in (*_layers(state), "always"):
        for spoken in (own, common):
            lines = getattr(spoken, layer).get(name)
            if lines is not None:
                figures = _figures(state, own, imei, numeric)
                told = [line.format_map(figures) for line in lines]
                return told if told and told[-1].startswith("+CME ERROR") else [*told, "OK"]
    return ["ERROR"]


def _layers(state: KitState) -> tuple[str, ...]:
    """Return which parts of a speech hold, the most particular first."""
    if state.sim != "ready":
        return state.sim, "idle"
    if not state.registered:
        return "denied", "ready"
    return "nr" if state.nr_used else "lte", "registered", "ready"


def _figures(state: KitState, own: Speech, imei: str, numeric: bool) -> dict[str, object]:
    """Return what lines are filled with. Indices: TS 36.133 9.1, TS 38.133 10.1; ``^HCSQ``: Huawei."""
    lte, nr = state.lte, state.nr
    rssi = lte.rsrp + 30  # twelve hundred subcarriers are 31 dB above one
    return {
        "vendor": own.vendor,
        "model": own.model,
        "firmware": own.firmware,
        "imei": imei,
        "iccid": "89860012345678901234",
        "operator": '2,"46000"' if numeric else '0,"CHINA MOBILE"',
        "temperature": round(state.modem_temperature_c),
        "tenths": round(state.modem_temperature_c * 10),
        "millidegrees": round(state.modem_temperature_c * 1000),
        "csq": _within(round((rssi + 113) / 2), 31),
        "lte_rsrp": round(lte.rsrp),
        "lte_rsrq": round(lte.rsrq),
        "lte_rssi": round(rssi),
        "lte_sinr_coded": round((lte.sinr + 20) / 2),
        "lte_sinr_fifth": round((lte.sinr + 20) * 5),
        "lte_rsrp_index": _within(round(lte.rsrp) + 141, 97),
        "lte_rsrq_index": _within(round(lte.rsrq * 2) + 40, 34),
        "nr_rsrp": round(nr.rsrp),
        "nr_rsrq": round(nr.rsrq),
        "nr_sinr": round(nr.sinr),
        "nr_rsrp_index": _within(round(nr.rsrp) + 157, 126),
        "nr_rsrq_index": _within(round(nr.rsrq * 2) + 87, 126),
        "nr_sinr_index": _within(round(nr.sinr * 2) + 47, 127),
        "hcsq_rssi": _within(round(rssi) + 121, 96),
        "hcsq_lte_sinr": _within(round((lte.sinr + 20.2) * 5), 251),
        "hcsq_nr_rsrp": _within(round(nr.rsrp) + 141, 97),
        "hcsq_nr_sinr": _within(round((nr.sinr + 20.2) * 5), 251),
    }


def _within(index: int, most: int) -> int:
    return max(0, min(most, index))


class SimulatedModem:
    """Answers AT commands on a pty, with echo until ``ATE0``."""

    def __init__(self, state: Callable[[], KitState], imei: str, maker: Maker = "quectel") -> None:
        self.asked: Counter[str] = Counter()
        """Commands heard, in capitals, each of a chained line by itself; also those that were not answered."""
        self._state = state
        self._imei = imei
        self._maker = maker
        self._echo = True
        self._numeric = False
        self._buffer = b""
        self.line = SerialLine(self._received)

    def _received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r" in self._buffer:
            raw, self._buffer = self._buffer.split(b"\r", 1)
            command = raw.decode("ascii", "replace").strip()
            if command:
                self._answer(command)
        self._buffer = self._buffer[-512:]

    def _answer(self, command: str) -> None:
        self.asked.update(_whole(part.upper()) for part in _chained(command))
        state = self._state()
        if not state.router_alive or not state.modem_answers:
            return
        if self._echo:
            self.line.write(command.encode() + b"\r\r\n")
        if command.upper() == "ATE0":
            self._echo = False
        lines: list[str] = []
        final = "OK"
        for part in _chained(command):
            if part.upper().removeprefix("AT").startswith("+COPS=3,"):
                self._numeric = part.endswith("2")
            *told, final = reply(part, state, self._imei, self._maker, numeric=self._numeric)
            lines += told
            if final != "OK":
                break
        text = "".join(f"\r\n{line}\r\n" for line in [*lines, final])
        self.line.write(text.encode())


def _whole(part: str) -> str:
    return part if part.startswith("AT") else f"AT{part}"


def _chained(command: str) -> list[str]:
    """Split ``AT+A;+B`` into its commands; a quoted semicolon is none."""
    parts, quoted, start = [], False, 0
    for at, letter in enumerate(command):
        if letter == '"':
            quoted = not quoted
        elif letter == ";" and not quoted:
            parts.append(command[start:at])
            start = at + 1
    parts.append(command[start:])
    return [part for part in parts if part]
