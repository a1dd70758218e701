"""An RTSP 1.0 client that plays the first video track of a stream (RFC 2326). Bytes in, events out; no I/O, no clock.

The client walks OPTIONS, DESCRIBE, SETUP, PLAY; whoever owns the connection sends what it is told to and hands it what
comes. Media arrives interleaved on the same connection (section 10.12) or over UDP beside it. Credentials go out only
as the answer to a challenge, and once: a server that refuses them is not asked again.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from agent.protocols.digest import authorize
from agent.protocols.sdp import Track, parse_sdp, resolve

MAX_HEAD: Final = 16_384
MAX_BODY: Final = 262_144
"""Bytes of a message's head and body; more is not a camera's answer."""
_AGENT: Final = "kitwatch"
_BEGINNINGS: Final = (
    b"RTSP/",
    *(b"OPTIONS ", b"GET_PARAMETER ", b"SET_PARAMETER ", b"ANNOUNCE ", b"REDIRECT ", b"TEARDOWN ", b"PLAY_NOTIFY "),
)
"""How a message begins: a response, or a request that a server may make."""
_LONGEST_BEGINNING: Final = max(len(word) for word in _BEGINNINGS)
_BEGIN: Final = re.compile(b"|".join((rb"\$", *(re.escape(word) for word in _BEGINNINGS))))
_BLANK: Final = re.compile(rb"\r?\n\r?\n")
_IN_CLEAR: Final = "the server knows only Basic, which shows the password on the line: basic_in_clear is not set"
_LOGIN: Final = "the server refuses the user or the password"


class Message(msgspec.Struct, frozen=True):
    """A response (``status`` given) or a server's request (``method`` given). Header names are in lower case."""

    status: int | None
    method: str
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """Return the first header of that (lower case) name."""
        return next((value for key, value in self.headers if key == name), None)

    def all(self, name: str) -> list[str]:
        """Return every header of that (lower case) name."""
        return [value for key, value in self.headers if key == name]


class Interleaved(msgspec.Struct, frozen=True):
    """A binary packet on the connection: even channels carry RTP, odd ones RTCP."""

    channel: int
    data: bytes


class RtspError(Exception):
    """The stream does not play. ``step`` is what was asked (``DESCRIBE``), ``status`` the server's answer if any.

    ``login`` is true when the server refused the credentials: asking again would lock the address on many devices.
    """

    def __init__(self, step: str, why: str, status: int | None = None, *, login: bool = False) -> None:
        super().__init__(f"{step}: {why}")
        self.step = step
        self.status = status
        self.login = login


