"""What a profile file may say: the types that its YAML is read into.

A description of a metric names no transport: ``at`` is an OID over SNMP and ``request:path`` over HTTP, everything
else (types, number parsing, scale, fillers, range, enumeration, conditions, examples) is the same for both.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

Plain = str | int | float | bool | None
FlagKind = Literal[
    "filler",
    "withheld",
    "contradiction",
    "unknown_text",
    "wrapped",
    "duplicate",
    "truncated",
    "stale",
    "unparsed",
]
ProfileId = Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9-]+/[a-z0-9.-]+\Z")]


class Parsing(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How one cell becomes a value. Applied in this order; what a source says goes before what its metric says.

    ``types``: accepted types on the wire. ``pattern``: a regular expression whose group ``value`` (or first group) is
    the value. ``strip``: characters cut from the end of a text. ``fillers``: raw values that mean "nothing": numbers
    before scaling, texts in any case, or bounds such as ``<256``. ``enum``: raw value to word; null says "this tells
    nothing". ``words``: the same by regular expression, tried after ``enum``, and ``vocabulary`` names a list for
    states that many makers word alike, tried last. ``unit``: suffixes a number may carry. ``base``: 16 for hexadecimal
    text. ``prefix``: set before a text that is a bare number (``20`` to ``B20``). ``duration``: ``1 days, 02:03:04`` to
    seconds. ``counter``: width of a counter that may come as a negative Integer32. Then ``scale``, ``offset``, and
    ``range`` (both ends plausible).
    """

    types: list[str] | None = None
    pattern: str | None = None
    strip: str | None = None
    fillers: list[Plain] | None = None
    enum: dict[str | int, Plain] | None = None
    words: dict[str, Plain] | None = None
    vocabulary: Literal["technology", "registration", "sim"] | None = None
    unit: list[str] | None = None
    base: Literal[10, 16] | None = None
    prefix: str | None = None
    duration: bool | None = None
    counter: Literal[32, 64] | None = None
    scale: float | None = None
    offset: float | None = None
    range: tuple[float, float] | None = None


