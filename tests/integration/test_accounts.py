"""Accounts, tokens and the audit log in both databases, by command."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from collector.accounts import accounts
from collector.accounts.accounts import Author, Lasting, Scope
from collector.accounts.passwords import is_right
from collector.core.contract import DEFAULT
from collector.core.roster import Person
from collector.site.in_force import _ENCODER
from collector.store import audit, schema
from collector.store.store import Store
from kitwatch.main import main as kitwatch

LASTING = Lasting(idle_ms=1_000, longest_ms=10_000)
BY = Author("root", "command", 1)


@pytest.fixture
def told(store: Store, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a subcommand over the database; return its exit status and what it says with ``--json``."""

    def run(*words: str) -> tuple[int, Any]:
        capsys.readouterr()
        status = kitwatch([*words, "--database", store.conninfo if store.path is None else str(store), "--json"])
        said = capsys.readouterr()
        return status, json.loads(said.out) if said.out else said.err

    return run


def put_roster(store: Store, site: str, **people: Person) -> None:
    """Put a contract with this roster in force at a site."""
    import msgspec

    content = _ENCODER.encode(msgspec.structs.replace(DEFAULT, roster=people))
    row = {"site": site, "kind": "contract", "number": 1, "at_ms": 1, "digest": "", "content": content}
    with store.transaction() as connection:
        about = {"site": site, "epoch": 1, "owner": "", "heartbeat_ms": 0, "last_batch": 0}
        connection.execute(schema.site.insert(), about)
        connection.execute(schema.edition.insert(), row)


def test_the_first_admin_comes_by_command_and_a_person_of_the_roster_is_a_user(store: Store, told: Any) -> None:
    put_roster(store, "north", zhao=Person(name="赵", role="engineer"))
    put_roster(store, "south", zhao=Person(name="赵", role="manager"), qian=Person(name="钱", role="crew"))
    status, made = told("user", "add", "root", "--role", "admin", "--generate")
    assert status == 0
    assert is_right(made["password"], accounts.password_of(store.engine, "root"))
    assert told("user", "add", "zhao", "--generate")[0] == 0
    assert told("user", "add", "qian", "--site", "north", "--generate")[0] == 0
    status, found = told("user", "add", "sun", "--generate")
    assert status == 1
    assert "expected --role, or one of the rosters in force (qian, zhao)" in found
    status, found = told("user", "add", "zhao", "--generate")
    assert (status, "there is one already" in found) == (1, True)
    roles = {one["name"]: (one["roles"], one["of_roster"]) for one in told("user", "ls")[1]["users"]}
    assert roles == {
        "root": ({"*": "admin"}, False),
        "zhao": ({"north": "engineer", "south": "manager"}, True),
        "qian": ({}, True),  # the roster knows the person elsewhere
    }
    assert told("user", "change", "qian", "--role", "viewer", "--site", "south", "--department", "急诊科")[0] == 0
    (qian,) = [one for one in told("user", "ls")[1]["users"] if one["name"] == "qian"]
    assert (qian["roles"], qian["departments"]) == ({"south": "viewer"}, ["急诊科"])


@pytest.mark.parametrize("password", ["short", "a" * 300, "12121212121212", "root-is-my-name"])
def test_bad_passwords_are_refused(store: Store, told: Any, tmp_path: Path, password: str) -> None:
    (tmp_path / "password").write_text(f"{password}\nsecond line\n")
    status, found = told("user", "add", "root", "--role", "admin", "--password-file", str(tmp_path / "password"))
    assert (status, found.startswith("kitwatch: password: expected")) == (1, True)
    assert accounts.list_accounts(store.engine) == []


def test_a_new_password_or_disabling_ends_sessions(store: Store, told: Any) -> None:
    for name in ("zhao", "qian"):
        assert told("user", "add", name, "--role", "viewer", "--generate")[0] == 0
    with store.transaction() as connection:
        first = accounts.begin_session(connection, "zhao", BY, LASTING)
        second = accounts.begin_session(connection, "qian", BY, LASTING)

    def stands(secret: str) -> bool:
        return accounts.account_of(store.engine, secret, 5, LASTING) is not None

    assert (stands(first), stands(second), stands("kws_other")) == (True, True, False)
    _, made = told("user", "password", "zhao", "--generate")
    assert (stands(first), stands(second)) == (False, True)
    assert is_right(made["password"], accounts.password_of(store.engine, "zhao"))
    assert told("user", "disable", "qian")[0] == 0
    assert stands(second) is False
    assert accounts.password_of(store.engine, "qian") is None
    assert told("user", "enable", "qian")[0] == 0
    assert accounts.password_of(store.engine, "qian") is not None
    assert told("user", "disable", "nobody")[0] == 1


