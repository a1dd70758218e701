"""The ``snmp`` input: finds the profile that fits a device, then reads the device by it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from agent.inputs.base import Poll
from agent.snmp.port import Credentials, Exchange, SnmpError, SnmpPort, SnmpRefusedError, SnmpSilentError
from agent.snmp.splitting import SplittingPort
from firmware_profiles.answers import SnmpAnswers, Wire
from firmware_profiles.asked import Wanted, metric_of_column, wanted
from firmware_profiles.load import Profile
from firmware_profiles.match import SYS_OBJECT_ID, Matched, firmware_fits, first_questions, match, questions
from firmware_profiles.read import read
from telemetry.files import FileError, read_secret
from telemetry.inputs import SnmpInput
from telemetry.readings import Identity, Reading

REACHABLE: Final = "device.reachable"
IN_TIME: Final = 0.95
"""How much of its deadline a poll uses."""
_RETRY_UNKNOWN: Final = 300.0
"""Seconds after which a device without profile is asked again (its firmware may have been changed)."""


def open_port(config: SnmpInput) -> SnmpPort:
    """Return the port for a device's configuration, over the library that it names. Raises FileError.

    A request is waited for so that all its tries, and one for sysObjectID alone, fit into the poll's deadline.
    """
    if config.version == "2c":
        credentials = Credentials("2c", community=read_secret(config.community_file or "", "snmp.community_file"))
    else:
        credentials = Credentials(
            "3",
            user=config.user or "",
            auth=config.auth,
            auth_key=read_secret(config.auth_file or "", "snmp.auth_file"),
            priv=config.priv,
            priv_key=read_secret(config.priv_file or "", "snmp.priv_file"),
        )
    timeout = min(config.timeout, config.deadline * IN_TIME / (config.retries + 2))
    return SplittingPort(_exchange(config)(config.address, config.port, credentials, timeout, config.retries))


def _exchange(config: SnmpInput) -> Callable[[str, int, Credentials, float, int], Exchange]:
    """Return what opens an exchange; imports the library that is configured and no other."""
    if config.library == "pysnmp":
        from agent.snmp.pysnmp import PysnmpExchange

        return PysnmpExchange
    from agent.snmp.udp import UdpExchange

    if config.version == "3":
        import agent.snmp.usm  # noqa: F401 - the exchange would, at its first poll
    return UdpExchange


class _Asked(msgspec.Struct, frozen=True):
    """What one poll's questions brought; ``lost`` are scalars that the device has and did not tell, with the reason."""

    answers: SnmpAnswers
    lost: Mapping[str, str]
    truncated: Sequence[str]

    def flags(self, profile: Profile) -> list[str]:
        """Return a flag for each object that was not read to its end."""
        texts = [*(f"{oid}: {reason}" for oid, reason in self.lost.items()), *self.truncated]
        return [f"truncated {metric_of_column(profile, text.partition(':')[0])} {text}" for text in texts]


