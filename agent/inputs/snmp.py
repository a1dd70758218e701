"""The ``snmp`` input: finds the profile that fits a device, then reads the device by it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from agent.inputs.base import Poll
from agent.snmp.port import SnmpError, SnmpPort, SnmpRefusedError, SnmpSilentError
from firmware_profiles.answers import SnmpAnswers, Wire
from firmware_profiles.asked import Wanted, metric_of_column, wanted
from firmware_profiles.load import Profile
from firmware_profiles.match import SYS_OBJECT_ID, Matched, firmware_fits, first_questions, match, questions
from firmware_profiles.read import read
from telemetry.files import FileError, read_secret
from telemetry.inputs import SnmpInput
from telemetry.readings import Identity, Reading

REACHABLE: Final = "device.reachable"
_RETRY_UNKNOWN: Final = 300.0
"""Seconds after which a device without profile is asked again (its firmware may have been changed)."""


def pysnmp_port(config: SnmpInput) -> SnmpPort:
    """Return the port for a device's configuration. Raises FileError."""
    from agent.snmp.pysnmp import Credentials, PysnmpPort

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
    return PysnmpPort(config.address, config.port, credentials, timeout=config.timeout, retries=config.retries)


class SnmpDevice:
    """One device over SNMP (``agent.inputs.base.Input``).

    The profile is found at the first contact, again after the device was silent, and again when its firmware no
    longer fits. ``make_port`` opens the port at the first poll, so that an unreadable secret is that device's problem.
    """

    def __init__(
        self,
        config: SnmpInput,
        profiles: Mapping[str, Profile],
        make_port: Callable[[SnmpInput], SnmpPort] = pysnmp_port,
    ) -> None:
        self._config: Final = config
        self._profiles: Final = profiles
        self._make_port: Final = make_port
        self._port: SnmpPort | None = None
        self._matched: Matched | None = None
        self._matched_at = 0.0
        self._wanted = Wanted((), ())
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
            async with asyncio.timeout(self._config.deadline * 0.95):
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
        again = self._matched is not None and self._matched.profile is None
        if self._matched is None or (again and now - self._matched_at >= _RETRY_UNKNOWN):
            await self._find(self._port, now)
        matched = self._matched
        assert matched is not None
        if matched.profile is None:
            await self._port.get([SYS_OBJECT_ID])
            return Poll([Reading(REACHABLE, True)], problem=f"profile_unknown: {matched.why}")
        values, truncated = await self._ask(self._port)
        answers = SnmpAnswers(values)
        if matched.profile.match.firmware is not None and not firmware_fits(matched.profile, answers)[0]:
            await self._find(self._port, now)
            if self._matched is None or self._matched.profile is None:
                why = self._matched.why if self._matched is not None else ""
                return Poll([Reading(REACHABLE, True)], problem=f"profile_unknown: {why}")
            matched = self._matched
            values, truncated = await self._ask(self._port)
            answers = SnmpAnswers(values)
        assert matched.profile is not None
        result = read(matched.profile, answers)
        changed = result.identity != self._identity
        self._identity = result.identity
        fallback = matched.profile.file.fallback and self._config.profile is None
        return Poll(
            readings=[Reading(REACHABLE, True), *result.readings],
            identity=result.identity if changed else None,
            flags=[*result.flags, *(_truncation(matched.profile, text) for text in truncated)],
            problem=f"profile_unknown: only {matched.profile.id} fits ({matched.why})" if fallback else None,
        )

    async def _find(self, port: SnmpPort, now: float) -> None:
        self._matched = await find_profile(port, self._profiles, self._config.profile)
        self._matched_at = now
        self._identity = None
        if self._matched.profile is not None:
            self._wanted = wanted(self._matched.profile)

    async def _ask(self, port: SnmpPort) -> tuple[dict[str, Wire], list[str]]:
        values = await port.get(self._wanted.scalars)
        if not self._wanted.columns:
            return values, []
        walk = await port.walk(self._wanted.columns, seconds=self._config.deadline * 0.8)
        return {**values, **walk.values}, walk.truncated

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


def _truncation(profile: Profile, text: str) -> str:
    return f"truncated {metric_of_column(profile, text.partition(':')[0])} {text}"


def _unreachable(problem: str) -> Poll:
    return Poll([Reading(REACHABLE, False)], problem=problem)
