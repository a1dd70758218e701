"""The file that describes a gateway for short messages: its request, its approved template, how it answers.

Mainland gateways send approved templates only, and each has a request of its own, so that the request is described and
not programmed. What is filled in are values of JSON, of a form or of the address, written by their encoders: no text
from outside can become part of their structure. Examples: ``systemd/examples/sms-aliyun.yaml``, ``sms-tencent.yaml``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from collector.channels.cloud_signatures import Request, Scheme
from collector.channels.sms_text import PLACEHOLDER, WORDS, fill, is_whole, length
from telemetry.durations import Span, milliseconds
from telemetry.files import FileError, load, read_secret
from telemetry.metrics import nearest

Name = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_]{1,32}\Z")]
Code = str | int
REQUEST_WORDS: Final = (
    "to", "to_digits", "to_local", "signature", "template", "message", "key", "parameters_json",
)  # fmt: skip
"""What the request may hold, beside ``secret.NAME`` and ``parameter.NAME``."""
WHOLE: Final = ("{parameters}", "{parameter_list}")
"""Values of JSON that become the parameters as a mapping, or as a list in their order."""


class ParameterKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One parameter of the approved template."""

    value: str
    """What it says: text with `{where}` (vehicle and device), `{fault}`, `{first}` (what to do first), `{class}`,
    `{what}` (new, again, over, escalated, call-back), `{text}` (the sentence), or `{ticket}` or `{link}` alone."""
    longest: Annotated[int, msgspec.Meta(ge=1, le=500)]
    """Most characters that the gateway takes; a longer text is cut and ends in `…`, `{ticket}` and `{link}` never."""


class AcceptedKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which answer means that the gateway has taken the message."""

    status: tuple[int, ...] = (200,)
    """HTTP status."""
    path: str
    """Where in the JSON of the answer: keys and places of lists, parted by dots (`SendStatusSet.0.Code`)."""
    value: str | int | bool
    """What stands there."""


class LimitKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So many messages to one number in a time; the others wait here instead of being refused there."""

    messages: Annotated[int, msgspec.Meta(ge=1, le=10_000)]
    """Most messages."""
    within: Span
    """In this time."""


class SigningKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a cloud wants its requests signed."""

    scheme: Scheme
    """`aliyun` (ACS3-HMAC-SHA256) or `tencent` (TC3-HMAC-SHA256)."""
    key_id_file: str
    """Holds the id of the access key."""
    key_file: str
    """Holds the access key's secret."""


