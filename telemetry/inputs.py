"""Configuration of the inputs, one type an input: the same words in ``fleet.yaml`` and in ``agent.yaml``.

Secrets are never written here but named: ``*_file`` is the path of a file with mode 0600 or of a systemd credential.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Id = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_-]{1,32}\Z")]
"""A name on the wire (DESIGN 2, Messages)."""
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86400)]
Address = Annotated[str, msgspec.Meta(min_length=1, max_length=253)]


class InputConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every input has: how often it polls and how long one poll may take.

    ``interval`` is seconds between polls, aligned to whole multiples of it; ``deadline`` is the most seconds one poll
    may take, retries included, and is never longer than the interval.
    """

    interval: Seconds = 10.0
    deadline: Seconds = 5.0


class SystemInput(InputConfig, frozen=True, kw_only=True):
    """This machine itself, read with psutil: measurement ``host``."""

    disk: str = "/"
    temperature_sensor: str | None = None


class SnmpInput(InputConfig, frozen=True, kw_only=True):
    """A device over SNMP, read by a firmware profile that is found by probing.

    v3 is authPriv only: ``user``, ``auth_file`` and ``priv_file`` are then required. ``profile`` narrows the search to
    one profile, which must still match. ``retries`` are made within ``deadline``; ``timeout`` is for one request.
    ``library`` is what speaks SNMP: kitwatch itself, or ``pysnmp``, which takes fifty times the processor and 20 MB.
    """

    address: Address
    port: Port = 161
    version: Literal["2c", "3"] = "2c"
    community_file: str | None = None
    user: str | None = None
    auth: Literal["md5", "sha", "sha224", "sha256", "sha384", "sha512"] = "sha256"
    auth_file: str | None = None
    priv: Literal["des", "aes128", "aes256", "aes256-blumenthal"] = "aes128"
    priv_file: str | None = None
    profile: str | None = None
    timeout: Seconds = 2.0
    retries: Annotated[int, msgspec.Meta(ge=0, le=5)] = 1
    library: Literal["kitwatch", "pysnmp"] = "kitwatch"

    def __post_init__(self) -> None:
        if self.version == "2c" and not self.community_file:
            raise ValueError("SNMP v2c needs community_file")
        if self.version == "3" and not (self.user and self.auth_file and self.priv_file):
            raise ValueError("SNMP v3 needs user, auth_file and priv_file")


class ModemInput(InputConfig, frozen=True, kw_only=True):
    """A modem over its AT port. Name the port by ``/dev/serial/by-id/...``: ttyUSB numbers change."""

    port: str
    baud: int = 115200


class GnssInput(InputConfig, frozen=True, kw_only=True):
    """A GNSS receiver that prints NMEA sentences on a serial port."""

    port: str
    baud: int = 9600


class HttpInput(InputConfig, frozen=True, kw_only=True):
    """A device over HTTP, read by a profile. ``fingerprint`` pins a self-signed certificate (SHA-256, hex)."""

    url: str
    profile: str | None = None
    user: str | None = None
    password_file: str | None = None
    token_file: str | None = None
    verify: bool = True
    fingerprint: str | None = None


class Target(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that a probe asks.

    ``icmp`` needs ``address``, ``tcp`` needs ``address`` and ``port``, ``http`` needs ``url``.
    """

    kind: Literal["icmp", "tcp", "http"]
    address: Address | None = None
    port: Port | None = None
    url: str | None = None
    expect_status: int | None = None
    expect_text: str | None = None
    verify: bool = True

    def __post_init__(self) -> None:
        needed = {"icmp": ("address",), "tcp": ("address", "port"), "http": ("url",)}[self.kind]
        missing = [key for key in needed if getattr(self, key) is None]
        if missing:
            raise ValueError(f"a probe of kind {self.kind} needs {' and '.join(missing)}")


class ProbeInput(InputConfig, frozen=True, kw_only=True):
    """Round trip, loss, status and certificate of configured targets; the key is the label ``target``."""

    targets: dict[Id, Target]
    count: Annotated[int, msgspec.Meta(ge=1, le=20)] = 3


class StreamInput(InputConfig, frozen=True, kw_only=True):
    """An RTSP stream, played for ``play`` seconds at each poll and measured without decoding it."""

    url: str
    stream: Id = "main"
    user: str | None = None
    password_file: str | None = None
    transport: Literal["tcp", "udp"] = "tcp"
    play: Seconds = 5.0
    interval: Seconds = 60.0
    deadline: Seconds = 15.0


class Inputs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The inputs of one device; the first one present, in this order, is its primary and owns ``device.reachable``."""

    snmp: SnmpInput | None = None
    modem: ModemInput | None = None
    http: HttpInput | None = None
    gnss: GnssInput | None = None
    system: SystemInput | None = None
    probe: ProbeInput | None = None
    stream: StreamInput | None = None

    def configured(self) -> list[tuple[str, InputConfig]]:
        """Return the inputs that are configured, as (name, configuration), the primary first."""
        found = ((name, getattr(self, name)) for name in Inputs.__struct_fields__)
        return [(name, config) for name, config in found if config is not None]
