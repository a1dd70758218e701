"""The collector's tables (SQLAlchemy Core), for SQLite and PostgreSQL alike.

Every row belongs to a site, the shard, but for those of accounts and the audit log. Times are UTC milliseconds since
1970; JSON stands in text or bytes, since nothing queries into it. The migrations in ``migrations/`` make these tables;
a test holds both together.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    false,
    text,
)

metadata = MetaData()

_Serial = BigInteger().with_variant(Integer(), "sqlite")


def _text(name: str, **more: Any) -> Column[str]:
    return Column(name, Text, nullable=False, **more)


def _whole(name: str, *, null: bool = False, **more: Any) -> Column[int]:
    return Column(name, BigInteger, nullable=null, **more)


def _serial() -> Column[int]:
    return Column("id", _Serial, primary_key=True, autoincrement=True)


def _key(*names: str) -> PrimaryKeyConstraint:
    return PrimaryKeyConstraint(*names)


def _partial(name: str, where: str, *columns: Column[Any], unique: bool = False) -> None:
    """Add an index over some rows. The migration makes it so; a dialect's own word here would load that dialect."""
    Index(name, *columns, unique=unique, info={"where": where})


site = Table(
    "site",
    metadata,
    _text("site"),
    _whole("epoch"),
    _text("owner"),
    _whole("heartbeat_ms"),
    _whole("last_batch"),
    Column("state", LargeBinary),
    # since revision 0007: the number of its last commit; when its owner last listened and committed (as heartbeat_ms by
    # the database's clock); what the owner says of itself (rows.SiteReport as JSON)
    _whole("revision", server_default=text("0")),
    _whole("heard_ms", null=True),
    _whole("committed_ms", null=True),
    _text("report", server_default=text("''")),
    _key("site"),
    comment="the shard: who owns it, in which epoch, the number of its last batch, the state of its survey (JSON)",
)

vehicle = Table(
    "vehicle",
    metadata,
    _text("site"),
    _text("vehicle"),
    Column("state", LargeBinary, nullable=False),
    _key("site", "vehicle"),
    comment="what step keeps of a vehicle (JSON)",
)

vehicle_summary = Table(
    "vehicle_summary",
    metadata,
    _text("site"),
    _text("vehicle"),
    _text("state"),
    _whole("heard_ms", null=True),
    _whole("silent_since_ms", null=True),
    _whole("revision"),
    Column("details", LargeBinary, nullable=False),
    _key("site", "vehicle"),
    comment="what lists show of a vehicle (details: zstd over JSON, core/vehicle/summary.py), written with its state;"
    " revision: number of the site's commit that wrote it",
)
Index("vehicle_summary_revision", vehicle_summary.c.site, vehicle_summary.c.revision)
Index("vehicle_summary_vehicle", vehicle_summary.c.vehicle)

# since revision 0011
journal = Table(
    "journal",
    metadata,
    _text("site"),
    _whole("revision"),
    Column("content", LargeBinary, nullable=False),
    _key("site", "revision"),
    comment="states of vehicles and runs that a commit (its number) changed and no checkpoint has put into their"
    " rows yet (store/journal.py)",
    sqlite_with_rowid=False,
)

batch = Table(
    "batch",
    metadata,
    _text("site"),
    _whole("number"),
    _whole("received_ms"),
    _whole("now_ms"),
    _whole("records"),
    Column("content", LargeBinary, nullable=False),
    _key("site", "number"),
    comment="the log: the records taken by one commit (zstd over JSON, store/batch.py), read by cursors",
)

run = Table(
    "run",
    metadata,
    _text("site"),
    _text("vehicle"),
    _text("agent"),
    _text("run"),
    _text("boot"),
    _text("seen"),
    _text("lost"),
    Column("gone_clock", Boolean, nullable=False),
    _whole("first_ms", null=True),
    _whole("last_ms", null=True),
    _whole("heard_ms"),
    _key("site", "vehicle", "agent", "run"),
    comment="what has been seen of a run and what its agent reported as lost (JSON, [[first, last], ...])",
    sqlite_with_rowid=False,
)

schema = Table(
    "schema",
    metadata,
    _text("site"),
    _text("vehicle"),
    _text("agent"),
    _text("id"),
    _text("content"),
    _key("site", "vehicle", "agent", "id"),
    comment="the schemas that agents have sent (JSON), kept for ever",
)

clock = Table(
    "clock",
    metadata,
    _text("site"),
    _text("vehicle"),
    _text("agent"),
    _text("run"),
    _whole("number"),
    _whole("mono_ms"),
    _whole("wall_ms"),
    _text("source"),
    _whole("uncertainty_ms"),
    _key("site", "vehicle", "agent", "run", "number"),
    comment="the clocks of each run, never changed once written",
)