class SmsGateway(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    url: str
    """Its address; placeholders may stand in path and query."""
    method: Literal["POST", "GET"] = "POST"
    """How it is asked."""
    headers: dict[Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9-]{1,64}\Z")], str] = {}
    """Further headers; they may hold `{to}`, `{to_digits}`, `{to_local}` and `{secret.NAME}`."""
    json: dict[str, Any] | None = None
    """The body as JSON. Texts may hold `{to}` (+8613800000000), `{to_digits}` (8613800000000), `{to_local}`
    (13800000000), `{signature}`, `{template}`, `{message}` (signature and text), `{key}` (idempotency key),
    `{parameters_json}`, `{parameter.NAME}`, `{secret.NAME}`; a text that is `{parameters}` or `{parameter_list}` alone
    becomes those."""
    form: dict[str, str] | None = None
    """The body as a form (application/x-www-form-urlencoded), with the same placeholders."""
    secret_files: dict[Name, str] = {}
    """Files that hold secrets, by the name that placeholders say."""
    signing: SigningKeys | None = None
    """How requests are signed, if they are."""
    signature: Annotated[str, msgspec.Meta(min_length=1, max_length=20)]
    """The approved signature's name (签名), without brackets."""
    template: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    """The approved template's id."""
    text: str
    """The approved template's text, its parameters as `{NAME}`: what the length is counted by."""
    parameters: dict[Name, ParameterKeys]
    """The template's parameters, in its order."""
    link: str = ""
    """Address of a ticket's page, with `{ticket}` in it; if not set the contract file's `link`."""
    longest: Annotated[int, msgspec.Meta(ge=20, le=500)] = 70
    """Most characters of the whole message, signature included; 70 are one message in Chinese."""
    country_code: Annotated[str, msgspec.Meta(pattern=r"\A[1-9][0-9]{0,2}\Z")] = "86"
    """Of numbers that are given without one."""
    accepted: AcceptedKeys
    """What counts as taken."""
    codes: tuple[str, ...] = ()
    """Where the answer's code stands if not in `accepted.path`, the first that is there."""
    refused: tuple[Code, ...] = ()
    """Codes that are about this message or number: it is never taken. Any other code is tried again."""
    busy: dict[str, Span] = {}
    """Codes that say that there were too many, and how long to wait."""
    limits: tuple[LimitKeys, ...] = (LimitKeys(messages=1, within="1m"), LimitKeys(messages=5, within="1h"))
    """Most messages to one number."""
    timeout: Annotated[float, msgspec.Meta(gt=0, le=30)] = 10.0
    """Seconds that one request may take."""

    @property
    def room(self) -> int:
        """How much the parameters may take together."""
        return self.longest - length(f"【{self.signature}】{PLACEHOLDER.sub('', self.text)}")


def load_gateway(path: Path) -> SmsGateway:
    """Return the gateway with absolute paths. Raises FileError for the first thing that is wrong."""
    gateway = load(path, SmsGateway)
    folder = path.resolve().parent
    secrets = {name: str(folder / file) for name, file in gateway.secret_files.items()}
    for name, file in secrets.items():
        _header_safe(read_secret(file, f"secret_files.{name}"), Path(file), "")
    signing = gateway.signing
    if signing is not None:
        signing = SigningKeys(
            scheme=signing.scheme,
            key_id_file=str(folder / signing.key_id_file),
            key_file=str(folder / signing.key_file),
        )
        for file in (signing.key_id_file, signing.key_file):
            _header_safe(read_secret(file, "signing"), Path(file), "")
    _check_request(gateway, path)
    _check_template(gateway, path)
    _spans(gateway, path)
    return msgspec.structs.replace(gateway, secret_files=secrets, signing=signing)


def request_of(gateway: SmsGateway, values: Mapping[str, str], parameters: Mapping[str, str]) -> Request:
    """Return the request with every placeholder filled. ``values`` are the texts by placeholder."""
    url = PLACEHOLDER.sub(lambda match: quote(values[match[1]], safe=""), gateway.url)
    headers = {name.lower(): fill(text, values) for name, text in gateway.headers.items()}
    body = b""
    if gateway.json is not None:
        body = msgspec.json.encode(_filled(gateway.json, values, parameters))
        headers.setdefault("content-type", "application/json; charset=utf-8")
    elif gateway.form is not None:
        form = {name: fill(text, values) for name, text in gateway.form.items()}
        body = urlencode(form, quote_via=quote, safe="-_.~").encode()
        headers.setdefault("content-type", "application/x-www-form-urlencoded; charset=utf-8")
    return Request(gateway.method, url, headers, body)


def at(answer: object, path: str) -> object:
    """Return what stands at a path of an answer's JSON, ``None`` where nothing does."""
    for part in path.split("."):
        if isinstance(answer, dict):
            answer = answer.get(part)
        elif isinstance(answer, list) and part.isdecimal() and int(part) < len(answer):
            answer = answer[int(part)]
        else:
            return None
    return answer


def _filled(part: Any, values: Mapping[str, str], parameters: Mapping[str, str]) -> Any:
    if isinstance(part, dict):
        return {name: _filled(one, values, parameters) for name, one in part.items()}
    if isinstance(part, list):
        return [_filled(one, values, parameters) for one in part]
    if not isinstance(part, str):
        return part
    if part == "{parameters}":
        return dict(parameters)
    return list(parameters.values()) if part == "{parameter_list}" else fill(part, values)


def _check_request(gateway: SmsGateway, path: Path) -> None:
    parts = urlsplit(gateway.url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "{" in parts.netloc:
        raise FileError(path, "url", f"expected http://... or https://... with a fixed host, found {gateway.url!r}")
    if (gateway.json is not None) and (gateway.form is not None):
        raise FileError(path, "form", "expected either json or form, found both")
    if gateway.method == "GET" and (gateway.json is not None or gateway.form is not None):
        raise FileError(path, "method", "expected POST with a body, found GET")
    known = {
        *REQUEST_WORDS,
        *(f"secret.{name}" for name in gateway.secret_files),
        *(f"parameter.{name}" for name in gateway.parameters),
    }
    in_headers = {"to", "to_digits", "to_local", *(f"secret.{name}" for name in gateway.secret_files)}
    for key, text in (
        ("url", gateway.url),
        *((f"headers.{name}", text) for name, text in gateway.headers.items()),
        *_texts("json", gateway.json or {}),
        *_texts("form", gateway.form or {}),
    ):
        if key.startswith("json.") and text in WHOLE:
            continue
        _check_words(text, known if not key.startswith("headers.") else known & in_headers, path, key)
        if not key.startswith(("json.", "form.")):
            _header_safe(text, path, key)


def _check_template(gateway: SmsGateway, path: Path) -> None:
    _check_words(gateway.text, gateway.parameters, path, "text")
    for name, one in gateway.parameters.items():
        key = f"parameters.{name}"
        _check_words(one.value, WORDS, path, f"{key}.value")
        if is_whole(one.value) and not PLACEHOLDER.fullmatch(one.value):
            raise FileError(path, f"{key}.value", f"expected {{ticket}} or {{link}} alone, found {one.value!r}")
        if f"{{{name}}}" not in gateway.text:
            raise FileError(path, "text", f"expected every parameter in it, {{{name}}} is not")
        if gateway.text.count(f"{{{name}}}") > 1:
            raise FileError(path, "text", f"expected every parameter once, found {{{name}}} twice")
    values = [one.value for one in gateway.parameters.values()]
    if "{ticket}" not in values:
        raise FileError(path, "parameters", "expected one whose value is {ticket}: without it nobody finds the ticket")
    if "{link}" in values and gateway.link and "{ticket}" not in gateway.link:
        raise FileError(path, "link", f"expected an address with {{ticket}} in it, found {gateway.link!r}")
    if "{link}" not in values and "://" not in gateway.text:
        raise FileError(path, "parameters", "expected one whose value is {link}, or an address (https://...) in text")
    least = sum(one.longest if is_whole(one.value) else 1 for one in gateway.parameters.values())
    if least > gateway.room:
        raise FileError(
            path,
            "text",
            f"expected room for ticket and link and a character of all others within {gateway.longest}: "
            f"signature and text leave {gateway.room}, they take {least}",
        )


def _spans(gateway: SmsGateway, path: Path) -> None:
    spans = [(f"busy.{code}", span) for code, span in gateway.busy.items()]
    spans += [(f"limits.{number}.within", one.within) for number, one in enumerate(gateway.limits)]
    for key, span in spans:
        try:
            milliseconds(span)
        except ValueError as error:
            raise FileError(path, key, str(error)) from None


def _texts(key: str, part: Any) -> Iterator[tuple[str, str]]:
    if isinstance(part, dict):
        for name, one in part.items():
            yield from _texts(f"{key}.{name}", one)
    elif isinstance(part, list):
        for number, one in enumerate(part):
            yield from _texts(f"{key}.{number}", one)
    elif isinstance(part, str):
        yield key, part


def _check_words(text: str, known: Any, path: Path, key: str) -> None:
    for word in PLACEHOLDER.findall(text):
        if word not in known:
            names = ", ".join(f"{{{name}}}" for name in sorted(known))
            raise FileError(path, key, f"expected one of {names}; found {{{word}}}{nearest(word, known)}")


def _header_safe(text: str, path: Path, key: str) -> None:
    """Raise FileError for what would end a header or an address; the text is in no message."""
    if not (text.isascii() and text.isprintable()):
        raise FileError(path, key, "expected printable ASCII in one line, found something else")
