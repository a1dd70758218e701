"""Words that many makers use for the same few states, once for all profiles.

A profile names a list by ``vocabulary: technology``; its own ``enum`` and ``words`` go before. Patterns are tried in
order on the whole text, in any case. What matches none of them is unknown text, kept raw in a flag.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_TECHNOLOGY: Final = (
    (r"\bNSA\b|EN-?DC", "5g_nsa"),
    (r"\bSA\b|\bNR[ -]?5G\b|\bNR\b|\b5GC?\b|\b5G[ -]?NR\b", "5g_sa"),
    (r"\bLTE|\b4G\b|4\.5G|\bE-?MTC\b|\bCAT-?M|\bCAT-?NB|\bNB-?IOT\b|\bE-?UTRAN|\bFDD\b|\bTDD\b", "4g"),
    (r"HSPA|HSDPA|HSUPA|HSUPDA|\bW-?CDMA|\bUMTS\b|\b3G\b|\bUTRAN|TD-?SCDMA|EV-?DO|\bHDR\b|\bTDS\b|CDMA ?2000", "3g"),
    (r"\bGSM\b|\bGPRS\b|\bE?GPRS\b|\bEDGE\b|\b2G\b|\bCDMA|\b1X|\bIS-?95", "2g"),
    (r"\ANO ?(?:SERVICE|SIGNAL)?\Z|\ANONE\Z|\AN/?A\Z", "none"),
)
_REGISTRATION: Final = (
    (r"\bnot(?: currently)? searching|\Aidle\Z", "not_registered"),
    (r"search", "searching"),
    (r"denied|reject", "denied"),
    (r"emergency", "emergency_only"),
    (r"\bnot[ _-]?registered|\bunregistered|\bderegistered|no network", "not_registered"),
    (r"roam", "roaming"),
    (r"\bhome\b", "home"),
    (r"\Aunknown\Z", "unknown"),
)
_SIM: Final = (
    (r"not[ _-]?insert|absent|no[ _-]sim|missing|not[ _-]present|not[ _-]found", "absent"),
    (r"puk|pin.?requir|requir.*pin|sim[ _-]pin|locked|pin.?lock", "locked"),
    (r"fail|fault|error|wrong|invalid|blocked|corrupt", "failure"),
    (r"busy|initiali[sz]", "busy"),
    (r"\Aunknown\Z|\Anot[ _-]ready\Z", "unknown"),
    (r"\A(?:sim[ _-]?)?ready\Z|\Aok\Z|\Asim[ _-](?:ok|ready)\Z", "ready"),
)
VOCABULARIES: Final[Mapping[str, tuple[tuple[re.Pattern[str], str], ...]]] = {
    name: tuple((re.compile(pattern, re.IGNORECASE), word) for pattern, word in entries)
    for name, entries in {"technology": _TECHNOLOGY, "registration": _REGISTRATION, "sim": _SIM}.items()
}
"""Lists by name: ``technology``, ``registration``, ``sim``, in the words of the metric catalogue."""


def word_for(vocabulary: str, text: str) -> str | None:
    """Return the catalogue's word for a maker's text, or None when no entry knows it."""
    return next((word for pattern, word in VOCABULARIES[vocabulary] if pattern.search(text)), None)