def test_sessions_end_by_themselves(store: Store, told: Any) -> None:
    assert told("user", "add", "zhao", "--role", "viewer", "--generate")[0] == 0
    with store.transaction() as connection:
        secret = accounts.begin_session(connection, "zhao", Author("zhao", "session", 0), LASTING)

    def stands(now_ms: int) -> bool:
        return accounts.account_of(store.engine, secret, now_ms, LASTING) is not None

    assert (stands(999), stands(1_000)) == (True, False)
    for now_ms in range(900, 10_000, 900):
        with store.transaction() as connection:
            accounts.note_use(connection, secret, now_ms)
    assert (stands(9_999), stands(10_000)) == (True, False), "in use it lasts, and no longer than the longest"
    with store.transaction() as connection:
        accounts.begin_session(connection, "zhao", Author("zhao", "session", 20_000), LASTING)
        assert connection.execute(text("SELECT count(*) FROM session")).scalar() == 1, "what is over is forgotten"


def test_tokens_are_shown_once_end_and_are_revoked(store: Store, told: Any) -> None:
    status, wall = told("token", "create", "--wall", "north")
    assert (status, wall["name"], wall["role"], wall["expires_at"]) == (0, "wall-north", "wall", None)
    status, metrics = told("token", "create", "--metrics")
    assert (status, metrics["name"], metrics["expires_at"]) == (0, "metrics", None)
    status, other = told("token", "create", "erp", "--role", "viewer", "--site", "north", "--days", "2")
    assert status == 0
    assert told("token", "create", "erp", "--role", "viewer")[0] == 1
    assert told("token", "create", "--role", "viewer")[0] == 1, "it has no name"
    assert told("token", "create", "x", "--wall", "north", "--site", "south")[0] == 1
    with store.engine.connect() as connection:
        kept = " ".join(str(row) for row in connection.execute(text("SELECT * FROM token")))
        kept += " ".join(str(row) for row in connection.execute(text("SELECT * FROM audit")))
    for one in (wall, metrics, other):
        assert one["token"] not in kept
    now_ms = 0
    found = accounts.token_of(store.engine, other["token"], now_ms)
    assert found is not None
    assert found.expires_ms is not None
    assert found.scope == Scope(("north",))
    assert accounts.token_of(store.engine, other["token"], found.expires_ms) is None
    assert accounts.token_of(store.engine, wall["token"], 10**15) is not None
    assert told("token", "revoke", "wall-north")[0] == 0
    assert accounts.token_of(store.engine, wall["token"], now_ms) is None
    assert told("token", "revoke", "wall-north")[0] == 1
    rows = {one["name"]: one["valid"] for one in told("token", "ls")[1]["tokens"]}
    assert rows == {"erp": True, "metrics": True, "wall-north": False}


# --- the audit log ----------------------------------------------------------------------------------------------------


def fill(store: Store, number: int = 5) -> None:
    with store.transaction() as connection:
        for one in range(number):
            audit.append(connection, at_ms=one, who="zhao", via="session", what="x", subject=f"工单 {one}")


def test_what_was_changed_stands_in_a_chain(store: Store, told: Any) -> None:
    assert told("audit", "verify") == (0, {"whole": True, "entries": 0, "head": audit.FIRST, "problems": []})
    told("user", "add", "zhao", "--role", "viewer", "--generate")
    told("token", "create", "--metrics")
    told("token", "revoke", "metrics")
    whats = [(one["what"], one["subject"], one["via"]) for one in told("audit", "ls")[1]["entries"]]
    assert whats == [
        ("token.revoked", "metrics", "command"),
        ("token.created", "metrics", "command"),
        ("user.added", "zhao", "command"),
    ]
    status, found = told("audit", "verify")
    assert (status, found["entries"], found["whole"]) == (0, 3, True)
    noted = f"3:{found['head']}"
    fill(store)
    assert told("audit", "verify", "--noted", noted)[0] == 0


