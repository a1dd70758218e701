"""What people read of tickets, one file a language: names of states and events, and why an act is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from collector.core.tickets.refused import Refused
from collector.core.tickets.texts import en, zh
from collector.core.tickets.transitions import TABLE, State

Language = Literal["zh", "en"]


class Texts(msgspec.Struct, frozen=True):
    """The texts of one language."""

    states: Mapping[str, str]
    events: Mapping[str, str]
    parties: Mapping[str, str]
    wait_reasons: Mapping[str, str]
    refusals: Mapping[str, str]
    table: Mapping[str, str]
    says: Mapping[str, str]
    """By field of an event's body, or by body and field where one says it otherwise; empty: it is not told."""
    values: Mapping[str, str]
    standing: Mapping[str, str]
    clocks: Mapping[str, str]
    weekdays: tuple[str, ...]


def _texts(of: Any) -> Texts:
    return Texts(
        of.STATES, of.EVENTS, of.PARTIES, of.WAIT_REASONS, of.REFUSALS, of.TABLE, of.SAYS, of.VALUES, of.STANDING,
        of.CLOCKS, of.WEEKDAYS,
    )  # fmt: skip


TEXTS: Final[Mapping[Language, Texts]] = {
    "zh": _texts(zh),
    "en": _texts(en),
}


def state_name(state: State) -> dict[str, str]:
    """Return a state's name in each language."""
    return {language: texts.states[state] for language, texts in TEXTS.items()}


def event_name(what: str) -> dict[str, str]:
    """Return an event's name in each language."""
    return {language: texts.events[what] for language, texts in TEXTS.items()}


def refusal(refused: Refused, language: Language) -> str:
    """Return the sentence that says why an act is not possible."""
    texts = TEXTS[language]
    row = TABLE.get(refused.what)
    states = () if row is None else row.states
    return texts.refusals[refused.reason].format(
        what=texts.events.get(refused.what, refused.what),
        ticket=refused.ticket,
        state=texts.states.get(refused.state, refused.state),
        states=texts.table["between"].join(texts.states[state] for state in states) or texts.table["beginning"],
        found=refused.found,
    )


def both_languages(refused: Refused) -> str:
    """Return the sentence in Chinese and English, a line each."""
    return f"{refusal(refused, 'zh')}\n{refusal(refused, 'en')}"


def table(language: Language) -> str:
    """Return the table of transitions as Markdown."""
    texts = TEXTS[language]
    heads = ("event", "by", "in", "becomes")
    lines = [
        "| " + " | ".join(texts.table[head] for head in heads) + " |",
        "|" + "---|" * len(heads),
    ]
    every = texts.table["between"]
    for row in TABLE.values():
        where = every.join(texts.states[state] for state in row.states) or texts.table["beginning"]
        to = texts.table["same"] if row.to is None else texts.states.get(row.to) or texts.table[row.to]
        if row.next_round:
            to = f"{to} ({texts.table['next_round']})"
        if row.each_caller:
            to = f"{to} ({texts.table['each_caller']})"
        name = f"{texts.events[row.what]} (`{row.what}`)"
        lines.append(f"| {name} | {every.join(texts.parties[party] for party in row.by)} | {where} | {to} |")
    return "\n".join(lines) + "\n"
