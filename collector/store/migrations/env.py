"""Alembic runs this file: it migrates on the connection, and in the transaction, that the store has given."""

from __future__ import annotations

from alembic import context

from collector.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
