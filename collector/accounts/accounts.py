"""Accounts, sessions and tokens as the database has them; each change stands in the audit log too. Blocking."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

import msgspec
from sqlalchemy import Connection, Engine, Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from collector.accounts import secrets
from collector.accounts.passwords import hashed
from collector.accounts.roles import EVERYWHERE, Principal, Role, roles_by_roster
from collector.core.roster import Person
from collector.store import schema
from collector.store.audit import Via, append

Rosters = Callable[[], Mapping[str, Mapping[str, Person]]]
SEEN_MS: Final = 60_000
"""How exactly it is known when a session was last used."""


class AccountError(ValueError):
    """What cannot be done with an account or a token, in words."""


class Author(msgspec.Struct, frozen=True):
    """Who changes something, for the audit log."""

    who: str
    via: Via
    at_ms: int


class Scope(msgspec.Struct, frozen=True):
    """Where an account or a token may look; empty: everywhere, everything."""

    sites: tuple[str, ...] = ()
    departments: tuple[str, ...] = ()


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who may sign in."""

    name: str
    role: Role | Literal[""]
    """Empty: a person of the roster with this id, who has the role there."""
    scope: Scope
    created_ms: int
    changed_ms: int
    disabled_ms: int | None

    def principal(self, rosters: Rosters, session: str = "") -> Principal:
        """Return who this is, as long as nothing changes."""
        if self.role:
            roles, person = _roles(self.role, self.scope), ""
        else:
            roles, person = roles_by_roster(self.name, rosters(), self.scope.sites), self.name
        return Principal("account", self.name, roles, _departments(self.scope), person, session)


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token of the API."""

    name: str
    role: Role
    scope: Scope
    person: str
    created_by: str
    created_ms: int
    expires_ms: int | None
    revoked_ms: int | None

    def is_valid(self, now_ms: int) -> bool:
        """Say whether it is."""
        return self.revoked_ms is None and (self.expires_ms is None or now_ms < self.expires_ms)

    def principal(self) -> Principal:
        """Return who this is."""
        return Principal("token", self.name, _roles(self.role, self.scope), _departments(self.scope), self.person)


def _roles(role: Role, scope: Scope) -> dict[str, Role]:
    return dict.fromkeys(scope.sites, role) if scope.sites else {EVERYWHERE: role}


def _departments(scope: Scope) -> frozenset[str] | None:
    return frozenset(scope.departments) if scope.departments else None


# --- accounts ---------------------------------------------------------------------------------------------------------


def list_accounts(engine: Engine) -> list[Account]:
    """Return all of them by name."""
    with engine.connect() as connection:
        return [_account(row) for row in connection.execute(select(schema.account).order_by(schema.account.c.name))]


def add_account(
    connection: Connection, name: str, password: str, role: Role | Literal[""], scope: Scope, by: Author
) -> None:
    """Add one. Raises AccountError where there is one of this name, BadPassword."""
    row = {"name": name, "role": role, **_stored(scope), "password": hashed(password, name)}
    try:
        connection.execute(insert(schema.account).values(**row, created_ms=by.at_ms, changed_ms=by.at_ms))
    except IntegrityError:
        raise AccountError(f"user {name}: there is one already") from None
    _note(connection, by, "user.added", name, role=role, scope=msgspec.to_builtins(scope))


def set_password(connection: Connection, name: str, password: str, by: Author) -> None:
    """Give a new password, and end the account's sessions. Raises AccountError, BadPassword."""
    _change(connection, name, by, password=hashed(password, name))
    end_sessions(connection, name)
    _note(connection, by, "user.password_set", name)


def change_account(
    connection: Connection, name: str, by: Author, *, role: Role | Literal[""] | None = None, scope: Scope | None = None
) -> None:
    """Give another role or scope; it holds from the next request on. Raises AccountError."""
    new = {} if role is None else {"role": role}
    _change(connection, name, by, **new, **({} if scope is None else _stored(scope)))
    _note(connection, by, "user.changed", name, **new, **({} if scope is None else msgspec.to_builtins(scope)))


def set_disabled(connection: Connection, name: str, disabled: bool, by: Author) -> None:
    """Let nobody sign in as this account any more, or again. Raises AccountError."""
    _change(connection, name, by, disabled_ms=by.at_ms if disabled else None)
    end_sessions(connection, name)
    _note(connection, by, "user.disabled" if disabled else "user.enabled", name)


def _change(connection: Connection, name: str, by: Author, **values: object) -> None:
    statement = update(schema.account).where(schema.account.c.name == name).values(**values, changed_ms=by.at_ms)
    if connection.execute(statement).rowcount != 1:
        raise AccountError(f"user {name}: there is none of this name")


def _account(row: Row[tuple[object, ...]]) -> Account:
    return Account(
        name=row.name,
        role=row.role,
        scope=_read(row),
        created_ms=row.created_ms,
        changed_ms=row.changed_ms,
        disabled_ms=row.disabled_ms,
    )


# --- sessions ---------------------------------------------------------------------------------------------------------


class Lasting(msgspec.Struct, frozen=True):
    """How long a session lasts, in milliseconds."""

    idle_ms: int
    """Without being used."""
    longest_ms: int
    """At all."""

    def is_over(self, created_ms: int, seen_ms: int, now_ms: int) -> bool:
        """Say whether it is over."""
        return now_ms >= min(seen_ms + self.idle_ms, created_ms + self.longest_ms)


DEFAULT_SESSIONS: Final = Lasting(idle_ms=12 * 3_600_000, longest_ms=7 * 86_400_000)
"""A shift, and a week."""


