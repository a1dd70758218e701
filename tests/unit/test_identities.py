"""Identities: one text form each, read back whole, whatever the parts hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.core.identities import (
    IdentityError,
    InventoryKey,
    OccurrenceKey,
    ProblemKey,
    RuleStateKey,
    SourceKey,
    TroubleKey,
    check_id,
)

IDS = st.from_regex(r"[A-Za-z0-9_-]{1,32}", fullmatch=True)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,31}", fullmatch=True)
LABELS = st.dictionaries(NAMES, st.text(st.characters(exclude_categories=["Cs"]), max_size=30), max_size=4)


@given(IDS, IDS, IDS)
def test_a_source_reads_back(agent: str, device: str, input: str) -> None:
    key = SourceKey.of(agent, device, input)
    assert SourceKey.parse(key.text()) == key


@given(NAMES, IDS, LABELS)
def test_a_problem_reads_back_whatever_its_labels_hold(fault: str, device: str, labels: dict[str, str]) -> None:
    key = ProblemKey.of(fault, device, labels)
    assert ProblemKey.parse(key.text()) == key
    assert "\n" not in key.text()


@given(NAMES, st.builds(SourceKey, IDS, IDS, IDS), LABELS)
def test_a_condition_reads_back_whatever_its_labels_hold(rule: str, source: SourceKey, labels: dict[str, str]) -> None:
    key = RuleStateKey(rule, source, tuple(sorted(labels.items())))
    assert RuleStateKey.parse(key.text()) == key


@given(IDS, IDS, IDS | st.just(""))
def test_a_trouble_and_an_inventory_read_back(agent: str, device: str, input: str) -> None:
    trouble, inventory = TroubleKey(agent, device, input), InventoryKey(device, input)
    assert TroubleKey.parse(trouble.text()) == trouble
    assert InventoryKey.parse(inventory.text()) == inventory


@given(st.sampled_from(["clash", "lost"]), IDS, st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_an_occurrence_reads_back(kind: str, agent: str, reason: str) -> None:
    key = OccurrenceKey(kind, agent, reason)
    assert OccurrenceKey.parse(key.text()) == key


def test_two_problems_never_share_a_text() -> None:
    """Joined by hand, both of these would read ``packet_loss/wan/target=a,b=c``."""
    one = ProblemKey.of("packet_loss", "wan", {"target": "a,b=c"})
    other = ProblemKey.of("packet_loss", "wan", {"target": "a", "b": "c"})
    assert one.text() != other.text()


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (ProblemKey("camera_down", "cam1"), "camera_down/cam1"),
        (ProblemKey.of("packet_loss", "wan", {"target": "10.0.0.1"}), "packet_loss/wan/target=10.0.0.1"),
        (ProblemKey.of("stream_lossy", "enc", {"stream": "a/b"}), "stream_lossy/enc/stream=a%2Fb"),
    ],
)
def test_the_text_is_what_the_first_version_stored(key: ProblemKey, text: str) -> None:
    """Where a label's value holds no separator, an open ticket of the first version is found by the same key."""
    assert key.text() == text


@pytest.mark.parametrize("text", ["", "camera_down", "camera_down/", "/cam1", "a/b/", "a/b/c", "a/b/C=1", "a/b/=1"])
def test_no_problem(text: str) -> None:
    with pytest.raises(IdentityError, match="expected"):
        ProblemKey.parse(text)


@pytest.mark.parametrize("text", ["", "a/b", "a/b/c/d", "a//c", "a/b/x y", "a/b/" + "c" * 33, "a/b/c\n"])
def test_no_source(text: str) -> None:
    with pytest.raises(IdentityError, match="expected"):
        SourceKey.parse(text)


@pytest.mark.parametrize("text", ["", "hot", "hot|a/b/c", "|a/b/c|", "hot|a/b|", "hot|a/b/c|x", "hot|a/b/c|X=1"])
def test_no_condition(text: str) -> None:
    with pytest.raises(IdentityError, match="expected"):
        RuleStateKey.parse(text)


@pytest.mark.parametrize("text", ["", "router", "box/", "a/b/c/d", "a/b/"])
def test_no_trouble(text: str) -> None:
    with pytest.raises(IdentityError, match="expected"):
        TroubleKey.parse(text)


@pytest.mark.parametrize("text", ["", "x/y", "a b", "é", "a" * 33, "a\n"])
def test_no_id(text: str) -> None:
    with pytest.raises(IdentityError, match="expected a device of 1 to 32 letters"):
        check_id(text, "a device")
