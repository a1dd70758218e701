"""Accounts, their sessions, tokens of the API, and the audit log, which nobody may change.

Revision ID: 0016
Revises: 0015
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, PrimaryKeyConstraint, Text

revision = "0016"
down_revision: str | None = "0015"


def _text(*names: str) -> list[Column[str]]:
    return [Column(name, Text, nullable=False) for name in names]


def _whole(name: str, *, null: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=null)


def upgrade() -> None:
    """Make the tables; there is no account yet: the first one comes by command."""
    op.create_table(
        "account",
        *_text("name", "role", "sites", "departments", "password"),
        _whole("created_ms"),
        _whole("changed_ms"),
        _whole("disabled_ms", null=True),
        PrimaryKeyConstraint("name"),
        comment="who may sign in; role: empty for a person of the roster, who has the roster's; sites, departments:"
        " JSON, empty for all; password: argon2",
    )
    op.create_table(
        "session",
        *_text("digest", "account"),
        _whole("created_ms"),
        _whole("seen_ms"),
        PrimaryKeyConstraint("digest"),
        comment="who is signed in; digest: SHA-256 of what the cookie holds",
    )
    op.create_index("session_account", "session", ["account"])
    op.create_table(
        "token",
        *_text("name", "digest", "role", "sites", "departments", "person", "created_by"),
        _whole("created_ms"),
        _whole("expires_ms", null=True),
        _whole("revoked_ms", null=True),
        PrimaryKeyConstraint("name"),
        comment="tokens of the API; digest: SHA-256 of the token; person: of the roster, in whose name it acts",
    )
    op.create_index("token_digest", "token", ["digest"], unique=True)
    op.create_table(
        "audit",
        Column("number", BigInteger, nullable=False, autoincrement=False),
        _whole("at_ms"),
        *_text("who", "via", "what", "site", "subject", "detail", "previous", "hash"),
        PrimaryKeyConstraint("number"),
        comment="everything that changed something (store/audit.py); hash: SHA-256 over the entry and the hash before"
        " it; triggers refuse to change or delete a row",
    )
    _refuse_changes()


def downgrade() -> None:
    """Drop them, the audit log too."""
    for name in ("audit", "token", "session", "account"):
        op.drop_table(name)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_is_final()")


def _refuse_changes() -> None:
    """An entry is written once. SQLite's REPLACE deletes without a trigger, so it is refused beforehand."""
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER audit_no_{verb.lower()} BEFORE {verb} ON audit"
                " BEGIN SELECT RAISE(ABORT, 'an entry of the audit log is never changed'); END"
            )
        op.execute(
            "CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE"
            " number = NEW.number) BEGIN SELECT RAISE(ABORT, 'an entry of the audit log is never changed'); END"
        )
        return
    op.execute(
        "CREATE FUNCTION audit_is_final() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'an entry of the audit log is never changed'"
        " USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_is_final BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_is_final()"
    )
    op.execute(
        "CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION audit_is_final()"
    )
