"""Putting aside what cannot be taken, and refusing what is beyond a quota, within a unit of work. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from collector.core.identities import OccurrenceKey
from collector.core.vehicle.events import (
    Gone,
    OverQuota,
)
from collector.site.intake import (
    MAX_RECORDS,
    Incoming,
    KnownRun,
    Reason,
    RecordsMessage,
    Refused,
    SetAside,
    body_of,
)
from collector.site.quotas import DAY_MS, Account, Exceeded, Usage, words_of
from collector.site.turns import vehicle_of
from collector.site.working_copy import WorkingCopy
from collector.store.rows import (
    Quarantined,
    QuarantineRow,
)
from telemetry.intervals import Intervals
from telemetry.message import DEFLATED, PLAIN, encode
from telemetry.topics import COLLECTOR, UP_KINDS, AgentName, is_id

MOST_REASONS: Final = 16
"""So many reasons for which records of one message are set aside have a row of their own in quarantine."""
MAX_UNNAMED: Final = 100
"""Most messages without any record's name that are kept of one vehicle and kind in one ownership; the rest is counted.
"""
_MANY_PIECES: Final = 100
"""Of a run's sequence numbers: from here on it is counted what a message adds to them."""
_TOLD_AGAIN_MS: Final = 60_000
"""A vehicle that stays beyond a quota is told of so often: a flood must not fill the log."""


class SettingAside(WorkingCopy):
    """The part of a unit of work that keeps what is not taken, under its name, or counts it."""

    def set_aside(self, incoming: Incoming, refused: Refused, reason: Reason) -> None:
        """Put a whole message into quarantine, under the names of its records as far as the header tells them."""
        agent, header = refused.agent, refused.header
        kind = incoming.topic.rpartition("/")[2][:32]
        named = vehicle_of(incoming.topic)
        vehicle, name = (agent.vehicle, agent.agent) if agent else (named if is_id(named) else "", "")
        account = self._account(vehicle)
        known: KnownRun | None = None
        new = Intervals()
        try:
            if agent:
                account.agent(name)
            if agent and header and len(header.sequences) > MAX_RECORDS:
                header = None
            if agent and header and header.sequences and kind in ("live", "backlog"):
                if not self._may_begin(agent, header.run):
                    return
                known = self._run(agent, header.run)
                new = header.sequences.minus(known.row.seen)
                self._news.append(lambda receipts: receipts.changed(agent))
                if not new or known.holds(incoming.payload):
                    self.counts["duplicates"] += len(header.sequences)
                    return
                pieces = new_pieces(known.aside, new)
                account.intervals(known.aside.pieces + pieces, pieces)
            elif self._is_one_too_many(vehicle, kind):
                return
            account.spend("quarantine_bytes", len(incoming.payload))
        except Exceeded as exceeded:
            self._refuse(vehicle, exceeded.quota)
            return
        if known and agent and header:
            known.keep(incoming.payload, new)
            if self._vehicle(vehicle).fork is not None:
                self._happened(vehicle, Gone(name, header.run, tuple(new.pairs())))
        self.counts[f"quarantined_{reason}"] += max(1, len(new))
        words = f"{refused.reason} (topic {incoming.topic})" if agent is None else refused.reason
        self._quarantine.append(
            QuarantineRow(
                vehicle, name, header.run if header else "", new.pairs(), kind, f"{reason}: {words}"[:500],
                incoming.payload, self._now_ms,
            )
        )  # fmt: skip

    def _is_one_too_many(self, vehicle: str, kind: str) -> bool:
        """Count a message without any record's name, and say whether enough of its kind are kept."""
        key = vehicle, kind if kind in UP_KINDS else ""
        self._unnamed[key] += 1
        if self._memory.unnamed[key] + self._unnamed[key] <= MAX_UNNAMED:
            return False
        self.counts["quarantine_full"] += 1
        return True

    def refuse(self, vehicle: str, quota: str, words: str, number: int = 1) -> None:
        """Count messages that are not taken because their vehicle is beyond a quota, and tell judging now and then.

        They are not receipted: their agent keeps the records.
        """
        self.counts[f"over_quota.{quota}"] += number
        if not is_id(vehicle):
            return
        self.refused[vehicle, quota] += number
        known = self._vehicle(vehicle).occurrences.get(OccurrenceKey("quota", COLLECTOR, quota))
        if known is None or not 0 <= self._now_ms - known.noted_ms < _TOLD_AGAIN_MS:
            self._happened(vehicle, OverQuota(quota, words))

    def _refuse(self, vehicle: str, quota: str) -> None:
        self.refuse(vehicle, quota, words_of(quota, self._memory.quotas))

    def _account(self, vehicle: str) -> Account:
        """Return what a vehicle may have in this unit of work; ``keep`` makes it what it has cost."""
        found = self._accounts.get(vehicle)
        if found is None:
            known = self._memory.usage.get(vehicle)
            usage = known.copy() if known else Usage()
            planned = self._in_force.vehicle_plan(vehicle).agents
            found = self._accounts[vehicle] = Account(self._memory.quotas, usage, planned)
        found.usage.of_day(self._now_ms // DAY_MS)
        return found

    def _is_known(self, agent: AgentName, run: str) -> bool:
        key = (agent.vehicle, agent.agent, run)
        return key in self._runs or key in self._memory.runs

    def _may_begin(self, agent: AgentName, run: str) -> bool:
        """Say whether a run may be remembered; one that is known is."""
        if not self._is_known(agent, run):
            try:
                self._account(agent.vehicle).spend("runs")
            except Exceeded as exceeded:
                self._refuse(agent.vehicle, exceeded.quota)
                return False
        return True

    def _quarantine_records(self, message: RecordsMessage, aside: Sequence[SetAside]) -> None:
        """Put records of a message into quarantine, a row for each reason: a message must not become 10,000 rows.

        Those for which there is no more room are not receipted: their agent keeps them.
        """
        by_reason: dict[tuple[Reason, str], list[int]] = {}
        for one in aside:
            key = (one.reason, one.words)
            if key not in by_reason and len(by_reason) >= MOST_REASONS:
                key = (one.reason, "for different reasons, of which others stand beside this")
            by_reason.setdefault(key, []).append(one.sequence)
        agent = message.agent
        known, account = self._run(agent, message.run), self._account(agent.vehicle)
        for (reason, words), those in by_reason.items():
            names = Intervals((number, number) for number in those)
            payload = encode(DEFLATED if len(those) > 1 else PLAIN, message.run, body_of(names, message), names)
            if known.holds(payload):
                self.counts["duplicates"] += len(those)
                continue
            try:
                account.spend("quarantine_bytes", len(payload))
            except Exceeded as exceeded:
                self._refuse(agent.vehicle, exceeded.quota)
                continue
            known.keep(payload, names)
            self.counts[f"quarantined_{reason}"] += len(those)
            self._quarantine.append(
                QuarantineRow(
                    agent.vehicle, agent.agent, message.run, names.pairs(), message.lane, f"{reason}: {words}"[:500],
                    payload, self._now_ms,
                )
            )  # fmt: skip


def new_pieces(seen: Intervals, numbers: Intervals) -> int:
    """Return by how many pieces numbers will add to what was seen; exactly where it may matter."""
    if seen.pieces + numbers.pieces < _MANY_PIECES:
        return numbers.pieces
    both = seen.copy()
    both.update(numbers)
    return max(0, both.pieces - seen.pieces)


def again(row: Quarantined) -> Incoming:
    """Return a message that was set aside, as it came in."""
    return Incoming(AgentName(row.site, row.vehicle, row.agent).up(row.kind), row.payload, row.at_ms)
