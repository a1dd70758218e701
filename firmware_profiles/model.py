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
    """How one cell becomes a value: these keys are applied in their order, a source's before its metric's."""

    types: list[str] | None = None
    """Accepted types on the wire; a value of another type is set aside as unparsed."""
    pattern: str | None = None
    """A regular expression whose group `value`, or first group, is the value."""
    strip: str | None = None
    """Characters that are cut from the end of a text."""
    fillers: list[Plain] | None = None
    """Raw values that mean "nothing": numbers before scaling, texts in any case, or bounds such as `<256`."""
    enum: dict[str | int, Plain] | None = None
    """From the raw value to the word; null says "this tells nothing"."""
    words: dict[str, Plain] | None = None
    """The same by regular expression over the whole text, tried after `enum`."""
    vocabulary: Literal["technology", "registration", "sim"] | None = None
    """A shared list for states that many makers word alike, tried last."""
    unit: list[str] | None = None
    """Suffixes that a number may carry."""
    base: Literal[10, 16] | None = None
    """16 for a number written in hexadecimal."""
    prefix: str | None = None
    """Set before a text that is a bare number: `20` becomes `B20`."""
    duration: bool | None = None
    """The text is a duration such as `1 days, 02:03:04`; the value is its seconds."""
    counter: Literal[32, 64] | None = None
    """Width in bits of a counter that may arrive as a negative Integer32."""
    scale: float | None = None
    """The number is multiplied by it."""
    offset: float | None = None
    """Then this is added."""
    range: tuple[float, float] | None = None
    """Both ends are plausible; a number beyond them is set aside."""


