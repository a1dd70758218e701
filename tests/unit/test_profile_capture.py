"""Saved walks in both formats, broken lines, and what the anonymiser leaves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from firmware_profiles.anonymise import anonymised
from firmware_profiles.answers import SnmpAnswers, Wire
from firmware_profiles.capture import read_capture, write_capture


def test_snmprec_types_hex_and_leading_dots() -> None:
    text = "\n".join(
        [
            "1.3.6.1.2.1.1.1.0|4x|436973636f",
            "1.3.6.1.2.1.1.2.0|6|.1.3.6.1.4.1.31496.10",
            "1.3.6.1.2.1.1.3.0|67|440511",
            "1.3.6.1.2.1.33.1.3.3.1.2.2|5|",
            "1.3.6.1.4.1.1.0|4|a|b",
            "1.3.6.1.4.1.2.0|70|18446744073709551615",
            "1.3.6.1.4.1.3.0|64|192.0.2.1",
        ]
    )
    capture = read_capture(text)
    assert capture.bad_lines == []
    assert capture.values == {
        "1.3.6.1.2.1.1.1.0": Wire("octets", b"Cisco"),
        "1.3.6.1.2.1.1.2.0": Wire("oid", "1.3.6.1.4.1.31496.10"),
        "1.3.6.1.2.1.1.3.0": Wire("ticks", 440511),
        "1.3.6.1.2.1.33.1.3.3.1.2.2": Wire("null", None),
        "1.3.6.1.4.1.1.0": Wire("octets", b"a|b"),
        "1.3.6.1.4.1.2.0": Wire("counter64", 2**64 - 1),
        "1.3.6.1.4.1.3.0": Wire("address", "192.0.2.1"),
    }


def test_snmpwalk_as_net_snmp_prints_it() -> None:
    text = """.1.3.6.1.2.1.1.1.0 = STRING: "Linux \\"box\\"
