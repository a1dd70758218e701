"""An act or event that is not possible, and why: facts; ``texts`` make the sentence."""

from __future__ import annotations

from typing import Literal

Reason = Literal[
    "state",
    "no_such_act",
    "no_such_ticket",
    "no_such_event",
    "no_such_person",
    "no_such_problem",
    "shape",
    "future",
    "before_notice",
    "until_past",
    "wait_reason",
    "responded_already",
    "no_level_left",
    "no_reason",
    "window_over",
    "which_caller",
    "acts_before",
    "not_waiting",
    "not_migrated",
    "not_recovered",
    "held_by_other",
    "itself",
    "not_open",
    "callers_word",
    "worked_on_it",
    "same_day",
    "not_own",
    "too_late",
    "moved_on",
]
"""Why an act is refused; ``texts`` have the sentence for each."""


class Refused(Exception):  # noqa: N818 - it is an answer, not a mistake
    """An act that is not possible, and why. Nothing has changed. ``texts.refusal`` makes the sentence."""

    def __init__(self, reason: Reason, what: str, ticket: str, state: str = "", found: str = "") -> None:
        self.reason = reason
        self.what = what
        """The event that was wanted."""
        self.ticket = ticket
        self.state = state
        """The state in which the ticket is."""
        self.found = found
        """What stood there instead of what was expected."""
        super().__init__(
            f"{what} of ticket {ticket or 'none'}: {reason}{f' ({found})' if found else ''}, it is {state}"
        )