run_schema = Table(
    "run_schema",
    metadata,
    _text("site"),
    _text("vehicle"),
    _text("agent"),
    _text("run"),
    _text("names"),
    _key("site", "vehicle", "agent", "run"),
    comment="the numbers that a run gives its schemas (JSON, by number their ids), only added to",
)

closed_note = Table(
    "closed_note",
    metadata,
    _serial(),
    _text("site"),
    _text("vehicle"),
    _text("device"),
    _text("key"),
    _text("fault"),
    _text("rule"),
    _whole("rule_version"),
    _whole("began_ms"),
    _whole("ended_ms"),
    _whole("noted_ms"),
    comment="faults that were over before we heard of them",
    sqlite_autoincrement=True,
)
Index("closed_note_began", closed_note.c.site, closed_note.c.vehicle, closed_note.c.began_ms)

inventory = Table(
    "inventory",
    metadata,
    _text("site"),
    _text("vehicle"),
    _text("device"),
    _whole("seen_ms"),
    _text("identity"),
    _key("site", "vehicle", "device", "seen_ms"),
    comment="who each device said it was (JSON), from when on",
)

quarantine = Table(
    "quarantine",
    metadata,
    _serial(),
    _text("site"),
    _text("vehicle"),
    _text("agent"),
    _text("run"),
    _text("pairs"),
    _text("kind"),
    _text("reason"),
    Column("payload", LargeBinary, nullable=False),
    _whole("at_ms"),
    _text("state", server_default=text("'held'")),
    comment="what could not be taken, receipted all the same; state: held, or retry (the owner takes it)",
    sqlite_autoincrement=True,
)

notification = Table(
    "notification",
    metadata,
    _serial(),
    _text("site"),
    _text("key"),
    _text("ticket"),
    _text("body"),
    _whole("created_ms"),
    comment="messages to people (JSON, core/notifications.py); key is the idempotency key, id the order",
    sqlite_autoincrement=True,
)
Index("notification_key", notification.c.site, notification.c.key, unique=True)

