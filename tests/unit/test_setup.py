"""`kitwatch setup`: what it writes, with which modes, and that it overwrites no key and asks for what is not given."""

from __future__ import annotations

import os
import stat
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from kitwatch.main import main

OWNER = "root" if os.geteuid() == 0 else os.environ.get("USER", "nobody")
HOST = {"devices": {"box": {"kind": "host", "system": {}}}}
FLEET: dict[str, Any] = {
    "sites": {
        "c1": {
            "broker": {"host": "mqtt.example.org", "tls": {"ca": "/elsewhere/ca.crt"}},
            "vehicles": {
                "amb-01": {"agents": {"router": HOST}},
                "amb-02": {"agents": {"router": HOST, "tablet": HOST}},
            },
        }
    }
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump(FLEET))
    (tmp_path / "kitwatch.acl").write_text("user collector\ntopic read kitwatch/v1/up/#\n")
    assert main(["setup", "ca", "--name", "急救中心", "--ca", str(tmp_path / "ca")]) == 0
    return tmp_path


def setup(folder: Path, *words: str) -> int:
    more = (
        ["--fleet", f"{folder}/fleet.yaml", "--acl", f"{folder}/kitwatch.acl"]
        if words[0] in ("vehicle", "access")
        else []
    )
    owner = ["--owner", OWNER] if words[0] in ("server", "collector") else []
    to = [] if words[0] == "access" else ["--to", str(folder)]
    return main(["setup", *words, "--ca", str(folder / "ca"), *to, *more, *owner])


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def openssl(*words: str) -> str:
    return subprocess.run(["openssl", *words], capture_output=True, text=True, check=True).stdout


def test_every_key_is_for_its_owner_only_and_what_all_may_read_is_for_all(folder: Path) -> None:
    assert [setup(folder, "server", "mqtt.example.org", "192.0.2.7"), setup(folder, "collector")] == [0, 0]
    assert setup(folder, "vehicle", "amb-01") == 0
    assert mode(folder / "ca") == 0o700
    for name in ("ca/centre.key", "ca/vehicles.key", "server.key", "collector.key", "amb-01.tar"):
        assert mode(folder / name) == 0o600, name
    for name in ("ca.crt", "vehicles.crt", "vehicles.crl", "server.crt", "collector.crt"):
        assert mode(folder / name) == 0o644, name
    assert not list(folder.glob(".*"))


def test_openssl_agrees_with_every_certificate(folder: Path) -> None:
    setup(folder, "server", "mqtt.example.org", "192.0.2.7")
    setup(folder, "collector")
    setup(folder, "vehicle", "amb-01")
    with tarfile.open(folder / "amb-01.tar") as archive:
        archive.extract("agent.crt", folder)
    for certificate, authority, purpose in (
        ("server.crt", "ca.crt", "sslserver"),
        ("collector.crt", "ca.crt", "sslclient"),
        ("agent.crt", "vehicles.crt", "sslclient"),
    ):
        verify = ("verify", "-x509_strict", "-purpose", purpose, "-CAfile", f"{folder}/{authority}")
        assert openssl(*verify, f"{folder}/{certificate}").endswith("OK\n")
    wrong = ["openssl", "verify", "-CAfile", f"{folder}/ca.crt", f"{folder}/agent.crt"]
    assert subprocess.run(wrong, capture_output=True, check=False).returncode != 0
    told = openssl("x509", "-in", f"{folder}/server.crt", "-noout", "-ext", "subjectAltName")
    assert "DNS:mqtt.example.org" in told
    assert "IP Address:192.0.2.7" in told


def test_a_vehicles_archive_holds_its_file_and_owners_by_name(folder: Path) -> None:
    assert setup(folder, "vehicle", "amb-01") == 0
    with tarfile.open(folder / "amb-01.tar") as archive:
        members = {member.name: (member.uname, member.gname, member.mode) for member in archive.getmembers()}
        config = yaml.safe_load(archive.extractfile("agent.yaml").read())  # type: ignore[union-attr]
    assert members == {
        "agent.yaml": ("root", "kitwatch", 0o640),
        "ca.crt": ("root", "kitwatch", 0o644),
        "agent.crt": ("root", "kitwatch", 0o644),
        "agent.key": ("kitwatch", "kitwatch", 0o600),
    }
    assert (config["vehicle"], config["agent"]) == ("amb-01", "router")
    assert config["broker"]["tls"] == {
        "ca": "/etc/kitwatch/ca.crt", "certificate": "/etc/kitwatch/agent.crt", "key": "/etc/kitwatch/agent.key",
    }  # fmt: skip


