"""Putting this collector's own files in force: as rows that each site's owner takes (``kitwatch reload``, SIGHUP)."""

from __future__ import annotations

import msgspec

from collector.site.acts import EDITION_ACTION, EditionBody
from collector.site.in_force import InForce, digest
from collector.store import audit, editions, queries
from collector.store.store import Store


def differing(store: Store, own: InForce) -> list[str]:
    """Return the kinds of which the database's edition says otherwise than our own files."""
    stored = editions.latest(store, own.site_id)
    return [
        kind for kind, content in own.contents().items() if kind not in stored or stored[kind][1] != digest(content)
    ]


def put(store: Store, own: InForce, kind: str, who: str, now_ms: int) -> int:
    """Ask the site's owner to go by our own edition of a kind; return the id of the action. Raises StoreError."""
    body = msgspec.json.encode(EditionBody(kind, own.contents()[kind].decode())).decode()
    with store.errors(), store.transaction() as connection:
        id = queries.add_action(
            connection, site=own.site_id, vehicle="", kind=EDITION_ACTION, body=body, who=who, created_ms=now_ms
        )
        audit.append(
            connection, at_ms=now_ms, who=who, via="command", what="edition.put_in_force", site=own.site_id,
            subject=kind, detail={"action": id, "digest": digest(own.contents()[kind])},
        )  # fmt: skip
        return id
