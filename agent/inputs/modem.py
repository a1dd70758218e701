"""A modem over its AT port: identified at first contact, then asked what its dialect says, each poll.

Who the modem is never costs the poll: the SIM's number is asked last, and only of a SIM that is ready, because modems
without one may answer nothing for ten seconds. A command that hangs is left alone on this port for a while, whatever
becomes of the contact; what was read before it hung is the poll.

It changes nothing that outlives the port: only how errors, operators and registrations are reported on it
(``+CMEE=1``, ``+COPS=3,x``, for unknown makers ``+CREG=2``). It never dials, never resets, never writes a setting.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import msgspec

from agent.inputs.base import Poll
from agent.protocols.at import AtChannel, Command, Event, Garbage, Reply, Timeout, Unsolicited
from agent.protocols.dialects.answers import Exchange
from agent.protocols.dialects.identity import identify
from agent.protocols.dialects.registry import IDENTIFY, STANDARD, Dialect, choose, decode
from agent.protocols.spoken import SAMPLE, recognise
from agent.serial_port import PortError, PortGone, PortHeld, Retry, SerialPort
from telemetry.inputs import ModemInput
from telemetry.readings import Identity, Reading

_QUIET: Final = 0.05
"""Seconds without a byte after which nothing more of an old reply is coming."""
_LATE: Final = 0.15
"""Seconds to wait for the data of a query that was answered with a bare OK."""
_MARGIN: Final = 0.9
"""Part of the deadline that we use, so that what was read is returned and not cancelled."""
_MOST_WAITING: Final = 1.0
_ALIVE: Final = Command("AT", timeout=1.0)
_GIVE_UP: Final = 3
"""Times a command is refused in a row before it is asked no more, until the port is opened again."""
_MOST_UNSOLICITED: Final = 256
"""Unsolicited lines and flags kept in one poll; a modem that floods must not fill the memory."""
_HUNG_FIRST: Final = 60.0
_HUNG_MOST: Final = 86_400.0
"""Seconds for which a command that hangs is not asked: at first, and at most after doubling."""
_HANGS: Final = 2
"""Times in a row that a modem which answered others hung at a command, before it is the command's doing."""
_BOOTED: Final = re.compile(r"RDY|\*ATREADY: ?1|APP RDY|\^SYSSTART")
_ESSENTIAL: Final = frozenset(("AT+CPIN?",))
"""Asked whatever was answered: without a SIM some modems answer a bare ERROR."""


class _SilentError(Exception):
    """The port is there and nothing answers AT any more."""


class _OutOfTimeError(Exception):
    """The deadline is near; what has been read so far is the poll."""


class _Contact(msgspec.Struct):
    """What is known since the port was opened."""

    channel: AtChannel = msgspec.field(default_factory=AtChannel)
    synchronous: bool = False
    """Whether the next final result code is surely that of the next command."""
    introduced: dict[str, Exchange] = msgspec.field(default_factory=dict)
    known: bool = False
    sim_known: bool = False
    """Whether the number of the SIM that is in has been asked for."""
    refused: dict[str, int] = msgspec.field(default_factory=dict)
    dialect: Dialect = STANDARD
    identity: Identity | None = None


