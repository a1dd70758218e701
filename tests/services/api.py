"""Asking a collector as somebody who may: one token of the API and one session of a browser for all tests."""

from __future__ import annotations

import time
from typing import Final, Literal

from sqlalchemy import select

from collector.accounts import accounts, secrets
from collector.accounts.accounts import Author, Scope
from collector.accounts.roles import Role
from collector.store import schema
from collector.store.store import Store
from collector.web.identity import COOKIE

TOKEN: Final = f"{secrets.TOKEN}of-the-tests"
HEADERS: Final = {"Authorization": f"Bearer {TOKEN}"}
"""With these a request comes from an engineer of every site, once that is let in."""


SESSION: Final = f"{secrets.SESSION}of-the-tests"
"""What the cookie of a browser holds, once ``let_in_browser`` has been called."""


def let_in_browser(store: Store | str, role: Role | Literal[""] = "engineer", name: str = "tests") -> dict[str, str]:
    """Sign somebody in to the pages of this database; return the cookie. ``role`` is empty for one of the roster."""
    opened = Store.open(store) if isinstance(store, str) else store
    now_ms = time.time_ns() // 1_000_000
    known = name in (one.name for one in accounts.list_accounts(opened.engine))
    with opened.transaction() as connection:
        if not known:
            accounts.add_account(connection, name, "tested-4711", role, Scope(), Author("tests", "command", now_ms))
            row = {"digest": secrets.digest(SESSION), "account": name, "created_ms": now_ms, "seen_ms": now_ms}
            connection.execute(schema.session.insert(), row)
    if opened is not store:
        opened.close()
    return {"name": COOKIE, "value": SESSION}


def let_in(store: Store | str, role: Role = "engineer", *, person: str = "", secret: str = TOKEN) -> dict[str, str]:
    """Let a token open the API of this database, at every site; return the headers that hold it.

    ``person``: of the roster, in whose name it acts. ``secret``: of another one than ``TOKEN``.
    """
    opened = Store.open(store) if isinstance(store, str) else store
    row = {"name": f"tests-{len(secret)}-{role}", "digest": secrets.digest(secret), "role": role, "person": person}
    row |= {"sites": "", "departments": "", "created_by": "tests"}
    with opened.transaction() as connection:
        known = select(schema.token).where(schema.token.c.digest == row["digest"])
        if connection.execute(known).first() is None:
            connection.execute(schema.token.insert().values(**row, created_ms=0))
    if opened is not store:
        opened.close()
    return {"Authorization": f"Bearer {secret}"}