class Source(Parsing, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One place that a value may come from: `at`, or a `formula` over the named places in `of`."""

    at: str | None = None
    """An OID over SNMP, `request:path` over HTTP."""
    formula: str | None = None
    """An expression over the names in `of`."""
    of: dict[str, str] = {}
    """From a name in the formula to the place of its value."""
    join: list[int] | None = None
    """Which components of the row's index the look-up uses: `[0]` of `14.1` is `14`."""
    exact: bool = False
    """The scalar has no `.0` on this device."""
    only: list[Condition] = []
    """Conditions on the row for this source alone."""


class Condition(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Holds for a raw cell (`at`), for a metric that was read before (`metric`), or for a `formula` that is `at_most`.

    A cell that the device does not give holds, unless `required`: what is not told withholds nothing.
    """

    at: str | None = None
    """The raw cell that is looked at: an OID, or `request:path`."""
    metric: str | None = None
    """The metric that is looked at, already read."""
    one_of: list[Plain] | None = None
    """It holds for these values."""
    none_of: list[Plain] | None = None
    """It holds for any but these values."""
    matches: str | None = None
    """It holds where this regular expression matches."""
    formula: str | None = None
    """An expression over the names in `of`."""
    of: dict[str, str] = {}
    """From a name in the formula to the place of its value."""
    at_most: float | None = None
    """It holds while the formula is no more than this."""
    required: bool = False
    """A cell that the device does not give does not hold."""
    absent: bool = False
    """It holds only for a cell that the device does not give, which tells two kinds of device apart."""
    join: list[int] | None = None
    """Which components of the row's index the look-up uses."""
    flag: FlagKind | None = None
    """The flag that is raised where it does not hold; without one the profile's notes say why nothing need be said."""


class Table(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Rows of readings that one label tells apart."""

    label: str
    """The label's name, on every row, however many answered: a series must not change its name with the poll."""
    name: list[str | Source] = []
    """Places of the label's value, the first with a text; without any it is the row's index."""
    keep: list[Condition] = []
    """Conditions that a row must meet."""
    unique: list[str] = []
    """Columns that identify a thing: a second row with the same texts is dropped."""
    instances: dict[str, int] | None = None
    """Makes rows of scalars: from the row's name to a number that is added to `{30}` in `at`."""
    rows: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 256
    """The most rows that are read."""


class Metric(Parsing, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, rename={"source": "from"}):
    """One metric of the catalogue and the places where it is looked for, best first."""

    metric: str
    """Its name in the catalogue."""
    source: list[str | Source]
    """The places, the first that gives a value."""
    table: str | None = None
    """The table whose rows it is read for."""
    labels: dict[str, str] = {}
    """Labels that every reading gets."""
    aggregate: Literal["mean", "max", "min", "sum"] | None = None
    """Makes one value of a column's rows."""
    when: list[Condition] = []
    """Conditions under which the figure means anything."""


class Probe(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A question whose answer tells devices apart: equal to a text, matching a pattern, or merely there."""

    at: str
    """What is asked: an OID, or `request:path`."""
    equals: Plain = None
    """The answer must be this."""
    matches: str | None = None
    """The answer must match this regular expression."""
    column: bool = False
    """Asks whether anything stands below the OID."""


class FirmwareMatch(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The firmware range of a profile."""

    range: str = "*"
    """Versions, such as `>=7.10 <8`; `*` is any."""
    prefixes: list[str] = []
    """Globs of which one must match what stands before the version."""
    version: str | None = None
    """A pattern with a group `version`, and perhaps `prefix`, for the identity's firmware text."""
    unknown: Literal["refuse", "only", "accept"] = "refuse"
    """A device that does not tell its firmware: `refuse` it; `only` such ones, so that the profile reads only what
    holds for every one of them; or `accept` them too, where there has been one layout only."""


class Blocked(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Versions that must not run: a device that has one is read, and `device.firmware_blocked` says so."""

    range: str
    """Versions, such as `<=7.3.4`, within those that the profile is for."""
    why: str
    """What is wrong with them, and who says so."""
    recommended: str
    """The version to go to."""


class Match(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The stages of matching: all that are given must hold."""

    sys_object_id: list[str] = []
    """sysObjectID: exact, `X.*` for what lies below X, `*` for any."""
    probes: list[Probe] = []
    """Questions that must all hold."""
    any: list[Probe] = []
    """Questions of which one must hold."""
    firmware: FirmwareMatch | None = None
    """The firmware range."""


class Request(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One HTTP request of a profile."""

    path: str
    """Path and query below the device's address."""
    method: Literal["GET", "POST"] = "GET"
    """POST needs `why_post`."""
    format: Literal["json", "xml", "keyvalue", "text"] = "json"
    """How the answer is read."""
    body: str | None = None
    """What a POST sends."""
    headers: dict[str, str] = {}
    """Sent with the request."""
    why_post: str | None = None
    """Why a read needs POST."""
    shape: list[str] = []
    """Paths of which one must be in an answer for it to be this request's."""
    identity: bool = False
    """The probe that is made before credentials are sent."""
    anonymous: bool = False
    """Sent without credentials."""
    optional: bool = False
    """A firmware may refuse it."""
    secrets: list[str] = []
    """Paths that are dropped from the answer before anything looks at it."""
    error: str | None = None
    """A pattern of an answer that is an error, whatever its status."""
    interval: Annotated[float, msgspec.Meta(ge=0)] = 0
    """Seconds between two of this request; 0: at each poll."""


class Auth(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a maker's devices let one in.

    `form` and `token` describe a login: an optional GET of `nonce_path` whose `nonce_at` is the nonce, then a POST
    of `fields` or `body` (in the words of `firmware_profiles.login`) to `login_path`.
    """

    kind: Literal["none", "basic", "digest", "bearer", "form", "token"] = "none"
    """The way."""
    challenge: str | None = None
    """For devices that answer not even the identity request without a login: a pattern of the 401's
    `WWW-Authenticate` that is taken for the identity until the answer itself can be looked at. Digest only,
    because a digest does not show the password."""
    realm: str | None = None
    """A pattern of the challenge's realm that this maker is known by, where two makers' challenges would do."""
    nonce_path: str | None = None
    """What is fetched before the login."""
    nonce_at: str | None = None
    """Where the nonce stands in that answer."""
    login_path: str | None = None
    """Where the login is posted."""
    login_format: Literal["json", "form"] = "form"
    """How `fields` are sent."""
    fields: dict[str, str] = {}
    """The login's fields."""
    body: str | None = None
    """The login's body as a whole, instead of fields."""
    headers: dict[str, str] = {}
    """Sent with the login."""
    ok: str | None = None
    """A pattern that the answer to a good login matches."""
    token_at: str | None = None
    """Where the session's token stands in the answer; without it the session lives in cookies."""
    token_header: str = "Authorization"
    """The header that carries the token."""
    token_format: str = "{token}"
    """How it stands there."""
    expired: str | None = None
    """A pattern of an answer that says the session has ended."""


class Example(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A device in small: its answers, and what must come of them."""

    title: str
    """What the example shows."""
    answers: list[str] | dict[str, str]
    """`.snmprec` lines, or saved bodies by request."""
    refused: str | None = None
    """A text that the reason for not taking the profile contains."""
    readings: dict[str, Plain] = {}
    """Everything that comes out: `metric{label=value}` to value."""
    identity: dict[str, str] = {}
    """Who the device says it is."""
    flags: list[str] = []
    """Flags that are raised, as `kind metric`."""


class ProfileFile(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One file: a profile, or with `abstract` a part that others extend."""

    id: ProfileId
    """`maker/name`."""
    vendor: str = ""
    """The maker, as people write it."""
    title: str = ""
    """What devices it is for."""
    transport: Literal["snmp", "http"] = "snmp"
    """How they are asked."""
    backed_by: Literal["capture", "fixture", "vendor document", "mib", "third hand", "standard"] = "mib"
    """What the knowledge rests on."""
    notes: str = ""
    """What a reader should know."""
    abstract: bool = False
    """A part that others extend; it never matches."""
    fallback: bool = False
    """Reads standard MIBs of devices that no other profile knows."""
    extends: list[ProfileId] = []
    """Profiles whose parts this one takes over, in their order."""
    match: Match = msgspec.field(default_factory=Match)
    """Which devices it is for."""
    blocked: list[Blocked] = []
    """Versions that must not run, as `match.firmware` reads them."""
    identity: dict[str, list[str | Source]] = {}
    """From `vendor`, `model`, `serial`, `firmware`, `imei`, `iccid` to the places that tell it."""
    constants: dict[str, str] = {}
    """Identity that all such devices share."""
    default_leg: Literal["lte", "nr"] | None = None
    """The radio leg of figures while the device does not tell its technology."""
    tables: dict[str, Table] = {}
    """Rows of readings, by a name of the profile's own."""
    metrics: list[Metric] = []
    """What it reads."""
    remove: list[str] = []
    """Metrics of extended profiles that this one does not read."""
    requests: dict[str, Request] = {}
    """HTTP requests, by a name of the profile's own."""
    auth: Auth = msgspec.field(default_factory=Auth)
    """How one logs in."""
    spacing: Annotated[float, msgspec.Meta(ge=0, le=10)] = 0
    """The least number of seconds between two HTTP requests."""
    examples: list[Example] = []
    """Devices in small, checked by `kitwatch profiles check`."""


def from_yaml(value: Any) -> ProfileFile:
    """Return the profile in decoded YAML. Raises msgspec.ValidationError, whose text names the key."""
    return msgspec.convert(value, ProfileFile)
