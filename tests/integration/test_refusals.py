"""Why there is no connection, as the agent's log says it: a line of its own for each mistake (item 15-5).

The agent is the command, the broker is Mosquitto as we ship it, with TLS on both sides and our access list.
docs/installation shows these lines in both languages.
"""

from __future__ import annotations

import asyncio
import datetime
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from telemetry.fleet import Broker, Tls
from telemetry.message import FORMATS, PLAIN, Up, encode
from telemetry.paho_mqtt import Connection
from telemetry.topics import presence
from tests.guide import LANGUAGES, printed
from tests.services.certificates import Authority, Pair
from tests.services.mosquitto import mosquitto
from tests.services.process import free_port
from tests.services.secured_broker import Secured, secured_broker

KITWATCH = str(Path(sys.executable).parent / "kitwatch")
CONNECTED = "connected to localhost:8883 over TLS as c1/amb-01/router"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """The broker, on which a collector's presence stands: only then does an agent say anything."""
    with secured_broker(tmp_path_factory.mktemp("broker")) as broker:
        pair = broker.certificate("collector")
        tls = Tls(ca=f"{broker.directory}/ca.crt", certificate=str(pair.certificate), key=str(pair.key))

        async def appear() -> None:
            settings = Broker(host="localhost", port=broker.ports["collector"], tls=tls)
            async with Connection(settings, "collector-c1", on_message=lambda message: None) as connection:
                await connection.deliver(presence("c1"), encode(PLAIN, "0" * 16, Up(1, FORMATS, "test")), retain=True)

        asyncio.run(appear())
        yield broker


def tls(secured: Secured, pair: Pair | None, ca: Path | None = None) -> dict[str, str]:
    own = {"certificate": str(pair.certificate), "key": str(pair.key)} if pair else {}
    return {"ca": str(ca or secured.directory / "ca.crt"), **own}


def said(folder: Path, broker: dict[str, Any], until: str, name: str = "amb-01/router") -> str:
    """Run an agent until its log has a line with ``until``; return that line without time and level."""
    vehicle, agent = name.split("/")
    config = {
        "site": "c1", "vehicle": vehicle, "agent": agent, "broker": broker, "state_directory": str(folder / "state"),
        "devices": {"box": {"kind": "host", "system": {"interval": 1, "deadline": 1}}},
        "waits": {"spread": 0, "presence": 0.2},
    }  # fmt: skip
    (folder / "agent.yaml").write_text(yaml.safe_dump(config))
    command = [KITWATCH, "agent", "--config", str(folder / "agent.yaml")]
    log = folder / "log"
    with log.open("wb") as stderr, subprocess.Popen(command, stderr=stderr) as process:
        try:
            end = time.monotonic() + 120
            while until not in log.read_text() and time.monotonic() < end:
                time.sleep(0.1)
        finally:
            process.terminate()
    text = log.read_text()
    assert "Traceback" not in text
    found = [line for line in text.splitlines() if until in line]
    assert found, text
    return re.sub(r"^.* (?:INFO|WARNING) [a-z_.]+: ", "", found[0])


def as_printed(line: str, secured: Secured, pair: Pair | None = None) -> str:
    """Return a line with the port and the folder of the documents in place of this test's."""
    line = line.replace(f":{secured.ports['vehicles']}", ":8883")
    return line.replace(str(pair.certificate.parent), "/etc/kitwatch") if pair else line


def documented(what: str) -> str:
    """Return the line that docs/troubleshooting shows, which is the same in both languages."""
    (line,) = {printed(language, what) for language in LANGUAGES}
    return line


def test_a_connection_is_told_with_its_name(secured: Secured, tmp_path: Path) -> None:
    pair = secured.certificate("amb-01")
    broker = {"host": "localhost", "port": secured.ports["vehicles"], "tls": tls(secured, pair)}
    assert as_printed(said(tmp_path, broker, "connected to"), secured) == CONNECTED
    assert "takes records" in said(tmp_path, broker, "the collector of site c1")


def test_no_client_certificate(secured: Secured, tmp_path: Path) -> None:
    broker = {"host": "localhost", "port": secured.ports["vehicles"], "tls": tls(secured, None)}
    assert said(tmp_path, broker, "no connection") == documented("no certificate")


def test_plain_to_a_port_with_tls(secured: Secured, tmp_path: Path) -> None:
    broker = {"host": "localhost", "port": secured.ports["vehicles"]}
    assert as_printed(said(tmp_path, broker, "no connection"), secured) == documented("plain")


