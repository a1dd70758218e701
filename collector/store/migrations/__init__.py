"""The database's versions (Alembic), configured in code so that they work wherever kitwatch is installed."""

from __future__ import annotations

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection


def config(connection: Connection) -> Config:
    """Return Alembic's configuration for a connection that is already in a transaction."""
    result = _config()
    result.attributes["connection"] = connection
    return result


def current(connection: Connection) -> str:
    """Return the revision of a database; an empty string for one without."""
    return MigrationContext.configure(connection).get_current_revision() or ""


def head() -> str:
    """Return the newest revision that this version knows."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def revisions() -> list[str]:
    """Return all revisions that this version knows, newest first."""
    return [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()]


def _config() -> Config:
    result = Config()
    result.set_main_option("script_location", f"{__name__}:")
    return result
