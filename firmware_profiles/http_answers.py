"""Answers of devices over HTTP: JSON, XML of any namespace and ``key=value``, reached by paths. Pure, bounded.

A path is a request's name, a colon, and keys: ``signal:response.nrrsrp``. ``[]`` after a key makes a column of a list's
items (a single thing is a list of one), ``[2]`` takes one, ``*`` is any one key. Keys may themselves hold dots
(``modem1.rssi``): the longest that fits goes first. XML elements go by their local name, the root's included;
attributes are ``@name``. ``@status`` and ``@header.name`` are the answer's own.

Values under keys that name secrets are dropped before anything looks at them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from xml.etree import ElementTree

import msgspec

from firmware_profiles.answers import Wire
from firmware_profiles.asked import wanted
from firmware_profiles.cells import compiled
from firmware_profiles.load import Profile
from firmware_profiles.model import Request

MAX_BODY: Final = 1_048_576
"""Bytes of an answer that are looked at; a longer one is refused."""
_MAX_DEPTH: Final = 32
_MAX_ROWS: Final = 1024
_SECRET: Final = re.compile(
    r"pass(?:wo?r?d|phrase|wd)?\Z|pwd\Z|secret|private_?key|psk|preshared|wpa.?key|community|_?token\Z|session_?id\Z|"
    r"login_?name\Z",
    re.IGNORECASE,
)
_PART: Final = re.compile(r"(?P<key>[^\[\]]*)(?P<index>\[\d*\])?\Z")
_KEY_INDEX: Final = re.compile(r"([^\[\]]+)|\[(\d+)\]")


class AnswerError(ValueError):
    """An answer that is not what its request's format says; the message says what was expected and found."""


class Answer(msgspec.Struct):
    """One answer: its document (nested dicts, lists, texts, numbers), status and headers (names in lower case)."""

    document: Any = None
    status: int = 200
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)


def parse_document(form: str, body: bytes) -> Any:
    """Return the document in ``body``. Raises AnswerError; bounded in size and depth, entities are refused."""
    if len(body) > MAX_BODY:
        raise AnswerError(f"expected at most {MAX_BODY} bytes, found {len(body)}")
    if form == "json":
        document = _json(body)
    elif form == "xml":
        document = _xml(body)
    elif form == "keyvalue":
        document = _key_values(body)
    else:
        document = {"text": body.decode("utf-8", errors="replace").strip()}
    return without_secrets(document)


def _json(body: bytes) -> Any:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise AnswerError(f"expected JSON, found {body[:40]!r}") from error
    if not isinstance(document, dict | list):
        raise AnswerError(f"expected an object or a list, found {body[:40]!r}")
    return document


def _xml(body: bytes) -> Any:
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise AnswerError("expected XML without document type, found one")
    try:
        root = ElementTree.fromstring(body)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise AnswerError(f"expected XML, found {body[:40]!r}") from error
    return {_local(root.tag): _element(root, 0)}


def _local(name: str) -> str:
    return name.rsplit("}", 1)[-1]


