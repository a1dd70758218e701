"""Configuration of the inputs, one type an input: the same words in ``fleet.yaml`` and in ``agent.yaml``.

Secrets are never written here but named: ``*_file`` is the path of a file with mode 0600 or of a systemd credential.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Id = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_-]{1,32}\Z")]
"""A name on the wire (docs/architecture.md, Messages)."""
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86400)]
Address = Annotated[str, msgspec.Meta(min_length=1, max_length=253)]


class InputConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every input has: how often it polls and how long one poll may take."""

    interval: Seconds = 10.0
    """Seconds between polls, aligned to whole multiples of it."""
    deadline: Seconds = 5.0
    """Most seconds that one poll may take, retries included; never longer than the interval."""


class SystemInput(InputConfig, frozen=True, kw_only=True):
    """This machine itself, read with psutil: measurement ``host``."""

    disk: str = "/"
    """Mount point of the disk whose use is measured."""
    temperature_sensor: str | None = None
    """Name of the sensor as psutil lists it; without one the hottest of the processor's."""


class SnmpInput(InputConfig, frozen=True, kw_only=True):
    """A device over SNMP, read by a firmware profile that is found by probing."""

    address: Address
    """Name or address."""
    port: Port = 161
    """UDP port."""
    version: Literal["2c", "3"] = "2c"
    """3 is authPriv only: ``user``, ``auth_file`` and ``priv_file`` are then required."""
    community_file: str | None = None
    """Required with version 2c."""
    user: str | None = None
    """Name of the v3 user."""
    auth: Literal["md5", "sha", "sha224", "sha256", "sha384", "sha512"] = "sha256"
    """How v3 requests are signed."""
    auth_file: str | None = None
    """File that holds the v3 user's authentication password."""
    priv: Literal["des", "aes128", "aes256", "aes256-blumenthal"] = "aes128"
    """How v3 requests are encrypted."""
    priv_file: str | None = None
    """File that holds the v3 user's privacy password."""
    profile: str | None = None
    """Narrows the search to one profile, which must still match."""
    timeout: Seconds = 2.0
    """Most seconds for one request."""
    retries: Annotated[int, msgspec.Meta(ge=0, le=5)] = 1
    """Further tries of a request, within the deadline."""
    library: Literal["kitwatch", "pysnmp"] = "kitwatch"
    """What speaks SNMP: kitwatch itself, or ``pysnmp``, which takes fifty times the processor and 20 MB."""

    def __post_init__(self) -> None:
        if self.version == "2c" and not self.community_file:
            raise ValueError("SNMP v2c needs community_file")
        if self.version == "3" and not (self.user and self.auth_file and self.priv_file):
            raise ValueError("SNMP v3 needs user, auth_file and priv_file")


class ModemInput(InputConfig, frozen=True, kw_only=True):
    """A modem over its AT port."""

    port: str
    """Best by ``/dev/serial/by-id/...``: ttyUSB numbers change."""
    baud: int = 115200
    """Bits a second."""


class GnssInput(InputConfig, frozen=True, kw_only=True):
    """A GNSS receiver that prints NMEA sentences on a serial port."""

    port: str
    """Best by `/dev/serial/by-id/...`: ttyUSB numbers change."""
    baud: int = 9600
    """Bits a second."""


class HttpInput(InputConfig, frozen=True, kw_only=True):
    """A device over HTTP, read by a firmware profile that is found by probing."""

    url: str
    """Where the device is: scheme, host and port; the profile says the paths."""
    profile: str | None = None
    """Narrows the search to one profile, which must still match."""
    user: str | None = None
    """Name to log in with."""
    password_file: str | None = None
    """File that holds the password of `user`."""
    token_file: str | None = None
    """File that holds a token, for devices that take one."""
    verify: bool = True
    """Whether the certificate must be signed by an authority that this machine knows."""
    fingerprint: str | None = None
    """SHA-256 of the one certificate that is accepted, in hex: for a self-signed one."""


class Target(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that a probe asks."""

    kind: Literal["icmp", "tcp", "http"]
    """``icmp`` needs ``address``, ``tcp`` needs ``address`` and ``port``, ``http`` needs ``url``."""
    address: Address | None = None
    """Name or address."""
    port: Port | None = None
    """TCP port."""
    url: str | None = None
    """Page that is asked for."""
    expect_status: int | None = None
    """The HTTP status that counts as good."""
    expect_text: str | None = None
    """Text that a good page holds."""
    verify: bool = True
    """Whether the certificate must be signed by an authority that this machine knows."""

    def __post_init__(self) -> None:
        needed = {"icmp": ("address",), "tcp": ("address", "port"), "http": ("url",)}[self.kind]
        missing = [key for key in needed if getattr(self, key) is None]
        if missing:
            raise ValueError(f"a probe of kind {self.kind} needs {' and '.join(missing)}")


class ProbeInput(InputConfig, frozen=True, kw_only=True):
    """Round trip, loss, status and certificate of configured targets."""

    targets: dict[Id, Target]
    """The key is the label ``target``."""
    count: Annotated[int, msgspec.Meta(ge=1, le=20)] = 3
    """Probes of each target at each poll."""


class StreamInput(InputConfig, frozen=True, kw_only=True):
    """An RTSP stream, played at each poll and measured without decoding it."""

    url: str
    """The stream: `rtsp://...`."""
    stream: Id = "main"
    """The label ``stream``."""
    user: str | None = None
    """Name to log in with."""
    password_file: str | None = None
    """File that holds the password of `user`."""
    basic_in_clear: bool = False
    """Allows the login that shows the password to anyone on the line, for servers that know no digest."""
    transport: Literal["tcp", "udp"] = "tcp"
    """How its packets come: within the connection, or beside it."""
    play: Seconds = 5.0
    """Seconds for which it is played."""
    interval: Seconds = 60.0
    """Seconds between polls, aligned to whole multiples of it."""
    deadline: Seconds = 15.0
    """Most seconds that one poll may take; longer than `play`."""


class Inputs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The inputs of one device; the first one present, in this order, is its primary and owns ``device.reachable``."""

    snmp: SnmpInput | None = None
    """SNMP: routers, switches, UPS."""
    modem: ModemInput | None = None
    """A modem's AT port."""
    http: HttpInput | None = None
    """An HTTP API."""
    gnss: GnssInput | None = None
    """A GNSS receiver's serial port."""
    system: SystemInput | None = None
    """The machine that the agent runs on."""
    probe: ProbeInput | None = None
    """Targets that are asked from this machine."""
    stream: StreamInput | None = None
    """An RTSP stream."""

    def configured(self) -> list[tuple[str, InputConfig]]:
        """Return the inputs that are configured, as (name, configuration), the primary first."""
        found = ((name, getattr(self, name)) for name in Inputs.__struct_fields__)
        return [(name, config) for name, config in found if config is not None]
