"""A 5G modem at its AT port: Quectel RM500Q in EN-DC, 3GPP TS 27.007 commands beside the maker's own."""

from __future__ import annotations

from collections.abc import Callable

from simulator.pty import SerialLine
from simulator.world import KitState

_FIRMWARE = "RM500QGLABR11A06M4G"
_NOT_INSERTED = "+CME ERROR: 10"


def reply(command: str, state: KitState, imei: str) -> list[str]:
    """Return the lines that answer one command, final result last. Pure."""
    name = command.upper().removeprefix("AT")
    fixed = {
        "": [],
        "E0": [],
        "E1": [],
        "+CMEE=1": [],
        "+CMEE=2": [],
        "+CGMI": ["Quectel"],
        "+CGMM": ["RM500Q-GL"],
        "+CGMR": [_FIRMWARE],
        "+GMR": [_FIRMWARE],
        "I": ["Quectel", "RM500Q-GL", f"Revision: {_FIRMWARE}"],
        "+CGSN": [imei],
        "+GSN": [imei],
        "+CFUN?": ["+CFUN: 1"],
        "+QTEMP": ['+QTEMP:"xo-therm-usr","40"', f'+QTEMP:"mdm-core-usr","{state.modem_temperature_c:.0f}"'],
    }
    if name in fixed:
        return [*fixed[name], "OK"]
    if name.endswith("=2") and name[:-2] in {"+CREG", "+CGREG", "+CEREG", "+C5GREG"}:
        return ["OK"]
    if not state.sim_present:
        return _without_sim(name)
    told = _with_sim(name, state)
    return ["ERROR"] if told is None else [*told, "OK"]


def _without_sim(name: str) -> list[str]:
    if name in {"+CPIN?", "+QCCID", "+ICCID", "+CIMI"}:
        return [_NOT_INSERTED]
    if name == "+CSQ":
        return ["+CSQ: 99,99", "OK"]
    if name in {"+CREG?", "+CGREG?", "+CEREG?", "+C5GREG?"}:
        return [f"{name[:-1]}: 2,0", "OK"]
    if name == "+COPS?":
        return ["+COPS: 0", "OK"]
    if name == '+QENG="SERVINGCELL"':
        return ['+QENG: "servingcell","SEARCH"', "OK"]
    if name == "+QNWINFO":
        return ["+QNWINFO: No Service", "OK"]
    return ["ERROR"]


def _with_sim(name: str, state: KitState) -> list[str] | None:
    lte, nr = state.lte, state.nr
    rssi = max(0, min(31, round((lte.rsrp + 30 + 113) / 2)))
    match name:
        case "+CPIN?":
            return ["+CPIN: READY"]
        case "+QCCID" | "+ICCID":
            return [f"{name}: 89860012345678901234"]
        case "+CIMI":
            return ["460000123456789"]
        case "+CSQ":
            return [f"+CSQ: {rssi},99"]
        case "+CREG?" | "+CGREG?":
            return [f'{name[:-1]}: 2,1,"4AA3","3359966",13']
        case "+CEREG?":
            return ['+CEREG: 2,1,"4AA3","3359966",13']
        case "+C5GREG?":
            return ["+C5GREG: 2,0"]
        case "+COPS?":
            return ['+COPS: 0,0,"CHINA MOBILE",13']
        case "+QNWINFO":
            return [
                '+QNWINFO: "FDD LTE","46000","LTE BAND 3",1300',
                '+QNWINFO: "TDD NR5G","46000","NR5G BAND 41",528030',
            ]
        case '+QENG="SERVINGCELL"':
            return [
                '+QENG: "servingcell","NOCONN"',
                f'+QENG: "LTE","FDD",460,00,3359966,88,1300,3,5,5,4AA3,{lte.rsrp:.0f},{lte.rsrq:.0f},'
                f"{lte.rsrp + 30:.0f},{round((lte.sinr + 20) / 2)},12,150,-",
                f'+QENG:"NR5G-NSA",460,00,832,{nr.rsrp:.0f},{nr.sinr:.0f},{nr.rsrq:.0f},528030,41,12,1',
            ]
        case "+QCSQ":
            return [f'+QCSQ: "LTE",{lte.rsrp + 30:.0f},{lte.rsrp:.0f},{round((lte.sinr + 20) * 5)},{lte.rsrq:.0f}']
    return None


class SimulatedModem:
    """Answers AT commands on a pty, with echo until ``ATE0``."""

    def __init__(self, state: Callable[[], KitState], imei: str) -> None:
        self._state = state
        self._imei = imei
        self._echo = True
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
        if self._echo:
            self.line.write(command.encode() + b"\r\r\n")
        if command.upper() == "ATE0":
            self._echo = False
        state = self._state()
        if not state.router_alive:
            return
        lines: list[str] = []
        final = "OK"
        for part in _chained(command):
            *told, final = reply(part, state, self._imei)
            lines += told
            if final != "OK":
                break
        text = "".join(f"\r\n{line}\r\n" for line in [*lines, final])
        self.line.write(text.encode())


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
