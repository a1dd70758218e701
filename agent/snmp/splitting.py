"""One device over SNMP, whatever it cannot do: a request that fails is tried smaller, until it costs what it must.

Agents drop answers that are too large for them or for the way, give an error without saying for which object, die of
one object, answer the first object only, know no GETBULK. Whatever the reason, what fails is asked again in halves; in
how large a company each object can be asked is remembered, and what fails alone costs itself and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from agent.snmp.port import Exchange, Response, SnmpBrokenError, SnmpError, SnmpRefusedError, SnmpSilentError, Walk
from firmware_profiles.answers import Wire, oid_key
from firmware_profiles.match import SYS_OBJECT_ID

_GET_SIZE: Final = 20
_ANSWER_SIZE: Final = 64
"""Objects a GETBULK asks for: at some 20 octets each they fit one packet, and an agent cuts what does not."""
_REPETITIONS: Final = 8
"""Rows asked for of a column whose length is not known."""
_HOUR: Final = 3600.0
_DAY: Final = 86_400.0
_MOST_FAILURES: Final = 8
"""Objects that fail alone, one after another and none answered between them, before the device is left alone."""
_NO_SUCH_NAME: Final = 2
_STATUS: Final = (
    *("noError", "tooBig", "noSuchName", "badValue", "readOnly", "genErr", "noAccess", "wrongType", "wrongLength"),
    *("wrongEncoding", "wrongValue", "noCreation", "inconsistentValue", "resourceUnavailable", "commitFailed"),
    *("undoFailed", "authorizationError", "notWritable", "inconsistentName"),
)
"""Error statuses by their number (RFC 3416 section 3)."""


class Company:
    """In how large a company each object of a device can be asked.

    Sizes that failed are tried again after an hour, then two, at most a day: the way may have been bad and not the
    device. An object that failed alone stays alone. One that was never answered alone is left out for as long.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic: Final = monotonic
        self._most: dict[str, int] = {}
        self._alone: set[str] = set()
        self._hung: dict[str, tuple[float, float]] = {}
        """OID to when it is asked again and how long that was after it failed."""
        self._again_at = 0.0
        self._wait = _HOUR

    def groups(self, oids: Iterable[str], depth: Callable[[str], int], size: int) -> list[list[str]]:
        """Return the objects in groups, each in a company it can bear; those asked alone come last.

        ``depth`` is how many values are asked for of an object, the most in a group counts for all of it; ``size`` is
        the most values of a group, which is of at most 20 objects.
        """
        now = self._monotonic()
        if self._most and now >= self._again_at:
            self._most.clear()
        groups: list[list[str]] = []
        last: list[list[str]] = []
        group: list[str] = []
        smallest = deepest = 0
        for oid in oids:
            most = 1 if oid in self._alone else self._most.get(oid, _GET_SIZE)
            if most == 1:
                if oid not in self._hung or now >= self._hung[oid][0]:
                    last.append([oid])
                continue
            smallest, deepest = min(smallest, most), max(deepest, depth(oid))
            if len(group) >= smallest or (len(group) + 1) * deepest > size:
                group, smallest, deepest = [], most, depth(oid)
                groups.append(group)
            group.append(oid)
        last.sort(key=lambda one: one[0] in self._hung)
        return groups + last

    def too_large(self, group: Sequence[str], size: int | None = None) -> None:
        """Note that a request for this group failed; ``size`` is the one that would have worked, by default half."""
        if not self._most:
            self._again_at = self._monotonic() + self._wait
            self._wait = min(self._wait * 2, _DAY)
        for oid in group:
            self._most[oid] = max(1, len(group) // 2 if size is None else size)

    def alone(self, oid: str) -> None:
        """Note that an object spoils every request that it is in."""
        self._alone.add(oid)

    def hung(self, oid: str) -> None:
        """Note that a request for this object alone was not answered, by a device that is there."""
        self._alone.add(oid)
        wait = min(self._hung[oid][1] * 2, _DAY) if oid in self._hung else _HOUR
        self._hung[oid] = (self._monotonic() + wait, wait)

    def answers(self, oid: str) -> None:
        """Note that an object was answered alone."""
        self._hung.pop(oid, None)

    def left_out(self, oids: Iterable[str]) -> list[str]:
        """Return the objects that are not asked now because they hung."""
        now = self._monotonic()
        return [oid for oid in oids if oid in self._hung and now < self._hung[oid][0]] if self._hung else []

    def forget(self) -> None:
        """Forget what hung: the device was away, and may have been mended."""
        self._hung.clear()


class SplittingPort:
    """One device. See :class:`agent.snmp.port.SnmpPort`; ``exchange`` sends its requests."""

    def __init__(self, exchange: Exchange, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._exchange: Final = exchange
        self._monotonic: Final = monotonic
        self._scalars: Final = Company(monotonic)
        self._columns: Final = Company(monotonic)
        self._rows: Final[dict[str, int]] = {}
        """Rows that each column had the last time."""
        self._deepest: Final[dict[str, int]] = {}
        """The most repetitions that worked for a column by itself; 0 for GETNEXT."""
        self._ends: Final[dict[str, int]] = {}
        """Rows of a column after which the device fails: it looked at what stands behind them."""
        self._getbulk: bool | None = None
        """Whether it knows GETBULK; None until it has answered one, or a GETNEXT where it had failed."""
        self._tries: int | None = None

    @property
    def answered(self) -> int:
        """The answers that have come so far, whatever they said."""
        return self._exchange.answered

    async def get(self, oids: Sequence[str], *, lost: dict[str, str] | None = None) -> dict[str, Wire]:
        """Return the scalars that the device has, in GETs of at most 20."""
        found: dict[str, Wire] = {}
        lost = {} if lost is None else lost
        lost.update(dict.fromkeys(self._scalars.left_out(oids), "was not answered lately"))
        pending = self._scalars.groups(oids, lambda _: 1, _GET_SIZE)
        self._tries = None
        failures = 0
        while pending:
            group = pending.pop(0)
            response, reason = await self._asked("get", group)
            if response is None or (response.status and len(group) == 1):
                if len(group) == 1:
                    lost[group[0]] = reason
                    self._spoils(self._scalars, group[0], response)
                    failures += 1
                    if failures >= _MOST_FAILURES and not found:
                        raise SnmpBrokenError(self._exchange.address, reason)
                    continue
                pending[:0] = self._halves(self._scalars, group)
            elif 0 < response.error_index <= len(group) and response.status:
                # an agent of the old school refuses the whole request for one object: ask again without it
                spoiler = group.pop(response.error_index - 1)
                self._scalars.alone(spoiler)
                pending[:0] = [group]
                pending.append([spoiler])
            elif response.status:
                pending[:0] = self._halves(self._scalars, group)
            else:
                pending[:0] = self._found(group, response, found, lost)
                failures = 0
        return found

    def _found(
        self, group: list[str], response: Response, found: dict[str, Wire], lost: dict[str, str]
    ) -> list[list[str]]:
        """Take what an answer holds of what was asked; return the requests for what it left out."""
        told = dict(response.bindings)
        missing = []
        for oid in group:
            wire = told.get(oid)
            if wire is None:
                missing.append(oid)
            elif wire.kind != "absent":
                found[oid] = wire
        if not missing:
            if len(group) == 1:
                self._scalars.answers(group[0])
            return []
        if len(group) == 1:
            lost[group[0]] = "was answered with other objects"
            self._scalars.alone(group[0])
            return []
        size = max(1, min(len(group) - len(missing), len(group) // 2))
        self._scalars.too_large(group, size)
        return [missing[start : start + size] for start in range(0, len(missing), size)]

    async def _asked(self, kind: str, oids: Sequence[str], repetitions: int = 1) -> tuple[Response | None, str]:
        """Return (the answer, why it is no good); None for one that did not come or cannot be read.

        Raises SnmpError when the device refuses us, or is not there: then it does not tell its sysObjectID either.
        """
        try:
            response = await self._exchange.ask(kind, oids, repetitions, tries=self._tries)  # type: ignore[arg-type]
        except SnmpRefusedError:
            raise
        except SnmpError as error:
            await self._there(error, oids)
            self._tries = 1  # it is there: what it does not answer once it will not answer again
            return None, "is not answered" if isinstance(error, SnmpSilentError) else str(error)
        status = response.status
        return response, f"error {_STATUS[status]}" if 0 <= status < len(_STATUS) else f"error status {status}"

    async def _there(self, error: SnmpError, oids: Sequence[str]) -> None:
        """Raise ``error`` unless the device answers for its sysObjectID."""
        try:
            if list(oids) != [SYS_OBJECT_ID]:
                await self._exchange.ask("get", [SYS_OBJECT_ID], tries=1)
                return
        except SnmpRefusedError:
            raise
        except SnmpError:
            pass
        self._scalars.forget()
        self._columns.forget()
        raise error

    @staticmethod
    def _halves(company: Company, group: list[str]) -> list[list[str]]:
        company.too_large(group)
        half = len(group) // 2
        return [group[:half], group[half:]]

    @staticmethod
    def _spoils(company: Company, oid: str, response: Response | None) -> None:
        """Note that an object failed alone: an error is asked for again at the next poll, silence is not."""
        if response is None:
            company.hung(oid)
        else:
            company.alone(oid)

    # --- columns ------------------------------------------------------------------------------------------------------

    async def walk(
        self, columns: Sequence[str], *, rows: int = 256, seconds: float = 10.0, into: Walk | None = None
    ) -> Walk:
        """Return what stands below the columns, several of them in one GETBULK, as deep as they were the last time."""
        walk = Walk() if into is None else into
        end = self._monotonic() + seconds
        walk.truncated += [f"{column}: was not answered lately" for column in self._columns.left_out(columns)]
        pending = self._columns.groups(dict.fromkeys(columns), self._depth, _ANSWER_SIZE)
        cursors = {column: _Cursor(column) for group in pending for column in group}
        self._tries = None
        first = True
        while pending:
            if self._monotonic() >= end:
                walk.truncated += [f"{column}: time is up" for group in pending for column in group]
                break
            group = pending.pop(0)
            if len(group) == 1 and self._ends.get(group[0]) == cursors[group[0]].rows:
                walk.truncated.append(f"{group[0]}: the device fails behind row {self._ends[group[0]]}")
                continue
            try:
                response, reason = await self._bulk(group, cursors)
            except SnmpError as error:
                if first:
                    raise
                walk.truncated += [f"{column}: {error}" for one in [group, *pending] for column in one]
                break
            first = False
            if response is None or response.status or not response.bindings:
                pending[:0] = self._smaller(walk, [cursors[column] for column in group], response, reason)
                continue
            if self._getbulk is None:
                self._getbulk = bool(self._repetitions(group, cursors[group[0]].rows))
            rest = _take(walk, [cursors[column] for column in group], response.bindings, rows)
            for cursor in (cursors[column] for column in group if column not in rest):
                self._rows[cursor.column] = cursor.rows
                if len(group) == 1:
                    self._columns.answers(cursor.column)
            if rest:
                pending[:0] = [rest]
        if len(self._rows) > 4096:  # whoever records a whole device walks what no poll asks for again
            self._rows.clear()
        return walk

    async def _bulk(self, group: list[str], cursors: dict[str, _Cursor]) -> tuple[Response | None, str]:
        repetitions = self._repetitions(group, max(cursors[column].rows for column in group))
        starts = [cursors[column].at for column in group]
        response, reason = await self._asked("bulk" if repetitions else "next", starts, repetitions)
        if response is not None:
            # more than was asked for is nobody's row
            response = response._replace(bindings=response.bindings[: len(group) * max(repetitions, 1)])
        return response, reason if response is None or response.status else "is answered with nothing"

    def _depth(self, column: str) -> int:
        """Return the rows to ask for: what was there the last time, and one more to see the end."""
        if self._getbulk is False:
            return 1
        return self._rows.get(column, _REPETITIONS - 1) + 1

    def _repetitions(self, group: Sequence[str], rows: int = 0) -> int:
        """Return the rows to ask for when ``rows`` have come; 0 is GETNEXT."""
        if self._getbulk is False:
            return 0
        most = _ANSWER_SIZE
        if self._deepest:
            most = min((self._deepest[column] for column in group if column in self._deepest), default=most)
        if len(group) == 1 and group[0] in self._ends:
            most = min(most, self._ends[group[0]] - rows)
        return min(max(map(self._depth, group)), _ANSWER_SIZE // len(group), most)

    def _smaller(self, walk: Walk, group: list[_Cursor], response: Response | None, reason: str) -> list[list[str]]:
        """Return the smaller requests in place of one that failed; end a column that fails by itself."""
        if len(group) > 1:
            return self._halves(self._columns, [cursor.column for cursor in group])
        (cursor,) = group
        column = cursor.column
        if response is not None and response.status == _NO_SUCH_NAME:
            self._rows[column] = cursor.rows
            return []  # an agent of the old school says so at the end of what it has
        repetitions = self._repetitions([column], cursor.rows)
        if repetitions:
            self._deepest[column] = repetitions // 4 if self._getbulk else 0
            return [[column]]
        walk.truncated.append(f"{column}: {reason}")
        if cursor.rows:
            self._ends[column] = cursor.rows
            self._columns.alone(column)
        else:
            self._spoils(self._columns, column, response)
        return []

    async def close(self) -> None:
        """Let go of what this device holds."""
        await self._exchange.close()


class _Cursor:
    """How far a column has been read. ``at`` is the last OID, ``index`` its numbers below the column."""

    __slots__ = ("at", "column", "index", "rows")

    def __init__(self, column: str) -> None:
        self.column = column
        self.at = column
        self.index: tuple[int, ...] = ()
        self.rows = 0

    def take(self, walk: Walk, cells: Iterable[tuple[str, Wire]], rows: int) -> bool:
        """Take the column's cells of an answer; return whether the column goes on.

        It ends when what comes is not below it, when its OIDs do not increase, and at ``rows`` rows.
        """
        start, below = len(self.column) + 1, self.column + "."
        for oid, wire in cells:
            if wire.kind == "absent" or not oid.startswith(below):
                return False
            index = oid_key(oid[start:])
            if index <= self.index:
                walk.truncated.append(f"{self.column}: OIDs do not increase at {oid}")
                return False
            if self.rows >= rows:
                walk.truncated.append(f"{self.column}: more than {rows} rows")
                return False
            self.at, self.index = oid, index
            self.rows += 1
            walk.values[oid] = wire
        return True


def _take(walk: Walk, group: list[_Cursor], bindings: list[tuple[str, Wire]], rows: int) -> list[str]:
    """Sort one answer into its columns (RFC 3416 section 4.2.3); return the columns that go on, those it lacked first.

    An answer cut short by its size may lack a column altogether: it goes on from where it stood.
    """
    width = len(group)
    going = [cursor.column for place, cursor in enumerate(group) if cursor.take(walk, bindings[place::width], rows)]
    if len(bindings) < width:
        lacking = {cursor.column for cursor in group[len(bindings) :]}
        going.sort(key=lambda column: column not in lacking)
    return going