class Source(Parsing, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One place a value may come from: ``at``, or a ``formula`` over the named places in ``of``.

    ``join`` picks components of the row's index for the look-up (``[0]`` of ``14.1`` is ``14``). ``exact`` says that
    a scalar has no ``.0`` on this device. ``only`` are conditions on the row for this source alone.
    """

    at: str | None = None
    formula: str | None = None
    of: dict[str, str] = {}
    join: list[int] | None = None
    exact: bool = False
    only: list[Condition] = []


class Condition(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Holds for a raw cell (``at``), for a metric already read (``metric``) or for a ``formula`` that is ``at_most``.

    A cell that the device does not give holds, unless ``required``: what is not told withholds nothing. ``flag`` is
    the kind of flag raised when it does not hold; without one the profile documents why nothing need be said.
    """

    at: str | None = None
    metric: str | None = None
    one_of: list[Plain] | None = None
    none_of: list[Plain] | None = None
    matches: str | None = None
    formula: str | None = None
    of: dict[str, str] = {}
    at_most: float | None = None
    required: bool = False
    join: list[int] | None = None
    flag: FlagKind | None = None


class Table(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Rows of readings told apart by one label.

    ``label`` is set where several rows remain, or ``always``. Its value is the first ``name`` that has a text, else
    the row's index. ``keep`` are conditions a row must meet. ``unique`` are columns that identify a thing: a second
    row with the same texts is dropped. ``instances`` makes rows of scalars: a number to add to ``{30}`` in ``at``.
    """

    label: str
    always: bool = False
    name: list[str | Source] = []
    keep: list[Condition] = []
    unique: list[str] = []
    instances: dict[str, int] | None = None
    rows: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 256


class Metric(Parsing, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, rename={"source": "from"}):
    """One metric of the catalogue and the places it is looked for, best first.

    ``aggregate`` makes one value of a column's rows. ``when`` are conditions under which the figure means anything.
    """

    metric: str
    source: list[str | Source]
    table: str | None = None
    labels: dict[str, str] = {}
    aggregate: Literal["mean", "max", "min", "sum"] | None = None
    when: list[Condition] = []


class Probe(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A question whose answer tells devices apart: equal to a text, matching a pattern, or merely there.

    ``column`` asks whether anything stands below the OID.
    """

    at: str
    equals: Plain = None
    matches: str | None = None
    column: bool = False


class FirmwareMatch(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The firmware range of a profile.

    ``version`` is a pattern with a group ``version`` and perhaps ``prefix``; ``prefixes`` are globs. ``source``
    (``at`` in the file) defaults to the identity's firmware. ``unknown: only`` makes a profile for devices that do
    not tell their firmware, so that it reads only what holds for every one of them; ``accept`` takes them too, where
    one layout is all there has been.
    """

    range: str = "*"
    prefixes: list[str] = []
    version: str | None = None
    unknown: Literal["refuse", "only", "accept"] = "refuse"


class Match(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The stages of matching: sysObjectID (exact, ``X.*`` below X, ``*``), probes that all hold, any of, firmware."""

    sys_object_id: list[str] = []
    probes: list[Probe] = []
    any: list[Probe] = []
    firmware: FirmwareMatch | None = None


class Request(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One HTTP request of a profile.

    ``shape`` are paths of which one must be in an answer for it to be this request's. ``identity`` marks the probe
    that is made before credentials are sent. ``why_post`` says why a read needs POST. ``secrets`` are paths that are
    dropped from answers before anything looks at them. ``optional`` answers may be refused by a firmware.
    """

    path: str
    method: Literal["GET", "POST"] = "GET"
    format: Literal["json", "xml", "keyvalue", "text"] = "json"
    body: str | None = None
    headers: dict[str, str] = {}
    why_post: str | None = None
    shape: list[str] = []
    identity: bool = False
    anonymous: bool = False
    optional: bool = False
    secrets: list[str] = []
    error: str | None = None
    interval: Annotated[float, msgspec.Meta(ge=0)] = 0


class Auth(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a maker's devices let one in.

    ``challenge`` is for devices that answer not even the identity request without a login: a pattern of the 401's
    ``WWW-Authenticate`` that is then taken for the identity until the answer itself can be looked at (digest only,
    because a digest does not show the password); ``realm`` is a pattern of it that this maker is known by, where two
    makers' challenges would do. ``form`` and ``token`` describe a login: an optional GET of
    ``nonce_path`` whose ``nonce_at`` is the nonce, then a POST of ``fields`` or ``body`` (in the words of
    ``firmware_profiles.login``) to ``login_path``; ``ok`` is a pattern that the answer to a good login matches. The
    session then lives in cookies, or (token) in the text at ``token_at`` of the answer, sent as ``token_header``.
    ``expired`` is a pattern of an answer that says the session has ended.
    """

    kind: Literal["none", "basic", "digest", "bearer", "form", "token"] = "none"
    challenge: str | None = None
    realm: str | None = None
    nonce_path: str | None = None
    nonce_at: str | None = None
    login_path: str | None = None
    login_format: Literal["json", "form"] = "form"
    fields: dict[str, str] = {}
    body: str | None = None
    headers: dict[str, str] = {}
    ok: str | None = None
    token_at: str | None = None
    token_header: str = "Authorization"
    token_format: str = "{token}"
    expired: str | None = None


class Example(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A device in small: its answers, and what must come of them.

    ``answers`` are ``.snmprec`` lines, or saved bodies by request. Either ``refused`` is a text that the reason for
    not taking the profile contains, or ``readings`` is everything that comes out: ``metric{label=value}`` to value.
    """

    title: str
    answers: list[str] | dict[str, str]
    refused: str | None = None
    readings: dict[str, Plain] = {}
    identity: dict[str, str] = {}
    flags: list[str] = []


class ProfileFile(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One YAML file: a profile, or with ``abstract`` a part that others extend.

    ``backed_by`` says what the knowledge rests on. ``default_leg`` is the radio leg of figures when the device does
    not tell its technology. ``fallback`` profiles read standard MIBs of devices that no other profile knows.
    ``spacing`` is the least number of seconds between two HTTP requests.
    """

    id: ProfileId
    vendor: str = ""
    title: str = ""
    transport: Literal["snmp", "http"] = "snmp"
    backed_by: Literal["capture", "fixture", "vendor document", "mib", "third hand", "standard"] = "mib"
    notes: str = ""
    abstract: bool = False
    fallback: bool = False
    extends: list[ProfileId] = []
    match: Match = msgspec.field(default_factory=Match)
    identity: dict[str, list[str | Source]] = {}
    constants: dict[str, str] = {}
    default_leg: Literal["lte", "nr"] | None = None
    tables: dict[str, Table] = {}
    metrics: list[Metric] = []
    remove: list[str] = []
    requests: dict[str, Request] = {}
    auth: Auth = msgspec.field(default_factory=Auth)
    spacing: Annotated[float, msgspec.Meta(ge=0, le=10)] = 0
    examples: list[Example] = []


def from_yaml(value: Any) -> ProfileFile:
    """Return the profile in decoded YAML. Raises msgspec.ValidationError, whose text names the key."""
    return msgspec.convert(value, ProfileFile)
