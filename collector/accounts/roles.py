"""Roles, what each may do, and where: pure.

A person of the contract's roster has the role that the roster says, at the sites whose roster names them. Everybody
else (a viewer, somebody of a clinic, who administers this) has one role, at the sites of the account. A role never
reaches beyond its sites and departments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, get_args

from collector.core.roster import Person

AccountRole = Literal["viewer", "crew", "dispatcher", "engineer", "information", "clinic", "manager", "admin"]
"""What an account or a token may be; ``information`` is the information department (信息科)."""
Role = Literal[AccountRole, "wall", "metrics"]
"""``wall`` and ``metrics`` are of tokens alone: a display on a wall, Prometheus."""
Permission = Literal["self", "look", "positions", "identifiers", "notifications", "act", "duty", "retry", "figures"]
ACCOUNT_ROLES: Final[tuple[AccountRole, ...]] = get_args(AccountRole)
EVERYWHERE: Final = "*"
"""In place of a site: all of them."""

_EVERYBODY: Final = frozenset[Role]((*ACCOUNT_ROLES, "wall", "metrics"))
_ACTING: Final = frozenset[Role](("crew", "dispatcher", "engineer", "information", "manager"))
PERMISSIONS: Final[Mapping[Permission, frozenset[Role]]] = MappingProxyType(
    {
        "self": _EVERYBODY,
        "look": _EVERYBODY - {"metrics"},
        "positions": frozenset[Role](("crew", "dispatcher", "engineer")),
        "identifiers": frozenset[Role](("engineer", "information")),
        "notifications": frozenset[Role](("dispatcher", "engineer", "information", "manager", "admin")),
        "act": _ACTING,
        "duty": _ACTING,
        "retry": frozenset[Role](("engineer", "information", "manager", "admin")),
        "figures": frozenset[Role](("engineer", "information", "manager", "admin", "metrics")),
    }
)
"""Who may: ``self``: ask who one is; ``look``: vehicles, tickets, sites; ``positions``: where a vehicle lives or is;
``identifiers``: IMEI, IMSI, ICCID, telephone numbers of SIM cards; ``notifications``: who was told what; ``act``: open
tickets and act on them, as the desk's own table allows; ``duty``: change a vehicle's; ``retry``: send notifications
again; ``figures``: ``/metrics`` and ``/readyz``."""

Kind = Literal["account", "token", "system"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever asks."""

    kind: Kind
    name: str
    """Of the account, of the token, or the user of this machine."""
    roles: Mapping[str, Role]
    """By site, or ``EVERYWHERE``."""
    departments: frozenset[str] | None = None
    """Of whose vehicles alone; ``None``: of all."""
    person: str = ""
    """The id in the roster in whose name it acts; for a user of this machine the roster's ``login`` decides."""
    session: str = field(default="", repr=False)
    """What the session's cookie holds, empty without one."""

    def may(self, permission: Permission, site: str | None = None) -> bool:
        """Say whether it may do something at a site; without one: at any."""
        allowed = PERMISSIONS[permission]
        if site is None:
            return any(role in allowed for role in self.roles.values())
        role = self.roles.get(site, self.roles.get(EVERYWHERE))
        return role is not None and role in allowed

    def sites(self, permission: Permission) -> frozenset[str] | None:
        """Return where it may do something; ``None``: everywhere."""
        found = frozenset(site for site, role in self.roles.items() if role in PERMISSIONS[permission])
        return None if EVERYWHERE in found else found

    def person_in(self, roster: Mapping[str, Person]) -> str | None:
        """Return who of a roster it is, ``None`` for nobody."""
        if self.kind == "system":
            return next((id for id, person in roster.items() if person.login == self.name), None)
        return self.person if self.person in roster else None


def roles_by_roster(
    person: str, rosters: Mapping[str, Mapping[str, Person]], sites: tuple[str, ...] = ()
) -> dict[str, Role]:
    """Return the role of somebody at each site whose roster names them; ``sites``: of these alone, if any."""
    return {
        site: roster[person].role
        for site, roster in rosters.items()
        if person in roster and (not sites or site in sites)
    }


def roles_by_login(login: str, rosters: Mapping[str, Mapping[str, Person]]) -> dict[str, Role]:
    """Return the role of a user of this machine at each site whose roster has somebody with this ``login``."""
    return {
        site: person.role for site, roster in rosters.items() for person in roster.values() if person.login == login
    }
