"""What a port talks, told from its first bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.protocols.spoken import recognise


@pytest.mark.parametrize(
    ("sample", "word"),
    [
        (b"$GNRMC,081412.00,V,,,,,,,,,,N*6A\r\n", "NMEA"),
        (b"9,N*6A\r\n!AIVDM,1,1,,A,15M67F,0*7C\r\n", "NMEA"),
        (b"\r\n+CEREG: 1\r\n", "AT"),
        (b"\r\nOK\r\n", "AT"),
        (b"\xb5\x62\x05\x01\x02\x00", "UBX"),
        (b"\x10\x00\x12\x7e\x98\x01\x00\x02\x7e", "DIAG"),
        (bytes(range(128, 200)), "baud"),
        (b"", None),
        (b"login: ", None),
    ],
)
def test_what_it_talks(sample: bytes, word: str | None) -> None:
    said = recognise(sample)
    assert said is None if word is None else word in str(said)


@given(st.binary(max_size=4096))
def test_any_bytes(sample: bytes) -> None:
    said = recognise(sample)
    assert said is None or said.startswith("it talks")
