"""YAML as people write it: a word is a word, and what is wrong is told with file, key, expected and found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from firmware_profiles.load import ProfileError, load_profiles
from firmware_profiles.load import read_yaml as read_profile
from telemetry.files import FileError, convert, parse_yaml


@pytest.mark.parametrize("word", ["no", "No", "off", "on", "yes", "y", "n", "NO", "18:30", "1:02:03.5", "010", "021"])
def test_a_word_without_quotes_stays_a_word(word: str) -> None:
    assert parse_yaml(f"{word}: {word}", "f") == {word: word}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("0", 0),
        ("-12", -12),
        ("1_000", 1000),
        ("0x1F", 31),
        ("1.5", 1.5),
        ("-.5", -0.5),
        ("2e3", 2000.0),
        ("1.e-2", 0.01),
        (".inf", float("inf")),
        ("~", None),
    ],
)
def test_numbers_and_true_and_false_are_what_they_look_like(text: str, value: object) -> None:
    found = parse_yaml(text, "f")
    assert (found, type(found)) == (value, type(value))


class Probe(msgspec.Struct, forbid_unknown_fields=True):
    verify: bool = True
    mode: str = ""


@pytest.mark.parametrize("word", ["no", "off", "yes", "on"])
def test_a_word_where_a_boolean_is_expected_is_refused_with_what_was_expected(word: str) -> None:
    with pytest.raises(FileError) as caught:
        convert(parse_yaml(f"verify: {word}", "x.yaml"), Probe, "x.yaml")
    assert str(caught.value) == f"x.yaml: verify: expected true or false, found '{word}'"
    assert convert(parse_yaml(f"mode: {word}", "x.yaml"), Probe, "x.yaml").mode == word


@pytest.mark.parametrize("read", [parse_yaml, read_profile])
def test_a_key_that_stands_twice_is_refused_in_every_file(read: Any) -> None:
    with pytest.raises(FileError) as caught:
        read("id: x\nmatch:\n  a: 1\n  a: 2\n", "x.yaml")
    assert (caught.value.file, caught.value.key) == ("x.yaml", "line 4")
    assert "'a' stands twice" in caught.value.problem


def test_a_profile_that_is_no_yaml_is_a_profile_error(tmp_path: Path) -> None:
    with pytest.raises(ProfileError) as caught:
        read_profile("id: [", "x.yaml")
    assert caught.value.key == "line 2"


def test_a_profile_that_is_no_text_is_told_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"id: \xff\n")
    with pytest.raises(FileError) as caught:
        load_profiles([tmp_path])
    assert str(caught.value) == f"{tmp_path / 'x.yaml'}: expected UTF-8, found other bytes at 4"