def password_of(engine: Engine, name: str) -> str | None:
    """Return what is kept of an account's password; ``None``: there is no such account, or nobody may use it."""
    a = schema.account.c
    with engine.connect() as connection:
        found = connection.execute(select(a.password).where(a.name == name, a.disabled_ms.is_(None))).scalar()
    return None if found is None else str(found)


def begin_session(connection: Connection, name: str, by: Author, lasting: Lasting) -> str:
    """Sign an account in: return what its cookie is to hold. Sessions that are over are forgotten."""
    s, secret = schema.session.c, secrets.new_secret(secrets.SESSION)
    over = (s.seen_ms <= by.at_ms - lasting.idle_ms) | (s.created_ms <= by.at_ms - lasting.longest_ms)
    connection.execute(delete(schema.session).where(over))
    row = {"digest": secrets.digest(secret), "account": name, "created_ms": by.at_ms, "seen_ms": by.at_ms}
    connection.execute(insert(schema.session).values(**row))
    _note(connection, by, "signed_in", name)
    return secret


def end_session(connection: Connection, secret: str, by: Author) -> None:
    """Sign out."""
    connection.execute(delete(schema.session).where(schema.session.c.digest == secrets.digest(secret)))
    _note(connection, by, "signed_out", by.who)


def end_sessions(connection: Connection, name: str) -> None:
    """End every session of an account."""
    connection.execute(delete(schema.session).where(schema.session.c.account == name))


def after_restore(connection: Connection, file: str, by: Author) -> None:
    """Say that the database is an earlier one, and end its sessions: some of them had been ended since."""
    connection.execute(delete(schema.session))
    _note(connection, by, "database.restored", file)


def account_of(engine: Engine, secret: str, now_ms: int, lasting: Lasting) -> tuple[Account, int] | None:
    """Return whose session a cookie is of, and when it was last used (``note_use``); ``None``: of none that stands."""
    s, a = schema.session.c, schema.account
    query = (
        select(a, s.created_ms.label("begun_ms"), s.seen_ms)
        .join_from(schema.session, a, s.account == a.c.name)
        .where(s.digest == secrets.digest(secret))
    )
    with engine.connect() as connection:
        row = connection.execute(query).first()
    if row is None or row.disabled_ms is not None or lasting.is_over(row.begun_ms, row.seen_ms, now_ms):
        return None
    return _account(row), row.seen_ms


def note_use(connection: Connection, secret: str, now_ms: int) -> None:
    """Note that a session is used; needed once in ``SEEN_MS``, or a quarter of the idle time."""
    s = schema.session
    connection.execute(update(s).where(s.c.digest == secrets.digest(secret)).values(seen_ms=now_ms))


# --- tokens -----------------------------------------------------------------------------------------------------------


def list_tokens(engine: Engine) -> list[Token]:
    """Return all of them by name, those that are over too."""
    with engine.connect() as connection:
        return [_token(row) for row in connection.execute(select(schema.token).order_by(schema.token.c.name))]


def add_token(
    connection: Connection,
    name: str,
    role: Role,
    scope: Scope,
    by: Author,
    *,
    person: str = "",
    expires_ms: int | None = None,
) -> str:
    """Add one and return it: it is shown this once. Raises AccountError where there was one of this name."""
    secret = secrets.new_secret(secrets.TOKEN)
    row = {"name": name, "digest": secrets.digest(secret), "role": role, **_stored(scope), "person": person}
    row |= {"created_by": by.who, "created_ms": by.at_ms, "expires_ms": expires_ms}  # type: ignore[dict-item]
    try:
        connection.execute(insert(schema.token).values(**row))
    except IntegrityError:
        raise AccountError(f"token {name}: there is one of this name, or was") from None
    _note(
        connection, by, "token.created", name, role=role, scope=msgspec.to_builtins(scope), person=person,
        expires_ms=expires_ms,
    )  # fmt: skip
    return secret


def revoke_token(connection: Connection, name: str, by: Author) -> None:
    """Let it open nothing any more. Raises AccountError where there is none that does."""
    t = schema.token
    statement = update(t).where(t.c.name == name, t.c.revoked_ms.is_(None)).values(revoked_ms=by.at_ms)
    if connection.execute(statement).rowcount != 1:
        raise AccountError(f"token {name}: there is none of this name that is not revoked")
    _note(connection, by, "token.revoked", name)


def token_of(engine: Engine, secret: str, now_ms: int) -> Token | None:
    """Return the token, ``None`` for one that opens nothing."""
    with engine.connect() as connection:
        query = select(schema.token).where(schema.token.c.digest == secrets.digest(secret))
        row = connection.execute(query).first()
    found = None if row is None else _token(row)
    return found if found is not None and found.is_valid(now_ms) else None


def _token(row: Row[tuple[object, ...]]) -> Token:
    return Token(
        name=row.name,
        role=row.role,
        scope=_read(row),
        person=row.person,
        created_by=row.created_by,
        created_ms=row.created_ms,
        expires_ms=row.expires_ms,
        revoked_ms=row.revoked_ms,
    )


# --- rows -------------------------------------------------------------------------------------------------------------


def _stored(scope: Scope) -> dict[str, str]:
    return {"sites": _names(scope.sites), "departments": _names(scope.departments)}


def _names(names: Sequence[str]) -> str:
    return msgspec.json.encode(list(names)).decode() if names else ""


def _read(row: Row[tuple[object, ...]]) -> Scope:
    lists = (msgspec.json.decode(text, type=tuple[str, ...]) if text else () for text in (row.sites, row.departments))
    return Scope(*lists)


def _note(connection: Connection, by: Author, what: str, subject: str, **detail: object) -> None:
    append(connection, at_ms=by.at_ms, who=by.who, via=by.via, what=what, subject=subject, detail=detail)
