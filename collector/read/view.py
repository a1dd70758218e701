"""What of all sites and vehicles whoever asks may see."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import msgspec
from sqlalchemy import Column, Select, tuple_


class View(msgspec.Struct, frozen=True):
    """Sites, and where departments limit it, vehicles."""

    sites: frozenset[str] | None = None
    """``None``: all."""
    vehicles: frozenset[tuple[str, str]] | None = None
    """(site, vehicle) of the departments, ``None``: all of the sites."""

    def has(self, site: str, vehicle: str = "") -> bool:
        """Say whether it holds what belongs to a vehicle; what belongs to a site alone is of no department."""
        if self.sites is not None and site not in self.sites:
            return False
        return self.vehicles is None or (site, vehicle) in self.vehicles

    def has_site(self, site: str) -> bool:
        """Say whether it holds anything of a site."""
        return self.sites is None or site in self.sites

    def at(self, site: str) -> View:
        """Return what of it belongs to a site."""
        return View(frozenset({site} if self.has_site(site) else ()), self.vehicles)

    def has_all(self, sites: Collection[str]) -> bool:
        """Say whether it holds all of these sites, whole."""
        return self.vehicles is None and (self.sites is None or self.sites.issuperset(sites))

    def narrow(self, query: Select[Any], site: Column[Any], vehicle: Column[Any] | None = None) -> Select[Any]:
        """Narrow a query to its rows; without a column of vehicles to those of its sites."""
        if self.vehicles is not None and vehicle is not None:
            return query.where(tuple_(site, vehicle).in_(self.vehicles))
        return query if self.sites is None else query.where(site.in_(self.sites))


EVERYTHING: Final = View()
