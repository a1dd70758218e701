"""The RTSP client, its SDP and its logins, without a network. Expectations are from RFC 2326, 2617, 4566 and 7616."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.protocols.digest import authorize, parse_challenge
from agent.protocols.rtsp import (
    MAX_BODY,
    MAX_HEAD,
    Client,
    Event,
    Interleaved,
    Media,
    Message,
    Playing,
    Reader,
    RtspError,
    Send,
    Stopped,
    clean_url,
)
from agent.protocols.sdp import parse_sdp, resolve
from tests.unit.bounds import quick

URL = "rtsp://192.0.2.10/cam/realmonitor?channel=1&subtype=0"
SDP = b"""v=0
o=- 1 1 IN IP4 0.0.0.0
s=Media Server
a=control:*
m=audio 0 RTP/AVP 8
a=control:trackID=1
m=video 0 RTP/AVP 96
a=rtpmap:96 H265/90000
a=fmtp:96 sprop=1
a=control:trackID=0
"""


def answer(sequence: int, *headers: str, status: str = "200 OK", body: bytes = b"") -> bytes:
    length = [f"Content-Length: {len(body)}"] if body else []
    lines = [f"RTSP/1.0 {status}", f"CSeq: {sequence}", *headers, *length]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def client(**options: object) -> Client:
    return Client(URL, cnonce=lambda: "0a4f113b", **options)  # type: ignore[arg-type]


def sent(events: Iterable[Event]) -> dict[str, str]:
    """The one request among the events, as its headers with the first line under the empty name."""
    (data,) = [event.data for event in events if isinstance(event, Send)]
    first, *lines = data.decode().removesuffix("\r\n\r\n").split("\r\n")
    return {"": first} | dict(line.split(": ", 1) for line in lines)


def walk(made: Client, *, sdp: bytes = SDP, transport: str = "RTP/AVP/TCP;unicast;interleaved=4-5") -> list[Event]:
    made.begin()
    list(made.receive(answer(1, "Public: OPTIONS, DESCRIBE, SETUP, TEARDOWN, PLAY, GET_PARAMETER")))
    list(made.receive(answer(2, f"Content-Base: {URL}/", body=sdp)))
    list(made.receive(answer(3, "Session: 9A;timeout=30", f"Transport: {transport}")))
    return list(made.receive(answer(4, "RTP-Info: url=x")))


def test_the_walk_over_tcp() -> None:
    made = client()
    assert made.begin() == f"OPTIONS {URL} RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: kitwatch\r\n\r\n".encode()
    request = sent(made.receive(answer(1, "Public: DESCRIBE, GET_PARAMETER")))
    assert (request[""], request["Accept"]) == (f"DESCRIBE {URL} RTSP/1.0", "application/sdp")
    request = sent(made.receive(answer(2, f"Content-Base: {URL}/", body=SDP)))
    assert request[""] == f"SETUP {URL}/trackID=0 RTSP/1.0"
    assert request["Transport"] == "RTP/AVP/TCP;unicast;interleaved=0-1"
    request = sent(made.receive(answer(3, "Session: 9A;timeout=30", "Transport: RTP/AVP/TCP;interleaved=4-5")))
    assert (request[""], request["Session"]) == (f"PLAY {URL}/ RTSP/1.0", "9A")
    (playing,) = list(made.receive(answer(4)))
    assert isinstance(playing, Playing)
    assert (playing.track.codec, playing.track.clock_rate, playing.track.payload_types) == ("H265", 90000, (96,))
    assert made.session_timeout == 30
    assert list(made.receive(b"$\x04\x00\x03abc$\x05\x00\x01r$\x00\x00\x01x")) == [Media(b"abc"), Media(b"r", True)]
    assert made.keep_alive().startswith(f"GET_PARAMETER {URL}/ RTSP/1.0\r\n".encode())
    assert list(made.receive(answer(5))) == []
    assert made.stop().startswith(f"TEARDOWN {URL}/ RTSP/1.0\r\nCSeq: 6\r\n".encode())
    assert list(made.receive(answer(6))) == [Stopped()]
    assert made.stop() == b""


def test_the_walk_over_udp() -> None:
    made = client(ports=(5000, 5001))
    made.begin()
    list(made.receive(answer(1)))
    request = sent(made.receive(answer(2, body=SDP)))
    assert request["Transport"] == "RTP/AVP;unicast;client_port=5000-5001"
    transport = "RTP/AVP;unicast;client_port=5000-5001;server_port=7000-7001;source=192.0.2.9"
    list(made.receive(answer(3, "Session: 1", f"Transport: {transport}")))
    (playing,) = list(made.receive(answer(4)))
    assert isinstance(playing, Playing)
    assert (playing.server_ports, playing.source) == ((7000, 7001), "192.0.2.9")
    assert made.session_timeout == 60  # RFC 2326 section 12.37


def test_media_before_the_answer_to_play_is_handed_on() -> None:
    made = client()
    made.begin()
    list(made.receive(answer(1)))
    list(made.receive(answer(2, body=SDP)))
    list(made.receive(answer(3, "Session: 1", "Transport: RTP/AVP/TCP;interleaved=0-1")))
    events = list(made.receive(b"$\x00\x00\x01x" + answer(4)))
    assert events[0] == Media(b"x")
    assert isinstance(events[1], Playing)


def test_a_server_without_options_still_plays() -> None:
    made = client()
    made.begin()
    assert sent(made.receive(answer(1, status="501 Not Implemented")))[""].startswith("DESCRIBE ")


def test_answers_to_older_requests_and_provisional_ones_are_passed_over() -> None:
    made = client()
    made.begin()
    list(made.receive(answer(1)))
    assert list(made.receive(answer(1))) == []
    assert list(made.receive(answer(2, status="100 Continue"))) == []
    assert sent(made.receive(answer(2, body=SDP)))[""].startswith("SETUP ")


def test_a_server_that_asks_is_answered() -> None:
    made = client()
    walk(made)
    assert list(made.receive(b"OPTIONS * RTSP/1.0\r\nCSeq: 77\r\n\r\n")) == [
        Send(b"RTSP/1.0 200 OK\r\nCSeq: 77\r\n\r\n")
    ]
    (refused,) = made.receive(b"ANNOUNCE rtsp://x RTSP/1.0\r\nCSeq: 78\r\nContent-Length: 2\r\n\r\nab")
    assert isinstance(refused, Send)
    assert refused.data.startswith(b"RTSP/1.0 501 ")
    assert list(made.receive(b"TEARDOWN * RTSP/1.0\r\nCSeq: 79\r\n\r\n"))[-1] == Stopped()


@pytest.mark.parametrize(
    ("status", "words"),
    [("404 Not Found", "DESCRIBE: 404 Not Found"), ("302 Moved", "DESCRIBE: 302 Moved"), ("999", "DESCRIBE: 999")],
)
def test_an_error_names_what_was_asked_and_what_came(status: str, words: str) -> None:
    made = client()
    made.begin()
    list(made.receive(answer(1)))
    with pytest.raises(RtspError, match=words) as caught:
        list(made.receive(answer(2, status=status)))
    assert (caught.value.step, caught.value.login) == ("DESCRIBE", False)
    assert made.heard


def test_a_transport_that_was_not_asked_for_is_refused() -> None:
    with pytest.raises(RtspError, match="expected transport UDP"):
        walk(client(ports=(5000, 5001)))
    with pytest.raises(RtspError, match="expected transport TCP interleaved"):
        walk(client(), transport="RTP/AVP;unicast;client_port=1-2")


def test_no_session_and_no_video_are_named() -> None:
    made = client()
    made.begin()
    list(made.receive(answer(1)))
    with pytest.raises(RtspError, match="expected a video track, found audio"):
        list(made.receive(answer(2, body=b"v=0\nm=audio 0 RTP/AVP 8\n")))
    made = client()
    made.begin()
    list(made.receive(answer(1)))
    list(made.receive(answer(2, body=SDP)))
    with pytest.raises(RtspError, match="names no session"):
        list(made.receive(answer(3)))


# Logins

DIGEST = 'WWW-Authenticate: Digest realm="kit", nonce="aa", stale=FALSE'
BASIC = 'WWW-Authenticate: Basic realm="kit"'


def challenged(made: Client, *challenges: str) -> dict[str, str]:
    made.begin()
    list(made.receive(answer(1)))
    return sent(made.receive(answer(2, *challenges, status="401 Unauthorized")))


def test_the_examples_of_the_digest_documents() -> None:
    # RFC 2617 section 3.5
    made = authorize(
        ['Digest realm="testrealm@host.com", qop="auth", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5c"'],
        "GET", "/dir/index.html", "Mufasa", "Circle Of Life", "0a4f113b", 1,
    )  # fmt: skip
    assert made is not None
    assert 'response="6629fae49393a05397450978507c4ef1"' in made
    assert "nc=00000001" in made
    assert 'opaque="5c"' in made
    # RFC 7616 section 3.9.1: both are offered, SHA-256 is taken
    nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
    cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    offers = [
        f'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={name}, nonce="{nonce}", opaque="F"'
        for name in ("MD5", "SHA-256")
    ]
    made = authorize(offers, "GET", "/dir/index.html", "Mufasa", "Circle of Life", cnonce, 1)
    assert made is not None
    assert 'response="753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"' in made
    assert "algorithm=SHA-256" in made
    made = authorize(offers[:1], "GET", "/dir/index.html", "Mufasa", "Circle of Life", cnonce, 1)
    assert made is not None
    assert 'response="8ca523f5e9506fed4657c9700eebdbec"' in made


def test_a_challenge_with_quotes_and_commas() -> None:
    assert parse_challenge('Digest realm="a, \\"b\\"", nonce="", qop=auth , stale=TRUE') == (
        "digest",
        {"realm": 'a, "b"', "nonce": "", "qop": "auth", "stale": "TRUE"},
    )


def test_digest_without_qop_as_cameras_ask_it() -> None:
    # HA1 = md5("kit:kit:pw"), HA2 = md5("DESCRIBE:<url>"), response = md5("HA1:aa:HA2"): by the md5sum command.
    request = challenged(client(user="kit", password="pw"), DIGEST)
    assert request["CSeq"] == "3"
    assert 'response="663d48b21377c84268998311b4583003"' in request["Authorization"]
    assert f'uri="{URL}"' in request["Authorization"]


def test_digest_goes_before_basic_and_basic_where_nothing_else_is_offered() -> None:
    request = challenged(client(user="kit", password="pw", basic=True), BASIC, DIGEST)
    assert request["Authorization"].startswith("Digest ")
    assert challenged(client(user="kit", password="pw", basic=True), BASIC)["Authorization"] == "Basic a2l0OnB3"


def test_basic_shows_the_password_and_is_used_only_where_the_configuration_says_so() -> None:
    assert challenged(client(user="kit", password="pw"), BASIC, DIGEST)["Authorization"].startswith("Digest ")
    with pytest.raises(RtspError, match="basic_in_clear") as refused:
        challenged(client(user="kit", password="pw"), BASIC)
    assert not refused.value.login  # nothing was sent that could have been refused


def test_no_credentials_before_they_are_asked_for() -> None:
    made = client(user="kit", password="pw")
    assert b"Authorization" not in made.begin()
    assert "Authorization" not in sent(made.receive(answer(1)))


def test_credentials_that_are_refused_are_not_sent_again() -> None:
    made = client(user="kit", password="pw")
    challenged(made, DIGEST)
    with pytest.raises(RtspError) as caught:
        list(made.receive(answer(3, DIGEST, status="401 Unauthorized")))
    assert caught.value.login is True
    assert "pw" not in str(caught.value)


def test_a_stale_nonce_is_renewed_once() -> None:
    made = client(user="kit", password="pw")
    challenged(made, DIGEST)
    stale = 'WWW-Authenticate: Digest realm="kit", nonce="bb", stale="true"'
    assert 'nonce="bb"' in sent(made.receive(answer(3, stale, status="401 Unauthorized")))["Authorization"]
    with pytest.raises(RtspError) as caught:
        list(made.receive(answer(4, stale.replace("bb", "cc"), status="401 Unauthorized")))
    assert caught.value.login is True


def test_a_server_with_a_nonce_for_each_request_still_plays() -> None:
    made = client(user="kit", password="pw")
    challenged(made, DIGEST)
    request = sent(made.receive(answer(3, body=SDP)))
    assert 'nonce="aa"' in request["Authorization"]
    again = sent(made.receive(answer(4, DIGEST.replace("aa", "bb"), status="401 Unauthorized")))
    assert (again[""], 'nonce="bb"' in again["Authorization"]) == (request[""], True)
    assert again["Transport"] == request["Transport"]


def test_a_login_that_cannot_be_made_is_named() -> None:
    with pytest.raises(RtspError, match="none is configured"):
        challenged(client(), DIGEST)
    with pytest.raises(RtspError, match="no way to log in that we know: Negotiate"):
        challenged(client(user="kit", password="pw"), "WWW-Authenticate: Negotiate abc")


# URLs and descriptions


def test_a_password_in_the_url_is_taken_out() -> None:
    assert clean_url("RTSP://kit:s@cret@192.0.2.1:8554/a?b=1") == "rtsp://192.0.2.1:8554/a?b=1"
    assert clean_url("rtsp://[2001:db8::1]:8554/a") == "rtsp://[2001:db8::1]:8554/a"


@pytest.mark.parametrize("url", ["http://192.0.2.1/a", "rtsp:///a", "192.0.2.1", "rtsp://h:99999/", "rtsp://h/a b", ""])
def test_a_url_that_is_none_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - urllib's own text for the port
        clean_url(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("base", "control", "expected"),
    [
        ("rtsp://h/a", "*", "rtsp://h/a"),
        ("rtsp://h/a", "", "rtsp://h/a"),
        ("rtsp://h/a/", "track1", "rtsp://h/a/track1"),
        ("rtsp://h/a?channel=1", "trackID=0", "rtsp://h/a?channel=1/trackID=0"),
        ("rtsp://h/a", "rtsp://h/other/1", "rtsp://h/other/1"),
    ],
)
def test_the_url_of_a_track(base: str, control: str, expected: str) -> None:
    assert resolve(base, control) == expected


def test_static_payload_types_and_missing_parts_of_a_description() -> None:
    found = parse_sdp(b"m=video 0 RTP/AVP 26\nm=video\nm=video 0 RTP/AVP x\nm=video 0 RTP/AVP 97\na=rtpmap:97 H264/0\n")
    assert [(track.codec, track.clock_rate) for track in found.tracks] == [("JPEG", 90000), ("H264", 90000)]
    assert found.control == "*"


# Framing

PARTS = [answer(1, body=b"body"), b"$\0\0\4\x80abc", b"\r\n", b"OPTIONS * RTSP/1.0\nCSeq: 3\n\n", answer(2)]


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_pieces_of_any_size_give_the_same_messages(size: int) -> None:
    data = b"".join(PARTS)
    reader = Reader()
    found = [each for at in range(0, len(data), size) for each in reader.feed(data[at : at + size])]
    assert [type(each) for each in found] == [Message, Interleaved, Message, Message]
    assert found[0] == Message(200, "", "OK", (("cseq", "1"), ("content-length", "4")), b"body")
    assert found[1] == Interleaved(0, b"\x80abc")
    assert isinstance(found[2], Message)
    assert (found[2].method, found[2].header("cseq")) == ("OPTIONS", "3")
    assert (reader.held, reader.skipped) == (0, 2)


def test_a_reader_finds_its_way_back_after_lost_bytes() -> None:
    reader = Reader()
    found = list(reader.feed(b"\x80lost half of a packet" + answer(5)))
    assert [each.header("cseq") for each in found if isinstance(each, Message)] == ["5"]
    assert reader.skipped > 0


@pytest.mark.parametrize(
    "data",
    [
        b"RTSP/1.0 200 OK\r\n" + b"X: y\r\n" * MAX_HEAD,
        answer(1, f"Content-Length: {MAX_BODY + 1}"),
        answer(1, "Content-Length: -1"),
        answer(1, "Content-Length: 99999999999999999999"),
        answer(1, "Content-Length: ²"),
    ],
)
def test_what_is_larger_than_a_cameras_answer_is_refused(data: bytes) -> None:
    with pytest.raises(RtspError):
        list(Reader().feed(data))


CHUNKS = st.sampled_from(
    [*PARTS, b"RTSP/1.0 ", b"\r\n\r\n", b"Content-Length: 5\r\n", b"Session: ;\r\n", b"$", b"401 x\r\n", SDP]
)
NOISE = st.lists(st.one_of(CHUNKS, st.binary(max_size=40)), max_size=40).map(b"".join)


@given(NOISE, st.integers(min_value=1, max_value=50))
@settings(max_examples=300, deadline=None)
def test_whatever_comes_the_reader_stays_bounded(data: bytes, size: int) -> None:
    def all_of(reader: Reader, cut: int) -> list[Message | Interleaved | str]:
        found: list[Message | Interleaved | str] = []
        try:
            for at in range(0, len(data), cut):
                found += reader.feed(data[at : at + cut])
                assert reader.held <= MAX_HEAD + MAX_BODY + 4
        except RtspError as error:
            found.append(str(error))
        return found

    assert all_of(Reader(), size) == all_of(Reader(), len(data) + 1)


@given(
    st.lists(st.tuples(st.sampled_from(["200 OK", "401 No", "404 x", "100 C", "454 x", "", "2"]), NOISE), max_size=12)
)
@settings(max_examples=300, deadline=None)
def test_whatever_a_server_answers_the_client_ends_or_goes_on(answers: list[tuple[str, bytes]]) -> None:
    made = client(user="kit", password="pw")
    made.begin()
    try:
        for place, (status, noise) in enumerate(answers):
            headers = noise.decode("latin-1").replace("\r\n\r\n", "\r\n").split("\r\n")
            for event in made.receive(answer(place + 1, *headers, status=status, body=noise)):
                if isinstance(event, Send):
                    assert event.data.endswith(b"\r\n\r\n")
                    assert event.data.count(b"\r\n\r\n") == 1
    except RtspError:
        pass
    made.stop()


@given(st.binary(max_size=400), st.text(max_size=80))
@settings(max_examples=200, deadline=None)
def test_descriptions_and_challenges_of_any_kind_break_nothing(body: bytes, text: str) -> None:
    assert len(parse_sdp(body + b"\nm=video 1 RTP/AVP 96 " + body).tracks) <= 64
    made = authorize([f"Digest {text}", text], "GET", "u", "a", "b", "c", 1)
    assert made is None or "\n" not in made


@pytest.mark.parametrize(
    "data", [b"x" * 65536, b"$" * 65536, b"R" * 65536, b"\n\n" * 32768, b"RTSP/1.0 200 OK\r\n\r\n" * 3449]
)
def test_64_kib_of_the_worst_noise_hangs_nobody(data: bytes) -> None:
    quick(lambda: list(Reader().feed(data)))