class Reader:
    """Cuts the bytes of a connection into messages and interleaved packets.

    Bytes that begin neither are skipped and counted in ``skipped``: some cameras drop part of a packet when they
    cannot send fast enough. Raises RtspError when a message is larger than its bound.
    """

    def __init__(self) -> None:
        self.skipped = 0
        self._buffer = bytearray()

    @property
    def held(self) -> int:
        """Bytes that wait for the rest of their message."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[Message | Interleaved]:
        """Take the next bytes and yield what they complete."""
        self._buffer += data
        position = 0
        found: Message | Interleaved | None
        try:
            while position < len(self._buffer):
                if self._buffer[position] == 0x24:
                    found, following = self._packet(position)
                else:
                    found, following = self._message(position)
                if following is None:
                    break
                position = following
                if found is not None:
                    yield found
        finally:
            del self._buffer[:position]

    def _packet(self, start: int) -> tuple[Interleaved | None, int | None]:
        if len(self._buffer) < start + 4:
            return None, None
        end = start + 4 + int.from_bytes(self._buffer[start + 2 : start + 4], "big")
        if len(self._buffer) < end:
            return None, None
        return Interleaved(self._buffer[start + 1], bytes(self._buffer[start + 4 : end])), end

    def _message(self, start: int) -> tuple[Message | None, int | None]:
        beginning = bytes(self._buffer[start : start + _LONGEST_BEGINNING])
        if not any(beginning.startswith(word[: len(beginning)]) for word in _BEGINNINGS):
            again = _BEGIN.search(self._buffer, start + 1)
            following = again.start() if again else max(start + 1, len(self._buffer) - _LONGEST_BEGINNING)
            self.skipped += following - start
            return None, following
        blank = _BLANK.search(self._buffer, start)
        if blank is None or blank.start() - start > MAX_HEAD:
            if len(self._buffer) - start > MAX_HEAD:
                raise RtspError("answer", f"the head is longer than {MAX_HEAD} bytes")
            return None, None
        end = blank.end()
        message = _parse_head(bytes(self._buffer[start : blank.start()]))
        length = (message.header("content-length") or "0").strip()
        size = int(length) if length.isascii() and length.isdigit() and len(length) < 10 else -1
        if not 0 <= size <= MAX_BODY:
            raise RtspError("answer", f"Content-Length: expected 0 to {MAX_BODY}, found {length[:20]!r}")
        following = end + size
        if len(self._buffer) < following:
            return None, None
        body = bytes(self._buffer[end:following])
        return Message(message.status, message.method, message.reason, message.headers, body), following


def _parse_head(head: bytes) -> Message:
    first, *lines = head.decode("utf-8", errors="replace").splitlines()
    headers: list[tuple[str, str]] = []
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers.append((name.strip().lower(), value.strip()))
        elif headers and line[:1] in (" ", "\t"):
            headers[-1] = (headers[-1][0], f"{headers[-1][1]} {line.strip()}")
    version, _, rest = first.partition(" ")
    if not version.startswith("RTSP/"):
        return Message(None, version, "", tuple(headers))
    code, _, reason = rest.strip().partition(" ")
    status = int(code) if code.isascii() and code.isdigit() and len(code) == 3 else 0
    return Message(status, "", reason.strip(), tuple(headers))


class Send(msgspec.Struct, frozen=True):
    """Bytes for the server."""

    data: bytes


class Media(msgspec.Struct, frozen=True):
    """A packet of the track that plays: RTP, or RTCP where ``control``."""

    data: bytes
    control: bool = False


class Playing(msgspec.Struct, frozen=True):
    """The server plays ``track``. ``server_ports`` and ``source`` are what it told for UDP, None where it did not."""

    track: Track
    server_ports: tuple[int, int] | None = None
    source: str | None = None


class Stopped(msgspec.Struct, frozen=True):
    """The server has ended the session, by our TEARDOWN or by itself."""


Event = Send | Media | Playing | Stopped
_Step = Literal["OPTIONS", "DESCRIBE", "SETUP", "PLAY", "playing", "TEARDOWN", "stopped"]


@dataclass(slots=True)
class Client:
    """Plays one URL. ``ports`` is our UDP pair (RTP, RTCP), None for interleaved TCP. ``cnonce`` gives random text.

    ``url`` is ``rtsp://host[:port]/path``; a user or password in it is taken out and not used. ``basic`` allows Basic,
    which shows the password to anyone on the line. Raises ValueError for
    another scheme or no host.
    """

    url: str
    cnonce: Callable[[], str]
    user: str | None = None
    password: str | None = None
    basic: bool = False
    ports: tuple[int, int] | None = None
    heard: bool = field(default=False, init=False)
    """The server has answered something in RTSP."""
    server: str | None = field(default=None, init=False)
    session_timeout: float = field(default=60.0, init=False)
    """Seconds after which the server ends a session without a sign of life (RFC 2326 section 12.37)."""
    reader: Reader = field(default_factory=Reader, init=False)
    _step: _Step = field(default="OPTIONS", init=False)
    _sequence: int = field(default=0, init=False)
    _pending: tuple[int, str, str] | None = field(default=None, init=False)
    _challenges: list[str] = field(default_factory=list, init=False)
    _authorized: bool = field(default=False, init=False)
    """The pending request carries credentials."""
    _accepted: bool = field(default=False, init=False)
    _renewed: bool = field(default=False, init=False)
    _uses: int = field(default=0, init=False)
    _public: str = field(default="", init=False)
    _base: str = field(default="", init=False)
    _session: str | None = field(default=None, init=False)
    _track: Track | None = field(default=None, init=False)
    _aggregate: str = field(default="", init=False)
    _channel: int = field(default=0, init=False)
    _playing: Playing | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.url = clean_url(self.url)
        self._base = self.url

    def begin(self) -> bytes:
        """Return the first request."""
        return self._request("OPTIONS", self.url)

    def receive(self, data: bytes) -> Iterator[Event]:
        """Take bytes from the server and yield what follows.

        Raises RtspError when the stream will not play; the connection is then of no more use.
        """
        for found in self.reader.feed(data):
            if isinstance(found, Interleaved):
                if (
                    self.ports is None
                    and self._track is not None
                    and found.channel in (self._channel, self._channel + 1)
                ):
                    yield Media(found.data, control=found.channel != self._channel)
            elif found.status is None:
                yield from self._asked(found)
            else:
                self.heard = True
                yield from self._answered(found)

    def keep_alive(self) -> bytes:
        """Return a request that keeps the session alive."""
        method = "GET_PARAMETER" if "GET_PARAMETER" in self._public else "OPTIONS"
        return self._request(method, self._aggregate or self._base)

    def stop(self) -> bytes:
        """Return the request that ends the session, nothing if there is none."""
        if self._session is None or self._step in ("TEARDOWN", "stopped"):
            return b""
        self._step = "TEARDOWN"
        return self._request("TEARDOWN", self._aggregate or self._base)

    def _request(self, method: str, url: str, *headers: str) -> bytes:
        self._sequence += 1
        self._pending = (self._sequence, method, url)
        lines = [f"{method} {url} RTSP/1.0", f"CSeq: {self._sequence}", f"User-Agent: {_AGENT}", *headers]
        if self._session is not None:
            lines.append(f"Session: {self._session}")
        self._authorized = False
        if self._challenges and self.user is not None and self.password is not None:
            self._uses += 1
            made = authorize(self._challenges, method, url, self.user, self.password, self.cnonce(), self._uses)
            if made is not None:
                lines.append(f"Authorization: {made}")
                self._authorized = True
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def _asked(self, message: Message) -> Iterator[Event]:
        """Answer a server's request: some ask OPTIONS as a sign of life, and close when nobody answers."""
        known = message.method in ("OPTIONS", "GET_PARAMETER", "SET_PARAMETER", "TEARDOWN")
        status = "200 OK" if known else "501 Not Implemented"
        sequence = message.header("cseq") or "0"
        yield Send(f"RTSP/1.0 {status}\r\nCSeq: {sequence}\r\n\r\n".encode())
        if message.method == "TEARDOWN":
            self._step = "stopped"
            yield Stopped()

    def _answered(self, message: Message) -> Iterator[Event]:
        pending = self._pending
        sequence = (message.header("cseq") or "").strip()
        # Some servers forget CSeq in errors; one that names another number answers something older.
        if pending is None or sequence not in ("", str(pending[0])):
            return
        _, method, url = pending
        self.server = message.header("server") or self.server
        if message.status == 100:
            return
        self._pending = None
        if message.status != 401 and self._authorized:
            self._accepted, self._renewed = True, False
        if self._step == "stopped" or method == "TEARDOWN":
            self._step = "stopped"
            yield Stopped()
        elif message.status == 401:
            yield Send(self._log_in(message, method, url))
        elif self._step == "playing":
            if message.status == 454:
                raise RtspError(method, "454: the server has forgotten the session", 454)
        elif not 200 <= (message.status or 0) < 300:
            if self._step != "OPTIONS":  # a server without OPTIONS may still play
                raise RtspError(method, f"{message.status} {message.reason}".strip(), message.status)
            yield self._describe()
        else:
            yield from self._succeeded(message)

    def _log_in(self, message: Message, method: str, url: str) -> bytes:
        """Return the request again with credentials. Raises RtspError without any, or when they were refused.

        A nonce may end ("stale", or a server that changes it after each answer): then they go out once more.
        """
        challenges = message.all("www-authenticate")
        stale = any("stale=true" in text.replace(" ", "").replace('"', "").lower() for text in challenges)
        if self._authorized:
            if self._renewed or not (stale or self._accepted):
                raise RtspError(method, _LOGIN, 401, login=True)
            self._renewed = True
        if self.user is None or self.password is None:
            raise RtspError(method, "the server asks for a user and a password, none is configured", 401)
        if not self.basic:
            challenges = [text for text in challenges if not text.strip().lower().startswith("basic")]
            if not challenges:
                raise RtspError(method, _IN_CLEAR, 401)
        self._challenges, self._uses = challenges, 0
        request = self._request(method, url, *self._headers(method))
        if not self._authorized:
            raise RtspError(method, f"no way to log in that we know: {', '.join(challenges)[:80]}", 401)
        return request

    def _headers(self, method: str) -> tuple[str, ...]:
        if method == "DESCRIBE":
            return ("Accept: application/sdp",)
        if method == "SETUP":
            if self.ports is None:
                return ("Transport: RTP/AVP/TCP;unicast;interleaved=0-1",)
            return (f"Transport: RTP/AVP;unicast;client_port={self.ports[0]}-{self.ports[1]}",)
        return ("Range: npt=0.000-",) if method == "PLAY" else ()

    def _next(self, step: Literal["DESCRIBE", "SETUP", "PLAY"], url: str) -> Send:
        self._step = step
        # The server told the URL; a blank in it would end the request line.
        url = "".join(letter for letter in url if ord(letter) > 32)
        return Send(self._request(step, url, *self._headers(step)))

    def _describe(self) -> Send:
        return self._next("DESCRIBE", self.url)

    def _succeeded(self, message: Message) -> Iterator[Event]:
        if self._step == "OPTIONS":
            self._public = message.header("public") or ""
            yield self._describe()
        elif self._step == "DESCRIBE":
            yield self._described(message)
        elif self._step == "SETUP":
            yield self._set_up(message)
        elif self._step == "PLAY" and self._playing is not None:
            self._step = "playing"
            yield self._playing

    def _described(self, message: Message) -> Send:
        base = message.header("content-base") or message.header("content-location") or self.url
        self._base = base if base.lower().startswith("rtsp://") else self.url
        description = parse_sdp(message.body)
        video = [track for track in description.tracks if track.kind == "video"]
        if not video:
            kinds = ", ".join(track.kind for track in description.tracks) or "nothing"
            raise RtspError("DESCRIBE", f"expected a video track, found {kinds}")
        self._track = video[0]
        self._aggregate = resolve(self._base, description.control)
        return self._next("SETUP", resolve(self._base, video[0].control))

    def _set_up(self, message: Message) -> Send:
        session, *parameters = (message.header("session") or "").split(";")
        if not session.strip():
            raise RtspError("SETUP", "the answer names no session")
        self._session = session.strip()
        for parameter in parameters:
            name, _, value = parameter.strip().partition("=")
            if name.lower() == "timeout" and value.isascii() and value.isdigit() and 0 < len(value) < 7:
                self.session_timeout = max(float(value), 1.0)
        transport = _parameters(message.header("transport") or "")
        if message.header("transport") and (self.ports is None) != ("interleaved" in transport):
            asked = "TCP interleaved" if self.ports is None else "UDP"
            raise RtspError("SETUP", f"expected transport {asked}, found {message.header('transport')!r}")
        if self.ports is None:
            channels = _pair(transport.get("interleaved", ""))
            self._channel = channels[0] if channels is not None else 0
        assert self._track is not None  # set by DESCRIBE, without which there is no SETUP
        self._playing = Playing(self._track, _pair(transport.get("server_port", "")), transport.get("source"))
        return self._next("PLAY", self._aggregate)


def clean_url(url: str) -> str:
    """Return the URL without user and password. Raises ValueError unless it is ``rtsp://host...``."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme.lower() != "rtsp" or not parts.hostname or any(ord(letter) < 33 for letter in url):
        raise ValueError(f"url: expected rtsp://host[:port]/path, found {url.rpartition('@')[2]!r}")
    _ = parts.port  # raises ValueError when it is no port
    return urllib.parse.urlunsplit(parts._replace(scheme="rtsp", netloc=parts.netloc.rpartition("@")[2]))


def _parameters(transport: str) -> dict[str, str]:
    found = {}
    for parameter in transport.partition(",")[0].split(";"):
        name, _, value = parameter.strip().partition("=")
        found[name.lower()] = value.strip().strip('"')
    return found


def _pair(text: str) -> tuple[int, int] | None:
    """Return the numbers of ``a-b``, or (a, a + 1) of ``a`` alone."""
    first, _, second = text.partition("-")
    if not (first.isascii() and first.isdigit() and len(first) <= 5):
        return None
    low = int(first)
    return low, int(second) if second.isascii() and second.isdigit() and len(second) <= 5 else low + 1
