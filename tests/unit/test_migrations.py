"""Migrations stand in one line, however many people wrote them at a time."""

from __future__ import annotations

import re
from pathlib import Path

import sqlalchemy
from alembic.script import ScriptDirectory

from collector.store import migrations

VERSIONS = Path(migrations.__file__).parent / "versions"
_SAID = re.compile(r'^(?:revision|down_revision)\b.*= (?:"(\d{4})"|None)$', re.MULTILINE)


def test_each_migration_has_a_number_of_its_own_and_follows_the_one_before() -> None:
    files = sorted(VERSIONS.glob("r*.py"))
    found = [(file.name[1:5], *_SAID.findall(file.read_text(encoding="utf-8"))) for file in files]
    numbers = [f"{number:04d}" for number in range(1, len(files) + 1)]
    assert found == [(number, number, before) for number, before in zip(numbers, ["", *numbers], strict=False)]
    assert migrations.head() == numbers[-1]


def test_alembic_sees_the_same_revisions() -> None:
    engine = sqlalchemy.create_engine("sqlite://")
    with engine.connect() as connection:
        walked = ScriptDirectory.from_config(migrations.config(connection)).walk_revisions()
        assert [script.revision for script in walked] == migrations.revisions()
