"""Line protocol, against a reader written from InfluxData's description and not from our writer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.sinks.lines import LineTemplate, escape_tag
from telemetry.records import Column, Schema


def _split(text: str, at: str, quotes: bool = False) -> list[str]:
    """Split at unescaped characters outside quotes, as the protocol's description says."""
    parts, part, index, inside = [], "", 0, False
    while index < len(text):
        char = text[index]
        if char == "\\" and index + 1 < len(text):
            part += text[index : index + 2]
            index += 2
            continue
        if quotes and char == '"':
            inside = not inside
        if char == at and not inside:
            parts.append(part)
            part = ""
        else:
            part += char
        index += 1
    return [*parts, part]


def _plain(text: str) -> str:
    for char in ",= ":
        text = text.replace("\\" + char, char)
    return text


def _field(text: str) -> float | int | bool | str:
    if text.startswith('"'):
        return text[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if text in ("true", "false"):
        return text == "true"
    return int(text[:-1]) if text.endswith("i") else float(text)


def read(line: str) -> tuple[str, dict[str, str], dict[str, float | int | bool | str], int]:
    """Return (measurement, tags, fields, time) of a line."""
    head, fields, time = _split(line, " ", quotes=True)
    measurement, *tags = _split(head, ",")
    return (
        measurement,
        {_plain(key): _plain(value) for key, value in (_split(tag, "=") for tag in tags)},
        {key: _field(value) for key, value in (_split(field, "=", quotes=True) for field in _split(fields, ",", True))},
        int(time),
    )


def _template(*columns: Column, device: str = "modem-1") -> LineTemplate:
    return LineTemplate("north", "amb-3", "router", Schema("modem", device, columns))


def test_one_line_a_measurement_and_label_set_with_types_by_the_catalogue() -> None:
    template = _template(
        Column("modem.rsrp_dbm", {"leg": "lte"}),
        Column("modem.rsrp_dbm", {"leg": "nr"}),
        Column("modem.pci", {"leg": "nr"}),
        Column("modem.registration"),
        Column("modem.connected"),
        Column("device.reachable"),
    )
    lines = template.lines([-95, -101.5, 42.0, "home", True, False], 1_700_000_000_123)
    common = {"site": "north", "vehicle": "amb-3", "agent": "router", "device": "modem-1"}
    assert [read(line) for line in lines] == [
        ("modem", {**common, "leg": "lte"}, {"rsrp_dbm": -95.0}, 1_700_000_000_123),
        ("modem", {**common, "leg": "nr"}, {"rsrp_dbm": -101.5, "pci": 42}, 1_700_000_000_123),
        ("modem", common, {"registration": "home", "connected": True}, 1_700_000_000_123),
        ("device", common, {"reachable": False}, 1_700_000_000_123),
    ]
    assert "rsrp_dbm=-95.0" in lines[0], "a whole number of a float metric must not be written as an integer"
    assert "pci=42i" in lines[1], "a float of an integer metric must not be written as a float"


def test_unknown_values_and_metrics_are_no_fields_and_a_line_without_fields_is_none() -> None:
    template = _template(Column("modem.band", {"leg": "nr"}), Column("modem.invented_later"), Column("modem.plmn"))
    assert template.lines([None, 5, None], 1) == []
    assert [read(line)[2] for line in template.lines([None, 5, "46000"], 1)] == [{"plmn": "46000"}]


def test_tags_stand_in_sorted_order_and_empty_ones_not_at_all() -> None:
    (line,) = _template(Column("interface.up", {"interface": ""})).lines([True], 7)
    assert line == "interface,agent=router,device=modem-1,site=north,vehicle=amb-3 up=true 7"


@pytest.mark.parametrize(
    ("label", "told"),
    [("Gi0/1", "Gi0/1"), ("a,b=c d", "a,b=c d"), ("x\ny\r\0z", "x y  z"), ("C:\\", "C:/"), ("a\\ b", "a/ b")],
)
def test_labels_of_hostile_kit_cannot_break_a_line(label: str, told: str) -> None:
    (line,) = _template(Column("interface.up", {"interface": label})).lines([True], 7)
    assert "\n" not in line
    assert read(line)[1]["interface"] == told


@given(st.text(max_size=40))
def test_any_text_field_comes_back_as_it_was_in_one_line(text: str) -> None:
    (line,) = _template(Column("modem.operator")).lines([text], 7)
    assert "\n" not in line
    assert read(line)[2] == {"operator": text.replace("\n", " ")}


@given(st.text(st.characters(exclude_characters="\\", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40))
def test_any_tag_without_control_characters_comes_back_as_it_was(text: str) -> None:
    assert _plain(escape_tag(text)) == text
    assert len(_split(f"m,t={escape_tag(text)} f=1", " ")) == 2


@given(st.floats(-1e6, 1e6), st.integers(0, 2**62))
def test_numbers_keep_every_digit(number: float, whole: int) -> None:
    template = _template(Column("agent.clock_offset_s"), Column("agent.rss_bytes"))
    (line,) = template.lines([number, whole], 7)
    assert read(line)[2] == {"clock_offset_s": number, "rss_bytes": whole}