def _element(element: ElementTree.Element, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise AnswerError(f"expected XML of at most {_MAX_DEPTH} levels, found more")
    children: dict[str, Any] = {f"@{_local(name)}": value for name, value in element.attrib.items()}
    for child in element:
        name, value = _local(child.tag), _element(child, depth + 1)
        if name not in children:
            children[name] = value
        elif isinstance(children[name], _Repeated):
            children[name].append(value)
        else:
            children[name] = _Repeated([children[name], value])
    text = (element.text or "").strip()
    if not children:
        return text
    if text:
        children["#text"] = text
    return children


class _Repeated(list[Any]):
    """XML elements of one name, told from a value that is itself a list."""


def _key_values(body: bytes) -> Any:
    document: dict[str, Any] = {}
    for line in body.decode("utf-8", errors="replace").splitlines():
        key, separator, value = line.strip().partition("=")
        if separator and key:
            _put(document, key.strip(), value.strip())
    if not document:
        raise AnswerError(f"expected lines of key=value, found {body[:40]!r}")
    return document


def _put(document: dict[str, Any], key: str, value: str) -> None:
    """Put ``list.info[0].Name`` where it belongs; indexes are kept as keys of a mapping, gaps cost nothing."""
    steps: list[str] = []
    for part in key.split("."):
        steps += [name or f"[{number}]" for name, number in _KEY_INDEX.findall(part)]
    node = document
    for step in steps[:-1][:_MAX_DEPTH]:
        below = node.setdefault(step, {})
        if not isinstance(below, dict):
            below = node[step] = {"#text": below}
        node = below
    if steps:
        node[steps[-1]] = value


def without_secrets(document: Any, depth: int = 0) -> Any:
    """Return the document without values under keys that name secrets. Raises AnswerError beyond 32 levels."""
    if depth > _MAX_DEPTH:
        raise AnswerError(f"expected at most {_MAX_DEPTH} levels, found more")
    if isinstance(document, dict):
        return {
            key: without_secrets(value, depth + 1)
            for key, value in document.items()
            if not (isinstance(key, str) and _SECRET.search(key))
        }
    if isinstance(document, list):
        return type(document)(without_secrets(value, depth + 1) for value in document)
    return document


def find(document: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield (row index, value) for every place that ``path`` names; the index is empty without ``[]``."""
    yield from _find(document, path.split("."), "")


def _find(node: Any, parts: list[str], index: str) -> Iterator[tuple[str, Any]]:
    if not parts:
        yield index, node
        return
    if isinstance(node, _Repeated):
        node = node[0]
    for length in range(len(parts), 0, -1):
        found = _PART.match(".".join(parts[:length]))
        if found is None:
            continue
        for below in _children(node, found["key"]):
            yield from _indexed(below, found["index"], parts[length:], index)
            return


def _children(node: Any, key: str) -> list[Any]:
    if key == "":
        return [node]
    if not isinstance(node, dict):
        return []
    if key == "*":
        return [value for name, value in node.items() if not name.startswith("@")][:1]
    return [node[key]] if key in node else []


def _indexed(below: Any, index: str | None, rest: list[str], row: str) -> Iterator[tuple[str, Any]]:
    if index is None:
        yield from _find(below, rest, row)
        return
    if isinstance(below, list):
        items = [(str(number), item) for number, item in enumerate(below[:_MAX_ROWS])]
    elif isinstance(below, dict) and any(_is_index(key) for key in below):
        items = [(key[1:-1], item) for key, item in list(below.items())[:_MAX_ROWS] if _is_index(key)]
    elif below in ("", None):
        items = []
    else:
        items = [("0", below)]
    for number, item in items:
        if index == "[]":
            yield from _find(item, rest, f"{row}.{number}" if row else number)
        elif index == f"[{number}]":
            yield from _find(item, rest, row)


def _is_index(key: object) -> bool:
    return isinstance(key, str) and key.startswith("[") and key.endswith("]")


def wire_of(value: Any) -> Wire | None:
    """Return a document's value as a :class:`Wire`, or None for one that is no single value."""
    if isinstance(value, _Repeated):
        value = value[0]
    if isinstance(value, dict):
        value = value.get("#text")
        if value is None:
            return None
    if value is None:
        return Wire("null", None)
    if isinstance(value, bool):
        return Wire("boolean", value)
    if isinstance(value, int | float):
        return Wire("number", value)
    return Wire("text", value) if isinstance(value, str) else None


class HttpAnswers:
    """Answers of an HTTP device by request name; see :class:`firmware_profiles.answers.Answers`."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self.answers: Final = answers

    @classmethod
    def parse(cls, requests: Mapping[str, Request], bodies: Mapping[str, str | bytes]) -> HttpAnswers:
        """Return the answers in saved bodies. Raises AnswerError for one that is not in its request's format."""
        found: dict[str, Answer] = {}
        for name, body in bodies.items():
            if name not in requests:
                raise AnswerError(f"expected a request of the profile, found {name!r}")
            octets = body.encode() if isinstance(body, str) else body
            found[name] = Answer(
                None if is_error(requests[name], octets) else parse_document(requests[name].format, octets)
            )
        return cls(found)

    def scalar(self, at: str) -> Wire | None:
        """Return the value at ``request:path``."""
        name, _, path = at.partition(":")
        answer = self.answers.get(name)
        if answer is None:
            return None
        if path.startswith("@"):
            return _of_answer(answer, path)
        return next((wire_of(value) for _, value in find(answer.document, path)), None)

    def column(self, at: str) -> Mapping[str, Wire]:
        """Return the values at a path with ``[]`` by row."""
        name, _, path = at.partition(":")
        answer = self.answers.get(name)
        if answer is None:
            return {}
        cells = ((index, wire_of(value)) for index, value in find(answer.document, path))
        return {index: wire for index, wire in cells if wire is not None}


def _of_answer(answer: Answer, path: str) -> Wire | None:
    if path == "@status":
        return Wire("number", answer.status)
    value = answer.headers.get(path.removeprefix("@header.").lower())
    return None if value is None else Wire("text", value)


def is_error(request: Request, body: bytes) -> bool:
    """Return whether a body is what the maker answers instead of the thing asked for."""
    return (
        request.error is not None and compiled(request.error).search(body[:2048].decode("utf-8", "replace")) is not None
    )


def requests_of(profile: Profile, body: bytes) -> list[str]:
    """Return which of the profile's requests a saved body answers, by its shape. Raises AnswerError for none.

    Those are the requests whose ``shape`` is in the body: several where a maker's summary holds what it also gives
    apart. Where no request with a shape fits, it is the one with the most of its paths in the body.
    """
    asked = wanted(profile)
    shaped: list[str] = []
    scores: dict[str, int] = {}
    for name, request in profile.requests.items():
        if is_error(request, body):
            continue
        try:
            document = parse_document(request.format, body)
        except AnswerError:
            continue
        if request.shape:
            shaped += [name] if any(_there(document, path) for path in request.shape) else []
            continue
        paths = {at.partition(":")[2] for at in (*asked.scalars, *asked.columns) if at.startswith(f"{name}:")}
        scores[name] = sum(_there(document, path) for path in paths)
    best = max(scores.values(), default=0)
    names = shaped or [name for name, score in scores.items() if score == best and score > 0]
    if not names or (not shaped and len(names) > 1):
        what = f"that fits {' and '.join(names)}" if names else "that fits none"
        raise AnswerError(f"expected an answer to one of {', '.join(profile.requests)}, found one {what} (--request)")
    return names


def requests_read(profile: Profile) -> set[str]:
    """Return the requests from which something is read: the others are only known by their shape and never made."""
    asked = wanted(profile)
    probed = (probe.at for probe in (*profile.match.probes, *profile.match.any))
    return {at.partition(":")[0] for at in (*asked.scalars, *asked.columns, *probed)}


def _there(document: Any, path: str) -> bool:
    return next(find(document, path), None) is not None
