"""To whom a notification goes, by which channel first, and how long it waits (docs/notifications.md). Pure."""

from __future__ import annotations

from collector.core.notifications import Notification
from collector.core.recipients import wait_ms, ways_of
from collector.site.in_force import InForce
from collector.store.rows import To


def receivers_of(one: Notification, in_force: InForce) -> tuple[To, ...]:
    """Return the receivers of ``collector.yaml`` that are told of it, then the people of the roster."""
    contract, known = in_force.contract, in_force.channels
    by_people = {way.by for person in contract.roster.values() for way in person.channels}
    found = []
    for receiver in in_force.receivers:
        tells = receiver.tells
        if tells is None:
            told = receiver.name not in by_people
        else:
            told = one.what in tells or not one.to.roles.isdisjoint(tells)
        if told:
            found.append(To(receiver.name, receiver.channel))
    for person in one.to.people:
        way = ways_of(contract, person, known)[0]
        wait = wait_ms(contract, person, one.sla_class, one.created_ms)
        found.append(To(person, way.by, of_roster=True, address=way.address, wait_ms=wait))
    return tuple(found)