def without_triggers(store: Store, *statements: str) -> None:
    """Change what nobody may, as whoever owns the database can."""
    with store.transaction() as connection:
        if store.path is None:
            connection.execute(text("ALTER TABLE audit DISABLE TRIGGER USER"))
            kept = []
        else:
            query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit'"
            kept = list(connection.execute(text(query)))
            for name, _ in kept:
                connection.execute(text(f"DROP TRIGGER {name}"))
        for statement in statements:
            connection.execute(text(statement))
        if store.path is None:
            connection.execute(text("ALTER TABLE audit ENABLE TRIGGER USER"))
        for _, sql in kept:
            connection.exec_driver_sql(sql)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET who = 'qian' WHERE number = 2",
        "UPDATE audit SET subject = '' WHERE number = 5",
        "UPDATE audit SET at_ms = at_ms + 1 WHERE number = 1",
        "DELETE FROM audit WHERE number = 3",
        "DELETE FROM audit WHERE number <= 2",
        "UPDATE audit SET number = 9 WHERE number = 5",
    ],
)
def test_tampering_is_found(store: Store, told: Any, statement: str) -> None:
    fill(store)
    assert told("audit", "verify")[0] == 0
    without_triggers(store, statement)
    status, found = told("audit", "verify")
    assert (status, found["whole"]) == (1, False)


def test_who_rewrites_the_end_is_found_by_a_hash_that_was_noted(store: Store, told: Any) -> None:
    fill(store)
    noted = f"5:{told('audit', 'verify')[1]['head']}"
    without_triggers(store, "DELETE FROM audit WHERE number >= 4")
    fill(store, 2)  # the chain is whole again
    assert told("audit", "verify")[0] == 0
    status, found = told("audit", "verify", "--noted", noted)
    assert (status, found["problems"][0][:30]) == (1, f"entry 5: expected hash {noted[2:9]}")
    without_triggers(store, "DELETE FROM audit WHERE number = 5")
    assert told("audit", "verify", "--noted", noted)[1]["problems"] == ["entry 5: noted before, is missing"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET who = 'qian'",
        "DELETE FROM audit",
        "INSERT OR REPLACE INTO audit SELECT number, at_ms, 'qian', via, what, site, subject, detail, previous, hash"
        " FROM audit WHERE number = 1",
        "TRUNCATE audit",
    ],
)
def test_the_database_keeps_it(store: Store, told: Any, statement: str) -> None:
    fill(store)
    if ("TRUNCATE" in statement) != (store.path is None) and not statement.startswith(("UPDATE", "DELETE")):
        pytest.skip("the other database's word")
    with pytest.raises(DBAPIError, match="never changed"), store.transaction() as connection:
        connection.execute(text(statement))
    assert told("audit", "verify")[0] == 0


def test_a_log_that_nobody_keeps_is_said(store: Store, told: Any) -> None:
    fill(store)
    with store.transaction() as connection:
        on = " ON audit" if store.path is None else ""
        name = "audit_is_final" if store.path is None else "audit_no_delete"
        connection.execute(text(f"DROP TRIGGER {name}{on}"))
    status, found = told("audit", "verify")
    assert status == 1
    assert "triggers that keep it" in found["problems"][0]


def test_entries_written_at_once_stand_one_behind_the_other(store: Store) -> None:
    import threading

    threads = [threading.Thread(target=fill, args=(store, 10)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = audit.verify(store.engine)
    assert (found.entries, found.problems) == (60, [])


def test_a_restored_database_has_no_sessions_and_says_what_it_is(
    store: Store, told: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told("user", "add", "zhao", "--role", "viewer", "--generate")[0] == 0
    with store.transaction() as connection:
        secret = accounts.begin_session(connection, "zhao", Author("zhao", "session", 1), LASTING)
    file = tmp_path / "one.backup"
    assert told("backup", str(file))[0] == 0
    other = f"sqlite:///{tmp_path}/other.sqlite"
    assert kitwatch(["restore", str(file), "--database", other]) == 0
    restored = Store.open(other)
    assert accounts.account_of(restored.engine, secret, 2, LASTING) is None
    assert audit.newest(restored.engine, 1)[0].what == "database.restored"
    assert audit.verify(restored.engine).problems == []
    assert stat.S_IMODE(restored.path.stat().st_mode) == 0o600 if restored.path else True
    restored.close()
    capsys.readouterr()