def test_another_vehicles_certificate(secured: Secured, tmp_path: Path) -> None:
    """The broker takes it: it is good. What is written under another name, it refuses."""
    pair = secured.certificate("amb-02")
    broker = {"host": "localhost", "port": secured.ports["vehicles"], "tls": tls(secured, pair)}
    assert as_printed(said(tmp_path, broker, "refuses"), secured, pair) == documented("wrong name")


def test_an_access_list_that_was_not_extended(secured: Secured, tmp_path: Path) -> None:
    """Of a vehicle's second agent: `kitwatch setup vehicle` has written the list, the broker has not read it again."""
    pair = secured.certificate("amb-03.tablet")
    broker = {"host": "localhost", "port": secured.ports["vehicles"], "tls": tls(secured, pair)}
    line = said(tmp_path, broker, "access list", "amb-03/tablet")
    assert as_printed(line, secured, pair) == documented("access list")


def test_the_four_lines_differ() -> None:
    assert len({documented(what) for what in ("no certificate", "plain", "wrong name", "access list")}) == 4


def expired(secured: Secured, folder: Path) -> Pair:
    """Return a vehicle's certificate that our own authority made and that ended yesterday."""
    ours = secured.certificate("amb-01")
    made = x509.load_pem_x509_certificate(ours.certificate.read_bytes())
    authority = secured.directory / "ca"
    key = serialization.load_pem_private_key((authority / "vehicles.key").read_bytes(), None)
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(
        made.issuer, made.subject, made.public_key(), x509.random_serial_number(),
        now - datetime.timedelta(days=30), now - datetime.timedelta(days=1),
    )  # fmt: skip
    for extension in made.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    pair = Pair(folder / "ended.crt", ours.key)
    pair.certificate.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return pair


@pytest.mark.parametrize(
    "what", ["another authority", "another ca", "another name", "ended", "no listener", "no such name"]
)
def test_other_mistakes_have_lines_of_their_own_too(secured: Secured, tmp_path: Path, what: str) -> None:
    another = Authority(tmp_path / "another")
    ours = secured.certificate("amb-01")
    port = secured.ports["vehicles"]
    host = "localhost"
    if what == "another authority":
        pair = another.issue("amb-01")
        part, expected = tls(secured, pair), f"our certificate {pair.certificate} is not from the authority that"
    elif what == "another ca":
        part, expected = tls(secured, ours, another.ca), f"certificate is not from the authority in {another.ca}"
    elif what == "ended":
        pair = expired(secured, tmp_path)
        part, expected = tls(secured, pair), f"our certificate {pair.certificate} has ended (kitwatch setup vehicle"
    elif what == "another name":
        host, part, expected = "0.0.0.0", tls(secured, ours), "the broker's certificate is not for '0.0.0.0'"
    elif what == "no listener":
        port = free_port()
        part, expected = tls(secured, ours), f"nothing listens at localhost:{port}"
    else:
        host, part, expected = "nowhere.invalid", tls(secured, ours), "the name nowhere.invalid is not known here"
    assert expected in said(tmp_path, {"host": host, "port": port, "tls": part}, "no connection")


def test_a_key_that_others_may_read_is_refused(secured: Secured, tmp_path: Path) -> None:
    ours = secured.certificate("amb-01")
    key = tmp_path / "open.key"
    key.write_bytes(ours.key.read_bytes())
    key.chmod(0o640)
    part = tls(secured, Pair(ours.certificate, key))
    line = said(tmp_path, {"host": "localhost", "port": secured.ports["vehicles"], "tls": part}, "no connection")
    assert f"{key}: broker.tls.key: expected mode 0600, found 0640" in line


def test_tls_to_a_port_without(secured: Secured, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with mosquitto(tmp_path / "plain") as plain:
        part = tls(secured, secured.certificate("amb-01"))
        line = said(tmp_path, {"host": "localhost", "port": plain.port, "tls": part}, "no connection")
        assert f"localhost:{plain.port} does not seem to speak TLS, and broker.tls is set" in line


def test_the_broker_goes_away_and_that_is_told_with_how_long_it_was_there(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with mosquitto(tmp_path / "plain") as plain:
        broker = {"host": "localhost", "port": plain.port}
        config = {"site": "c1", "vehicle": "v", "agent": "a", "broker": broker, "devices": {}, "waits": {"spread": 0}}
        (tmp_path / "agent.yaml").write_text(yaml.safe_dump(config | {"state_directory": str(tmp_path / "state")}))
        command = [KITWATCH, "agent", "--config", str(tmp_path / "agent.yaml")]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if "connected to" in line:
                    plain.kill()
                elif "WARNING" in line:
                    break
            process.terminate()
            process.stderr.read()
    assert re.search(r"connection to localhost ended after \d+ s: ", line), line
