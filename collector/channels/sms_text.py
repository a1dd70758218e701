"""The words of a short message: parameters of an approved template, cut to what it takes. Pure.

Lengths are in UTF-16 code units, of which 70 fit into one short message (3GPP TS 23.040; a Chinese character is one, an
emoji two).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from collector.core.notifications import Body
from telemetry.faults import FAULTS, SLA_NAMES

ELLIPSIS: Final = "…"
NEVER_CUT: Final = frozenset({"ticket", "link"})
"""Without them nobody finds what is meant."""
PLACEHOLDER: Final = re.compile(r"\{([a-z][a-z0-9_]*(?:\.[A-Za-z0-9_]+)?)\}")
WORDS: Final = ("where", "fault", "first", "class", "what", "text", "ticket", "link")
"""What a parameter may say of a notification (docs/components.md)."""
WHAT: Final = {
    "opened": "新故障",
    "reopened": "再次故障",
    "resolved": "已恢复",
    "escalated": "升级上报",
    "asked": "请查看",
    "assigned": "派给您",
    "call_back": "请回访",
    "renamed": "原因已明",
    "cancelled": "误报取消",
    "merged": "已合并",
    "unmerged": "取消合并",
}
"""What has happened, by the notification's kind."""
_ODD: Final = str.maketrans({"【": "[", "】": "]"})
"""A second signature in a message is refused by networks."""


class TooLongError(Exception):
    """A ticket's number or link is longer than the template takes; the text says what was found."""


def length(text: str) -> int:
    """Return how much of a short message a text takes."""
    return len(text.encode("utf-16-le")) // 2


def cut(text: str, longest: int) -> str:
    """Return a text that takes ``longest`` at most, whole characters; one that was longer ends in an ellipsis."""
    if length(text) <= longest:
        return text
    while length(text) > longest - 1:
        text = text[:-1]
    return (text + ELLIPSIS)[:longest]


def words_of(body: Body, link: str) -> dict[str, str]:
    """Return what parameters may say of a notification, each in one printable line. ``link`` holds ``{ticket}``."""
    fault = FAULTS.get(body.fault)
    found = {
        "where": body.where or f"{body.vehicle or body.site} {body.device}".strip(),
        "fault": fault.zh if fault else body.fault or "报修",
        "first": fault.first_zh if fault else "",
        "class": SLA_NAMES[body.sla_class][0] if body.sla_class in SLA_NAMES else body.sla_class,  # type: ignore[index]
        "what": (f"{body.folded}条: " if body.folded > 1 else "") + WHAT.get(body.what, body.what),
        "text": body.text.zh,
        "ticket": body.ticket,
        "link": link.replace("{ticket}", quote(body.ticket, safe="")) or body.link,
    }
    return {name: _one_line(text).translate(_ODD) for name, text in found.items()}


def fill(template: str, values: Mapping[str, str]) -> str:
    """Return a text with its placeholders filled, once: what is put in is never looked at again."""
    return PLACEHOLDER.sub(lambda match: values[match[1]], template)


def parameters(templates: Mapping[str, tuple[str, int]], words: Mapping[str, str], room: int) -> dict[str, str]:
    """Return the parameters, each cut to its own length and together to ``room``, the longest of them first.

    ``templates`` are the text and the length of each. Raises TooLongError for one that is never cut.
    """
    found = {}
    for name, (template, longest) in templates.items():
        text = fill(template, words)
        if is_whole(template) and length(text) > longest:
            raise TooLongError(f"parameter {name}: expected at most {longest} characters, found {length(text)}")
        found[name] = text if is_whole(template) else cut(text, longest)
    while sum(length(text) for text in found.values()) > room:
        name = max((one for one in found if not is_whole(templates[one][0])), key=lambda one: length(found[one]))
        found[name] = cut(found[name], length(found[name]) - 1)
    return found


def is_whole(template: str) -> bool:
    """Say whether a parameter is never cut."""
    return any(match in NEVER_CUT for match in PLACEHOLDER.findall(template))


def _one_line(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
