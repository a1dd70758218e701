"""``decode at`` on transcripts made here: blocks, headers, cut ends, other units, bytes that are no text."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kitwatch.decode_at import decode_at


def decoded(folder: Path, text: str | bytes) -> dict[str, Any]:
    file = folder / "transcript.txt"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return decode_at(file)


def brief(result: dict[str, Any]) -> list[tuple[int, str, Any]]:
    return [(one["block"], one["metric"].removeprefix("modem."), one["value"]) for one in result["readings"]]


def test_traffic_before_the_first_mark_is_block_1(tmp_path: Path) -> None:
    result = decoded(tmp_path, "# x\n> AT+CSQ\n< +CSQ: 1,99\n< OK\n# --- later\n> AT+CSQ\n< +CSQ: 2,99\n< OK\n")
    assert brief(result) == [(1, "rssi_dbm", -111), (2, "rssi_dbm", -109)]


def test_nothing_before_the_first_mark_is_no_block(tmp_path: Path) -> None:
    result = decoded(tmp_path, "# x\n# --- one\n> AT+CSQ\n< +CSQ: 1,99\n# --- two\n> AT+CSQ\n< +CSQ: 2,99\n")
    assert [reading["block"] for reading in result["readings"]] == [1, 2]


@pytest.mark.parametrize(
    ("header", "model", "firmware", "dialect"),
    [
        ("Quectel RM520N-GL   firmware: RM520NGLAAR03A03M4G", "RM520N-GL", "RM520NGLAAR03A03M4G", "quectel"),
        ("Quectel 5G module, not named in the excerpts   firmware: not stated", None, None, "quectel"),
        ("Sierra EM7455 / Dell DW5811e   firmware: not stated", "EM7455", None, "sierra"),
        ("TD Tech / Huawei MT5700M-CN (HiSilicon Balong)   firmware: not stated", "MT5700M-CN", None, "huawei"),
        ("u-blox LARA-R211   firmware: 30.49", "LARA-R211", "30.49", "3gpp"),
        ("several Huawei modems   situation: quoted", None, None, "huawei"),
    ],
)
def test_the_header_says_what_was_not_asked(
    tmp_path: Path, header: str, model: str | None, firmware: str | None, dialect: str
) -> None:
    result = decoded(tmp_path, f"# model: {header}\n> AT+CSQ\n< +CSQ: 1,99\n< OK\n")
    assert (result["model"], result["firmware"], result["dialect"]) == (model, firmware, dialect)


def test_what_the_modem_says_is_believed_before_the_header(tmp_path: Path) -> None:
    text = "# model: Quectel RM520N-GL   firmware: A1\n> AT+CGMM;+CGMR\n< +CGMM: RM500Q-GL\n< +CGMR: B2\n< OK\n"
    result = decoded(tmp_path, text)
    assert (result["model"], result["firmware"]) == ("RM500Q-GL", "B2")


def test_a_block_of_another_unit_has_its_own_scales(tmp_path: Path) -> None:
    cell = '> AT+QENG="servingcell"\n< +QENG: "servingcell","NOCONN","LTE","FDD",460,00,43300C,348,1802,3,5,5,5443,'
    cell += "-87,-16,-69,16,34\n< OK\n"
    text = f"> AT+CGMM\n< RM500Q-GL\n< OK\n{cell}# --- another\n> AT+CGMM\n< EC200T\n< OK\n{cell}"
    sinr = [(one["block"], one["value"]) for one in decoded(tmp_path, text)["readings"] if "sinr" in one["metric"]]
    assert sinr == [(1, 12), (2, 16)]


def test_the_end_of_a_recording_may_be_within_a_number(tmp_path: Path) -> None:
    start = (
        '> AT+QENG="servingcell"\n< +QENG: "servingcell","NOCONN","LTE","FDD",460,00,43300C,348,1802,3,5,5,5443,-87,-1'
    )
    result = decoded(tmp_path, start)
    assert "rsrq_db" not in [metric for _, metric, _ in brief(result)]
    assert (1, "rsrp_dbm", -87) in brief(result)
    assert any(flag.startswith("truncated modem.") for flag in result["flags"])
    whole = decoded(tmp_path, f"{start}6,-69,5,34\n< \n")
    assert (1, "rsrq_db", -16) in brief(whole)
    assert not any(flag.startswith("truncated") for flag in whole["flags"])


def test_a_reply_whose_ok_was_lost_ends_with_the_next_command(tmp_path: Path) -> None:
    text = '> AT+CSQ\n< +CSQ: 1,99\n> AT+COPS?\n< +COPS: 0,2,"46000",2\n< OK\n< \n< +CREG: 1\n'
    assert brief(decoded(tmp_path, text)) == [
        (1, "registration", "home"),
        (1, "technology", "3g"),
        (1, "plmn", "46000"),
        (1, "rssi_dbm", -111),
    ]


def test_crlf_files_and_noise(tmp_path: Path) -> None:
    result = decoded(tmp_path, b"> AT+CSQ\r\n< \x00\x01garb\x02age\r\n< +CSQ: 1,99\r\n<\r\n< OK\r\n")
    assert brief(result) == [(1, "rssi_dbm", -111)]
    assert len([flag for flag in result["flags"] if "no text" in flag]) == 1


def test_bytes_of_a_port_with_echo(tmp_path: Path) -> None:
    result = decoded(tmp_path, b"AT+CGMM\r\r\nRM500Q-GL\r\n\r\nOK\r\nAT+CSQ\r\r\n+CSQ: 1,99\r\n\r\nOK\r\n")
    assert brief(result) == [(1, "rssi_dbm", -111)]
    assert result["model"] == "RM500Q-GL"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.sampled_from(
            [
                "> ",
                "< ",
                "<",
                "# ---",
                "AT",
                "+CSQ: 1,99",
                "OK",
                "\n",
                "\r",
                "\x00",
                '"',
                "+CREG: ",
                'u\t"+CREG: 1"\tx',
                "é",
            ]
        ),
        max_size=60,
    )
)
def test_any_file_is_read(tmp_path: Path, pieces: list[str]) -> None:
    result = decoded(tmp_path, "".join(pieces))
    assert set(result) == {"model", "firmware", "dialect", "readings", "flags"}
    assert all(reading["block"] >= 1 for reading in result["readings"])