def test_own_profiles_go_with_the_archive_and_everybody_may_read_them(folder: Path) -> None:
    (folder / "own" / "acme").mkdir(parents=True)
    (folder / "own" / "acme" / "box.yaml").write_text("id: acme/box\nmatch: {sys_object_id: [1.3.6.1.4.1.54321.1]}\n")
    (folder / "own" / "acme" / "box.snmprec").write_text("")
    (folder / "fleet.yaml").write_text(yaml.safe_dump({**FLEET, "profiles": ["own"]}))
    assert setup(folder, "vehicle", "amb-01") == 0
    with tarfile.open(folder / "amb-01.tar") as archive:
        members = {member.name: member for member in archive.getmembers()}
        config = yaml.safe_load(archive.extractfile("agent.yaml").read())  # type: ignore[union-attr]
    assert config["profiles"] == ["profiles/1"]
    names = ["profiles", "profiles/1", "profiles/1/acme", "profiles/1/acme/box.yaml"]
    assert sorted(name for name in members if name.startswith("profiles")) == names
    assert [members[name].mode for name in names] == [0o755, 0o755, 0o755, 0o644]


def test_agents_of_one_vehicle_have_names_and_lines_of_their_own(folder: Path) -> None:
    assert setup(folder, "vehicle", "amb-02", "tablet", "--instance", "tablet") == 0
    assert setup(folder, "vehicle", "amb-02", "tablet", "--instance", "tablet", "--replace") == 0
    with tarfile.open(folder / "amb-02.tablet.tar") as archive:
        assert sorted(archive.getnames()) == ["ca.crt", "tablet.crt", "tablet.key", "tablet.yaml"]
    text = (folder / "kitwatch.acl").read_text()
    assert text.count("user amb-02.tablet\n") == 1  # once, however often
    assert "topic write kitwatch/v1/up/c1/amb-02/tablet/live\n" in text
    assert text.startswith("user collector\n")


def test_the_access_list_can_be_written_for_the_whole_fleet_without_new_certificates(folder: Path) -> None:
    assert setup(folder, "access") == 0
    text = (folder / "kitwatch.acl").read_text()
    assert [line for line in text.splitlines() if line.startswith("user ")] == [
        "user collector", "user amb-01", "user amb-02.router", "user amb-02.tablet",
    ]  # fmt: skip
    assert setup(folder, "access") == 0
    assert (folder / "kitwatch.acl").read_text() == text


def test_a_file_that_is_no_access_list_is_left_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "kitwatch.acl").write_text("# mine\n\nsites:\n")
    assert [setup(folder, "access"), setup(folder, "vehicle", "amb-01")] == [2, 2]
    assert capsys.readouterr().err.splitlines() == [
        f"kitwatch: {folder}/kitwatch.acl: line 3: expected Mosquitto's access list, found 'sites:'"
    ] * 2  # fmt: skip
    assert (folder / "kitwatch.acl").read_text() == "# mine\n\nsites:\n"
    assert not (folder / "amb-01.tar").exists()


def test_a_certificate_from_when_the_vehicle_had_one_agent_goes_on_writing(folder: Path) -> None:
    two = FLEET["sites"]["c1"]["vehicles"]["amb-02"]
    one: dict[str, Any] = {"c1": {**FLEET["sites"]["c1"], "vehicles": {"amb-02": {"agents": {"router": HOST}}}}}
    (folder / "fleet.yaml").write_text(yaml.safe_dump({"sites": one}))
    assert setup(folder, "vehicle", "amb-02") == 0
    (folder / "kitwatch.acl").write_text("")
    one["c1"]["vehicles"]["amb-02"] = two
    (folder / "fleet.yaml").write_text(yaml.safe_dump({"sites": one}))
    assert setup(folder, "access") == 0
    text = (folder / "kitwatch.acl").read_text()
    block = next(block for block in text.split("\n\n") if block.lstrip().startswith("user amb-02\n"))
    assert "topic write kitwatch/v1/up/c1/amb-02/router/live" in block
    assert "topic write kitwatch/v1/up/c1/amb-02/tablet/live" in block
    assert "user amb-02.router\n" in text
    (folder / "kitwatch.acl").write_text("")
    assert setup(folder, "revoke", "amb-02") == 0
    assert setup(folder, "access") == 0
    assert "user amb-02\n" not in (folder / "kitwatch.acl").read_text()