class SnmpDevice:
    """One device over SNMP (``agent.inputs.base.Input``).

    The profile is found at the first contact, again after the device was silent, and again when its sysObjectID is
    another or its firmware no longer fits. ``make_port`` opens the port at the first poll, so that an unreadable secret
    is that device's problem.
    """

    def __init__(
        self,
        config: SnmpInput,
        profiles: Mapping[str, Profile],
        make_port: Callable[[SnmpInput], SnmpPort] = open_port,
    ) -> None:
        _exchange(config)  # imports now what must not be imported while the loop is running
        self._config: Final = config
        self._profiles: Final = profiles
        self._make_port: Final = make_port
        self._port: SnmpPort | None = None
        self._matched: Matched | None = None
        self._matched_at = 0.0
        self._wanted = Wanted((), ())
        self._scalars: Sequence[str] = ()
        self._object_id: Wire | None = None
        self._identity: Identity | None = None

    @property
    def profile(self) -> Profile | None:
        """The profile in use, or None before the first contact and for an unknown device."""
        return self._matched.profile if self._matched is not None else None

    async def poll(self, now: float) -> Poll:
        """Read the device once, within the configured deadline.

        A device that answered something and then no more is there, however little was read of it.
        """
        before = self._port.answered if self._port is not None else 0
        try:
            async with asyncio.timeout(self._config.deadline * IN_TIME):
                return await self._poll(now)
        except (TimeoutError, SnmpSilentError):
            if self._port is not None and self._port.answered > before:
                return Poll([Reading(REACHABLE, True)], problem="SNMP stopped answering before the poll was through")
            self._matched = None
            return _unreachable("no answer over SNMP")
        except SnmpRefusedError as error:
            self._matched = None
            return Poll([Reading(REACHABLE, True)], problem=str(error))
        except SnmpError as error:
            self._matched = None
            return Poll([Reading(REACHABLE, True)], problem=str(error))
        except FileError as error:
            return _unreachable(str(error))

    async def _poll(self, now: float) -> Poll:
        if self._port is None:
            self._port = self._make_port(self._config)
        matched = self._matched
        if matched is None or (matched.profile is None and now - self._matched_at >= _RETRY_UNKNOWN):
            matched = await self._find(self._port, now)
        if matched.profile is None:
            await self._port.get([SYS_OBJECT_ID])
            return Poll([Reading(REACHABLE, True)], problem=f"profile_unknown: {matched.why}")
        profile, asked = matched.profile, await self._ask(self._port)
        if not self._still(profile, asked):
            matched = await self._find(self._port, now)
            if matched.profile is None:
                return Poll([Reading(REACHABLE, True)], problem=f"profile_unknown: {matched.why}")
            profile, asked = matched.profile, await self._ask(self._port)
        await asyncio.sleep(0)  # reading takes its time: others may go first
        result = read(profile, asked.answers)
        changed = result.identity != self._identity
        self._identity = result.identity
        fallback = profile.file.fallback and self._config.profile is None
        return Poll(
            readings=[Reading(REACHABLE, True), *result.readings],
            identity=result.identity if changed else None,
            flags=[*result.flags, *asked.flags(profile)],
            problem=f"profile_unknown: only {profile.id} fits ({matched.why})" if fallback else None,
            profile=profile.id,
        )

    async def _find(self, port: SnmpPort, now: float) -> Matched:
        matched = self._matched = await find_profile(port, self._profiles, self._config.profile)
        self._matched_at = now
        self._identity = self._object_id = None
        if matched.profile is not None:
            self._wanted = wanted(matched.profile)
            # with what is read, so that another device in its place is noticed
            self._scalars = list(dict.fromkeys((SYS_OBJECT_ID, *self._wanted.scalars)))
        return matched

    def _still(self, profile: Profile, asked: _Asked) -> bool:
        """Return whether the answers are still those of the device that the profile was found for."""
        object_id = asked.answers.scalar(SYS_OBJECT_ID)
        if self._object_id is None:
            self._object_id = object_id
        if object_id is not None and object_id != self._object_id:
            return False
        if any(source.at in asked.lost for source in profile.identity.get("firmware", ())):
            return True  # it has a firmware and did not tell it this time
        return profile.match.firmware is None or firmware_fits(profile, asked.answers)[0]

    async def _ask(self, port: SnmpPort) -> _Asked:
        lost: dict[str, str] = {}
        values = await port.get(self._scalars, lost=lost)
        truncated: list[str] = []
        if self._wanted.columns:
            walk = await port.walk(self._wanted.columns, seconds=self._config.deadline * 0.8)
            values |= walk.values
            truncated = walk.truncated
        return _Asked(SnmpAnswers(values), lost, truncated)

    async def close(self) -> None:
        """Let go of the port."""
        port, self._port = self._port, None
        if port is not None:
            await port.close()


async def find_profile(port: SnmpPort, profiles: Mapping[str, Profile], only: str | None = None) -> Matched:
    """Return which profile fits the device: sysObjectID first, then only the questions that can decide."""
    values = await port.get(first_questions())
    wire = values.get(SYS_OBJECT_ID)
    candidates = [profile for profile in profiles.values() if only in (None, profile.id)]
    scalars, columns = questions(candidates, (wire.text() or "") if wire is not None else "")
    rest = [oid for oid in scalars if oid not in values]
    if rest:
        values |= await port.get(rest)
    if columns:
        values |= (await port.walk(columns, rows=1)).values
    return match(profiles, SnmpAnswers(values), only)


def _unreachable(problem: str) -> Poll:
    return Poll([Reading(REACHABLE, False)], problem=problem)
