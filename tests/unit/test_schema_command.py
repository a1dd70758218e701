"""The reference of the files that people write comes from the types that read them."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from kitwatch import schema
from kitwatch.main import main

SHIPPED = tuple(schema.FILES)


class _Inner(msgspec.Struct, forbid_unknown_fields=True):
    """A part."""

    port: int = 1
    """Where it listens."""


class _Base(msgspec.Struct, forbid_unknown_fields=True):
    name: str = ""
    """What people
    call it."""


class _Outer(_Base, forbid_unknown_fields=True, rename={"from_": "from"}):
    """A file."""

    inner: _Inner | None = None
    many: dict[str, list[_Inner]] = {}
    from_: tuple[str, ...] = ("a", "b")
    """Sources | in order."""


@pytest.fixture(autouse=True)
def files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(schema.FILES, "outer", ("outer.yaml", __name__, "_Outer"))


def test_the_json_schema_explains_each_key() -> None:
    found = schema.json_schema("outer")
    properties = found["$defs"]["_Outer"]["properties"]
    assert properties["name"]["description"] == "What people call it."
    assert properties["from"]["description"] == "Sources | in order."
    assert found["$defs"]["_Inner"]["properties"]["port"]["description"] == "Where it listens."
    assert found["$defs"]["_Outer"]["additionalProperties"] is False


def test_a_key_that_nothing_explains_is_named() -> None:
    assert schema.undocumented("outer") == ["_Outer.inner", "_Outer.many"]


def test_the_reference_has_a_row_for_each_key() -> None:
    text = schema.markdown()
    assert "| `from` | list of text | `a, b` | Sources \\| in order. |" in text
    assert "| `many` | text → list of [_Inner](#_inner) | none |  |" in text
    assert text.count("### _Inner") == 1


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "profile"]) == 0
    assert json.loads(capsys.readouterr().out)["title"].startswith("firmware_profiles/")
    assert main(["schema"]) == 0
    assert "fleet.yaml" in capsys.readouterr().out


@pytest.mark.parametrize("file", SHIPPED)
def test_every_key_is_explained(file: str) -> None:
    assert schema.undocumented(file) == []


def test_the_page_is_what_the_types_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """``kitwatch schema --markdown > docs/configuration.md`` writes it anew."""
    monkeypatch.delitem(schema.FILES, "outer")
    assert (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8") == schema.markdown()
