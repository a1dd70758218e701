"""What a collector's log says of a commit: problems that begin and end, tickets that open and are resolved.

Pages show the same and more; this is for whoever reads the journal and for machines that collect it.
"""

from __future__ import annotations

import logging

from collector.core.problems import Problem
from collector.core.tickets.draft import Recorded
from collector.core.tickets.transitions import TABLE
from collector.store.rows import Changes

log = logging.getLogger(__name__)
_OPENS = frozenset({"opened", "reopened", "dissatisfied"})


class ChangeLog:
    """Of one site. ``now_ms`` is when it begins: what was known before is no news."""

    def __init__(self, site: str, now_ms: int) -> None:
        self._site = site
        self._told_ms = now_ms

    def hear(self, changes: Changes) -> None:
        """Say what a commit has changed."""
        # A problem's row is written for many reasons; it is news where its begin or end is later than all before.
        latest_ms = self._told_ms
        for tracked in changes.problems:
            problem = tracked.problem
            since_ms = problem.detected_ms if problem.state == "active" else problem.over_ms
            if since_ms is not None and since_ms > self._told_ms and problem.state in ("active", "over"):
                latest_ms = max(latest_ms, since_ms)
                self._tell_problem(problem)
        self._told_ms = latest_ms
        for recorded in changes.recorded:
            if TABLE[recorded.event.what].to is not None:
                self._tell_ticket(recorded)

    def _tell_problem(self, problem: Problem) -> None:
        where = f"{problem.vehicle}/{problem.key.device}" if problem.vehicle else problem.key.device
        labels = "".join(f" {name}={value}" for name, value in problem.key.labels)
        what = f"{where}: {problem.key.fault}{labels}"
        if problem.state == "over":
            log.info("site %s: %s ends", self._site, what)
            return
        cause = f", explained by {problem.cause.key.text()}" if problem.cause is not None else ""
        log.warning("site %s: %s begins (rule %s%s)", self._site, what, problem.rule, cause)

    def _tell_ticket(self, recorded: Recorded) -> None:
        ticket, event = recorded.ticket, recorded.event
        where = f"{ticket.vehicle}/{ticket.device}" if ticket.vehicle else ticket.device
        log.log(
            logging.WARNING if event.what in _OPENS else logging.INFO,
            "site %s: ticket %s %s, now %s: %s: %s, %s",
            self._site, ticket.id, event.what, ticket.state, where, ticket.fault or "by hand", ticket.sla_class,
        )  # fmt: skip
