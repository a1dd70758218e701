"""Words that many makers use for the same few states, once for all profiles and dialects. Pure.

A text is understood as a whole or not at all: it is cut into words, the words behind a negation are set apart first,
and every word must be one that the list knows. ``Not roaming`` is so never ``roaming``, ``unlocked`` not ``locked``
and ``no error`` no failure. What is not understood is unknown text, kept raw in a flag. A profile names a list by
``vocabulary: technology``; its own ``enum`` and ``words`` go before.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

MAX_WORDS: Final = 12
_WORD: Final = re.compile(r"\d+\.\d+\w*|[^\W_]+\+?")
_NEGATIONS: Final = frozenset({"not", "no", "non", "never", "without"})
_FILLING: Final = frozenset({"currently", "yet", "but", "is", "the", "a", "to", "on", "in", "and", "any", "for"})
_GLUED: Final[Mapping[str, tuple[str, ...]]] = {
    "noservice": ("no", "service"),
    "nosignal": ("no", "signal"),
    "nosim": ("no", "sim"),
    "notinserted": ("not", "inserted"),
    "notregistered": ("not", "registered"),
    "notready": ("not", "ready"),
    "unregistered": ("not", "registered"),
    "deregistered": ("not", "registered"),
    "undetected": ("not", "detected"),
    "unlocked": ("not", "locked"),
}


class _Said(msgspec.Struct, frozen=True):
    """The words of a text, and those of them that a negation stands before."""

    words: frozenset[str]
    negated: frozenset[str]

    def only(self, *known: frozenset[str]) -> bool:
        """Return whether every word is known."""
        return (self.words | self.negated) <= frozenset().union(*known)


def _said(text: str) -> _Said | None:
    """Return what a text says, None for one that is too long to be a state."""
    found = _WORD.findall(text.casefold())
    if not 0 < len(found) <= MAX_WORDS:
        return None
    words: set[str] = set()
    negated: set[str] = set()
    before = False
    for word in (part for whole in found for part in _GLUED.get(whole, (whole,))):
        if word in _NEGATIONS:
            before = True
        elif word not in _FILLING:
            (negated if before else words).add(word)
            before = False
    return None if before else _Said(frozenset(words), frozenset(negated))


_NSA: Final = frozenset({"nsa", "endc", "5gnsa"})
_SA: Final = frozenset({"sa", "nr", "nr5g", "5gc", "5gnr", "5gsa"})
_FIFTH: Final = frozenset({"5g"})
_LTE: Final = frozenset(
    {"lte", "lte+", "4g", "4g+", "4.5g", "4.5g+", "emtc", "catm", "catm1", "catnb", "nbiot", "eutran", "eutra", "lteca"}
    | {"ltem", "lte1", "lte2"}
)
_THIRD: Final = frozenset(
    {
        "hspa",
        "hspa+",
        "hsdpa",
        "hsdpa+",
        "hsupa",
        "hsupdpa",
        "hsupdhspa",
        "wcdma",
        "umts",
        "3g",
        "3g+",
        "utran",
        "tdscdma",
        "scdma",
    }
    | {"evdo", "hdr", "tds", "cdma2000", "dchspa", "dchspa+"}
)
_SECOND: Final = frozenset({"gsm", "gprs", "egprs", "edge", "2g", "cdma", "1x", "1xrtt", "cdma1x", "is95"})
_ABOUT_ACCESS: Final = frozenset(
    {"fdd", "tdd", "mode", "network", "advanced", "pro", "ca", "band", "cat", "m", "m1", "nb", "nb1", "nb2", "iot", "e"}
    | {"rev", "0", "b", "rel", "connected", "connection", "dc", "td", "w", "en", "ev", "do", "hdr"}
)


def _technology(said: _Said) -> str | None:
    joined = said.words
    if said.negated:
        nothing = said.negated <= {"service", "signal", "network", "coverage"} and not joined
        return "none" if nothing else None
    if joined in ({"none"}, {"n"}, {"na"}, {"nothing"}):  # "N/A" is "n": its "a" is an article
        return "none"
    numbered = frozenset(word for word in joined if re.fullmatch(r"[bn]?\d{1,3}|cat\d{1,2}|ac", word))
    if "evolved" in joined:  # "Evolved 3G (LTE)"
        joined = joined - {"evolved", "3g"}
    if not _Said(joined, said.negated).only(_NSA, _SA, _FIFTH, _LTE, _THIRD, _SECOND, _ABOUT_ACCESS, numbered):
        return None
    fifth, fourth = bool(joined & (_SA | _FIFTH)), bool(joined & _LTE)
    if {"e", "utran"} <= joined:
        fourth, joined = True, joined - {"utran"}
    if {"cdma", "w"} <= joined or {"ev", "do"} <= joined:
        joined = (joined - {"cdma"}) | {"umts"}
    if joined & _NSA or {"en", "dc"} <= joined or (fifth and fourth):
        return None if joined & (_THIRD | _SECOND | {"sa"}) else "5g_nsa"
    older = [name for name, words in (("3g", _THIRD), ("2g", _SECOND)) if joined & words]
    if joined & _SA:
        return "5g_sa" if not older else None
    if joined & _FIFTH:
        return "5g_sa" if "sa" in joined else None  # which of the two is not said
    if fourth or {"nb", "iot"} <= joined or {"cat", "m"} <= joined or {"cat", "m1"} <= joined:
        return "4g" if not older else None
    return older[0] if older else None


_DENIED: Final = frozenset({"denied", "rejected", "reject", "forbidden"})
_SEARCHING: Final = frozenset({"searching", "search"})
_REGISTERED: Final = frozenset({"registered", "registration", "attached"})
_SERVICE: Final = frozenset({"network", "service", "coverage", "signal"})
_ABOUT_NETWORK: Final = frozenset(
    {"mode", "status", "state", "only", "calls", "call", "local", "limited", "sms", "new", "operator"}
)


def _registration(said: _Said) -> str | None:
    words, negated = said.words, said.negated
    states = frozenset({"home", "roaming", "roam", "emergency", "unknown", "idle"})
    if not said.only(_DENIED, _SEARCHING, _REGISTERED, _SERVICE, _ABOUT_NETWORK, states):
        return None
    if negated & (_DENIED | {"emergency", "home", "unknown", "idle"}):
        return None
    unregistered = bool(negated & (_REGISTERED | _SERVICE))
    roaming, abroad = bool(words & {"roaming", "roam"}), bool(negated & {"roaming", "roam"})
    if words & _DENIED:
        return "denied"
    if "emergency" in words:
        return "emergency_only"
    if words & _SEARCHING:
        return "searching"
    if unregistered or negated & _SEARCHING or words == {"idle"}:
        return None if words & {"home"} or roaming else "not_registered"
    if "home" in words:
        return "home" if not roaming else None
    if roaming:
        return "roaming" if not abroad else None
    if words & _REGISTERED and abroad:
        return "home"
    return "unknown" if words == {"unknown"} else None


_CARD: Final = frozenset({"sim", "usim", "uicc", "card", "sim1", "sim2"})
_THERE: Final = frozenset({"inserted", "insert", "present", "found", "detected"})
_GONE: Final = frozenset({"absent", "missing", "removed"})
_CODE: Final = frozenset({"pin", "pin1", "puk", "puk1", "pin2", "puk2", "code"})
_ASKED: Final = frozenset({"required", "requires", "needed", "request", "locked", "lock", "waiting", "wait"})
_BROKEN: Final = frozenset(
    {"failure", "fail", "failed", "fault", "faulty", "error", "wrong", "invalid", "blocked", "corrupt", "corrupted"}
)
_BUSY: Final = frozenset({"busy", "initializing", "initialising", "initialization", "initialisation"})
_GOOD: Final = frozenset({"ready", "ok"})
_DONE: Final = frozenset({"verified", "disabled", "accepted", "entered"})


def _sim(said: _Said) -> str | None:
    words, negated = said.words, said.negated
    if not said.only(
        _CARD, _THERE, _GONE, _CODE, _ASKED, _BROKEN, _BUSY, _GOOD, _DONE, frozenset({"unknown", "status"})
    ):
        return None
    if negated & (_THERE | _CARD) and not words & (_GOOD | _CODE):
        return "absent"
    if "ready" in negated and not negated - {"ready"}:
        return "unknown" if words <= _CARD else None
    if negated:
        return None  # "no error", "not locked": what it is not
    if words & _GONE:
        return "absent"
    if words & _BROKEN:
        return "failure"
    if words & _BUSY:
        return "busy"
    if words & _DONE:
        return "ready" if words & _CODE and not words & _ASKED else None
    if words & _ASKED or words & {"puk", "puk1", "pin", "pin1"}:
        return "locked" if not words & _GOOD else None
    if words & _GOOD:
        return "ready"
    return "unknown" if words == {"unknown"} else None


VOCABULARIES: Final[Mapping[str, Callable[[_Said], str | None]]] = {
    "technology": _technology,
    "registration": _registration,
    "sim": _sim,
}
"""Lists by name, in the words of the metric catalogue."""


def word_for(vocabulary: str, text: str) -> str | None:
    """Return the catalogue's word for a maker's text, or None for one that is not understood as a whole."""
    said = _said(text)
    return None if said is None else VOCABULARIES[vocabulary](said)