class Modem:
    """Polls one modem. A dead modem gives ``device.reachable`` false; a port that another program holds gives only a
    ``problem``, because then nobody knows how the modem is."""

    def __init__(self, config: ModemInput) -> None:
        self._port = SerialPort(config.port, config.baud)
        self._budget = config.deadline * _MARGIN
        self._retry = Retry()
        self._last_failure = Poll()
        self._told: Identity | None = None
        self._contact = _Contact()
        self._ends = 0.0
        self._exchanges: list[Exchange] = []
        self._flags: list[str] = []
        self._dropped = 0
        self._answered = False
        """Whether the modem answered anything in this poll."""
        self._heard = b""
        """The first bytes of this poll, to tell what else the port may be."""
        self._hangs: dict[str, int] = {}
        """Times in a row that a command hung on this port."""
        self._left_until: dict[str, float] = {}
        """When a command that hangs on this port is asked again, by the loop's clock."""

    async def poll(self, now: float) -> Poll:
        """Read the modem once. ``now`` is monotonic seconds; it paces the tries to open the port."""
        if not self._port.is_open and not self._retry.due(now):
            return self._last_failure
        self._ends = asyncio.get_running_loop().time() + self._budget
        try:
            try:
                result = await self._read()
            except PortGone:
                # It vanished since the last poll, perhaps for another name: the link is followed anew, once.
                result = await self._read()
        except PortHeld as error:
            return self._failed(now, Poll(problem=str(error)))
        except PortError as error:
            return self._failed(now, _dead(str(error)))
        except _SilentError:
            self._port.close()
            return _dead("; ".join(filter(None, (f"{self._port.path}: no answer to AT", recognise(self._heard)))), True)
        except asyncio.CancelledError:
            self._contact.synchronous = False
            raise
        self._retry.succeeded()
        return result

    async def close(self) -> None:
        """Let go of the port."""
        self._port.close()

    def _failed(self, now: float, poll: Poll) -> Poll:
        self._port.close()
        self._retry.failed(now)
        self._last_failure = poll
        return poll

    async def _read(self) -> Poll:
        self._exchanges, self._flags, self._dropped = [], [], 0
        self._answered, self._heard = False, b""
        if self._port.moved():
            self._port.close()
        if not self._port.is_open:
            await self._port.open()
            self._contact = _Contact()
        try:
            await self._listen(0.0)
            self._notice_boot()
            if not self._contact.synchronous:
                await self._synchronise()
            if not self._contact.known:
                await self._introduce()
            # What was said before this poll is old.
            self._exchanges.clear()
            await self._ask_all()
            await self._ask_for_the_sim()
        except (_OutOfTimeError, _SilentError):
            if not self._answered:
                raise _SilentError from None
            self._flags.append("truncated device.reachable poll ended by its deadline")
        return self._result()

    def _result(self) -> Poll:
        known = self._contact.identity
        new = known if known != self._told else None
        self._told = known or self._told
        model = " ".join(filter(None, (known.model, known.firmware))) if known else ""
        readings, flags = decode(self._exchanges, model)
        if self._dropped:
            self._flags.append(f"truncated device.reachable {self._dropped} unsolicited lines")
        sim = next((reading.value for reading in readings if reading.metric == "modem.sim"), None)
        if sim not in (None, "ready"):
            self._contact.sim_known = False  # the next one that is ready may be another
        if not self._contact.known:
            self._contact.identity = identify(self._contact.introduced.values())
        return Poll(
            [Reading("device.reachable", True), Reading("modem.port_open", True), *readings],
            new,
            [*flags, *self._flags],
            profile=f"at/{self._contact.dialect.name}",
        )

    async def _introduce(self) -> None:
        """Ask who the modem is; what was answered is kept if the deadline cuts this short."""
        contact = self._contact
        await self._ask_once(IDENTIFY)
        said = identify(contact.introduced.values())
        contact.dialect = choose(said.vendor, said.model, said.firmware)
        await self._ask_once(contact.dialect.setup)
        contact.known = True
        contact.identity = said

    async def _ask_for_the_sim(self) -> None:
        """Ask the number of a SIM that this poll found ready, once; what is answered is no figure."""
        contact, polled = self._contact, list(self._exchanges)
        ready = any(exchange.command == "AT+CPIN?" and "+CPIN: READY" in exchange.lines for exchange in polled)
        if contact.sim_known or not ready:
            return
        try:
            for command in contact.dialect.iccid:
                contact.introduced[command.text] = await self._exchange(command)
                contact.identity = identify(contact.introduced.values())
                if contact.identity.iccid is not None:
                    break
            contact.sim_known = True
        finally:
            told = {command.text for command in contact.dialect.iccid}
            self._exchanges = [exchange for exchange in self._exchanges if exchange.command not in told]

    async def _ask_once(self, commands: Sequence[Command]) -> None:
        for command in commands:
            if command.text not in self._contact.introduced:
                self._contact.introduced[command.text] = await self._exchange(command)

    async def _ask_all(self) -> None:
        contact = self._contact
        for command in contact.dialect.commands:
            if contact.refused.get(command.text, 0) >= _GIVE_UP:
                continue
            exchange = await self._exchange(command)
            refused = exchange.result is None or exchange.result.unsupported
            if refused and command.text not in _ESSENTIAL:
                contact.refused[command.text] = contact.refused.get(command.text, 0) + 1
            else:
                contact.refused.pop(command.text, None)

    async def _exchange(self, command: Command) -> Exchange:
        """Ask and note what came. A command without answer is noted if the modem still answers AT after it; one that
        hangs again is left alone for a while.

        Raises _SilentError if the modem does not answer, _OutOfTimeError, PortGone.
        """
        if self._left_alone(command):
            return Exchange(command.text, ())
        event = await self._ask(command)
        if isinstance(event, Timeout):
            self._note_hung(command)
            exchange = Exchange(command.text, event.lines)
            self._flags.append(f"truncated device.reachable {command.text} had no final result code")
            self._exchanges.append(exchange)
            await self._synchronise()
            return exchange
        self._hangs.pop(command.text, None)
        exchange = Exchange(command.text, event.lines, event.result)
        if event.overflow:
            self._flags.append(f"truncated device.reachable {command.text} {event.overflow} lines too many")
        self._exchanges.append(exchange)
        if event.result.ok and not event.lines and command.names and "=" not in command.text:
            await self._listen(_LATE)  # data that comes after its OK
        return exchange

    def _left_alone(self, command: Command) -> bool:
        until = self._left_until.get(command.text)
        return until is not None and asyncio.get_running_loop().time() < until

    def _note_hung(self, command: Command) -> None:
        if not self._answered:
            return  # the modem is dead, not this command
        hangs = self._hangs[command.text] = self._hangs.get(command.text, 0) + 1
        if hangs >= _HANGS:
            pause = min(_HUNG_FIRST * 2 ** min(hangs - _HANGS, 16), _HUNG_MOST)
            self._left_until[command.text] = asyncio.get_running_loop().time() + pause

    async def _ask(self, command: Command) -> Reply | Timeout:
        loop = asyncio.get_running_loop()
        left = self._ends - loop.time()
        if left < 2 * _QUIET:
            raise _OutOfTimeError
        channel = self._contact.channel
        self._port.write(channel.send(replace(command, timeout=min(command.timeout, left)), loop.time()))
        until = loop.time() + min(command.timeout, left)
        while True:
            try:
                async with asyncio.timeout_at(until):
                    data = await self._port.read()
            except TimeoutError:
                data = b""
            self._heard = (self._heard + data)[:SAMPLE]
            answer = self._take(channel.receive(data, loop.time()))
            if answer is not None:
                self._answered |= isinstance(answer, Reply)
                return answer

    def _take(self, events: list[Event]) -> Reply | Timeout | None:
        answer: Reply | Timeout | None = None
        for event in events:
            if isinstance(event, Reply | Timeout):
                answer = event
            elif len(self._exchanges) + len(self._flags) >= _MOST_UNSOLICITED:
                self._dropped += 1
            elif isinstance(event, Unsolicited):
                self._exchanges.append(Exchange(None, (event.line,)))
            elif isinstance(event, Garbage):
                self._flags.append(f"unparsed device.reachable {event.count} bytes that are no text")
        return answer

    async def _listen(self, quiet: float) -> None:
        """Take what comes until nothing has come for ``quiet`` seconds, or for a second."""
        loop = asyncio.get_running_loop()
        latest = min(loop.time() + _MOST_WAITING, self._ends)
        while loop.time() < latest:
            try:
                # A timeout of nothing would be cancelled before the first look.
                async with asyncio.timeout(max(quiet, 0.002)):
                    data = await self._port.read()
            except TimeoutError:
                return
            self._heard = (self._heard + data)[:SAMPLE]
            self._take(self._contact.channel.receive(data, loop.time()))

    async def _synchronise(self) -> None:
        """Wait until old replies are through and the modem answers AT. Raises _SilentError if it does not."""
        contact = self._contact
        contact.synchronous = False
        for _ in range(2):
            if contact.channel.busy:
                contact.channel.abandon()
            await self._listen(_QUIET)
            if isinstance(await self._ask(_ALIVE), Reply):
                await self._listen(_QUIET)
                contact.channel.settled()
                contact.synchronous = True
                return
        raise _SilentError

    def _notice_boot(self) -> None:
        if any(_BOOTED.match(line) for exchange in self._exchanges for line in exchange.lines):
            self._contact = _Contact(identity=self._contact.identity)


def _dead(problem: str, port_open: bool = False) -> Poll:
    return Poll([Reading("device.reachable", False), Reading("modem.port_open", port_open)], problem=problem)