def test_what_a_vehicle_may_write_is_named_topic_by_topic_and_follows_it_to_another_site(folder: Path) -> None:
    assert setup(folder, "vehicle", "amb-01") == 0
    assert setup(folder, "vehicle", "amb-02", "router") == 0
    moved = {"sites": {"c2": {**FLEET["sites"]["c1"]}}}
    (folder / "fleet.yaml").write_text(yaml.safe_dump(moved))
    assert setup(folder, "vehicle", "amb-01", "--replace") == 0
    own, other = (
        block.splitlines()[1:]
        for name in ("amb-01", "amb-02.router")
        for block in (folder / "kitwatch.acl").read_text().split("\n\n")
        if block.startswith(f"user {name}\n")
    )
    kinds = ("ask", "backlog", "live", "schema", "state")
    assert own == [
        *(f"topic write kitwatch/v1/up/c2/amb-01/router/{kind}" for kind in kinds),
        "topic read kitwatch/v1/down/c2/amb-01/router/#",
    ]
    assert other[0] == "topic write kitwatch/v1/up/c1/amb-02/router/ask"


@pytest.mark.parametrize(
    ("words", "key"),
    [(("server", "h"), "server.key"), (("collector",), "collector.key"), (("vehicle", "amb-01"), "amb-01.tar")],
)
def test_a_key_is_never_overwritten_unless_that_is_said(
    folder: Path, words: tuple[str, ...], key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert setup(folder, *words) == 0
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert setup(folder, *words) == 2
    assert f"{folder / key}: expected no file there" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert setup(folder, *words, "--replace") == 0
    assert (folder / key).read_bytes() != before[folder / key]


def test_the_authorities_are_never_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (folder / "ca" / "centre.key").read_bytes()
    assert main(["setup", "ca", "--name", "again", "--ca", str(folder / "ca")]) == 2
    assert "expected no file there" in capsys.readouterr().err
    assert (folder / "ca" / "centre.key").read_bytes() == before
    with pytest.raises(SystemExit):
        main(["setup", "ca", "--name", "again", "--ca", str(folder / "ca"), "--replace"])


def test_what_is_not_given_is_asked_for_or_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert setup(folder, "vehicle") == 2
    assert "VEHICLE: expected the vehicle's id, found nothing" in capsys.readouterr().err
    assert setup(folder, "vehicle", "amb-02") == 2
    assert "AGENT: expected the agent's id (router, tablet), found nothing" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    answers = {
        "the vehicle's id: ": "amb-01",
        "the broker's host names and addresses, by spaces: ": "a.example 192.0.2.9",
    }
    monkeypatch.setattr("builtins.input", answers.__getitem__)
    assert setup(folder, "vehicle") == 0
    assert setup(folder, "server") == 0
    assert "DNS:a.example, IP Address:192.0.2.9" in openssl("x509", "-in", f"{folder}/server.crt", "-noout", "-text")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("server", "mqtt example"), "expected a host name or an address, found 'mqtt example'"),
        (("vehicle", "amb-1"), "expected the vehicle 'amb-1', found none, did you mean 'amb-01'?"),
        (("revoke", "amb-01"), "expected a certificate of 'amb-01' that is good, found none"),
    ],
)
def test_what_is_wrong_is_one_line_and_writes_nothing(
    folder: Path, words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.rglob("*"))
    assert setup(folder, *words) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert sorted(folder.rglob("*")) == before


def test_without_authorities_it_says_what_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["setup", "collector", "--ca", str(tmp_path), "--to", str(tmp_path), "--owner", OWNER]) == 2
    assert capsys.readouterr().err.endswith("expected an authority's file, found none: kitwatch setup ca\n")


def test_revoking_names_every_certificate_of_a_vehicle_and_no_other(folder: Path) -> None:
    for vehicle in ("amb-01", "amb-01"):
        assert setup(folder, "vehicle", vehicle, "--replace") == 0
    assert setup(folder, "vehicle", "amb-02", "router") == 0
    assert setup(folder, "server", "h") == 0
    assert setup(folder, "revoke", "amb-01") == 0
    told = openssl("crl", "-in", f"{folder}/vehicles.crl", "-noout", "-text")
    assert told.count("Serial Number:") == 2
    assert (folder / "vehicles.crl").read_bytes() == (folder / "ca" / "vehicles.crl").read_bytes()
    assert setup(folder, "server", "h", "--replace") == 0  # a new server certificate forgets no revocation
    assert openssl("crl", "-in", f"{folder}/vehicles.crl", "-noout", "-text").count("Serial Number:") == 2
    assert setup(folder, "vehicle", "amb-01", "--replace") == 0  # the box that comes in its place
    assert setup(folder, "revoke", "amb-01") == 0
    assert openssl("crl", "-in", f"{folder}/vehicles.crl", "-noout", "-text").count("Serial Number:") == 3
