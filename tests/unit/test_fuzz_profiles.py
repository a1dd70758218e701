"""Fuzz: SNMP values, HTTP answers and profile files, whatever is in them, within bounds of time and memory.

Inputs that once did harm, or were made to, are kept as examples. What the answers mean is tested elsewhere.
"""

from __future__ import annotations

import functools
import importlib.resources
from pathlib import Path

import msgspec
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from firmware_profiles.answers import KINDS, SnmpAnswers, Wire
from firmware_profiles.asked import sources_of, wanted
from firmware_profiles.cells import parse_cell
from firmware_profiles.check import check_profiles
from firmware_profiles.http_answers import Answer, AnswerError, HttpAnswers, find, parse_document, requests_of
from firmware_profiles.load import ProfileError, load_profiles, read_yaml, resolve_all
from firmware_profiles.match import fits_http, match
from firmware_profiles.model import Source
from firmware_profiles.read import read
from telemetry.metrics import METRICS, Metric
from tests.unit.bounds import MOST, SECONDS, bounded, cost, long_ones, quick

SHIPPED = load_profiles()
OVER_SNMP = sorted(name for name, profile in SHIPPED.items() if profile.transport == "snmp")
OVER_HTTP = sorted(name for name, profile in SHIPPED.items() if profile.transport == "http")
FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# --- SNMP -------------------------------------------------------------------------------------------------------------

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**65), 2**65),
    st.sampled_from([10**400, -(10**400), float("inf"), float("nan"), -0.0, 5e-324]),
    st.text(max_size=40),
    st.binary(max_size=40),
    long_ones(
        st.one_of(
            st.sampled_from([b"9", b"-", b".", b" ", b"0x", b"dBm", b"(", b"%", b"1.", b"\0", b"\xff"]),
            st.binary(max_size=4),
        )
    ),
)
WIRES = st.builds(Wire, st.sampled_from(KINDS), VALUES)


def _parsings() -> list[tuple[Source, Metric]]:
    """Return every way to read a value that is shipped, once, with a metric that is read so."""
    found: dict[str, tuple[Source, Metric]] = {}
    for profile in SHIPPED.values():
        for one in profile.metrics:
            for source in sources_of(one):
                way = {
                    key: value
                    for key, value in msgspec.to_builtins(source).items()
                    if key not in ("at", "formula", "of")
                }
                found[f"{METRICS[one.metric].kind} {way}"] = (source, METRICS[one.metric])
    return list(found.values())


PARSINGS = _parsings()


