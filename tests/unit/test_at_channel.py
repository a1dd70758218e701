"""The AT channel, byte by byte: V.250 framing and what real modems make of it (AT.md section 1)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.protocols.at import (
    MAX_LINE,
    MAX_LINES,
    AtChannel,
    Command,
    Garbage,
    Reply,
    Result,
    Timeout,
    Unsolicited,
    final_result,
)


def ask(text: str, received: bytes) -> list[object]:
    channel = AtChannel()
    assert channel.send(Command(text), 0.0) == text.encode() + b"\r"
    return list(channel.receive(received, 0.1))


@pytest.mark.parametrize(
    "received",
    [
        b"\r\n+CSQ: 18,99\r\n\r\nOK\r\n",
        b"AT+CSQ\r\r\n+CSQ: 18,99\r\n\r\nOK\r\n",
        b"AT+CSQ\r\n+CSQ: 18,99\nOK\n",
        b"\r+CSQ: 18,99\rOK\r",
        b"at+csq\r\n\r\n\r\n  +CSQ: 18,99  \r\nOK \r\n",
    ],
)
def test_echo_and_line_ends(received: bytes) -> None:
    assert ask("AT+CSQ", received) == [Reply(Command("AT+CSQ"), ("+CSQ: 18,99",), Result("OK"))]


def test_one_byte_at_a_time_is_the_same() -> None:
    channel = AtChannel()
    channel.send(Command("AT+CSQ"), 0.0)
    events = [e for byte in b"AT+CSQ\r\r\n+CSQ: 1,99\r\n\r\nOK\r\n" for e in channel.receive(bytes([byte]), 0.1)]
    assert events == [Reply(Command("AT+CSQ"), ("+CSQ: 1,99",), Result("OK"))]
    assert channel.echo


@pytest.mark.parametrize(
    ("line", "result"),
    [
        ("OK", Result("OK")),
        ("ERROR", Result("ERROR")),
        ("NO CARRIER", Result("NO CARRIER")),
        ("BUSY", Result("BUSY")),
        ("NO ANSWER", Result("NO ANSWER")),
        ("NO DIALTONE", Result("NO DIALTONE")),
        ("COMMAND NOT SUPPORT", Result("COMMAND NOT SUPPORT")),
        ("+CME ERROR: 10", Result("+CME ERROR: 10", 10)),
        ("+CME ERROR: 100", Result("+CME ERROR: 100", 100)),
        ("+CME ERROR: 107", Result("+CME ERROR: 107", 107)),
        ("+CME ERROR: SIM not inserted", Result("+CME ERROR: SIM not inserted", 10)),
        ("+CME ERROR: SIM failure", Result("+CME ERROR: SIM failure", 13)),
        ("+CME ERROR: invalid command line", Result("+CME ERROR: invalid command line", 4)),
        ("+CME ERROR: no network service", Result("+CME ERROR: no network service", 30)),
        ("+CME ERROR: something new", Result("+CME ERROR: something new", None)),
        ("+CME ERROR: ", Result("+CME ERROR:", None)),
        ("+CMS ERROR: 500", Result("+CMS ERROR: 500", None)),
        ("+CME ERROR:", None),
        ("UNKNOWN COMMAND", None),
        ("OKAY", None),
        ("+CSQ: 1,99", None),
    ],
)
def test_final_result_codes(line: str, result: Result | None) -> None:
    assert final_result(line) == result


def test_a_bare_cme_error_waits_and_one_with_a_blank_does_not() -> None:
    assert ask("AT+CPIN?", b"\r\n+CME ERROR:\r\n") == []
    (reply,) = ask("AT+CPIN?", b"\r\n+CME ERROR: \r\n")
    assert isinstance(reply, Reply)
    assert reply.result.text == "+CME ERROR:"
    assert not reply.result.ok


def test_only_a_refusal_is_unsupported() -> None:
    refused = ("ERROR", "COMMAND NOT SUPPORT", "+CME ERROR: 4", "+CME ERROR: invalid command line")
    assert all(result.unsupported for line in refused if (result := final_result(line)))
    other = ("OK", "+CME ERROR: 10", "+CME ERROR: 13", "+CME ERROR: 30", "NO CARRIER")
    assert not any(result.unsupported for line in other if (result := final_result(line)))


def test_unsolicited_codes_inside_a_reply() -> None:
    events = ask(
        "AT+CREG?",
        b'\r\n+CCLK: "26/01/01"\r\nRDY\r\n+CPIN: READY\r\n+CREG: 2,1\r\n+QIND: "csq",1\r\nPB DONE\r\n\r\nOK\r\n',
    )
    assert [e.line for e in events if isinstance(e, Unsolicited)] == [
        '+CCLK: "26/01/01"',
        "RDY",
        "+CPIN: READY",
        '+QIND: "csq",1',
        "PB DONE",
    ]
    assert events[-1] == Reply(Command("AT+CREG?"), ("+CREG: 2,1",), Result("OK"))


def test_chained_parts_answer_in_any_order() -> None:
    (reply,) = ask(
        "AT+CPIN?;+CSQ;+COPS=3,2;+COPS?",
        b'\r\n+CSQ: 17,99\r\n\r\n+COPS: 0,2,"26803",7\r\n\r\n+CPIN: READY\r\n\r\nOK\r\n',
    )
    assert isinstance(reply, Reply)
    assert reply.lines == ("+CSQ: 17,99", '+COPS: 0,2,"26803",7', "+CPIN: READY")


def test_names_of_a_chain_do_not_split_inside_quotes() -> None:
    assert Command('AT+QENG="serving;cell";+CSQ').names == {"+QENG", "+CSQ"}
    assert Command("ATI").names == frozenset()
    assert Command("AT+CICCID", answers=frozenset({"+ICCID"})).names == {"+CICCID", "+ICCID"}
    assert Command("at!gstatus?").names == {"!GSTATUS"}


@pytest.mark.parametrize("text", ["", "+CSQ", "AT+CSQ\r", "AT\n+CSQ", "ATé"])
def test_a_command_is_one_line_that_begins_with_at(text: str) -> None:
    with pytest.raises(ValueError, match="AT"):
        Command(text)


def test_rows_without_a_name_belong_to_the_reply() -> None:
    (reply,) = ask("AT+GTCCINFO?", b"+GTCCINFO: \r\n1,4,250\r\n\r\n2,4,,\r\n\r\nOK\r\n")
    assert isinstance(reply, Reply)
    assert reply.lines == ("+GTCCINFO:", "1,4,250", "2,4,,")


def test_data_after_ok_is_unsolicited() -> None:
    events = ask("AT+EEMGINFO?", b"\r\n+EEMGINFO: 3, 2\r\n\r\nOK\r\n\r\n+EEMLTESVC: 1120, 2\r\n")
    assert isinstance(events[0], Reply)
    assert events[1] == Unsolicited("+EEMLTESVC: 1120, 2")


def test_timeout_gives_the_whole_lines_and_drops_the_half_one() -> None:
    channel = AtChannel()
    channel.send(Command("AT+QTEMP", timeout=2.0), 10.0)
    assert channel.receive(b'+QTEMP: "a","40"\r\n+QTEMP: "b","4', 11.0) == []
    assert channel.tick(11.9) == []
    assert channel.tick(12.0) == [Timeout(Command("AT+QTEMP", timeout=2.0), ('+QTEMP: "a","40"',))]
    assert channel.tick(13.0) == []
    assert not channel.busy


def test_a_final_result_code_that_lacks_its_line_end_counts_at_the_timeout() -> None:
    channel = AtChannel()
    channel.send(Command("AT", timeout=1.0), 0.0)
    assert channel.receive(b"\r\nOK", 0.5) == []
    assert channel.tick(1.0) == [Reply(Command("AT", timeout=1.0), (), Result("OK"))]


def test_with_echo_a_late_reply_does_not_answer_the_next_command() -> None:
    channel = AtChannel()
    channel.send(Command("AT"), 0.0)
    channel.receive(b"AT\r\r\nOK\r\n", 0.0)
    channel.send(Command("AT+CSQ", timeout=1.0), 0.0)
    assert isinstance(channel.receive(b"AT+CSQ\r\r\n", 1.0)[0], Timeout)
    channel.send(Command("AT+CGMM"), 1.0)
    events = channel.receive(b"\r\n+CSQ: 5,99\r\n\r\nOK\r\nAT+CGMM\r\r\nRM500Q\r\n\r\nOK\r\n", 1.5)
    assert events[:2] == [Unsolicited("+CSQ: 5,99"), Unsolicited("OK")]
    assert events[2] == Reply(Command("AT+CGMM"), ("RM500Q",), Result("OK"))


def test_lines_before_the_echo_are_older() -> None:
    events = ask("AT+CNMP=2", b"\r\nNORMAL\r\nPB DONE\r\nAT+CNMP=2\r\r\nOK\r\n")
    assert events == [Unsolicited("PB DONE"), Unsolicited("NORMAL"), Reply(Command("AT+CNMP=2"), (), Result("OK"))]


def test_only_one_command_at_a_time() -> None:
    channel = AtChannel()
    channel.send(Command("AT+CSQ"), 0.0)
    with pytest.raises(ValueError, match=r"AT\+CSQ is under way"):
        channel.send(Command("AT"), 0.0)


def test_noise_is_garbage_and_what_it_surrounds_survives() -> None:
    events = ask("AT", b"\x00\x00\xff\r\n\x00OK\r\n")
    assert [type(e) for e in events] == [Garbage, Garbage, Reply]
    assert ask("AT+CSQ", b"+CS\x01Q: 18,99\r\n") == [Garbage(12, b"+CS\x01Q: 18,99")]


def test_an_endless_line_is_garbage_and_bounded() -> None:
    channel = AtChannel()
    channel.send(Command("AT"), 0.0)
    for _ in range(1000):
        assert channel.receive(b"A" * 1000, 0.0) == []
        assert len(channel._buffer) <= MAX_LINE
    garbage, reply = channel.receive(b"\r\nOK\r\n", 0.0)
    assert garbage == Garbage(1_000_000, b"A" * 32)
    assert isinstance(reply, Reply)


def test_an_endless_reply_is_bounded_and_counted() -> None:
    (reply,) = ask("AT+X", b"+X: 1\r\n" * (MAX_LINES + 7) + b"OK\r\n")
    assert isinstance(reply, Reply)
    assert len(reply.lines) == MAX_LINES
    assert reply.overflow == 7


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=20), st.sampled_from(["AT", "ATI", "AT+CSQ;+CREG?", "AT!GSTATUS?"]))
def test_any_bytes_end_in_a_reply_or_a_timeout(pieces: list[bytes], text: str) -> None:
    channel = AtChannel()
    channel.send(Command(text, timeout=5.0), 0.0)
    events = [event for piece in pieces for event in channel.receive(piece, 1.0)] + channel.tick(5.0)
    assert len([e for e in events if isinstance(e, Reply | Timeout)]) == 1
    assert not channel.busy
    assert len(channel._buffer) <= MAX_LINE


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(["RDY", "+CPIN: READY", "PB DONE", '+QIND: "x"', "*ATREADY: 1", "RING"]), max_size=5),
    st.lists(st.integers(0, 31), min_size=1, max_size=4),
    st.sampled_from(["\r\n", "\r", "\n", "\r\r\n"]),
    st.booleans(),
    st.data(),
)
def test_a_reply_survives_any_interleaving_and_cut(
    urcs: list[str], values: list[int], end: str, echo: bool, data: st.DataObject
) -> None:
    lines = [f"+CSQ: {value},99" for value in values]
    mixed = data.draw(st.permutations([*lines, *urcs]))
    wire = ("AT+CSQ" + end if echo else "") + "".join(end + line + end for line in mixed) + end + "OK" + end
    cut = data.draw(st.integers(0, len(wire)))
    channel = AtChannel()
    channel.send(Command("AT+CSQ"), 0.0)
    events = channel.receive(wire[:cut].encode(), 0.0) + channel.receive(wire[cut:].encode(), 0.0)
    (reply,) = [event for event in events if isinstance(event, Reply)]
    assert sorted(reply.lines) == sorted(lines)
    assert sorted(event.line for event in events if isinstance(event, Unsolicited)) == sorted(urcs)
