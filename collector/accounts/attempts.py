"""How often a password may be tried. Pure: times are monotonic seconds.

Three limits at once: for a name from an address (somebody mistypes), for an address (one guesser, many names), for a
name (many guessers, one name); and one for all, which bounds what guessing costs this process.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from typing import Final

from collector.channels.pace import Limit, Pace

WITHIN_S: Final = 900.0
OF_BOTH: Final[Limit] = (5, WITHIN_S)
OF_ADDRESS: Final[Limit] = (20, WITHIN_S)
OF_NAME: Final[Limit] = (50, WITHIN_S)
OF_ALL: Final[Limit] = (120, 60.0)
MOST: Final = 10_000
"""Names and addresses that are remembered: more than ``OF_ALL`` lets come in ``WITHIN_S``."""


class Attempts:
    """What was tried lately, in this process."""

    def __init__(self) -> None:
        self._all = Pace([OF_ALL])
        self._paces: OrderedDict[tuple[str, str], Pace] = OrderedDict()

    def wait_s(self, name: str, address: str, now_s: float) -> float:
        """Return how long the next attempt has to wait; 0 or less: it may be made."""
        paces = [self._all, *(self._paces[key] for key in _keys(name, address) if key in self._paces)]
        return max(pace.wait_s(now_s) for pace in paces)

    def note(self, name: str, address: str, now_s: float) -> None:
        """Note an attempt before it is looked at, so that many at once are counted too."""
        self._all.note(now_s)
        for key, limit in _keys(name, address).items():
            pace = self._paces.pop(key, None) or Pace([limit])
            pace.note(now_s)
            self._paces[key] = pace
            if len(self._paces) > MOST:
                self._paces.popitem(last=False)

    def succeeded(self, name: str, address: str) -> None:
        """Forget the attempts at a name from an address: it was its owner."""
        self._paces.pop((name, _network(address)), None)


def _keys(name: str, address: str) -> dict[tuple[str, str], Limit]:
    network = _network(address)
    return {(name, network): OF_BOTH, ("", network): OF_ADDRESS, (name, ""): OF_NAME}


def _network(address: str) -> str:
    """Return an address; of IPv6 its /64, of which one guesser has all."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        return str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False).network_address)
    return str(found)