delivery = Table(
    "delivery",
    metadata,
    _text("site"),
    _text("notification"),
    _text("receiver"),
    _text("channel"),
    _text("state", server_default=text("'waiting'")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    _whole("next_ms"),
    _text("error", server_default=text("''")),
    Column("of_roster", Boolean, nullable=False, server_default=false()),
    _text("address", server_default=text("''")),
    Column("wait_ms", BigInteger, nullable=False, server_default=text("0")),
    _text("folded_into", server_default=text("''")),
    _text("handed_by", server_default=text("''")),
    _key("site", "notification", "receiver", "channel"),
    comment="what became of a notification (its key) for one receiver over one channel; state: waiting, folded, sent,"
    " passed, failed; of_roster: the receiver is a person, reached at address; wait_ms: how long until next_ms was;"
    " handed_by: the person who could not be told, if it came from somebody else",
)
_partial("delivery_waiting", "state = 'waiting'", delivery.c.site, delivery.c.receiver)

cursor = Table(
    "cursor",
    metadata,
    _text("site"),
    _text("sink"),
    _whole("number"),
    _key("site", "sink"),
    comment="the last batch that each sink has dealt with",
)

dead_letter = Table(
    "dead_letter",
    metadata,
    _serial(),
    _text("site"),
    _text("sink"),
    _whole("batch"),
    _text("content"),
    _text("reason"),
    _whole("at_ms"),
    _text("state", server_default=text("'held'")),
    comment="what the other side of a sink refused, in its words; state: held, or retry (the sink sends it)",
    sqlite_autoincrement=True,
)
_partial("dead_letter_retry", "state = 'retry'", dead_letter.c.site, dead_letter.c.sink)

counter = Table(
    "counter",
    metadata,
    _text("site"),
    _text("name"),
    _whole("value"),
    _key("site", "name"),
    comment="how often something happened that nobody may overlook",
)

# --- history (revision 0002) ------------------------------------------------------------------------------------------

chunk = Table(
    "chunk",
    metadata,
    _text("site"),
    _text("vehicle"),
    _text("run"),
    _whole("slot_ms"),
    _text("agent"),
    _whole("earliest_ms"),
    _whole("latest_ms"),
    _whole("records"),
    Column("content", LargeBinary, nullable=False),
    _key("site", "vehicle", "run", "slot_ms", "agent"),
    comment="the records of an agent in ten minutes (as batch.content); with a run: of one that never knew the"
    " time, ten minutes of its own clock, between earliest and latest",
)
Index("chunk_latest", chunk.c.site, chunk.c.latest_ms)

hour = Table(
    "hour",
    metadata,
    _text("site"),
    _text("vehicle"),
    _whole("hour_ms"),
    _whole("samples"),
    Column("figures", LargeBinary, nullable=False),
    _key("site", "vehicle", "hour_ms"),
    comment="the figures of a vehicle in an hour (zstd over JSON, core/figures.py)",
)

run_start = Table(
    "run_start",
    metadata,
    _text("site"),
    _text("vehicle"),
    _text("agent"),
    _text("run"),
    _text("before"),
    _whole("noted_ms"),
    _key("site", "vehicle", "agent", "run"),
    comment="which run came before each, as its started event told: the order of runs without a clock",
)

# --- places (revision 0014) -------------------------------------------------------------------------------------------

gap = Table(
    "gap",
    metadata,
    _text("site"),
    _text("cell"),
    _whole("passes"),
    _whole("days"),
    _whole("day"),
    _whole("lost"),
    _whole("boots"),
    _whole("p50_s"),
    _whole("p95_s"),
    _whole("vehicles"),
    _whole("last_ms"),
    Column("detail", LargeBinary, nullable=False),
    _key("site", "cell"),
    comment="where contact is kept, lost, and kits are switched off, by cell of H3 (core/gap_record.py; detail: JSON)",
)

coverage = Table(
    "coverage",
    metadata,
    _text("site"),
    _text("cell"),
    _text("leg"),
    _text("vehicle"),
    _text("radio_cell"),
    _whole("days"),
    _whole("day"),
    _whole("n"),
    _whole("last_ms"),
    Column("histogram", LargeBinary, nullable=False),
    _key("site", "cell", "leg", "vehicle", "radio_cell"),
    comment="what each vehicle had in each cell of H3, of the fine and of the coarse ones (core/coverage_record.py)",
)
Index("coverage_last", coverage.c.site, coverage.c.last_ms)

journey = Table(
    "journey",
    metadata,
    _text("site"),
    _text("vehicle"),
    Column("content", LargeBinary, nullable=False),
    _key("site", "vehicle"),
    comment="what the drain of places remembers of a vehicle between two looks (JSON)",
)

# --- people (revision 0003) -------------------------------------------------------------------------------------------

action = Table(
    "action",
    metadata,
    _serial(),
    _text("site"),
    _text("vehicle"),
    _text("kind"),
    _text("body"),
    _text("who"),
    _whole("created_ms"),
    _whole("taken_ms", null=True),
    _text("error", server_default=text("''")),
    _text("ticket", server_default=text("''")),  # since 0009: on which it acted
    _text("key", server_default=text("''")),  # since 0013: another system's own, empty for people's
    comment="what people want of a vehicle or a ticket; the site's owner marks it as taken in the commit that steps it",
    sqlite_autoincrement=True,
)
_partial("action_waiting", "taken_ms IS NULL", action.c.site, action.c.id)
_partial("action_key", "key <> ''", action.c.key, unique=True)  # fmt: skip

# --- problems and tickets (revision 0005) -----------------------------------------------------------------------------

problem = Table(
    "problem",
    metadata,
    _text("site"),
    _text("vehicle"),
    _text("key"),
    _text("fault"),
    _text("device"),
    _text("state"),
    _whole("event_ms"),
    _text("ticket"),
    _text("content"),
    _key("site", "vehicle", "key"),
    comment="what is or was true of the kit, the last word on each key (JSON, core/problems.py);"
    " ticket: the one that deals with it",
)
_partial("problem_lasts", "state <> 'over'", problem.c.site)

ticket = Table(
    "ticket",
    metadata,
    _text("site"),
    _text("id"),
    _whole("year", null=True),
    _whole("number", null=True),
    _text("source"),
    _text("vehicle"),
    _text("device"),
    _text("key"),
    _text("fault"),
    _text("severity"),
    _text("sla_class"),
    _text("state"),
    Column("live", Boolean, nullable=False),
    _whole("round"),
    _text("rule"),
    _whole("rule_version"),
    _whole("event_ms"),
    _whole("detected_ms"),
    _whole("opened_ms"),
    _whole("notice_ms"),
    _whole("over_event_ms", null=True),
    _whole("over_ms", null=True),
    _whole("acknowledged_ms", null=True),
    _whole("responded_ms", null=True),
    _whole("planned_ms", null=True),
    _whole("resolved_ms", null=True),
    _whole("closed_ms", null=True),
    _text("closed_by"),
    _whole("changed_ms"),
    _text("assigned"),
    Column("touched", Boolean, nullable=False),
    Column("recurring", Boolean, nullable=False),
    Column("in_contract", Boolean, nullable=False),
    _text("waiting_reason"),
    _whole("waiting_until_ms", null=True),
    _whole("silenced_until_ms", null=True),
    _text("merged_into"),
    _whole("revision", server_default=text("0")),  # since 0007: number of the site's commit that last changed it
    _key("site", "id"),
    comment="tickets as their events make them (core/tickets/ticket.py), for lists and pages; id: year and number,"
    " but for those of the first version",
)
Index("ticket_newest", ticket.c.opened_ms, ticket.c.site, ticket.c.id)
Index("ticket_changed", ticket.c.changed_ms, ticket.c.site, ticket.c.id)
Index("ticket_of_vehicle", ticket.c.vehicle, ticket.c.opened_ms, ticket.c.site, ticket.c.id)
Index("ticket_revision", ticket.c.site, ticket.c.revision)
Index("ticket_number", ticket.c.site, ticket.c.year, ticket.c.number, unique=True)
_partial("ticket_live", "live", ticket.c.site, ticket.c.vehicle)
_partial("ticket_live_newest", "live", ticket.c.opened_ms, ticket.c.site, ticket.c.id)
_partial("ticket_merged_into", "merged_into <> ''", ticket.c.site, ticket.c.merged_into)

ticket_event = Table(
    "ticket_event",
    metadata,
    _text("site"),
    _text("ticket"),
    _whole("number"),
    _text("what"),
    _whole("at_ms"),
    _whole("recorded_ms"),
    _text("who"),
    _text("body"),
    _key("site", "ticket", "number"),
    comment="what happened to each ticket, in order; what is one of core/tickets/transitions.py, body its words"
    " (JSON); triggers refuse to change or delete a row",
)

ticket_problem = Table(
    "ticket_problem",
    metadata,
    _text("site"),
    _text("ticket"),
    _text("vehicle"),
    _text("key"),
    _text("role"),
    Column("holds", Boolean, nullable=False),
    _key("site", "ticket", "vehicle", "key"),
    comment="the problems of each ticket; role: root, symptom, attached; holds: no other ticket may be about it",
)
_partial(
    "ticket_problem_one_live",
    "holds",
    ticket_problem.c.site,
    ticket_problem.c.vehicle,
    ticket_problem.c.key,
    unique=True,
)

ticket_link = Table(
    "ticket_link",
    metadata,
    _text("site"),
    _text("ticket"),
    _text("other"),
    _text("relation"),
    _key("site", "ticket", "other", "relation"),
    comment="tickets that have to do with each other; relation: related, cause, continues",
)

# --- judging again (revision 0006) ------------------------------------------------------------------------------------

edition = Table(
    "edition",
    metadata,
    _text("site"),
    _text("kind"),
    _whole("number"),
    _whole("at_ms"),
    _text("digest"),
    Column("content", LargeBinary, nullable=False),
    _key("site", "kind", "number"),
    comment="what judging goes by (JSON): the site of the fleet file, rules, contract; the last one is in force",
)

snapshot = Table(
    "snapshot",
    metadata,
    _text("site"),
    _whole("number"),
    _whole("at_ms"),
    Column("content", LargeBinary, nullable=False),
    _key("site", "number"),
    comment="all states after a batch (zstd over JSON), one a day: where judging again may begin",
)

# --- accounts (revision 0016): of the whole database, whatever the site -----------------------------------------------

account = Table(
    "account",
    metadata,
    _text("name"),
    _text("role"),
    _text("sites"),
    _text("departments"),
    _text("password"),
    _whole("created_ms"),
    _whole("changed_ms"),
    _whole("disabled_ms", null=True),
    _key("name"),
    comment="who may sign in; role: empty for a person of the roster, who has the roster's; sites, departments:"
    " JSON, empty for all; password: argon2",
)

session = Table(
    "session",
    metadata,
    _text("digest"),
    _text("account"),
    _whole("created_ms"),
    _whole("seen_ms"),
    _key("digest"),
    comment="who is signed in; digest: SHA-256 of what the cookie holds",
)
Index("session_account", session.c.account)

token = Table(
    "token",
    metadata,
    _text("name"),
    _text("digest"),
    _text("role"),
    _text("sites"),
    _text("departments"),
    _text("person"),
    _text("created_by"),
    _whole("created_ms"),
    _whole("expires_ms", null=True),
    _whole("revoked_ms", null=True),
    _key("name"),
    comment="tokens of the API; digest: SHA-256 of the token; person: of the roster, in whose name it acts",
)
Index("token_digest", token.c.digest, unique=True)

audit = Table(
    "audit",
    metadata,
    _whole("number", autoincrement=False),
    _whole("at_ms"),
    _text("who"),
    _text("via"),
    _text("what"),
    _text("site"),
    _text("subject"),
    _text("detail"),
    _text("previous"),
    _text("hash"),
    _key("number"),
    comment="everything that changed something (store/audit.py); hash: SHA-256 over the entry and the hash before"
    " it; triggers refuse to change or delete a row",
)