second line"
.1.3.6.1.2.1.1.2.0 = OID: .1.3.6.1.4.1.8072.3.2.10
.1.3.6.1.2.1.1.3.0 = Timeticks: (178405) 0:29:44.05
.1.3.6.1.2.1.2.2.1.6.2 = Hex-STRING: 02 00 5E 49
60 76
.1.3.6.1.2.1.2.2.1.8.2 = INTEGER: up(1)
.1.3.6.1.2.1.2.2.1.10.2 = Counter32: 4294967295
.1.3.6.1.2.1.31.1.1.1.18.1 = ""
.1.3.6.1.2.1.33.1.2.6.0 = NULL
.1.3.6.1.4.1.2021.4.5.0 = INTEGER: 24684084 kB
.1.3.6.1.4.1.2021.9.9.0 = No Such Instance currently exists at this OID
.1.3.6.1.4.1.3.0 = IpAddress: 192.0.2.1
.1.3.6.1.4.1.9.0 = Wrong Type (should be Gauge32 or Unsigned32): INTEGER: -4
"""
    capture = read_capture(text)
    assert capture.bad_lines == []
    assert capture.values == {
        "1.3.6.1.2.1.1.1.0": Wire("octets", b'Linux "box"\nsecond line'),
        "1.3.6.1.2.1.1.2.0": Wire("oid", "1.3.6.1.4.1.8072.3.2.10"),
        "1.3.6.1.2.1.1.3.0": Wire("ticks", 178405),
        "1.3.6.1.2.1.2.2.1.6.2": Wire("octets", bytes.fromhex("02005e496076")),
        "1.3.6.1.2.1.2.2.1.8.2": Wire("integer", 1),
        "1.3.6.1.2.1.2.2.1.10.2": Wire("counter32", 4294967295),
        "1.3.6.1.2.1.31.1.1.1.18.1": Wire("octets", b""),
        "1.3.6.1.2.1.33.1.2.6.0": Wire("null", None),
        "1.3.6.1.4.1.2021.4.5.0": Wire("integer", 24684084),
        "1.3.6.1.4.1.3.0": Wire("address", "192.0.2.1"),
        "1.3.6.1.4.1.9.0": Wire("integer", -4),
    }


def test_a_number_that_a_display_hint_has_shifted_is_not_guessed() -> None:
    capture = read_capture(".1.3.6.1.2.1.33.1.2.5.0 = INTEGER: 54.7 Volt DC\n.1.3.6.1.2.1.1.2.0 = OID: iso.3.6.1\n")
    assert capture.values == {"1.3.6.1.2.1.1.2.0": Wire("oid", "1.3.6.1")}
    assert "display hint" in capture.bad_lines[0][1]


def test_bad_lines_are_named_and_the_rest_is_read() -> None:
    capture = read_capture(
        "1.3.6|4\nhello\n1.3.6.1.2.1.1.3.0|67|9\n1.3.6.1.2.1.1.3.0|67|9\n1.3.6.1|99|x\n1.3.6.2|2|x\n"
    )
    assert capture.values == {"1.3.6.1.2.1.1.3.0": Wire("ticks", 9)}
    assert [number for number, _ in capture.bad_lines] == [1, 2, 4, 5, 6]


oids = st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=12).map(
    lambda parts: ".".join(map(str, (1, 3, *parts)))
)
wires = st.one_of(
    st.integers(-(2**31), 2**31 - 1).map(lambda n: Wire("integer", n)),
    st.integers(0, 2**64 - 1).map(lambda n: Wire("counter64", n)),
    st.binary(max_size=40).map(lambda b: Wire("octets", b)),
    st.just(Wire("null", None)),
    oids.map(lambda oid: Wire("oid", oid)),
)


@given(st.dictionaries(oids, wires, max_size=8))
def test_what_is_written_is_read_again(values: dict[str, Wire]) -> None:
    capture = read_capture(write_capture(values))
    assert capture.bad_lines == []
    assert capture.values == values


@given(st.text(max_size=300))
def test_any_text_is_read_without_raising(text: str) -> None:
    capture = read_capture(text)
    assert all(number >= 1 and reason for number, reason in capture.bad_lines)


def test_columns_are_in_the_order_of_their_index_and_whole_numbers_only() -> None:
    values = {f"1.3.6.1.2.{index}": Wire("integer", 0) for index in ("10", "9", "1.2", "2")}
    values["1.3.6.1.20.1"] = Wire("integer", 0)
    assert list(SnmpAnswers(values).column("1.3.6.1.2")) == ["1.2", "2", "9", "10"]


def test_nothing_that_names_a_person_or_a_unit_survives() -> None:
    values = {
        "1.3.6.1.2.1.1.4.0": Wire("octets", b"Dr. Who <who@hospital>"),
        "1.3.6.1.2.1.1.5.0": Wire("octets", b"ambulance-3"),
        "1.3.6.1.2.1.2.2.1.6.1": Wire("octets", bytes.fromhex("001122334455")),
        "1.3.6.1.2.1.4.20.1.1.10.1.2.3": Wire("address", "10.1.2.3"),
        "1.3.6.1.4.1.48690.1.1.0": Wire("octets", b"1126284688"),
        "1.3.6.1.4.1.48690.2.2.1.3.1": Wire("octets", b"861234567890123"),
        "1.3.6.1.4.1.48690.2.2.1.24.1": Wire("octets", b"10.45.125.89"),
        "1.3.6.1.4.1.48690.2.2.1.27.1": Wire("octets", b"89860012345678901234"),
        "1.3.6.1.4.1.48690.10.3.1.2.1": Wire("octets", b"02:11:22:33:44:55"),
        "1.3.6.1.4.1.48690.1.6.0": Wire("octets", b"RUT9_R_00.07.06.18"),
        "1.3.6.1.2.1.1.3.0": Wire("ticks", 5),
    }
    found = anonymised(values, b"key", ["1126284688"])
    text = write_capture(found)
    for secret in (
        "Who",
        "ambulance",
        "1126284688",
        "861234567890123",
        "10.45.125.89",
        "89860012345678901234",
        "10.1.2.3",
    ):
        assert secret not in text.replace("1.3.6.1.2.1.4.20.1.1.10.1.2.3", "")
    assert "11:22:33" not in text
    assert "112233" not in text
    assert found["1.3.6.1.4.1.48690.1.6.0"] == values["1.3.6.1.4.1.48690.1.6.0"]
    assert found["1.3.6.1.2.1.1.3.0"] == values["1.3.6.1.2.1.1.3.0"]
    for oid in ("1.3.6.1.4.1.48690.2.2.1.3.1", "1.3.6.1.4.1.48690.2.2.1.27.1"):
        made = found[oid].text()
        assert made is not None
        assert made.isdigit()
        assert len(made) == len(values[oid].text() or "")
    assert anonymised(values, b"key", ["1126284688"]) == found, "joins survive"
    assert anonymised(values, b"other", ["1126284688"]) != found