@FUZZ
@given(WIRES)
@example(Wire("octets", b"9" * MOST))  # longer than Python converts to a number
@example(Wire("octets", b"1" + b"0" * 400))  # a number that is no float
@example(Wire("octets", b"-" * MOST))
@example(Wire("octets", b" " * (MOST - 1) + b"x"))
@example(Wire("octets", b"1." * (MOST // 2)))
@example(Wire("octets", b"\xff" * MOST))
@example(Wire("octets", "١٢٣".encode()))  # digits that are no ASCII
@example(Wire("gauge32", float("nan")))
@example(Wire("counter64", 10**400))
@example(Wire("text", "0x" + "F" * 5000))
@example(Wire("octets", b"1" + b"0" * 308))  # the largest power of ten that is a float, and more once it is scaled
@example(Wire("number", 1e308))  # found here: times 60 it was infinity, which is no whole number
def test_one_value_through_every_parsing_that_is_shipped(wire: Wire) -> None:
    def parse(source: Source, metric: Metric) -> None:
        assert len(parse_cell(wire, source, metric).seen) < 200

    def parse_all() -> None:
        for way in PARSINGS:
            parse(*way)

    bounded(parse_all, seconds=SECONDS * len(PARSINGS))
    if cost(parse_all)[1] > SECONDS:  # one of them may have taken it all
        for way in PARSINGS:
            quick(functools.partial(parse, *way))


def _asked(name: str, rows: int) -> list[str]:
    asked = wanted(SHIPPED[name])
    return [*asked.scalars, *(f"{column}.{row}" for column in asked.columns for row in range(1, rows + 1))]


@FUZZ
@given(st.sampled_from(OVER_SNMP), st.lists(WIRES, min_size=1, max_size=5), st.integers(1, 40))
def test_a_device_that_answers_nonsense_everywhere(name: str, wires: list[Wire], rows: int) -> None:
    oids = _asked(name, rows)
    answers = SnmpAnswers({oid: wires[number % len(wires)] for number, oid in enumerate(oids)})
    allowed = 0.1 + len(oids) * 0.001  # each value is one that came in a packet
    result = bounded(lambda: read(SHIPPED[name], answers), seconds=allowed)
    for reading in result.readings:
        assert METRICS[reading.metric].check(reading.value) == reading.value
    bounded(lambda: match(SHIPPED, answers), seconds=1.0)


# --- HTTP -------------------------------------------------------------------------------------------------------------

EXAMPLES = {
    name: [
        body for one in SHIPPED[name].file.examples if isinstance(one.answers, dict) for body in one.answers.values()
    ]
    for name in OVER_HTTP
}
HTTP_PIECES = st.one_of(
    st.sampled_from(
        [
            b"{",
            b"}",
            b"[",
            b"]",
            b'"',
            b":",
            b",",
            b'{"a":',
            b"1e999",
            b"NaN",
            b"\\ud800",
            b"<a>",
            b"</a>",
            b"<a/>",
            b"&x;",
        ]
    ),
    st.sampled_from(
        [
            b"<!DOCTYPE a [",
            b'<!ENTITY x "',
            b"<![CDATA[",
            b"a=b\n",
            b"a.b[9].c=1\r\n",
            b"a[",
            b"=",
            b"result",
            b"DeviceInfo",
        ]
    ),
    st.binary(max_size=12),
)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, bytes]:
    """Return a profile and a body: a saved one with something cut out, put in or repeated, or nonsense."""
    name = draw(st.sampled_from(OVER_HTTP))
    if draw(st.booleans()):
        return name, draw(st.one_of(st.lists(HTTP_PIECES, max_size=40).map(b"".join), long_ones(HTTP_PIECES)))
    body = draw(st.sampled_from(EXAMPLES[name])).encode()
    begin, end = sorted(draw(st.tuples(st.integers(0, len(body)), st.integers(0, len(body)))))
    filling = draw(st.one_of(st.just(b""), HTTP_PIECES, st.integers(2, 300).map(lambda times: body[begin:end] * times)))
    return name, (body[:begin] + filling + body[end:])[:MOST]


BOMB = b'<!DOCTYPE r [<!ENTITY a "aaaaaaaaaa">' + b"".join(
    b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(8)
)


@FUZZ
@given(bodies())
@example(("hikvision/isapi", BOMB + b"]><r>&i;</r>"))  # a thousand million letters
@example(("hikvision/isapi", b"<DeviceInfo>" * 5_000))
@example(("hikvision/isapi", b"<DeviceStatus><CPUList>" + b"<CPU><cpuUtilization>1</cpuUtilization></CPU>" * 1_300))
@example(("hikvision/isapi", b"<DeviceInfo " + b'a="" ' * 12_000 + b"/>"))
@example(("inhand/flexapi", b"[" * MOST))
@example(("inhand/flexapi", b'{"result":' * 6_000 + b"1" + b"}" * 6_000))
@example(("inhand/flexapi", b'{"result":{"modem1.rsrp":' + b"9" * 60_000 + b"}}"))
@example(("zte/goform", b'{"network_type":"' + b"SA " * 20_000 + b'"}'))
@example(("zte/goform", b'{"network_type":1e999999,"lte_rsrp":-1e-999999}'))
@example(("dahua/cgi", b"a[9999999999].b=1\r\n" * 3_400))
@example(("dahua/cgi", b"a." * 32_000 + b"b=1"))
@example(("dahua/cgi", b"=" * MOST))
@example(("dahua/cgi", b"a=1\na.b=2\na[0]=3\na.b.c=4\n" * 2_000))
@example(("huawei/hilink", b"\xff\xfe" + "<response/>".encode("utf-16-le")))
def test_an_http_answer(case: tuple[str, bytes]) -> None:
    name, body = case
    profile = SHIPPED[name]

    def run() -> None:
        for form in ("json", "xml", "keyvalue"):
            try:
                document = parse_document(form, body)
            except AnswerError:
                continue
            for _ in find(document, "*.a[].b"):
                pass

    def whole() -> None:
        found = {}
        for name, request in profile.requests.items():
            try:
                found[name] = Answer(parse_document(request.format, body))
            except AnswerError:
                continue
        answers = HttpAnswers(found)
        fits_http(profile, answers)
        for reading in read(profile, answers).readings:
            METRICS[reading.metric].check(reading.value)
        try:
            assert set(requests_of(profile, body)) <= set(profile.requests)
        except AnswerError:
            pass

    bounded(run, seconds=0.3, memory=32 << 20)  # three readers; a document is some hundred times its text
    requests = len(profile.requests)
    bounded(whole, seconds=0.1 * (requests + 1), memory=(32 << 20) * requests)


# --- profile files ----------------------------------------------------------------------------------------------------


def _files() -> list[str]:
    folder = Path(str(importlib.resources.files("firmware_profiles")))
    return [path.read_text("utf-8") for path in sorted(folder.glob("*/*.yaml"))]


FILES = _files()
YAML_PIECES = st.one_of(
    st.sampled_from(
        ["&a ", "*a ", "!!python/object:os.system ", "!!binary ", "- ", "? ", "{", "}", "[", "]", "|\n", "<<: ", "~"]
    ),
    st.sampled_from(
        ["1.3.6.1.4.1.", ".0", ">=", "*", "((((", "[a-", "(?P<", "{leg=nr}", "1e999", "0x", "\t", "\u0000", "\ufeff"]
    ),
    st.text(max_size=8),
)


@st.composite
def files(draw: st.DrawFn) -> str:
    """Return a shipped file in which a piece was cut out, put in or doubled."""
    text = draw(st.sampled_from(FILES))
    begin = draw(st.integers(0, len(text)))
    end = min(begin + draw(st.integers(0, 60)), len(text))
    piece = draw(st.one_of(YAML_PIECES, st.just(text[begin:end] * 2)))
    return text[:begin] + piece + text[end:]


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(8)
)


@FUZZ
@given(st.one_of(files(), st.lists(YAML_PIECES, max_size=40).map("".join)))
@example(LAUGHS)  # aliases of aliases: four hundred million words
@example("id: a/b\nvendor: &a\n  - *a\n")  # a list that holds itself
@example("id: a/b\n" + "vendor: A\n" * 2_000)  # a key that is said again and again
@example("- " * 4_000)
@example("[" * 4_000)
@example("{a: " * 4_000)
@example("id: !!python/object/apply:os.system [true]")
@example("id: a/b\nvendor: \ud800")
@example("id: a/b\nmatch: {firmware: {range: '" + ">=1 " * 5_000 + "'}}")
@example("id: a/b\nmetrics: [{metric: modem.sim, from: [1.3." + "6." * 9_000 + "0]}]")
def test_a_profile_file(text: str) -> None:
    def run() -> None:
        try:
            file = read_yaml(text, "fuzz.yaml")
            made = resolve_all({**_PARTS, file.id: ("fuzz.yaml", file)})
        except ProfileError:
            return
        check_profiles({key: profile for key, profile in made.items() if key == file.id})

    bounded(run, seconds=0.1 + len(text) * 0.0001, memory=32 << 20)  # YAML itself reads some 20 kB in 100 ms


_PARTS = {file.id: (file.id, file) for text in FILES if (file := read_yaml(text, "shipped.yaml")).abstract}
