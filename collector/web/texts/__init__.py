"""What the pages say, one file a language; what tickets say stands in ``core/tickets/texts``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from collector.core.tickets.texts import Language
from collector.web.texts import en, zh

WORDS: Final[Mapping[Language, Mapping[str, str]]] = {"zh": zh.WORDS, "en": en.WORDS}
GROUPS: Final[Mapping[Language, Mapping[str, Mapping[str, str]]]] = {"zh": zh.GROUPS, "en": en.GROUPS}
"""Names of things by their id: duties, kinds of device, conditions."""


class Words:
    """The texts of one language, as templates use them: ``t.vehicles``, ``t.name("kind", "router")``."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self._words, self._groups = WORDS[language], GROUPS[language]

    def __getattr__(self, name: str) -> str:
        try:
            return self._words[name]
        except KeyError:
            raise AttributeError(name) from None

    def say(self, name: str, /, **values: Any) -> str:
        """Return a text with its values."""
        return self._words[name].format(**values)

    def name(self, group: str, id: str) -> str:
        """Return the name of a thing; its id where it has none."""
        return self._groups[group].get(id, id)

    def has(self, group: str, id: str) -> bool:
        """Say whether a thing has a name here."""
        return id in self._groups[group]

    def pick(self, both: Mapping[str, Any]) -> Any:
        """Return what is given by language in this one."""
        return both[self.language]
