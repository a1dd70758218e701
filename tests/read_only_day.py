"""``python -m tests.read_only_day --record``: a day of the whole simulated kit, and what it was asked.

The agent's own inputs poll three vehicles' kits (`simulator/`, every fault of the scenario ``whole-kit`` among them)
over their real protocols, in a day of virtual time: as many moments as asked, evenly spread over 24 hours. The
simulators count. Held: nothing that writes is among it (R1: we watch from beside).

Exit status: 0 nothing that writes was asked; 1 something was.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from agent.inputs import open_input
from agent.inputs.base import Input
from simulator.kit import ENCODER_USER, Endpoints, Kit
from simulator.scenario import load_scenario
from telemetry.inputs import GnssInput, HttpInput, InputConfig, ModemInput, ProbeInput, SnmpInput, StreamInput, Target
from tests.long_run import LongRun, arguments

DAY_S: Final = 86_400.0
COMMUNITY: Final = "kit"
PASSWORD: Final = "kit password"
READING_SNMP: Final = frozenset(("GetRequestPDU", "GetNextRequestPDU", "GetBulkRequestPDU"))
READING_METHODS: Final = frozenset(("GET", "HEAD"))
PLAYING: Final = frozenset(("OPTIONS", "DESCRIBE", "SETUP", "PLAY", "GET_PARAMETER", "TEARDOWN"))
OWN_FORM: Final = frozenset(("ATE0", "AT+CMEE=1", "AT+COPS=3,0", "AT+COPS=3,2"))
"""What changes the session's own echo and forms: 3GPP TS 27.007 (V.250 for ATE), ``+COPS=3`` how a name is told."""
READING_AT: Final = re.compile(
    r"AT[+^#!$][A-Z0-9]+\?"  # a read command changes nothing (27.007, 5.1; V.250, 5.4.4.3)
    r"|AT|ATI|AT\+CG(?:MI|MM|MR|SN)|AT\+CSQ|AT\+CESQ|AT\+I?CCID|AT\+QCCID|AT\+CIMI"
    r'|AT\+QENG="SERVINGCELL"|AT\+Q(?:NWINFO|CAINFO|SPN|TEMP)'  # Quectel RG50xQ & RM5xxQ AT commands manual
    r"|AT\+XMCI=1|AT\+GTSENRDTEMP=1"  # Fibocom FM150 & FM350 AT commands: reads cells, reads a sensor
    r"|AT\^(?:MONSC|SYSINFOEX)"  # Huawei, TD Tech: execution commands that tell
)


@dataclass
class Told:
    """What came of the day."""

    polls: int = 0
    readings: int = 0
    asked: dict[str, Counter[str]] = field(default_factory=dict)
    """By vehicle and device."""

    @property
    def questions(self) -> int:
        """How many there were."""
        return sum(sum(counter.values()) for counter in self.asked.values())

    @property
    def writing(self) -> dict[str, int]:
        """What was asked that does more than read, by device and question."""
        return {
            f"{device}: {question}": count
            for device, counter in self.asked.items()
            for question, count in counter.items()
            if not reads(device.rpartition("/")[2], question)
        }


def reads(device: str, question: str) -> bool:
    """Say whether a question of a device of the kit only reads, or changes the session's own echo and form."""
    match device:
        case "modem":
            return question in OWN_FORM or READING_AT.fullmatch(question) is not None
        case "encoder":
            return question in READING_METHODS
        case "stream":
            return question in PLAYING
        case "gnss":
            return False
        case _:
            return question in READING_SNMP


async def day(directory: Path, moments: int) -> Told:
    """Poll for a day; return what was asked."""
    now = 0.0
    told = Told()
    secrets = {name: _secret(directory / name, text) for name, text in (("c", COMMUNITY), ("p", PASSWORD))}
    scenario = load_scenario("whole-kit")
    kits = [
        Kit("amb-01", scenario, COMMUNITY, ups=True, encoder_password=PASSWORD, monotonic=lambda: now),
        Kit("amb-02", scenario, COMMUNITY, modem="fibocom", monotonic=lambda: now),
        Kit("amb-03", scenario, COMMUNITY, modem="tdtech", monotonic=lambda: now),
    ]
    async with AsyncExitStack() as stack:
        inputs: list[Input] = []
        for kit in kits:
            ends = await kit.start(0.0)
            stack.push_async_callback(kit.stop)
            for config in _inputs(ends, secrets):
                inputs.append(open_input(config))
                stack.push_async_callback(inputs[-1].close)
        for moment in range(moments):
            now = moment * DAY_S / moments
            polls = await asyncio.gather(*(source.poll(now) for source in inputs))
            told.polls += len(polls)
            told.readings += sum(len(poll.readings) for poll in polls)
        told.asked = {f"{kit.vehicle}/{name}": asked for kit in kits for name, asked in kit.asked().items()}
    return told


def _inputs(ends: Endpoints, secrets: Mapping[str, str]) -> list[InputConfig]:
    often: Any = {"interval": 10, "deadline": 2}
    snmp = [ends.router_port, *ends.camera_ports.values(), ends.ups_port, ends.panel_port]
    found: list[InputConfig] = [
        SnmpInput(address="127.0.0.1", port=port, community_file=secrets["c"], timeout=0.3, **often)
        for port in snmp
        if port is not None
    ]
    found += [ModemInput(port=ends.modem_port, **often), GnssInput(port=ends.gnss_port, **often)]
    if ends.encoder_url is not None and ends.stream_url is not None:
        login: Any = {"user": ENCODER_USER, "password_file": secrets["p"]}
        targets = {
            "page": Target(kind="http", url=ends.encoder_url),
            "port": Target(kind="tcp", address="127.0.0.1", port=int(ends.encoder_url.rpartition(":")[2])),
        }
        found += [
            HttpInput(url=ends.encoder_url, **login, **often),
            StreamInput(url=ends.stream_url, play=0.2, **login, **often),
            ProbeInput(targets=targets, count=1, **often),
        ]
    return found


def _secret(file: Path, text: str) -> str:
    file.write_text(text + "\n")
    file.chmod(0o600)
    return str(file)


def main(argv: Sequence[str] | None = None) -> int:
    """Poll for a day; return the exit status."""
    parser = arguments("tests.read_only_day", (__doc__ or "").partition("\n")[0])
    parser.add_argument("--moments", type=int, default=1_440, help="how often each device is polled in the day")
    args = parser.parse_args(argv)
    long = LongRun("read-only-day", "tests.read_only_day", args, argv)
    with tempfile.TemporaryDirectory(prefix="kitwatch-read-only-") as folder:
        told = asyncio.run(day(Path(folder), args.moments))
    counts: dict[str, Any] = {"moments": args.moments, "polls": told.polls, "readings": told.readings}
    counts |= {"questions": told.questions, "writing": told.writing}
    counts["asked"] = {device: dict(sorted(asked.items())) for device, asked in told.asked.items()}
    return long.end(counts, held=not told.writing, seeds=[5])


if __name__ == "__main__":
    sys.exit(main())
