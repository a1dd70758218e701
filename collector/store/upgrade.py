"""Bringing a database to this version's tables, with a copy of it as it was taken first.

The copy is a file of ``backup``, which the version before restores (``kitwatch restore``): a migration is never the end
of what was collected.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from collector.store import migrations
from collector.store.backup import backup
from collector.store.errors import StoreError
from collector.store.store import Store

log = logging.getLogger(__name__)


def upgrade(store: Store, environment: Mapping[str, str] = os.environ) -> str:
    """Migrate the database and return the revision it had before; one with older tables is copied first.

    The copy is ``before-REVISION.backup`` (the revision it leads to) beside an SQLite database; for PostgreSQL in the
    directory that systemd made (``$STATE_DIRECTORY``), else in the current one. Raises StoreError as ``Store.migrate``,
    and where the copy cannot be written: then nothing is migrated.
    """
    before = store.revision()
    if before in migrations.revisions() and before != migrations.head():
        file = _directory(store, environment) / f"before-{migrations.head()}.backup"
        log.info("%s: revision %s, copied to %s before it is migrated", store, before, file)
        new = file.with_name(f"{file.name}.new")
        try:
            new.unlink(missing_ok=True)
            backup(store, new)
            new.replace(file)
        except OSError as error:
            raise StoreError(f"{file}: expected to write a copy before migrating, found: {error.strerror}") from None
    return store.migrate()


def _directory(store: Store, environment: Mapping[str, str]) -> Path:
    if store.path is not None:
        return store.path.parent
    return Path(environment.get("STATE_DIRECTORY", "").partition(":")[0] or ".").absolute()
